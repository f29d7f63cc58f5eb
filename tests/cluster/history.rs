//! When a primary is refused because it lacks history that was seen.

use crate::secrets::Paper;
use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, connections, eventually, lab, server, stage};
use headless_mysql::config::ReplicaPolicy;
use headless_mysql::error::ConnectError;
use headless_mysql::mysql_async::Conn;
use headless_mysql::prelude::*;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::lab::{Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;
use tokio::time::Instant;

/// A world with a short checkout timeout, because calls wait for a primary here.
async fn impatient(stage: Stage) -> World {
    let config = stage.config().with_checkout_timeout(Duration::from_secs(1));
    World::with(stage, config).await
}

/// Cuts the application's connections, so that the next one queries the server again.
async fn cut(world: &World, admin: &mut Conn) {
    for id in connections(admin, world.stage.lab.user()).await {
        // The connection may have ended by itself.
        let _ = admin.query_drop(format!("KILL {id}")).await;
    }
}

/// The result of the next write. A write whose connection was cut is repeated once.
async fn next_write(world: &World, id: u64) -> Result<(), Error> {
    match world.insert(id).await {
        Err(Error::ConnectionLost { .. }) => world.insert(id + 1).await,
        ended => ended,
    }
}

fn lost(ended: Result<(), Error>) {
    match ended {
        Err(Error::Connect(ConnectError::HistoryLost { .. })) => {}
        ended => panic!("{ended:?}"),
    }
}

/// The source and the number of the server's newest transaction, in its own domain on MariaDB.
async fn newest(admin: &mut Conn) -> (String, u64) {
    let question = match server() {
        ServerKind::MySql => "SELECT @@global.gtid_executed",
        _ => "SELECT @@global.gtid_binlog_pos",
    };
    let position: String = admin.query_first(question).await.unwrap().unwrap();
    let (source, number) = position.rsplit_once(['-', ':']).unwrap();
    // `uuid:1-n`
    let source = source.strip_suffix(":1").unwrap_or(source);
    (source.to_owned(), number.parse().unwrap())
}

/// Makes the server look as if it had replicated the first `number` transactions of `source`.
async fn hold_replicated(admin: &mut Conn, source: &str, number: u64) {
    let statements = match server() {
        ServerKind::MySql => vec![
            "RESET BINARY LOGS AND GTIDS".to_owned(),
            format!("SET GLOBAL gtid_purged = '{source}:1-{number}'"),
        ],
        // Not in the binary log, because replicas do not log replicated transactions by default.
        _ => vec![
            "RESET MASTER".to_owned(),
            format!("SET GLOBAL gtid_slave_pos = '{source}-{number}'"),
        ],
    };
    for statement in statements {
        admin.query_drop(statement).await.unwrap();
    }
}

/// Executes transactions as another server, which was never our primary.
async fn write_as_another(admin: &mut Conn, count: u64) {
    let (another, itself) = match server() {
        ServerKind::MySql => (
            "SET gtid_next = 'bbbbbbbb-aaaa-aaaa-aaaa-aaaaaaaaaaaa:N'",
            "SET gtid_next = 'AUTOMATIC'",
        ),
        _ => ("SET server_id = 7", "SET server_id = 1"),
    };
    for n in 1..=count {
        let insert = format!("INSERT INTO entries VALUES ({}, 'foreign')", 1000 + n);
        for statement in [
            another.replace('N', &n.to_string()),
            insert,
            itself.to_owned(),
        ] {
            admin.query_drop(statement).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_writes_do_not_make_up_for_acknowledged_ones_that_a_failover_lost() {
    let world = impatient(stage(0).await).await;
    for id in 1..=10 {
        world.must_insert(id).await;
    }
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    admin
        .query_drop(format!("USE {}", world.stage.lab.database()))
        .await
        .unwrap();
    let (source, number) = newest(&mut admin).await;
    cut(&world, &mut admin).await;
    // The next connection learns the position.
    let _ = world.insert(100).await;
    world.must_insert(101).await;
    hold_replicated(&mut admin, &source, number - 6).await;
    write_as_another(&mut admin, 20).await;
    cut(&world, &mut admin).await;
    lost(next_write(&world, 200).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_that_logs_only_its_own_writes_is_accepted_if_it_replicated_all() {
    let world = impatient(stage(0).await).await;
    for id in 1..=10 {
        world.must_insert(id).await;
    }
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    admin
        .query_drop(format!("USE {}", world.stage.lab.database()))
        .await
        .unwrap();
    let (source, number) = newest(&mut admin).await;
    hold_replicated(&mut admin, &source, number).await;
    write_as_another(&mut admin, 3).await;
    cut(&world, &mut admin).await;
    next_write(&world, 200).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_commit_before_a_pause_is_missed_when_a_failover_lost_it() {
    let world = impatient(stage(0).await).await;
    world.must_insert(1).await;
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    world.must_insert(2).await;
    learnt(&mut admin).await;
    let (source, number) = newest(&mut admin).await;
    hold_replicated(&mut admin, &source, number - 1).await;
    cut(&world, &mut admin).await;
    lost(next_write(&world, 3).await);
}

/// Waits until the library has queried the position again after the last write. It does so within a
/// second, possibly before this function starts to look.
async fn learnt(admin: &mut Conn) {
    // `SHOW` does not count as a SELECT.
    let count = "SHOW GLOBAL STATUS LIKE 'Com_select'";
    let mut selects = async || -> u64 {
        let row: Option<(String, u64)> = admin.query_first(count).await.unwrap();
        row.unwrap().1
    };
    let before = selects().await;
    let until = Instant::now() + Duration::from_secs(3);
    while selects().await == before && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_dns_lists_after_the_start_objects_to_an_empty_primary() {
    let world = World::start(1).await;
    world.must_insert(1).await;
    let lab = &world.stage.lab;
    lab.wait_for_replication(PATIENCE).await.unwrap();
    drop(world.cluster);
    lab.wipe(0).await.unwrap();
    // As in an ordered start of the StatefulSet.
    world.stage.set_ready(1, false).unwrap();
    let config = world.stage.config().with_min_connections(1);
    let config = config.with_checkout_timeout(Duration::from_secs(1));
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let read = cluster.primary().query_first::<u32>("SELECT 1").await;
    read.unwrap();
    world.stage.set_ready(1, true).unwrap();
    eventually("the replica has said what it holds", async || {
        let replicas = cluster.replicas().policy(ReplicaPolicy::ReplicaOnly);
        replicas.query_first::<u32>("SELECT 1").await.is_ok()
    })
    .await;
    let create = "CREATE TABLE astray (id BIGINT PRIMARY KEY)";
    let ended = cluster.primary().query_drop(create).await;
    lost(ended);
    cluster.accept_history();
    cluster.primary().query_drop(create).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_address_that_another_set_has_now_takes_no_write_once_a_pod_told_its_name() {
    let ours = stage(1).await;
    let theirs = Stage::with(lab().replicas(0).statefulset("orders-db"))
        .await
        .unwrap();
    assert!(ours.lab.own_hostnames(), "needs UTS namespaces");
    let world = impatient(ours).await;
    world.must_insert(1).await;
    let stranger = theirs.lab.address(0);
    world.stage.lab.kill(0).await.unwrap();
    world.stage.publish_at(0, stranger).unwrap();
    let told = "says that it is `orders-db-0`";
    let mut text = String::new();
    eventually("the stranger is refused", async || {
        // The table `entries` does not exist; a server that executes any write has been accepted.
        let ended = world.cluster.primary().query_drop("DO 1").await;
        text = ended
            .as_ref()
            .map_or_else(ToString::to_string, |()| String::new());
        assert!(ended.is_err(), "the stranger took it");
        text.contains(told)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_gtids_another_server_at_ordinal_0_takes_no_write_until_it_is_accepted() {
    if server() != ServerKind::MySql {
        // Without a binary log, MariaDB gives no way to distinguish two servers of one pod.
        return;
    }
    let lab = lab()
        .replicas(0)
        .server_option(Nodes::All, "--gtid-mode=OFF")
        .server_option(Nodes::All, "--enforce-gtid-consistency=OFF");
    let world = impatient(Stage::with(lab).await.unwrap()).await;
    world.must_insert(1).await;
    world.stage.lab.restart(0).await.unwrap();
    next_write(&world, 2).await.unwrap();
    world.stage.lab.wipe(0).await.unwrap();
    let create = "CREATE TABLE astray (id BIGINT PRIMARY KEY)";
    let write = async || match world.cluster.primary().query_drop(create).await {
        Err(Error::ConnectionLost { .. }) => world.cluster.primary().query_drop(create).await,
        ended => ended,
    };
    lost(write().await);
    world.cluster.accept_history();
    write().await.unwrap();
}

#[tokio::test]
async fn a_primary_that_does_not_count_its_transactions_is_warned_of_once() {
    let options: &[&str] = match server() {
        ServerKind::MySql => &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"],
        _ => &["--skip-log-bin"],
    };
    let mut lab = lab().replicas(0);
    for option in options {
        lab = lab.server_option(Nodes::All, *option);
    }
    let stage = Stage::with(lab).await.unwrap();
    let logged = Paper::default();
    let recording = logged.record(tracing::Level::WARN);
    let world = World::on(stage).await;
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    for id in 1..=3 {
        world.must_insert(id).await;
        cut(&world, &mut admin).await;
        eventually("the connection is noticed to be closed", async || {
            world.cluster.primary().query_drop("DO 1").await.is_ok()
        })
        .await;
    }
    drop(recording);
    let text = logged.text();
    let warned = text.matches("does not count its transactions").count();
    assert_eq!(warned, 1, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_lacks_what_only_a_replica_has_shown_takes_no_write() {
    let world = impatient(stage(1).await).await;
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    world.must_insert(1).await;
    learnt(&mut admin).await;
    // A write of another client. This process does not query the primary after it.
    let write = format!(
        "INSERT INTO {}.entries VALUES (2, 'other')",
        world.stage.lab.database()
    );
    admin.query_drop(write).await.unwrap();
    let lab = &world.stage.lab;
    lab.wait_for_replication(PATIENCE).await.unwrap();
    let (source, number) = newest(&mut admin).await;
    hold_replicated(&mut admin, &source, number - 1).await;
    let replicas = world.cluster.replicas().policy(ReplicaPolicy::ReplicaOnly);
    replicas.query_drop("SELECT 1").await.unwrap();
    // A replica's position counts only after one second, because it may be ahead of the answers of
    // the primary.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    cut(&world, &mut admin).await;
    lost(next_write(&world, 10).await);
}
