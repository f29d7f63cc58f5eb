//! How each fault is applied to the servers, their network, DNS and this process, and how it ends.
//!
//! Each fault restores the state before it. Faults of servers happen one at a time, and faults of
//! DNS happen in parallel to them. [`limits`](crate::limits) contains the faults of limits and
//! options.

use crate::PATIENCE;
use crate::doors::Doors;
use crate::limits;
use crate::load::Load;
use crate::plan::{Fault, Plan, Strike, Tally};
use headless_mysql::{Cluster, Config};
use headless_mysql_testkit::dns::Fault as DnsFault;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Everything that the faults are applied to.
pub(crate) struct Scene<'a> {
    pub(crate) doors: &'a Doors,
    pub(crate) cluster: &'a Cluster,
    /// The configuration of `cluster`, for processes that start during the run.
    pub(crate) config: &'a Config,
    pub(crate) load: &'a Load,
    /// The start of the run, for the times in the printed faults.
    pub(crate) began: Instant,
}

/// Applies the faults of a plan, and ends each one.
pub(crate) async fn run(plan: Plan, scene: &Scene<'_>) -> Tally {
    let (pods, dns) = tokio::join!(all(scene, plan.pods), all(scene, plan.dns));
    let mut tally = pods;
    for (kind, count) in dns.0 {
        *tally.0.entry(kind).or_default() += count;
    }
    tally
}

