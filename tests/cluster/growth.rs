//! A pool that cannot grow is not unhealthy: calls share the existing connections.

use crate::staged::Staged as _;
use crate::support::{
    PATIENCE, World, all_slots_are_back, eventually, insert, lab, replicated, stage,
};
use headless_mysql::balance::EndpointState;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::lab::Nodes;
use headless_mysql_testkit::proxy::{FaultProxy, NetFault};
use headless_mysql_testkit::stage::Stage;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The duration of a load: several times the pause between attempts to grow.
const LOAD: Duration = Duration::from_secs(5);

/// The results of a load.
#[derive(Debug, Default)]
struct Tally {
    /// Reads by `server_id`.
    reads: BTreeMap<u32, u64>,
    writes: u64,
    errors: Vec<String>,
    longest: Duration,
    /// Pods that were not ready, with the reason.
    ill: Vec<String>,
}

impl Tally {
    fn read_on(&self, servers: impl IntoIterator<Item = u32>) -> u64 {
        let of = |id| self.reads.get(&id).copied().unwrap_or(0);
        servers.into_iter().map(of).sum()
    }

    fn add(&mut self, other: Self) {
        for (server, reads) in other.reads {
            *self.reads.entry(server).or_default() += reads;
        }
        self.writes += other.writes;
        self.errors.extend(other.errors);
        self.longest = self.longest.max(other.longest);
    }

    /// Checks that nothing failed and that every pod was always ready.
    fn assert_well(&self) {
        assert_eq!(self.errors, [""; 0], "{self:?}");
        assert_eq!(self.ill, [""; 0], "{self:?}");
    }
}

