//! Which pod takes the writes: what a starting process believes, and primaries that are detected
//! instead of named.

use crate::double::{Double, Manner};
use crate::load::{Acknowledged, Load};
use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, eventually, insert, replicated, server, stage};
use headless_mysql::config::{ColdStart, PrimaryBy, TwoPrimaries, Verify};
use headless_mysql::discovery::FixedList;
use headless_mysql::error::ConnectError;
use headless_mysql::prelude::*;
use headless_mysql::{Cluster, Config, Error};
use headless_mysql_testkit::lab::ServerKind;
use headless_mysql_testkit::proxy::{FaultProxy, NetFault};
use headless_mysql_testkit::stage::Stage;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

async fn connect(config: Config) -> Cluster {
    Cluster::builder(config).connect().await.unwrap()
}

/// The ordinals that the cluster regards as primaries.
fn primaries(cluster: &Cluster) -> Vec<u32> {
    let pods = cluster.status().pods;
    let primaries = pods.iter().filter(|pod| pod.primary);
    primaries
        .filter_map(|pod| Some(pod.ordinal?.get()))
        .collect()
}

async fn primary_becomes(cluster: &Cluster, ordinal: u32) {
    let what = format!("mysql-{ordinal} takes the writes: {:#?}", cluster.status());
    eventually(&what, async || primaries(cluster) == [ordinal]).await;
}

/// A world with a detected primary and a table.
async fn detected(replicas: u32) -> World {
    let stage = stage(replicas).await;
    let config = stage.config().with_primary(PrimaryBy::Detected);
    World::with(stage, config).await
}

/// Makes a replica writable and stops its replication.
async fn promote(stage: &Stage, ordinal: u32) {
    let mut root = stage.lab.admin(ordinal).await.unwrap();
    let stop = match server() {
        ServerKind::MySql => "STOP REPLICA",
        _ => "STOP SLAVE",
    };
    root.query_drop(stop).await.unwrap();
    stage.lab.set_read_only(ordinal, false).await.unwrap();
}

