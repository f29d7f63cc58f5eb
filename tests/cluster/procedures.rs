//! Procedures and savepoints in a transaction that a text began, before the library's own savepoint.

use crate::ended_early::{assert_ended, ids, root};
use crate::support::World;
use headless_mysql::Tx;
use headless_mysql::prelude::*;

/// How a procedure is called.
const CALLS: usize = 4;

async fn call(tx: &mut Tx, way: usize, text: &str) -> mysql_async::Result<()> {
    match way {
        0 => tx.query_drop(text).await,
        1 => tx.exec_drop(text, ()).await,
        2 => tx.query_iter(text).await.map(drop),
        _ => tx.exec_iter(text, ()).await.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_procedure_is_judged_right_after_a_text_that_began_the_transaction() {
    let world = World::start(0).await;
    let mut root = root(&world).await;
    for create in [
        "CREATE PROCEDURE works() BEGIN INSERT INTO entries VALUES (2, 'p'); END",
        "CREATE PROCEDURE ends() BEGIN COMMIT; START TRANSACTION; END",
    ] {
        root.query_drop(create).await.unwrap();
    }
    for way in 0..CALLS {
        let insert = "INSERT INTO entries VALUES (1, 'tx')";
        let mut tx = world.cluster.begin().await.unwrap();
        tx.query_drop(insert).await.unwrap();
        call(&mut tx, way, "CALL works()").await.unwrap();
        tx.query_drop("DO 1").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(ids(&mut root).await, [1, 2], "{way}");
        root.query_drop("DELETE FROM entries").await.unwrap();

        let mut tx = world.cluster.begin().await.unwrap();
        tx.query_drop(insert).await.unwrap();
        call(&mut tx, way, "CALL ends()").await.unwrap();
        tx.query_drop("INSERT INTO entries VALUES (3, 'tx')")
            .await
            .unwrap();
        assert_ended(&tx.commit().await.unwrap_err());
        assert_eq!(ids(&mut root).await, [1], "{way}");
        root.query_drop("DELETE FROM entries").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn savepoints_of_the_user_may_be_released_in_any_order_around_a_procedure() {
    let world = World::start(0).await;
    let mut root = root(&world).await;
    let create = "CREATE PROCEDURE works() BEGIN INSERT INTO entries VALUES (2, 'p'); END";
    root.query_drop(create).await.unwrap();
    for (first, end) in [
        (
            "INSERT INTO entries VALUES (1, 'tx')",
            "RELEASE SAVEPOINT a",
        ),
        ("INSERT INTO entries VALUES (1, 'tx')", "ROLLBACK TO a"),
        ("SAVEPOINT a", "RELEASE SAVEPOINT a"),
        ("SELECT 1; SAVEPOINT a", "ROLLBACK TO SAVEPOINT a"),
    ] {
        for way in 0..CALLS {
            let mut tx = world.cluster.begin().await.unwrap();
            call(&mut tx, way, first)
                .await
                .or_else(no_such_prepare)
                .unwrap();
            tx.query_drop("SAVEPOINT a").await.unwrap();
            call(&mut tx, way, "CALL works()").await.unwrap();
            tx.query_drop(end).await.unwrap();
            tx.query_drop("INSERT INTO entries VALUES (7, 'tx')")
                .await
                .unwrap();
            tx.commit().await.unwrap();
            assert!(ids(&mut root).await.contains(&7), "{first}, {end}, {way}");
            root.query_drop("DELETE FROM entries").await.unwrap();
        }
    }
}

/// Neither several statements nor, on MySQL, a savepoint can be prepared.
fn no_such_prepare(error: mysql_async::Error) -> mysql_async::Result<()> {
    match error {
        mysql_async::Error::Server(error) if matches!(error.code, 1064 | 1295) => Ok(()),
        error => Err(error),
    }
}
