//! The beginning of a transaction on the server, with its first statement.

use crate::staged::Staged as _;
use crate::support::{World, all_slots_are_back, stage};
use headless_mysql::Error;
use headless_mysql::mysql_async::prelude::Queryable;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_on_a_primary_that_became_read_only_is_not_begun() {
    let stage = stage(1).await;
    let config = stage
        .config()
        .with_checkout_timeout(Duration::from_millis(700));
    let world = World::with(stage, config).await;
    world.must_insert(1).await;
    let begun = [
        world.cluster.begin().await.unwrap(),
        world.cluster.begin().await.unwrap(),
    ];
    world.stage.lab.set_read_only(0, true).await.unwrap();
    // A text takes START TRANSACTION along; a prepared statement has it sent before.
    for (mut tx, is_text) in begun.into_iter().zip([true, false]) {
        let insert = "INSERT INTO entries VALUES (2, 'tx')";
        let refused = match is_text {
            true => tx.query_drop(insert).await,
            false => tx.exec_drop(insert, ()).await,
        };
        let error = Error::from(refused.unwrap_err());
        assert!(matches!(error, Error::NoPrimary { .. }), "{error}");
        assert!(error.to_string().contains("read-only"), "{error}");
        let error = Error::from(tx.query_drop("DO 1").await.unwrap_err());
        assert!(matches!(error, Error::Interrupted { .. }), "{error}");
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }), "{error}");
        assert!(error.is_retryable());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_its_primary_refuses_to_begin_begins_when_it_can() {
    // With as many transactions as connections, none may wait for a slot that another one holds.
    for connections in [2, 16] {
        let stage = stage(1).await;
        let config = stage.config().with_max_connections(connections);
        let world = World::with(stage, config).await;
        world.must_insert(1).await;
        let mut transactions = Vec::new();
        for _ in 0..2 {
            transactions.push(world.cluster.begin().await.unwrap());
        }
        world.stage.lab.set_read_only(0, true).await.unwrap();
        let mut waiting = Vec::new();
        for (id, mut tx) in (2..).zip(transactions) {
            waiting.push(tokio::spawn(async move {
                let insert = format!("INSERT INTO entries VALUES ({id}, @@hostname)");
                match id {
                    2 => tx.query_drop(insert).await?,
                    _ => tx.exec_drop(insert, ()).await?,
                }
                tx.commit().await
            }));
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(waiting.iter().all(|call| !call.is_finished()));
        world.stage.lab.set_read_only(0, false).await.unwrap();
        for call in waiting {
            let done = tokio::time::timeout(Duration::from_secs(10), call).await;
            done.unwrap().unwrap().unwrap();
        }
        let ids = world
            .cluster
            .primary()
            .query::<u64>("SELECT id FROM entries ORDER BY id");
        assert_eq!(ids.await.unwrap(), [1, 2, 3]);
        all_slots_are_back(&world.cluster, connections).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_connection_was_closed_before_it_began_begins_on_another_one() {
    let stage = stage(0).await;
    let config = stage.config().with_max_connections(1);
    let world = World::with(stage, config).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    for id in [1, 2] {
        let mut tx = world.cluster.begin().await.unwrap();
        let sessions = "SELECT id FROM information_schema.processlist WHERE user = 'app'";
        let sessions: Vec<u64> = root.query(sessions).await.unwrap();
        for session in sessions {
            root.query_drop(format!("KILL {session}")).await.unwrap();
        }
        // From then on a connection is asked before it is used.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let insert = format!("INSERT INTO entries VALUES ({id}, 'x')");
        let first = async {
            match id {
                1 => tx.query_drop(insert).await,
                _ => tx.exec_drop(insert, ()).await,
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(10), first).await;
        done.unwrap().unwrap();
        tx.commit().await.unwrap();
    }
    let ids = world
        .cluster
        .primary()
        .query::<u64>("SELECT id FROM entries ORDER BY id");
    assert_eq!(ids.await.unwrap(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_without_a_statement_sends_nothing_and_leaves_nothing() {
    let world = World::start(0).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    for _ in 0..3 {
        world.cluster.begin().await.unwrap().commit().await.unwrap();
        world
            .cluster
            .begin()
            .await
            .unwrap()
            .rollback()
            .await
            .unwrap();
        drop(world.cluster.begin().await.unwrap());
    }
    let open = "SELECT COUNT(*) FROM information_schema.innodb_trx";
    assert_eq!(root.query_first(open).await.unwrap(), Some(0));
    world.must_insert(1).await;
    let rows: Option<u64> = root
        .query_first("SELECT COUNT(*) FROM app.entries")
        .await
        .unwrap();
    assert_eq!(rows, Some(1), "committed by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_that_passes_between_statements_counts_for_none_of_them() {
    let limit = Duration::from_millis(500);
    let stage = stage(0).await;
    let config = stage.config().with_statement_timeout(Some(limit));
    let world = World::with(stage, config).await;
    let mut tx = world.cluster.begin().await.unwrap();
    let driver = tx.as_conn_mut().await.unwrap();
    driver
        .query_drop("INSERT INTO entries VALUES (1, 'x')")
        .await
        .unwrap();
    tokio::time::sleep(limit * 2).await;
    tx.as_conn_mut().await.unwrap();
    tokio::time::sleep(limit * 2).await;
    tx.commit().await.unwrap();

    let mut tx = world.cluster.begin().await.unwrap();
    let too_long = format!("SELECT '{}'", "x".repeat(1 << 30));
    let error = Error::from(tx.exec_drop(too_long, ()).await.unwrap_err());
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    tokio::time::sleep(limit * 2).await;
    tx.query_drop("INSERT INTO entries VALUES (2, 'x')")
        .await
        .unwrap();
    tx.commit().await.unwrap();
}
