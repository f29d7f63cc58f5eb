//! Statements that are longer than the server accepts.

use crate::staged::Staged as _;
use crate::support::{World, lab, server};
use headless_mysql::Error;
use headless_mysql::balance::EndpointState;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql_testkit::lab::{Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;

const LIMIT: usize = 4 << 20;

async fn world() -> World {
    let limit = format!("--max-allowed-packet={LIMIT}");
    let lab = lab().replicas(0).server_option(Nodes::All, limit);
    let stage = Stage::with(lab).await.unwrap();
    // The next call gets the previous call's connection, or another one if that was closed.
    let config = stage.config().with_max_connections(1);
    let world = World::with(stage, config).await;
    let create = "CREATE TABLE blobs (id INT PRIMARY KEY, b LONGBLOB)";
    world.cluster.primary().query_drop(create).await.unwrap();
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_too_large_is_told_before_it_is_sent_and_costs_nothing() {
    let world = world().await;
    let primary = || world.cluster.primary();
    let insert = "INSERT INTO blobs VALUES (?, ?)";
    let id = primary().query_first::<u64>("SELECT CONNECTION_ID()");
    let id = id.await.unwrap();
    for round in 0..5u32 {
        for size in [5 << 20, 20 << 20] {
            let blob = vec![b'x'; size];
            let text = format!("INSERT INTO blobs VALUES ({round}, '{}')", "x".repeat(size));
            for error in [
                primary()
                    .exec_drop(insert, (round, blob))
                    .await
                    .unwrap_err(),
                primary().query_drop(text).await.unwrap_err(),
            ] {
                let Error::TooLarge {
                    pod,
                    size: told,
                    limit,
                    ..
                } = &error
                else {
                    panic!("{error:?}");
                };
                assert_eq!((pod.name(), *limit), ("mysql-0", LIMIT));
                assert!(*told >= size && *told < size + 100, "{told}");
                assert!(!error.is_retryable());
            }
        }
        let pods = world.cluster.status().pods;
        assert_eq!(pods[0].state, Some(EndpointState::Ready));
        assert_eq!(pods[0].last_failure, None);
    }
    let count = primary().query_first::<u32>("SELECT COUNT(*) FROM blobs");
    assert_eq!(count.await.unwrap(), Some(0));
    let now = primary().query_first::<u64>("SELECT CONNECTION_ID()").await;
    assert_eq!(now.unwrap(), id, "the connection was not closed");
    // A statement within the limit is not refused.
    let fits = vec![b'x'; LIMIT - 200];
    primary().exec_drop(insert, (1, fits)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_cut_at_the_servers_limit() {
    let world = world().await;
    let insert = "INSERT INTO blobs VALUES (?, ?)";
    let rows = |from: u32| (from..from + 20).map(|id| (id, vec![b'x'; 1 << 20]));
    let batch = world.cluster.primary().exec_batch(insert, rows(0));
    batch.await.unwrap();
    let mut tx = world.cluster.begin().await.unwrap();
    tx.exec_batch(insert, rows(100)).await.unwrap();
    let sum: Option<(u32, u64)> = tx
        .query_first("SELECT COUNT(*), SUM(LENGTH(b)) FROM blobs")
        .await
        .unwrap();
    assert_eq!(sum, Some((40, 40 << 20)));
    tx.commit().await.unwrap();
    // A single row that exceeds the limit.
    let rows = vec![(200u32, vec![b'x'; 100]), (201, vec![b'x'; 5 << 20])];
    let batch = world.cluster.primary().exec_batch(insert, rows);
    let error = batch.await.unwrap_err();
    assert_eq!(error.kind(), "too_large", "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_is_too_large_to_be_prepared_is_told_before_it_is_sent() {
    let world = world().await;
    for size in [5 << 20, 20 << 20] {
        let text = format!("INSERT INTO blobs VALUES (?, '{}')", "x".repeat(size));
        let mut conn = world.cluster.primary().conn().await.unwrap();
        let id = conn.id();
        let errors = [
            Error::from(conn.prep(text.as_str()).await.unwrap_err()),
            Error::from(conn.exec_drop(text.as_str(), (1,)).await.unwrap_err()),
            Error::from(conn.exec_batch(text.as_str(), [(1,)]).await.unwrap_err()),
            Error::from(conn.exec_iter(text.as_str(), (1,)).await.unwrap_err()),
        ];
        conn.query_drop("DO 1").await.unwrap();
        assert_eq!(conn.id(), id);
        drop(conn);
        let routed = world.cluster.primary().exec_drop(text, (1,)).await;
        for error in errors.into_iter().chain([routed.unwrap_err()]) {
            assert_eq!(error.kind(), "too_large", "{error}");
        }
    }
    assert_eq!(world.cluster.status().pods[0].last_failure, None);
}

/// Generic code hides the statement and its text from the library.
async fn generic(
    conn: &mut impl Queryable,
    rows: impl IntoIterator<Item = (u32, Vec<u8>), IntoIter: Send> + Send,
) -> Result<(), Error> {
    let batch = conn.exec_batch("INSERT INTO blobs VALUES (?, ?)", rows);
    batch.await.map_err(Error::from)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_generic_code_that_is_too_large_is_told_before_it_is_sent() {
    let world = world().await;
    let mut conn = world.cluster.primary().conn().await.unwrap();
    let id = conn.id();
    let long = generic(&mut conn, [(1, vec![b'x'; 5 << 20])]).await;
    assert_eq!(long.unwrap_err().kind(), "too_large");
    let rows = (10..30).map(|id| (id, vec![b'x'; 1 << 20]));
    let together = generic(&mut conn, rows).await;
    match server() {
        // The rows are sent one by one.
        ServerKind::MySql => together.unwrap(),
        _ => assert_eq!(together.unwrap_err().kind(), "too_large"),
    }
    let fits = (40..43).map(|id| (id, vec![b'x'; 1 << 20]));
    generic(&mut conn, fits).await.unwrap();
    assert_eq!(conn.id(), id, "the connection was not closed");
    assert_eq!(world.cluster.status().pods[0].last_failure, None);
}