impl Scene<'_> {
    /// Waits until the cluster regards exactly these servers as primaries.
    async fn primaries_become(&self, wanted: &[u32]) {
        let wanted: BTreeSet<u32> = wanted.iter().copied().collect();
        let give_up = Instant::now() + PATIENCE;
        loop {
            let status = self.cluster.status();
            let primaries = status.pods.iter().filter(|pod| pod.primary);
            let primaries = primaries.filter_map(|pod| Some(pod.ordinal?.get()));
            if primaries.collect::<BTreeSet<u32>>() == wanted {
                return;
            }
            assert!(Instant::now() < give_up, "not {wanted:?}: {status:#?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Makes a second server writable by mistake. The cluster must hear from the real primary all
    /// the while: if the primary does not answer, the other writable server rightly succeeds it.
    async fn two_writable(&self, primary: u32, replica: u32, lasts: Duration) {
        let lab = &self.doors.stage.lab;
        let _dns = self.doors.dns_turn().await;
        // Toggle read-only and wait for both changes: that shows that the cluster hears from the
        // primary.
        lab.set_read_only(primary, true).await.unwrap();
        self.primaries_become(&[]).await;
        lab.set_read_only(primary, false).await.unwrap();
        self.primaries_become(&[primary]).await;
        lab.set_read_only(replica, false).await.unwrap();
        let (both, succeeded) = ([primary, replica], [replica]);
        tokio::select! {
            biased;
            () = self.primaries_become(&both) => {}
            () = self.primaries_become(&succeeded) => {
                panic!("mysql-{primary} was silent for a whole look, so it was succeeded: is the machine slow?")
            }
        }
        sleep(lasts).await;
        lab.set_read_only(replica, true).await.unwrap();
        self.primaries_become(&[primary]).await;
    }

    /// Kills the primary while `replica` lacks acknowledged writes, and makes `replica` writable.
    /// The client has seen those writes, so it must not write to `replica`.
    async fn lossy_failover(&self, primary: u32, replica: u32, lasts: Duration) {
        let lab = &self.doors.stage.lab;
        let _dns = self.doors.dns_turn().await;
        lab.stop_replication(replica).await.unwrap();
        let progress = timeout(PATIENCE, self.load.progress(20)).await;
        assert!(progress.is_ok(), "mysql-{primary} is not written to");
        // The client learns the position of its last write a short time later.
        sleep(Duration::from_secs(1)).await;
        self.doors.kill(primary).await;
        lab.set_read_only(replica, false).await.unwrap();
        let before = self.doors.rows(replica).await;
        sleep(Duration::from_secs(1) + lasts).await;
        let after = self.doors.rows(replica).await;
        lab.set_read_only(replica, true).await.unwrap();
        assert_eq!(
            after, before,
            "written to mysql-{replica}, which lost history"
        );
        self.doors.restart(primary).await;
        lab.repoint_replicas().await.unwrap();
        self.primaries_become(&[primary]).await;
    }

    /// Runs another process, whose sessions add to those of the first.
    async fn newcomer(&self) {
        let guest = self.load.newcomer(self.config);
        self.doors.with_guest(guest).await;
    }

    /// Restarts all pods in the order of their ordinals, each one when the previous one is ready.
    async fn ordered_start(&self, lasts: Duration) {
        let doors = self.doors;
        for ordinal in 0..3 {
            doors.stage.set_ready(ordinal, false).unwrap();
            doors.kill(ordinal).await;
        }
        for ordinal in 0..3 {
            doors.restart(ordinal).await;
            doors.stage.set_ready(ordinal, true).unwrap();
            self.newcomer().await;
            sleep(lasts / 3).await;
        }
    }

    /// Adds a replica, which DNS lists before it serves, and removes it. Another process starts
    /// meanwhile.
    async fn scaled(&self, lasts: Duration) {
        let doors = self.doors;
        let ordinal = doors.announce_replica().await;
        self.newcomer().await;
        doors.start_announced(ordinal).await;
        sleep(lasts).await;
        self.newcomer().await;
        doors.remove_replica(ordinal).await;
    }
}

async fn all(scene: &Scene<'_>, strikes: Vec<Strike>) -> Tally {
    let mut tally = Tally::default();
    for strike in strikes {
        let name = format!("{:?}", strike.fault);
        let name = name.split(['(', ' ']).next().unwrap_or_default().to_owned();
        let name = match strike.fault {
            Fault::Net(fault) => format!("{fault:?}").split('(').next().unwrap().to_owned(),
            Fault::Dns(fault) => format!("Dns{fault:?}")
                .split('(')
                .next()
                .unwrap()
                .to_owned(),
            _ => name,
        };
        let at = scene.began.elapsed();
        println!(
            "{at:.1?} {name} {} for {:.1?}",
            strike.ordinal, strike.lasts
        );
        *tally.0.entry(name).or_default() += 1;
        one(scene, strike).await;
        sleep(strike.then).await;
    }
    tally
}

async fn one(scene: &Scene<'_>, strike: Strike) {
    let Strike { ordinal, lasts, .. } = strike;
    let doors = scene.doors;
    let lab = &doors.stage.lab;
    let primary = lab.primary();
    let replica = (primary + 1 + ordinal % 2) % 3;
    let _dns = match strike.fault {
        Fault::Dns(_) | Fault::DnsStale | Fault::DnsFlapping | Fault::DnsEmpty => {
            Some(doors.dns_turn().await)
        }
        _ => None,
    };
    match strike.fault {
        Fault::Kill => {
            doors.kill(ordinal).await;
            sleep(lasts).await;
            doors.restart(ordinal).await;
        }
        Fault::Freeze => {
            lab.freeze(ordinal).await.unwrap();
            sleep(lasts * 2).await;
            // The server learns only now which connections the client closed during the fault.
            doors.unsettle(ordinal);
            lab.thaw(ordinal).await.unwrap();
        }
        Fault::MoveAfterRestart => {
            doors.kill(ordinal).await;
            sleep(lasts).await;
            doors.restart(ordinal).await;
            doors.move_pod(ordinal).await;
        }
        Fault::Swap => {
            let other = (ordinal + 1) % 3;
            doors.swap(ordinal, other);
            sleep(lasts).await;
            doors.straighten();
        }
        Fault::PrimaryReadOnly => {
            lab.set_read_only(primary, true).await.unwrap();
            sleep(lasts).await;
            lab.set_read_only(primary, false).await.unwrap();
        }
        Fault::TwoWritable => scene.two_writable(primary, replica, lasts).await,
        Fault::Promote => {
            doors.promote(replica).await;
            scene.primaries_become(&[replica]).await;
            // Each primary must take writes, or the run proves little.
            let progress = timeout(PATIENCE, scene.load.progress(20)).await;
            assert!(progress.is_ok(), "mysql-{replica} is not written to");
        }
        // A misrouted write would be executed rather than refused.
        Fault::ReplicaWritable => {
            lab.set_read_only(replica, false).await.unwrap();
            sleep(lasts).await;
            lab.set_read_only(replica, true).await.unwrap();
        }
        Fault::Net(fault) => {
            doors.net(ordinal, Some(fault));
            sleep(lasts).await;
            doors.net(ordinal, None);
        }
        Fault::LossyFailover => scene.lossy_failover(primary, replica, lasts).await,
        Fault::FlowsForgotten => {
            doors.forget_flows(ordinal).await;
            sleep(lasts).await;
        }
        Fault::ServerFull => limits::server_full(doors, ordinal, lasts * 2).await,
        Fault::AccountFull => limits::account_full(doors, ordinal, lasts * 2).await,
        Fault::NoDescriptors => limits::no_descriptors(lasts * 2).await,
        Fault::NoAccount => limits::no_account(doors, replica, lasts).await,
        Fault::HangingCommits => limits::hanging_commits(doors, primary, lasts * 3).await,
        Fault::Chain => limits::chain(doors, primary, lasts).await,
        Fault::SmallPackets => limits::small_packets(doors, ordinal, lasts).await,
        Fault::Stranger => {
            doors.lend_to_stranger(ordinal);
            sleep(lasts * 3).await;
            doors.straighten();
            doors.cut(ordinal);
        }
        Fault::Blank => {
            doors.lend_to_blank(0);
            sleep(lasts * 3).await;
            doors.straighten();
            doors.cut(0);
        }
        Fault::OrderedStart => scene.ordered_start(lasts).await,
        Fault::Scaled => scene.scaled(lasts).await,
        Fault::NotReady => {
            doors.stage.set_ready(ordinal, false).unwrap();
            sleep(lasts).await;
            doors.stage.set_ready(ordinal, true).unwrap();
        }
        Fault::Dns(fault) => {
            doors.dns_fault(Some(fault));
            sleep(lasts).await;
            doors.dns_fault(None);
        }
        Fault::DnsStale => {
            doors.stage.dns.freeze();
            sleep(lasts * 3).await;
            doors.stage.dns.thaw();
        }
        Fault::DnsFlapping => {
            doors.stage.dns.alternate();
            sleep(lasts * 3).await;
            doors.stage.dns.thaw();
        }
        Fault::DnsEmpty => {
            doors.dns_fault(Some(DnsFault::NxDomain));
            sleep(lasts * 3).await;
            doors.dns_fault(None);
        }
    }
}