/// Runs this many readers and writers for the duration of a load.
async fn load(cluster: &Cluster, readers: u64, writers: u64) -> Tally {
    let end = Instant::now() + LOAD;
    let callers = (0..readers + writers).map(|n| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let mut tally = Tally::default();
            let mut id = (n + 1) * 1_000_000;
            while Instant::now() < end {
                let begun = Instant::now();
                if n < writers {
                    id += 1;
                    match insert(&cluster, id).await {
                        Ok(()) => tally.writes += 1,
                        Err(error) => tally.errors.push(error.to_string()),
                    }
                } else {
                    let read = "SELECT @@server_id, SLEEP(0.003)";
                    match cluster.replicas().query_first::<(u32, u32)>(read).await {
                        Ok(row) => *tally.reads.entry(row.unwrap().0).or_default() += 1,
                        Err(error) => tally.errors.push(error.to_string()),
                    }
                }
                tally.longest = tally.longest.max(begun.elapsed());
            }
            tally
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut sum = Tally::default();
    while Instant::now() < end {
        for pod in cluster.status().pods {
            if !matches!(pod.state, None | Some(EndpointState::Ready)) {
                let cause = pod.last_failure.unwrap_or_default();
                sum.ill
                    .push(format!("{}: {:?} {cause}", pod.pod, pod.state));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for caller in callers {
        sum.add(caller.await.unwrap());
    }
    println!(
        "reads {:?}, writes {}, longest {:?}",
        sum.reads, sum.writes, sum.longest
    );
    sum
}

/// Servers on which other clients hold all connections except `room`.
async fn crowded(replicas: u32, room: usize) -> (World, Vec<Conn>) {
    const MOST: usize = 40;
    let option = format!("--max-connections={MOST}");
    let lab = lab().replicas(replicas).server_option(Nodes::All, option);
    let stage = Stage::with(lab).await.unwrap();
    let config = stage.config().with_pace(false);
    let world = World::with(stage, config).await;
    let mut others = Vec::new();
    for ordinal in world.stage.lab.ordinals() {
        let is_crowded = ordinal > 0 || replicas == 0;
        for _ in 0..if is_crowded { MOST - room } else { 0 } {
            match world.stage.lab.connect(ordinal).await {
                Ok(conn) => others.push(conn),
                // Replication and the cluster use connections too.
                Err(_) => break,
            }
        }
    }
    (world, others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_stay_on_replicas_that_have_room_for_a_few_connections_only() {
    let (world, _others) = crowded(2, 8).await;
    let tally = load(&world.cluster, 24, 0).await;
    tally.assert_well();
    let (replicas, primary) = (tally.read_on([2, 3]), tally.read_on([1]));
    assert!(
        primary * 20 < replicas,
        "{primary} of {replicas} on the primary"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_share_what_connections_a_lone_server_has_room_for() {
    let (world, _others) = crowded(0, 6).await;
    let tally = load(&world.cluster, 8, 8).await;
    tally.assert_well();
    assert!(tally.longest < Duration::from_secs(2), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_share_the_connections_that_an_account_may_have() {
    const LIMIT: usize = 8;
    let world = World::unpaced(2).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    let user = world.stage.lab.user().to_owned();
    let limit = format!("ALTER USER '{user}'@'%' WITH MAX_USER_CONNECTIONS {LIMIT}");
    root.query_drop(limit).await.unwrap();
    replicated(&world.stage).await;
    // The limit applies to new sessions only.
    let config = world.stage.config().with_pace(false);
    world.cluster.shutdown(PATIENCE).await.unwrap();
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let tally = load(&cluster, 20, 4).await;
    tally.assert_well();
    let (replicas, primary) = (tally.read_on([2, 3]), tally.read_on([1]));
    assert!(
        primary * 20 < replicas,
        "{primary} of {replicas} on the primary"
    );
    let pods = cluster.status().pods;
    let most = pods
        .iter()
        .map(|pod| pod.connections_idle + pod.connections_in_use);
    assert!(most.max().unwrap() <= LIMIT, "{pods:#?}");
}

/// A proxy for the primary, and a cluster with this many idle connections through it.
async fn behind_a_proxy(connections: usize) -> (World, FaultProxy) {
    let stage = stage(0).await;
    let address = stage.lab.fresh_address().unwrap();
    let port = stage.lab.port();
    let target = (stage.lab.address(0), port).into();
    let proxy = FaultProxy::start((address, port).into(), target).await;
    stage.publish_at(0, address).unwrap();
    let most = connections.max(16);
    let config = stage.config().with_max_connections(most);
    let world = World::with(stage, config).await;
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(world.cluster.primary().conn().await.unwrap());
    }
    drop(held);
    (world, proxy.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_work_are_used_while_no_further_one_can_be_made() {
    const CONNECTIONS: usize = 4;
    let faults = [
        NetFault::RefuseNew,
        NetFault::AcceptThenClose,
        NetFault::SwallowNew,
    ];
    for fault in faults {
        println!("{fault:?}");
        let (world, proxy) = behind_a_proxy(CONNECTIONS).await;
        proxy.set_fault(Some(fault));
        let tally = load(&world.cluster, 0, 8).await;
        tally.assert_well();
        // One that is being made counts until it is given up.
        eventually("the attempts have ended", async || {
            let pod = &world.cluster.status().pods[0];
            pod.connections_idle + pod.connections_in_use == CONNECTIONS
        })
        .await;
        proxy.set_fault(None);
        eventually("the pool grows again", async || {
            let mut held = Vec::new();
            for _ in 0..=CONNECTIONS {
                let call = world.cluster.primary().deadline(Duration::from_millis(300));
                held.extend(call.conn().await.ok());
            }
            held.len() > CONNECTIONS
        })
        .await;
        all_slots_are_back(&world.cluster, 16).await;
    }
}

/// Runs this test again in a separate process with a low limit of open files.
async fn with_few_files(name: &str) {
    let program = std::env::current_exe().unwrap();
    let child = tokio::process::Command::new("sh")
        .args(["-c", "ulimit -n 400 && exec \"$0\" \"$@\""])
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .env(FEW_FILES, "1")
        .output();
    let child = child.await.unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let complained = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}{complained}");
    assert!(said.contains("1 passed"), "{said}");
}

const FEW_FILES: &str = "HEADLESS_MYSQL_TEST_FEW_FILES";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_work_are_used_while_the_process_has_no_file_descriptor_left() {
    if std::env::var_os(FEW_FILES).is_none() {
        let module = module_path!().split_once("::").unwrap().1;
        let name = "connections_that_work_are_used_while_the_process_has_no_file_descriptor_left";
        return with_few_files(&format!("{module}::{name}")).await;
    }
    let world = World::unpaced(1).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(world.cluster.primary().conn().await.unwrap());
        held.push(world.cluster.replicas().conn().await.unwrap());
    }
    drop(held);
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    let tally = load(&world.cluster, 8, 8).await;
    drop(files);
    tally.assert_well();
    assert!(tally.read_on([2]) > 0 && tally.writes > 0, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_silent_connection_condemns_all_that_were_not_heard_of_since() {
    let (world, proxy) = behind_a_proxy(40).await;
    // Idle for longer than connections are trusted without a ping.
    tokio::time::sleep(Duration::from_millis(700)).await;
    proxy.forget_flows();
    let begun = Instant::now();
    world.insert(1).await.unwrap();
    let took = begun.elapsed();
    // One ping and one new connection. Pinging all connections would take much longer: one after
    // the other, at 250 ms for every second one.
    assert!(took < Duration::from_secs(3), "{took:?}");
    let pod = || world.cluster.status().pods.remove(0);
    eventually("the server has ended the others", async || {
        pod().connections_in_use == 0
    })
    .await;
    assert_eq!(pod().connections_idle, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_starts_while_one_replica_lacks_the_account() {
    const POOR: u32 = 2;
    let world = World::start(2).await;
    let lab = &world.stage.lab;
    lab.set_read_only(POOR, false).await.unwrap();
    let mut root = lab.admin(POOR).await.unwrap();
    root.query_drop("SET SESSION sql_log_bin = 0")
        .await
        .unwrap();
    let drop_user = format!("DROP USER '{}'@'%'", lab.user());
    root.query_drop(drop_user).await.unwrap();
    lab.set_read_only(POOR, true).await.unwrap();
    for start in 1..=8u64 {
        let cluster = Cluster::builder(world.stage.config())
            .connect()
            .await
            .unwrap();
        for n in 0..8 {
            let read = cluster.replicas().query_first::<u32>("SELECT @@server_id");
            let read = read
                .await
                .unwrap_or_else(|error| panic!("start {start}: {error}"));
            assert_ne!(read, Some(POOR + 1));
            let written = insert(&cluster, start * 100 + n).await;
            written.unwrap_or_else(|error| panic!("start {start}: {error}"));
        }
        cluster.shutdown(PATIENCE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_began_with_a_burst_shrinks_to_its_share() {
    const SHARE: u64 = 10;
    let lab = lab().replicas(0);
    let lab = lab.server_option(Nodes::All, format!("--max-connections={}", 2 * SHARE));
    let stage = Stage::with(lab).await.unwrap();
    let mut root = stage.lab.admin(0).await.unwrap();
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let callers = (0..40).map(|_| {
        let (cluster, stop) = (cluster.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                cluster
                    .primary()
                    .query_drop("DO SLEEP(0.02)")
                    .await
                    .unwrap();
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    let user = stage.lab.user().to_owned();
    let count = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = ?";
    eventually("no more than its share", async || {
        let seen: Option<u64> = root.exec_first(count, (&user,)).await.unwrap();
        (1..=SHARE).contains(&seen.unwrap())
    })
    .await;
    let all = || cluster.status().pods[0].connections_in_use;
    eventually("all of its share", async || all() == SHARE as usize).await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_without_a_replica_leave_half_of_a_small_pool_to_writes() {
    let lab = lab().replicas(0);
    // The pool uses half of the server's limit.
    let lab = lab.server_option(Nodes::All, "--max-connections=16");
    let stage = Stage::with(lab).await.unwrap();
    let world = World::on(stage).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    let readers: Vec<_> = (0..30)
        .map(|_| {
            let read = world.cluster.replicas().deadline(3 * PATIENCE);
            tokio::spawn(read.query_drop("SELECT SLEEP(0.5)"))
        })
        .collect();
    let running = "SELECT COUNT(*) FROM information_schema.processlist \
                   WHERE info LIKE 'SELECT SLEEP%'";
    let mut most = 0;
    for n in 0..20 {
        world.insert(n).await.unwrap();
        let reads: Option<u64> = root.query_first(running).await.unwrap();
        most = most.max(reads.unwrap());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert!((1..=4).contains(&most), "{most} reads at once");
    for reader in readers {
        reader.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_in_use_is_told_as_such_on_both_routes_and_without_the_caller() {
    let stage = stage(1).await;
    let config = stage.config().with_max_connections(4).with_pace(false);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    for ordinal in [0, 1] {
        let route = || match ordinal {
            0 => cluster.primary(),
            _ => cluster.replicas(),
        };
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(route().conn().await.unwrap());
        }
        let waiting: Vec<_> = (0..3)
            .map(|_| tokio::spawn(route().deadline(Duration::from_millis(500)).conn()))
            .collect();
        for call in waiting {
            let error = call.await.unwrap().unwrap_err();
            assert!(matches!(error, Error::AllInUse { .. }), "{error:?}");
            assert!(error.is_retryable());
            let address = (stage.lab.address(ordinal), stage.lab.port());
            let address = std::net::SocketAddr::from(address);
            let told = format!(
                "all 4 connections to mysql-{ordinal} ({address}) are in use (max_connections)"
            );
            assert!(error.to_string().contains(&told), "{error}");
        }
        drop(held);
    }
}
