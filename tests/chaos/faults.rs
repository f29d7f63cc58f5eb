//! Which faults strike, when, and for how long: all of it from one seed.

use crate::doors::Doors;
use crate::load::Load;
use crate::{Office, PATIENCE};
use headless_mysql::Cluster;
use headless_mysql::testkit::dns::Fault as DnsFault;
use headless_mysql::testkit::proxy::NetFault;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// What strikes.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Freeze,
    MoveAfterRestart,
    Swap,
    PrimaryReadOnly,
    ReplicaWritable,
    /// A replica is writable, and seen to be: nobody can tell which of the two is the primary.
    TwoWritable,
    /// A planned switch-over.
    Promote,
    Net(NetFault),
    NotReady,
    Dns(DnsFault),
    DnsStale,
    DnsFlapping,
    /// Long enough for several look-ups.
    DnsEmpty,
}

/// One fault and where it strikes.
#[derive(Debug, Clone, Copy)]
struct Strike {
    fault: Fault,
    ordinal: u32,
    lasts: Duration,
    then: Duration,
}

/// The faults of a run: some strike servers and their network, some DNS, both at the same time.
#[derive(Debug)]
pub(crate) struct Plan {
    office: Office,
    pods: Vec<Strike>,
    dns: Vec<Strike>,
}

/// What the faults strike.
pub(crate) struct Scene<'a> {
    pub(crate) doors: &'a Doors,
    pub(crate) cluster: &'a Cluster,
    pub(crate) load: &'a Load,
}

/// How many of each kind there were.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<String, usize>);

impl Plan {
    pub(crate) fn new(seed: u64, faults: u64, office: Office) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut plan = Self {
            office,
            pods: Vec::new(),
            dns: Vec::new(),
        };
        for n in 0..faults {
            let of_dns = n % 3 == 2;
            let strike = Strike {
                fault: if of_dns {
                    dns_fault(&mut rng)
                } else {
                    plan.pod_fault(&mut rng)
                },
                ordinal: rng.random_range(0..3),
                lasts: Duration::from_millis(rng.random_range(20..500)),
                then: Duration::from_millis(rng.random_range(0..200)),
            };
            if of_dns {
                &mut plan.dns
            } else {
                &mut plan.pods
            }
            .push(strike);
        }
        plan
    }

    /// Whether the primary moves is no matter of luck.
    fn pod_fault(&self, rng: &mut SmallRng) -> Fault {
        let fault = pod_fault(rng);
        match (self.office, self.pods.len() % 8) {
            (Office::Stays, _) => fault,
            (Office::Moves, 0 | 4) => Fault::Promote,
            (Office::Moves, 2) => Fault::TwoWritable,
            (Office::Moves, _) => match fault {
                // Unseen, that is a primary like any other; see `TwoWritable`.
                Fault::ReplicaWritable => Fault::PrimaryReadOnly,
                fault => fault,
            },
        }
    }

    /// Lets the faults strike, and ends each.
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Tally {
        let (pods, dns) = tokio::join!(all(scene, self.pods), all(scene, self.dns));
        let mut tally = pods;
        for (kind, count) in dns.0 {
            *tally.0.entry(kind).or_default() += count;
        }
        tally
    }
}

impl Tally {
    pub(crate) fn kinds(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"))
            .collect();
        let all: usize = self.0.values().sum();
        write!(f, "{all} faults: {}", parts.join(", "))
    }
}

fn pod_fault(rng: &mut SmallRng) -> Fault {
    match rng.random_range(0..13) {
        0 => Fault::Kill,
        1 => Fault::Freeze,
        2 => Fault::MoveAfterRestart,
        3 => Fault::Swap,
        4 => Fault::PrimaryReadOnly,
        5 => Fault::ReplicaWritable,
        6 => Fault::NotReady,
        7 => Fault::Net(NetFault::Refuse),
        8 => Fault::Net(NetFault::AcceptThenClose),
        9 => Fault::Net(NetFault::BlackHole),
        10 => Fault::Net(NetFault::HalfOpen),
        11 => Fault::Net(NetFault::CutAfter(rng.random_range(0..2000))),
        _ => Fault::Net(NetFault::Slow(Duration::from_millis(
            rng.random_range(1..40),
        ))),
    }
}

fn dns_fault(rng: &mut SmallRng) -> Fault {
    match rng.random_range(0..9) {
        0 => Fault::Dns(DnsFault::ServFail),
        1 => Fault::Dns(DnsFault::Refused),
        2 => Fault::Dns(DnsFault::Drop),
        3 => Fault::Dns(DnsFault::NxDomain),
        4 => Fault::Dns(DnsFault::Truncated),
        5 => Fault::Dns(DnsFault::Delay(Duration::from_millis(
            rng.random_range(50..400),
        ))),
        6 => Fault::DnsStale,
        7 => Fault::DnsFlapping,
        _ => Fault::DnsEmpty,
    }
}

impl Scene<'_> {
    /// Waits until the cluster's idea of who takes the writes is this.
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

    /// One server is writable that should not be. It may be so only while the cluster hears of the
    /// primary that it is: one that cannot be asked is succeeded by whoever is writable, rightly.
    async fn two_writable(&self, primary: u32, replica: u32, lasts: Duration) {
        let lab = &self.doors.stage.lab;
        let _dns = self.doors.dns_turn().await;
        // What it is heard to have become, it was heard to be.
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
            // Each of them writes, or little is proven.
            let progress = timeout(PATIENCE, scene.load.progress(20)).await;
            assert!(progress.is_ok(), "mysql-{replica} is not written to");
        }
        // A write that went astray would be executed.
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