async fn ids(stage: &Stage, ordinal: u32) -> BTreeSet<u64> {
    let mut conn = stage.lab.connect(ordinal).await.unwrap();
    let ids: Vec<u64> = conn.query("SELECT id FROM entries").await.unwrap();
    ids.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_refuses_a_primary_that_lacks_what_its_replicas_hold() {
    let world = World::start(2).await;
    world.insert(1).await.unwrap();
    replicated(&world.stage).await;
    drop(world.cluster);
    world.stage.lab.wipe(0).await.unwrap();

    // One replica is enough to know the history.
    world.stage.lab.kill(2).await.unwrap();
    let config = world.stage.config();
    let config = config.with_checkout_timeout(Duration::from_millis(1500));
    let cluster = connect(config.clone()).await;
    let error = insert(&cluster, 2).await.unwrap_err();
    let lost = matches!(&error, Error::Connect(ConnectError::HistoryLost { pod, .. }) if pod.name() == "mysql-0");
    assert!(lost, "{error}");
    // Reads are served meanwhile.
    let read = cluster
        .replicas()
        .query_first("SELECT COUNT(*) FROM entries");
    assert_eq!(read.await.unwrap(), Some(1_u64));
    let create = "CREATE TABLE entries (id BIGINT PRIMARY KEY, pod VARCHAR(64))";
    cluster.accept_history();
    cluster.primary().query_drop(create).await.unwrap();

    let trusting = connect(config.with_cold_start(ColdStart::Trust)).await;
    insert(&trusting, 3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_a_replicas_own_is_nothing_the_primary_has_to_hold() {
    let stage = stage(1).await;
    stage.lab.set_read_only(1, false).await.unwrap();
    let mut root = stage.lab.admin(1).await.unwrap();
    root.query_drop("CREATE DATABASE errant").await.unwrap();
    stage.lab.set_read_only(1, true).await.unwrap();
    let cluster = connect(stage.config()).await;
    let create = "CREATE TABLE entries (id BIGINT PRIMARY KEY, pod VARCHAR(64))";
    cluster.primary().query_drop(create).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_replica_delays_the_first_write_by_a_second_and_no_other() {
    let world = World::start(2).await;
    drop(world.cluster);
    world.stage.lab.freeze(2).await.unwrap();
    let cluster = connect(world.stage.config()).await;
    insert(&cluster, 1).await.unwrap();
    let began = Instant::now();
    insert(&cluster, 2).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    world.stage.lab.thaw(2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_new_identity_and_the_whole_history_is_accepted() {
    let world = World::start(1).await;
    world.insert(1).await.unwrap();
    match server() {
        // MySQL creates a new UUID if this file is missing.
        ServerKind::MySql => {
            let lab = &world.stage.lab;
            lab.kill(0).await.unwrap();
            let mut removed = 0;
            for node in std::fs::read_dir(lab.directory()).unwrap() {
                let node = node.unwrap().path();
                for file in [node.join("auto.cnf"), node.join("data/auto.cnf")] {
                    let is_primary = node.to_string_lossy().ends_with('0');
                    removed += usize::from(is_primary && std::fs::remove_file(file).is_ok());
                }
            }
            assert_eq!(removed, 1, "{:?}", lab.directory());
            lab.restart(0).await.unwrap();
        }
        _ => {
            let mut root = world.stage.lab.admin(0).await.unwrap();
            root.query_drop("SET GLOBAL server_id = 77").await.unwrap();
            // Existing sessions keep the old id.
            root.query_drop("KILL USER app").await.unwrap();
        }
    }
    eventually("writes go on", async || world.insert(2).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_takes_the_writes_when_the_primary_is_gone() {
    let world = detected(2).await;
    assert_eq!(primaries(&world.cluster), [0]);
    world.insert(1).await.unwrap();
    replicated(&world.stage).await;
    world.stage.lab.kill(0).await.unwrap();

    let cluster = world.cluster.clone();
    let waiting = tokio::spawn(async move {
        // The first statement may get a cut connection. No other statement may fail.
        let mut failed = 0;
        while insert(&cluster, 2).await.is_err() {
            failed += 1;
        }
        (failed, Instant::now())
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "a write ran without a primary");
    promote(&world.stage, 2).await;
    let promoted = Instant::now();
    let (failed, written) = waiting.await.unwrap();
    println!("first write {:?} after the promotion", written - promoted);
    assert!(failed <= 1, "{failed} calls failed");
    assert!(ids(&world.stage, 2).await.contains(&2));
    assert_eq!(primaries(&world.cluster), [2]);
    // The new primary is no longer read from as a replica.
    for _ in 0..20 {
        let read = world.cluster.replicas().query_first("SELECT @@server_id");
        assert_eq!(read.await.unwrap(), Some(2_u32));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_comes_back_writable_stops_all_writes_until_one_is_left() {
    let world = detected(1).await;
    world.insert(1).await.unwrap();
    replicated(&world.stage).await;
    world.stage.lab.kill(0).await.unwrap();
    promote(&world.stage, 1).await;
    primary_becomes(&world.cluster, 1).await;
    world.insert(2).await.unwrap();

    world.stage.lab.restart(0).await.unwrap();
    eventually("both are seen", async || {
        primaries(&world.cluster) == [0, 1]
    })
    .await;
    let write = world.cluster.primary().deadline(Duration::from_secs(1));
    let error = write
        .exec_drop("INSERT INTO entries VALUES (3, 'nobody')", ())
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::NoPrimary { .. }), "{error}");
    assert!(
        error.to_string().contains("takes writes, and so does"),
        "{error}"
    );

    // With `Keep`, a running process keeps its primary, and a starting one takes the lowest
    // ordinal.
    let keeping = world.stage.config().with_primary(PrimaryBy::Detected);
    let keeping = connect(keeping.with_two_primaries(TwoPrimaries::Keep)).await;
    primary_becomes(&keeping, 0).await;

    world.stage.lab.set_read_only(0, true).await.unwrap();
    primary_becomes(&world.cluster, 1).await;
    world.insert(4).await.unwrap();
    assert_eq!(ids(&world.stage, 1).await, BTreeSet::from([1, 2, 4]));
    assert_eq!(ids(&world.stage, 0).await, BTreeSet::from([1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_demoted_under_load_loses_no_acknowledged_write() {
    let world = detected(1).await;
    let acknowledged = Acknowledged::default();
    let load = Load::writes(&world.cluster, &acknowledged);
    load.progress(100).await;
    world.stage.lab.set_read_only(0, true).await.unwrap();
    replicated(&world.stage).await;
    promote(&world.stage, 1).await;
    load.progress(100).await;
    let seen = load.stop().await;
    println!("writers waited {:?} at most", seen.longest_gap);
    assert!(seen.errors.is_empty(), "{:?}", seen.errors);
    let acknowledged: BTreeSet<u64> = acknowledged.ids.lock().unwrap().iter().copied().collect();
    assert_eq!(ids(&world.stage, 1).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_on_a_primary_that_lost_its_office_runs_nothing_more() {
    let world = detected(1).await;
    world.insert(1).await.unwrap();
    replicated(&world.stage).await;
    let mut tx = world.cluster.begin().await.unwrap();
    tx.exec_drop("INSERT INTO entries VALUES (2, 'old')", ())
        .await
        .unwrap();
    // The old primary is unreachable, and does not know that it was replaced.
    world.stage.lab.freeze(0).await.unwrap();
    promote(&world.stage, 1).await;
    primary_becomes(&world.cluster, 1).await;
    world.stage.lab.thaw(0).await.unwrap();
    let error = tx
        .exec_drop("INSERT INTO entries VALUES (3, 'old')", ())
        .await;
    assert!(error.is_err());
    assert!(tx.commit().await.is_err());
    assert_eq!(ids(&world.stage, 0).await, BTreeSet::from([1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_goes_back_on_the_same_server_stops_writes_until_it_is_accepted() {
    let stage = stage(0).await;
    let config = stage.config().with_checkout_timeout(Duration::from_secs(1));
    let world = World::with(stage, config).await;
    // Wait until the position is learnt: a primary is queried again after three seconds.
    world.insert(1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3_200)).await;
    world.insert(2).await.unwrap();
    let mut root = world.stage.lab.admin(0).await.unwrap();
    let reset = match server() {
        ServerKind::MySql => "RESET BINARY LOGS AND GTIDS",
        _ => "RESET MASTER",
    };
    root.query_drop(reset).await.unwrap();
    tokio::time::sleep(Duration::from_millis(3_200)).await;
    let error = world.insert(3).await.unwrap_err();
    let lost = matches!(&error, Error::Connect(ConnectError::HistoryLost { .. }));
    assert!(lost, "{error}");
    world.cluster.accept_history();
    world.insert(4).await.unwrap();
    assert_eq!(ids(&world.stage, 0).await, BTreeSet::from([1, 2, 4]));
}

/// The addresses of two servers of `stage`, the first and the last of a hundred. The 98 addresses
/// in between accept connections and never answer, as long as the returned doubles live.
async fn among_many_that_hang(
    stage: &Stage,
    [first, last]: [u32; 2],
) -> (Vec<SocketAddr>, Vec<Double>) {
    let address = |ordinal| SocketAddr::new(stage.lab.address(ordinal), stage.lab.port());
    let mut hanging = Vec::new();
    for _ in 0..98 {
        hanging.push(Double::start(Manner::Silent).await);
    }
    let mut all = vec![address(first)];
    all.extend(hanging.iter().map(|double| double.address));
    all.push(address(last));
    (all, hanging)
}

/// The limit for a first write: all pods are asked in parallel within a second, however many hang.
const FIRST_WRITE: Duration = Duration::from_millis(2500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_write_waits_for_a_hundred_pods_no_longer_than_for_one() {
    let world = World::start(1).await;
    let (pods, _hanging) = among_many_that_hang(&world.stage, [0, 1]).await;
    // `mysql-1` is at the address of `mysql-99`.
    let config = world.stage.config().with_verify(Verify::Off);
    let start = async || {
        let builder = Cluster::builder(config.clone()).resolver(FixedList::new(pods.clone()));
        builder.connect().await.unwrap()
    };
    let began = Instant::now();
    insert(&start().await, 1).await.unwrap();
    assert!(began.elapsed() < FIRST_WRITE, "{:?}", began.elapsed());

    // The last pod was asked too: it has the history that the primary lacks.
    let lab = &world.stage.lab;
    lab.wait_for_replication(PATIENCE).await.unwrap();
    lab.wipe(0).await.unwrap();
    let error = insert(&start().await, 2).await.unwrap_err();
    let lost = matches!(&error, Error::Connect(ConnectError::HistoryLost { .. }));
    assert!(lost, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_is_found_among_a_hundred_pods_that_hang() {
    let stage = stage(1).await;
    let (pods, _hanging) = among_many_that_hang(&stage, [1, 0]).await;
    let config = stage.config().with_verify(Verify::Off);
    let config = config.with_primary(PrimaryBy::Detected);
    let began = Instant::now();
    let builder = Cluster::builder(config).resolver(FixedList::new(pods));
    let cluster = builder.connect().await.unwrap();
    let create = "CREATE TABLE entries (id BIGINT PRIMARY KEY, pod VARCHAR(64))";
    cluster.primary().query_drop(create).await.unwrap();
    assert!(began.elapsed() < FIRST_WRITE, "{:?}", began.elapsed());
    assert_eq!(primaries(&cluster), [99]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_whose_login_takes_longer_than_one_look_is_found_and_kept() {
    let stage = stage(1).await;
    let mut proxies = Vec::new();
    for ordinal in 0..2 {
        let server = SocketAddr::new(stage.lab.address(ordinal), stage.lab.port());
        let here = (stage.lab.fresh_address().unwrap(), server.port()).into();
        let proxy = FaultProxy::start(here, server).await.unwrap();
        // A login is at least five messages, a query two.
        proxy.set_fault(Some(NetFault::Slow(Duration::from_millis(300))));
        stage.publish_at(ordinal, here.ip()).unwrap();
        proxies.push(proxy);
    }
    let config = stage.config().with_primary(PrimaryBy::Detected);
    let config = config
        .with_connect_timeout(Duration::from_secs(4))
        .with_checkout_timeout(PATIENCE);
    let began = Instant::now();
    let world = World::with(stage, config).await;
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(1200),
        "no slow login: {took:?}"
    );
    // Repeated looks do not change the result.
    for id in 0..6 {
        world.insert(id).await.unwrap();
        assert_eq!(primaries(&world.cluster), [0]);
    }
    // A promotion is noticed too.
    world.stage.lab.set_read_only(0, true).await.unwrap();
    promote(&world.stage, 1).await;
    world.insert(7).await.unwrap();
    assert_eq!(primaries(&world.cluster), [1]);
}
