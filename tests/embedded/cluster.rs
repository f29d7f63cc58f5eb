//! The crate's own promises, where no real server is needed to show them.

use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, insert};
use headless_mysql::error::ConnectError;
use headless_mysql::prelude::*;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::embedded::{EmbeddedPods, Flavour};
use headless_mysql_testkit::stage::Stage;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

async fn read_from(cluster: &Cluster) -> u32 {
    let read = cluster.replicas().query_first("SELECT @@server_id");
    read.await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_land_on_ordinal_0_and_reads_spread_over_the_replicas() {
    let world = World::start(2).await;
    for id in 0..100 {
        world.insert(id).await.unwrap();
    }
    let by: Vec<(String, u64)> = world
        .cluster
        .primary()
        .query("SELECT pod, COUNT(*) FROM entries GROUP BY pod")
        .await
        .unwrap();
    assert_eq!(by, [("1".to_owned(), 100)]);
    // Unless one answered more slowly at first.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut reads = BTreeMap::<u32, u32>::new();
        for _ in 0..400 {
            *reads.entry(read_from(&world.cluster).await).or_default() += 1;
        }
        assert_eq!(reads.keys().copied().collect::<Vec<_>>(), [2, 3]);
        if reads.values().all(|n| (120..=280).contains(n)) {
            return;
        }
        assert!(Instant::now() < deadline, "{reads:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mysql_like_set_serves_the_same_calls() {
    let pods = EmbeddedPods::builder().replicas(1).flavour(Flavour::MySql);
    let stage = Stage::embedded_with(pods).await.unwrap();
    let config = stage.config().with_checkout_timeout(Duration::from_secs(1));
    let world = World::with(stage, config).await;
    world.insert(1).await.unwrap();
    assert_eq!(read_from(&world.cluster).await, 2);
    let position = world.stage.lab.position(0).unwrap();
    assert!(position.ends_with(":1-2"), "{position}");

    world.stage.lab.set_read_only(0, true).await.unwrap();
    let mut conn = world.stage.lab.connect(0).await.unwrap();
    let error = conn.query_drop("DELETE FROM entries").await.unwrap_err();
    let text = error.to_string();
    let expected = "MySQL server is running with the --super-read-only option";
    assert!(text.contains(expected), "{text}");
    world.stage.lab.set_read_only(0, false).await.unwrap();
    world.insert(2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_seen_when_it_is_committed_and_never_when_it_is_dropped() {
    let world = World::start(1).await;
    let count = async || -> u64 {
        let count = world
            .cluster
            .primary()
            .query_first("SELECT COUNT(*) FROM entries");
        count.await.unwrap().unwrap()
    };
    let mut tx = world.cluster.begin().await.unwrap();
    tx.exec_drop("INSERT INTO entries VALUES (1, 'a'), (2, 'b')", ())
        .await
        .unwrap();
    assert_eq!(tx.affected_rows(), 2);
    assert_eq!(count().await, 0);
    tx.commit().await.unwrap();
    assert_eq!(count().await, 2);

    let mut tx = world.cluster.begin().await.unwrap();
    tx.exec_drop("DELETE FROM entries WHERE id = 1", ())
        .await
        .unwrap();
    drop(tx);
    // Waits for the lock of writers, and so for the roll-back.
    world.insert(3).await.unwrap();
    assert_eq!(count().await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_on_replicas_are_refused_by_the_server_and_by_the_session() {
    let world = World::start(1).await;
    const WRITE: &str = "INSERT INTO entries VALUES (1, 'x')";
    let code = async || {
        let mut conn = world.cluster.replicas().conn().await.unwrap();
        // The library would refuse it before it is sent.
        let write = conn.as_conn_mut().await.unwrap().query_drop(WRITE).await;
        match Error::from(write.unwrap_err()) {
            Error::Server { source, .. } => source.code,
            error => panic!("{error}"),
        }
    };
    assert_eq!(code().await, 1290);
    world.stage.lab.set_read_only(1, false).await.unwrap();
    assert_eq!(code().await, 1792);
    let write = world.cluster.replicas().query_drop(WRITE).await;
    assert!(matches!(write, Err(Error::OnlyReads { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_killed_and_moved_under_load_loses_nothing_acknowledged() {
    let world = World::start(2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicU64::new(0));
    let taken = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let cluster = world.cluster.clone();
            let (stop, next) = (Arc::clone(&stop), Arc::clone(&next));
            let taken = Arc::clone(&taken);
            tokio::spawn(async move {
                let (mut acknowledged, mut errors) = (Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    match insert(&cluster, id).await {
                        Ok(()) => {
                            acknowledged.push(id);
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(Error::ConnectionLost { .. }) => errors += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                (acknowledged, errors)
            })
        })
        .collect();
    let progress = async |count: u64| {
        let goal = taken.load(Ordering::Relaxed) + count;
        tokio::time::timeout(PATIENCE, async {
            while taken.load(Ordering::Relaxed) < goal {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    };
    progress(200).await;
    world.stage.lab.kill(0).await.unwrap();
    world.stage.lab.move_to_new_address(0).await.unwrap();
    world.stage.publish();
    progress(200).await;
    stop.store(true, Ordering::Relaxed);

    let rows = world.cluster.primary().query("SELECT id FROM entries");
    let mut acknowledged = Vec::new();
    for writer in writers {
        let (ids, errors) = writer.await.unwrap();
        assert!(errors <= 1, "{errors} errors of one task");
        acknowledged.extend(ids);
    }
    let rows: std::collections::BTreeSet<u64> = rows.await.unwrap().into_iter().collect();
    assert!(acknowledged.iter().all(|id| rows.contains(id)));
    world
        .stage
        .lab
        .wait_for_replication(PATIENCE)
        .await
        .unwrap();
    assert_eq!(
        world.stage.lab.position(0).unwrap(),
        world.stage.lab.position(2).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said_to_be_one() {
    let stage = Stage::embedded(0).await.unwrap();
    let config = stage.config().with_password("wrong");
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let error = cluster.primary().query_drop("DO 1").await.unwrap_err();
    let Error::Connect(ConnectError::AccessDenied { code, user, .. }) = &error else {
        panic!("{error}");
    };
    assert_eq!((*code, user.as_str()), (1045, "app"));

    let config = stage.config().with_database("other");
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let error = cluster.primary().query_drop("DO 1").await.unwrap_err();
    assert!(
        error.to_string().contains("Unknown database 'other'"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_costs_a_read_one_deadline_and_takes_part_again_when_thawed() {
    let stage = Stage::embedded(1).await.unwrap();
    let config = stage
        .config()
        .with_connect_timeout(Duration::from_millis(300));
    let world = World::with(stage, config).await;
    let read = || {
        let route = world
            .cluster
            .replicas()
            .deadline(Duration::from_millis(300));
        route.query_first::<u32>("SELECT @@server_id")
    };
    let warm = world.cluster.replicas().query_first("SELECT @@server_id");
    assert_eq!(warm.await.unwrap(), Some(2_u32));
    world.stage.lab.freeze(1).await.unwrap();
    let error = read().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    world.stage.lab.thaw(1).await.unwrap();
    tokio::time::timeout(PATIENCE, async {
        while read().await.ok().flatten() != Some(2) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_primary_has_lost_its_history() {
    let stage = Stage::embedded(1).await.unwrap();
    let config = stage.config().with_checkout_timeout(Duration::from_secs(1));
    let world = World::with(stage, config).await;
    world.insert(1).await.unwrap();
    // What was written becomes part of the history we have seen with the next connection.
    world.stage.lab.restart(0).await.unwrap();
    world.insert_again(2).await;

    world.stage.lab.wipe(0).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let error = loop {
        match world.insert(3).await.unwrap_err() {
            Error::ConnectionLost { .. } => {}
            error => break error,
        }
        assert!(tokio::time::Instant::now() < deadline);
    };
    assert!(
        matches!(error, Error::Connect(ConnectError::HistoryLost { .. })),
        "{error}"
    );
    world.cluster.accept_history();
    world
        .cluster
        .primary()
        .query_drop(crate::support::CREATE)
        .await
        .unwrap();
    world.insert(3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_of_a_killed_primary_is_gone_and_so_are_its_locks() {
    let world = World::start(0).await;
    let mut tx = world.cluster.begin().await.unwrap();
    tx.query_drop("INSERT INTO entries VALUES (1, 'x')")
        .await
        .unwrap();
    world.stage.lab.restart(0).await.unwrap();
    assert!(tx.commit().await.is_err());
    world.insert_again(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_cut_off_is_neither_success_nor_failure() {
    use headless_mysql_testkit::embedded::Fault;
    let world = World::start(0).await;
    let mut tx = world.cluster.begin().await.unwrap();
    tx.query_drop("INSERT INTO entries VALUES (1, 'x')")
        .await
        .unwrap();
    world
        .stage
        .lab
        .set_fault(0, Fault::CloseAfter(3))
        .await
        .unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::CommitUnknown { .. }), "{error}");
    world.stage.lab.heal(0).await.unwrap();
    let rows = world
        .cluster
        .primary()
        .query_first("SELECT COUNT(*) FROM entries");
    assert_eq!(rows.await.unwrap(), Some(1_u64));
}
