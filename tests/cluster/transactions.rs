//! What a transaction guarantees when the server, or its user, ends it in another way.

use crate::staged::Staged as _;
use crate::support::{World, lab, stage};
use headless_mysql::prelude::*;
use headless_mysql::{Error, Tx};
use headless_mysql_testkit::lab::Nodes;
use headless_mysql_testkit::proxy::{FaultProxy, NetFault};
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;
use tokio::time::Instant;

/// With one connection to the primary, the next user certainly gets the previous user's.
async fn world_of_one() -> World {
    let stage = stage(0).await;
    let config = stage.config().with_max_connections(1);
    World::with(stage, config).await
}

async fn ids(world: &World) -> Vec<u64> {
    let ids = "SELECT id FROM entries ORDER BY id";
    world.cluster.primary().query(ids).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_dropped_after_a_prepare_is_rolled_back_before_the_next_user() {
    let world = world_of_one().await;
    let mut tx = world.cluster.begin().await.unwrap();
    tx.query_drop("INSERT INTO entries VALUES (1, 'dropped')")
        .await
        .unwrap();
    // The driver reports the answer to this as an OK without an open transaction.
    tx.prep("SELECT id FROM entries WHERE id = ?")
        .await
        .unwrap();
    drop(tx);
    world.insert(2).await.unwrap();
    assert_eq!(ids(&world).await, [2]);

    let mut tx = world.cluster.begin().await.unwrap();
    tx.query_drop("INSERT INTO entries VALUES (3, 'dropped')")
        .await
        .unwrap();
    let none: [(u64,); 0] = [];
    tx.exec_batch("INSERT INTO entries VALUES (?, 'none')", none)
        .await
        .unwrap();
    drop(tx);
    world.insert(4).await.unwrap();
    assert_eq!(ids(&world).await, [2, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_begin_followed_by_a_prepare_is_rolled_back_before_the_next_user() {
    let world = world_of_one().await;
    let mut conn = world.cluster.primary().conn().await.unwrap();
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop("INSERT INTO entries VALUES (1, 'dropped')")
        .await
        .unwrap();
    conn.prep("SELECT id FROM entries WHERE id = ?")
        .await
        .unwrap();
    drop(conn);
    world.insert(2).await.unwrap();
    assert_eq!(ids(&world).await, [2]);

    let mut conn = world.cluster.primary().conn().await.unwrap();
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop("INSERT INTO entries VALUES (3, 'dropped')")
        .await
        .unwrap();
    let none: [(u64,); 0] = [];
    let _ = conn
        .exec_batch("INSERT INTO entries VALUES (?, 'none')", none)
        .await;
    drop(conn);
    world.insert(4).await.unwrap();
    assert_eq!(ids(&world).await, [2, 4]);
}

/// Two transactions that wait for each other's lock. The second one to ask is the victim.
async fn deadlock(world: &World) -> Tx {
    let lock = "UPDATE entries SET pod = 'locked' WHERE id = ?";
    let mut first = world.cluster.begin().await.unwrap();
    let mut victim = world.cluster.begin().await.unwrap();
    first.exec_drop(lock, (1,)).await.unwrap();
    victim.exec_drop(lock, (2,)).await.unwrap();
    // More work, so that the server chooses the other one as the victim.
    for id in 100..150 {
        first
            .exec_drop("INSERT INTO entries VALUES (?, 'work')", (id,))
            .await
            .unwrap();
    }
    let waiting = tokio::spawn(async move {
        first.exec_drop(lock, (2,)).await.unwrap();
        first.rollback().await.unwrap();
    });
    let error = Error::from(victim.exec_drop(lock, (1,)).await.unwrap_err());
    assert!(
        matches!(&error, Error::Server { source, .. } if source.code == 1213),
        "{error}"
    );
    waiting.await.unwrap();
    victim
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_deadlock_nothing_more_runs_in_the_transaction_and_commit_says_rolled_back() {
    let world = World::start(0).await;
    world.insert(1).await.unwrap();
    world.insert(2).await.unwrap();
    let mut victim = deadlock(&world).await;
    // This would run outside of the transaction, and persist.
    let insert = victim.query_drop("INSERT INTO entries VALUES (3, 'outside')");
    let error = Error::from(insert.await.unwrap_err());
    assert!(matches!(error, Error::RolledBack { .. }), "{error}");
    let error = victim.commit().await.unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error}");
    assert!(error.is_retryable());
    assert_eq!(ids(&world).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_wait_that_rolled_the_transaction_back_is_not_reported_as_committed() {
    let lab = lab()
        .replicas(0)
        .server_option(Nodes::All, "--innodb-rollback-on-timeout=1")
        .server_option(Nodes::All, "--innodb-lock-wait-timeout=1");
    let stage = Stage::with(lab).await.unwrap();
    let world = World::on(stage).await;
    world.insert(1).await.unwrap();
    let lock = "UPDATE entries SET pod = 'locked' WHERE id = 1";
    let mut holder = world.cluster.begin().await.unwrap();
    holder.query_drop(lock).await.unwrap();

    let mut tx = world.cluster.begin().await.unwrap();
    tx.query_drop("INSERT INTO entries VALUES (2, 'gone')")
        .await
        .unwrap();
    let error = Error::from(tx.query_drop(lock).await.unwrap_err());
    assert!(
        matches!(&error, Error::Server { source, .. } if source.code == 1205),
        "{error}"
    );
    // A retry is usual after 1205. Here it would run outside of the transaction, and persist.
    let again = tx.query_drop("INSERT INTO entries VALUES (3, 'outside')");
    let error = Error::from(again.await.unwrap_err());
    assert!(matches!(error, Error::RolledBack { .. }), "{error}");
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::RolledBack { .. }), "{error}");
    holder.rollback().await.unwrap();
    assert_eq!(ids(&world).await, [1]);
}

/// The error arrives with a row, so only the reader of the rows sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_ended_under_a_stream_runs_nothing_more() {
    let world = world_of_one().await;
    world.insert(1).await.unwrap();
    let mut tx = world.cluster.begin().await.unwrap();
    tx.query_drop("INSERT INTO entries VALUES (2, 'kept')")
        .await
        .unwrap();
    // DDL commits the transaction. It stands for anything that ends a transaction unnoticed.
    let ddl = tx.query_iter("CREATE TABLE other (id INT)").await.unwrap();
    drop(ddl);
    let outside = tx.query_drop("INSERT INTO entries VALUES (3, 'outside')");
    let error = Error::from(outside.await.unwrap_err());
    assert!(matches!(error, Error::TransactionEnded { .. }), "{error}");
    drop(tx);
    assert_eq!(ids(&world).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_statement_that_leaves_the_transaction_open_does_not_prevent_the_commit() {
    let world = World::start(0).await;
    let mut tx = world.cluster.begin().await.unwrap();
    tx.query_drop("INSERT INTO entries VALUES (1, 'kept')")
        .await
        .unwrap();
    let again = tx.query_drop("INSERT INTO entries VALUES (1, 'duplicate')");
    assert!(again.await.is_err());
    let committed = tx.commit().await.unwrap();
    assert_eq!(committed.pod.name(), "mysql-0");
    assert_eq!(ids(&world).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_an_answer_is_reported_as_unknown() {
    let world = World::start(0).await;
    let mut tx = world.cluster.begin().await.unwrap();
    tx.query_drop("INSERT INTO entries VALUES (1, 'perhaps')")
        .await
        .unwrap();
    world.stage.lab.kill(0).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::CommitUnknown { .. }), "{error}");
    assert!(!error.is_retryable());
}

/// A query that the library runs before an operation counts against the operation's deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_has_to_ask_something_first_ends_with_its_deadline_all_the_same() {
    const LIMIT: Duration = Duration::from_secs(1);
    let stage = stage(0).await;
    let server = (stage.lab.address(0), stage.lab.port()).into();
    let here = (stage.lab.fresh_address().unwrap(), stage.lab.port()).into();
    let proxy = FaultProxy::start(here, server).await.unwrap();
    stage.publish_at(0, here.ip()).unwrap();
    let config = stage.config().with_statement_timeout(Some(LIMIT));
    let world = World::with(stage, config).await;
    world.insert(1).await.unwrap();

    let mut doubtful = world.cluster.begin().await.unwrap();
    let insert = "INSERT INTO entries (id, pod) VALUES (?, 'x')";
    doubtful.exec_drop(insert, (2,)).await.unwrap();
    doubtful.query_drop("CALL nothing()").await.unwrap_err();
    let mut unread = world.cluster.primary().conn().await.unwrap();
    drop(unread.query_iter("SELECT 1; SELECT 2").await.unwrap());

    // There is time for one query, but not for two.
    proxy.set_fault(Some(NetFault::Slow(LIMIT * 4 / 10)));
    let began = Instant::now();
    let timed = |call: Result<(), Error>| (call.unwrap_err(), began.elapsed());
    let (commit, next) = tokio::join!(
        async { timed(doubtful.commit().await.map(|_| ())) },
        async { timed(unread.query_drop("DO 1").await.map_err(Error::from)) },
    );
    for (error, took) in [commit, next] {
        let late = took.saturating_sub(LIMIT);
        assert!(late < Duration::from_millis(300), "{took:?}: {error}");
        // It may end earlier if a check finds meanwhile that the pod is not alive.
        assert!(took >= LIMIT / 2, "{took:?}: {error}");
    }
}
