//! Pods that die, freeze, move, or lose their data or their role, under load.

use crate::load::{Acknowledged, Load, TASKS};
use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, insert, server, stage};
use headless_mysql::error::ConnectError;
use headless_mysql::prelude::*;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::lab::ServerKind;
use headless_mysql_testkit::proxy::{FaultProxy, NetFault};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A connection that was used within the last 500 ms is handed out without a ping, so the first
/// statement after a server's death may fail.
async fn notice_cut_connections(cluster: &Cluster) {
    let ping = cluster.primary().deadline(Duration::from_millis(300));
    let _ = ping.query_drop("DO 1").await;
}

async fn read_from(cluster: &Cluster) -> u32 {
    let read = cluster.replicas().query_first("SELECT @@server_id");
    read.await.unwrap().unwrap()
}

/// The number of reads per server (by `server_id`, which is the ordinal + 1).
async fn spread(cluster: &Cluster, reads: usize) -> BTreeMap<u32, usize> {
    let mut by = BTreeMap::new();
    for _ in 0..reads {
        *by.entry(read_from(cluster).await).or_default() += 1;
    }
    by
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_costs_no_more_than_the_operations_in_flight() {
    let stage = stage(2).await;
    let config = stage.config().with_read_retry(false);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let load = Load::reads(&cluster);
    load.progress(500).await;
    stage.lab.kill(1).await.unwrap();
    load.progress(2000).await;
    let seen = load.stop().await;
    assert!(seen.errors.len() <= TASKS, "{:?}", seen.errors);
    for error in seen.errors {
        assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_costs_reads_nothing_when_they_are_run_once_more() {
    let world = World::start(2).await;
    let load = Load::reads(&world.cluster);
    load.progress(500).await;
    world.stage.lab.kill(2).await.unwrap();
    load.progress(2000).await;
    let seen = load.stop().await;
    assert!(seen.errors.is_empty(), "{:?}", seen.errors);
    assert_eq!(spread(&world.cluster, 20).await, BTreeMap::from([(2, 20)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_comes_back_on_another_address_gets_its_share_again() {
    let world = World::unpaced(2).await;
    let load = Load::reads(&world.cluster);
    load.progress(200).await;
    world.stage.lab.kill(1).await.unwrap();
    load.progress(200).await;
    world.stage.lab.move_to_new_address(1).await.unwrap();
    world.stage.publish();
    let deadline = Instant::now() + Duration::from_secs(10);
    while read_from(&world.cluster).await != 2 {
        assert!(Instant::now() < deadline, "{:?}", world.cluster.status());
    }
    let seen = load.stop().await;
    assert!(seen.errors.is_empty(), "{:?}", seen.errors);
    let by = spread(&world.cluster, 400).await;
    assert!(
        by.values().all(|reads| (120..=280).contains(reads)),
        "{by:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_restarted_on_a_new_address_takes_writes_within_a_second_of_dns_showing_it() {
    let world = World::start(2).await;
    let acknowledged = Acknowledged::default();
    let writes = Load::writes(&world.cluster, &acknowledged);
    let reads = Load::reads(&world.cluster);
    writes.progress(200).await;

    world.stage.lab.kill(0).await.unwrap();
    let address = world.stage.lab.fresh_address().unwrap();
    reads.progress(100).await;
    world.stage.lab.start_at(0, address).await.unwrap();
    // The server runs, but DNS does not list it yet, so writes are impossible.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let shown = Instant::now();
    world.stage.publish_at(0, address).unwrap();
    writes.progress(1).await;
    let outage = shown.elapsed();
    println!("first write {outage:?} after DNS showed the new address");
    assert!(outage < Duration::from_secs(1), "{outage:?}");

    writes.progress(200).await;
    let reads = reads.stop().await;
    let writes = writes.stop().await;
    assert!(reads.errors.is_empty(), "{:?}", reads.errors);
    // Only writes in flight when the primary died may fail. Queued writers see no error.
    assert!(writes.errors.len() <= TASKS, "{:?}", writes.errors);
    for error in &writes.errors {
        assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    }
    acknowledged.check(&world.cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_one_reads_and_writes_on_its_primary() {
    let world = World::start(0).await;
    world.insert(1).await.unwrap();
    assert_eq!(read_from(&world.cluster).await, 1);
    let load = Load::reads(&world.cluster);
    load.progress(500).await;
    let seen = load.stop().await;
    assert!(seen.errors.is_empty(), "{:?}", seen.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_five_spreads_reads_over_four_replicas_and_writes_to_one() {
    let world = World::unpaced(4).await;
    for id in 0..50 {
        world.insert(id).await.unwrap();
    }
    let by = world.written_by().await;
    assert_eq!(by, BTreeMap::from([("1".to_owned(), 50)]));
    let by = spread(&world.cluster, 800).await;
    assert_eq!(by.keys().copied().collect::<Vec<_>>(), [2, 3, 4, 5]);
    // Six standard deviations around 200.
    assert!(
        by.values().all(|reads| (125..=275).contains(reads)),
        "{by:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_replica_dead_reads_fall_back_to_the_primary() {
    let world = World::start(1).await;
    assert_eq!(read_from(&world.cluster).await, 2);
    world.stage.lab.kill(1).await.unwrap();
    assert_eq!(read_from(&world.cluster).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_costs_each_task_at_most_one_deadline() {
    let stage = stage(2).await;
    let config = stage
        .config()
        .with_statement_timeout(Some(Duration::from_millis(500)))
        .with_connect_timeout(Duration::from_millis(500));
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let load = Load::reads(&cluster);
    load.progress(500).await;
    stage.lab.freeze(1).await.unwrap();
    load.progress(3000).await;
    let seen = load.stop().await;
    assert!(seen.errors.len() <= TASKS, "{:?}", seen.errors);
    for error in &seen.errors {
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    }
    stage.lab.thaw(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_lost_its_data_takes_no_write_until_its_history_is_accepted() {
    let stage = stage(1).await;
    let config = stage.config().with_checkout_timeout(Duration::from_secs(1));
    let world = World::with(stage, config).await;
    world.must_insert(1).await;
    // The client learns the write's position with its next connection.
    world.stage.lab.restart(0).await.unwrap();
    notice_cut_connections(&world.cluster).await;
    world.must_insert(2).await;

    world.stage.lab.wipe(0).await.unwrap();
    notice_cut_connections(&world.cluster).await;
    let error = world.insert(3).await.unwrap_err();
    match &error {
        Error::Connect(ConnectError::HistoryLost {
            pod, seen, found, ..
        }) => {
            assert_eq!(pod.name(), "mysql-0");
            let known = match server() {
                // The UUID of the wiped server.
                ServerKind::MySql => seen.contains(":1-"),
                _ => seen.starts_with("0-1-"),
            };
            assert!(known && found == "(empty)", "{error}");
        }
        _ => panic!("{error}"),
    }
    let error = world.cluster.begin().await.unwrap_err();
    assert!(
        matches!(error, Error::Connect(ConnectError::HistoryLost { .. })),
        "{error}"
    );

    world.cluster.accept_history();
    let create = "CREATE TABLE entries (id BIGINT PRIMARY KEY, pod VARCHAR(64))";
    world.cluster.primary().query_drop(create).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_wait_while_the_primary_is_read_only_and_go_on_when_it_is_not() {
    let world = World::start(1).await;
    world.insert(1).await.unwrap();
    world.stage.lab.set_read_only(0, true).await.unwrap();
    // In a transaction the statement cannot be retried, so the caller gets the error.
    let mut conn = world.cluster.primary().conn().await.unwrap();
    let write = conn.query_drop("INSERT INTO entries VALUES (2, 'refused')");
    let error = Error::from(write.await.unwrap_err());
    assert!(
        matches!(&error, Error::Server { source, .. } if source.code == 1290),
        "{error}"
    );
    drop(conn);

    let waiting = {
        let cluster = world.cluster.clone();
        tokio::spawn(async move {
            insert(&cluster, 3).await?;
            let mut tx = cluster.begin().await?;
            tx.exec_drop("INSERT INTO entries VALUES (4, 'tx')", ())
                .await?;
            tx.commit().await
        })
    };
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!waiting.is_finished());
    world.stage.lab.set_read_only(0, false).await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_read_only_for_a_while_under_load_costs_no_writer_an_error() {
    let world = World::start(1).await;
    let acknowledged = Acknowledged::default();
    let writes = Load::writes(&world.cluster, &acknowledged);
    for _ in 0..4 {
        writes.progress(50).await;
        // A statement is retried once only, so all waiting writers must have finished.
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.stage.lab.set_read_only(0, true).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.stage.lab.set_read_only(0, false).await.unwrap();
    }
    writes.progress(50).await;
    let writes = writes.stop().await;
    assert!(writes.errors.is_empty(), "{:?}", writes.errors);
    acknowledged.check(&world.cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_never_reaches_a_replica_that_dns_shows_as_ordinal_0() {
    let stage = stage(1).await;
    if !stage.lab.own_hostnames() {
        panic!("the lab cannot give servers their own host names here (UTS namespaces)");
    }
    let config = stage.config().with_checkout_timeout(Duration::from_secs(1));
    let world = World::with(stage, config).await;
    // Make the server writable, so that only the identity check prevents the write.
    world.stage.lab.set_read_only(1, false).await.unwrap();
    let replica = world.stage.lab.address(1);
    world.stage.lab.kill(0).await.unwrap();
    notice_cut_connections(&world.cluster).await;
    world.stage.publish_at(0, replica).unwrap();
    let error = world.insert(1).await.unwrap_err();
    assert!(matches!(error, Error::NoPrimary { .. }), "{error}");
    assert!(
        error.to_string().contains("says that it is `mysql-1`"),
        "{error}"
    );
    let mut admin = world.stage.lab.admin(1).await.unwrap();
    let rows: Option<u64> = admin
        .query_first("SELECT COUNT(*) FROM app.entries")
        .await
        .unwrap();
    assert_eq!(rows, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_in_a_procedure_on_the_replicas_route_is_refused_by_the_session() {
    let world = World::start(1).await;
    let procedure = "CREATE PROCEDURE app.writes() INSERT INTO entries VALUES (1, 'x')";
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    admin.query_drop(procedure).await.unwrap();
    let lab = &world.stage.lab;
    lab.wait_for_replication(PATIENCE).await.unwrap();
    // The session refuses the write even if the server is writable.
    lab.set_read_only(1, false).await.unwrap();
    let write = world.cluster.replicas().query_drop("CALL writes()");
    let error = write.await.unwrap_err();
    assert!(
        matches!(&error, Error::Server { source, .. } if source.code == 1792),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_an_old_incarnation_run_nothing_once_the_new_one_is_proven() {
    let world = World::start(1).await;
    world.insert(1).await.unwrap();
    let mut held = world.cluster.primary().conn().await.unwrap();
    // The old pod keeps running, like a pod that lost its kubelet. The new pod has another address.
    let old = world.stage.lab.address(0);
    let new = world.stage.lab.address(1);
    assert_ne!(old, new);
    drop(world.stage.lab.admin(0).await.unwrap());
    // No second server can be mysql-0 here. Instead the same server is listed at another address,
    // which proves the same to the client.
    let forwarder = crate::support::forward_to(&world.stage, 0).await;
    world.stage.publish_at(0, forwarder).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        world.insert(rand::random::<u32>().into()).await.unwrap();
        let status = world.cluster.status();
        let listed = status.pods.iter().filter(|pod| pod.listed);
        if listed
            .clone()
            .any(|pod| pod.pod.address().ip() == forwarder)
        {
            break;
        }
        assert!(Instant::now() < deadline, "{status:?}");
    }
    world.insert(u64::from(u32::MAX) + 1).await.unwrap();
    let error = Error::from(held.query_drop("SELECT 1").await.unwrap_err());
    assert!(matches!(error, Error::Superseded { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_is_run_once_more_goes_to_another_pod() {
    let stage = stage(2).await;
    // A login fits into the limit, a large answer does not: like a bad network or a server shutting
    // down.
    let listen = (stage.lab.fresh_address().unwrap(), stage.lab.port()).into();
    let target = (stage.lab.address(1), stage.lab.port()).into();
    let proxy = FaultProxy::start(listen, target).await.unwrap();
    proxy.set_fault(Some(NetFault::CutAfter(8_000)));
    stage.publish_at(1, listen.ip()).unwrap();
    // Each cluster finds out by itself, and then avoids that pod.
    for _ in 0..15 {
        let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
        for _ in 0..5 {
            let read = cluster.replicas().query_first("SELECT REPEAT('x', 100000)");
            let answer: Option<String> = read.await.unwrap();
            assert_eq!(answer.unwrap().len(), 100_000);
        }
    }
}
