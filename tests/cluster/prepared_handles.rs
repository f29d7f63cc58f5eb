//! Prepared statements that a user holds: which connection owns them, and how long they last.

use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, insert, stage};
use headless_mysql::prelude::*;
use headless_mysql::{Error, PodConn};
use mysql_async::Statement;

/// Two connections of one pod.
async fn two_connections(world: &World) -> (PodConn, PodConn) {
    let conn = || world.cluster.primary().conn();
    let (a, b) = tokio::join!(conn(), conn());
    (a.unwrap(), b.unwrap())
}

/// The statement of the other connection that has the same id.
async fn of_the_same_id(conn: &mut PodConn, other: &Statement, text: &str) -> Statement {
    for n in 0.. {
        // A different comment makes a different text, and so a different statement.
        let statement = conn.prep(format!("{text} /* {n} */")).await.unwrap();
        if statement.id() == other.id() {
            return statement;
        }
        assert!(statement.id() < other.id(), "the id is taken already");
    }
    unreachable!()
}

fn is_foreign<T: std::fmt::Debug>(result: mysql_async::Result<T>) -> bool {
    matches!(
        result.map_err(Error::from),
        Err(Error::ForeignStatement { .. })
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_of_another_connection_is_refused_and_runs_nothing() {
    let world = World::start(0).await;
    for n in 0..5 {
        insert(&world.cluster, n).await.unwrap();
    }
    let (mut a, mut b) = two_connections(&world).await;
    for n in 0..20 {
        a.prep(format!("SELECT {n}")).await.unwrap();
    }
    let read = a
        .prep("SELECT COUNT(*) FROM entries WHERE id >= ?")
        .await
        .unwrap();
    let delete = of_the_same_id(&mut b, &read, "DELETE FROM entries WHERE id >= ?").await;

    assert!(is_foreign(b.exec_first::<u64, _, _>(&read, (0,)).await));
    assert!(is_foreign(b.exec_drop(&read, (0,)).await));
    assert!(is_foreign(b.exec_batch(&read, [(0,)]).await));
    assert!(is_foreign(b.exec_map(&read, (0,), |n: u64| n).await));
    assert!(is_foreign(b.exec_iter(&read, (0,)).await.map(drop)));
    // The connection's own statement of that id is not closed instead.
    assert!(is_foreign(b.close(read.clone()).await));
    let error = Error::from(b.exec_drop(&read, (0,)).await.unwrap_err());
    assert!(
        error.to_string().contains("mysql-0") && !error.is_retryable(),
        "{error}"
    );

    assert_eq!(a.exec_first(&read, (0,)).await.unwrap(), Some(5u64));
    b.exec_drop(&delete, (4,)).await.unwrap();
    assert_eq!(a.exec_first(&read, (0,)).await.unwrap(), Some(4u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_cleaned_for_the_statement_that_ran_in_it_whatever_ran_elsewhere() {
    let stage = stage(0).await;
    let config = stage.config().with_max_connections(2);
    let world = World::with(stage, config).await;
    let (mut a, mut b) = two_connections(&world).await;
    for n in 0..20 {
        a.prep(format!("SELECT {n}")).await.unwrap();
    }
    let clean = a.prep("SELECT ?").await.unwrap();
    let dirty = of_the_same_id(&mut b, &clean, "SET @dirt = ?").await;
    let _ = b.exec_drop(&clean, (7,)).await;
    b.exec_drop(&dirty, (7,)).await.unwrap();
    let id = b.id();
    drop(b);
    let mut next = world.cluster.primary().conn().await.unwrap();
    assert_eq!(next.id(), id);
    let dirt: Option<Option<i64>> = next.query_first("SELECT @dirt").await.unwrap();
    assert_eq!(dirt, Some(None));
}

async fn generic<Q: Queryable>(conn: &mut Q, statement: &Statement) -> i64 {
    let row = conn.exec_first(statement, (1,)).await;
    row.unwrap().unwrap()
}

async fn generic_text<Q: Queryable>(conn: &mut Q, text: String) -> i64 {
    let row = conn.exec_first(text, (1,)).await;
    row.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_prepared_by_hand_outlives_any_number_of_other_texts() {
    let stage = stage(0).await;
    let config = stage
        .config()
        .with_max_connections(1)
        .with_statement_cache(4);
    let world = World::with(stage, config).await;
    let mut conn = world.cluster.primary().conn().await.unwrap();
    // The statement is held twice, and its text also runs as a text.
    let mine = conn.prep("SELECT ? + 1").await.unwrap();
    let again = conn.prep("SELECT ? + 1").await.unwrap();
    for n in 0..20 {
        let text = format!("SELECT ? + 1 + {n}");
        let row: Option<i64> = conn.exec_first(text.as_str(), (1,)).await.unwrap();
        assert_eq!(row, Some(2 + n));
        assert_eq!(
            generic_text(&mut conn, format!("SELECT ? + 2 + {n}")).await,
            3 + n
        );
        let row: Option<i64> = conn.exec_first("SELECT ? + 1", (1,)).await.unwrap();
        assert_eq!(row, Some(2));
        let row: Option<i64> = conn.exec_first(&mine, (1,)).await.unwrap();
        assert_eq!(row, Some(2));
        assert_eq!(generic(&mut conn, &again).await, 2);
    }
    conn.close(mine).await.unwrap();
    assert_eq!(generic(&mut conn, &again).await, 2);
    conn.close(again.clone()).await.unwrap();
    assert!(is_foreign(conn.exec_drop(&again, (1,)).await));
}

/// The number of prepared statements on the server.
async fn prepared(conn: &mut mysql_async::Conn) -> u64 {
    let status = "SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'";
    let row: Option<(String, u64)> = conn.query_first(status).await.unwrap();
    row.unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_statements_and_those_of_users_who_left_are_given_back_to_the_server() {
    let stage = stage(0).await;
    let config = stage
        .config()
        .with_max_connections(1)
        .with_statement_cache(4);
    let world = World::with(stage, config).await;
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    let before = prepared(&mut admin).await;
    let mut conn = world.cluster.primary().conn().await.unwrap();
    for n in 0..50 {
        let statement = conn.prep(format!("SELECT {n}")).await.unwrap();
        conn.exec_drop(&statement, ()).await.unwrap();
        conn.close(statement).await.unwrap();
    }
    // Closing has no answer, so wait for the answer to a ping.
    conn.ping().await.unwrap();
    assert_eq!(prepared(&mut admin).await, before);
    for n in 0..50 {
        conn.prep(format!("SELECT {n}")).await.unwrap();
    }
    assert_eq!(prepared(&mut admin).await, before + 50);
    drop(conn);
    let mut conn = world
        .cluster
        .primary()
        .deadline(PATIENCE)
        .conn()
        .await
        .unwrap();
    conn.exec_drop("SELECT 'another'", ()).await.unwrap();
    conn.ping().await.unwrap();
    assert_eq!(prepared(&mut admin).await, before + 4);
}
