//! A COMMIT that is sent as text.

use crate::stopping::old_enough;
use crate::support::{World, eventually};
use headless_mysql::Error;
use headless_mysql::prelude::*;
use std::time::Duration;

const SHORT: Option<Duration> = Some(Duration::from_millis(300));

#[derive(Debug, Clone, Copy)]
enum Way {
    Text,
    Prepared,
    WithAnother,
    Xa,
}

/// Commits one row while the server blocks commits, and gives up.
async fn gives_up(world: &World, way: Way) {
    let mut conn = world.cluster.primary().conn().await.unwrap();
    let begin = match way {
        Way::Xa => "XA START 'x'",
        _ => "BEGIN",
    };
    conn.query_drop(begin).await.unwrap();
    let insert = "INSERT INTO entries VALUES (1, 'x')";
    conn.query_drop(insert).await.unwrap();
    if let Way::Xa = way {
        conn.query_drop("XA END 'x'").await.unwrap();
        conn.query_drop("XA PREPARE 'x'").await.unwrap();
    }
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    // The library does not stop statements on a server that may have restarted recently.
    old_enough(&mut admin).await;
    admin
        .query_drop("FLUSH TABLES WITH READ LOCK")
        .await
        .unwrap();
    conn.set_statement_timeout(SHORT);
    let committed = match way {
        Way::Text => conn.query_drop("COMMIT").await,
        Way::Prepared => conn.exec_drop("COMMIT", ()).await,
        Way::WithAnother => conn.query_drop("SELECT 1; COMMIT").await,
        Way::Xa => conn.query_drop("XA COMMIT 'x'").await,
    };
    let error = Error::from(committed.unwrap_err());
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    drop(conn);
    // Statements are stopped in the order in which they were given up. So when this one is stopped,
    // the COMMIT would have been stopped before.
    let mut sleeper = world.cluster.primary().conn().await.unwrap();
    sleeper.set_statement_timeout(SHORT);
    let slept = sleeper.query_drop("SELECT SLEEP(60)").await;
    assert!(slept.is_err());
    let running =
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO = 'SELECT SLEEP(60)'";
    eventually("the sleeping statement is stopped", async || {
        admin.query_first(running).await.unwrap() == Some(0)
    })
    .await;
    admin.query_drop("UNLOCK TABLES").await.unwrap();
}

async fn is_committed_all_the_same(way: Way) {
    let world = World::start(0).await;
    gives_up(&world, way).await;
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    eventually("the row is committed", async || {
        let rows = admin.query_first("SELECT COUNT(*) FROM app.entries").await;
        rows.unwrap() == Some(1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_given_as_text_is_not_stopped_at_its_deadline() {
    is_committed_all_the_same(Way::Text).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_given_as_a_prepared_statement_is_not_stopped_at_its_deadline() {
    is_committed_all_the_same(Way::Prepared).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_among_other_statements_is_not_stopped_at_its_deadline() {
    is_committed_all_the_same(Way::WithAnother).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commit_of_an_xa_transaction_is_not_stopped_at_its_deadline() {
    is_committed_all_the_same(Way::Xa).await;
}
