//! A primary whose storage engine refuses writes although the server is writable.

use crate::support::{PATIENCE, World, connections, eventually, server};
use headless_mysql::Error;
use headless_mysql::mysql_async::Conn;
use headless_mysql::prelude::*;
use headless_mysql_testkit::lab::ServerKind;

/// Makes InnoDB read-only, to rescue damaged data. `innodb_read_only` would do so too, but its
/// error for a write is not 1836: it is 1036 on MariaDB and 1015 on MySQL.
const RESCUE: &str = "--innodb-force-recovery=5";

/// A statement that such an engine refuses with 1836, and the server's counter for it. MySQL uses
/// 1036 for everything but new tables, as for a single read-only table.
fn write() -> (&'static str, &'static str) {
    match server() {
        ServerKind::MySql => ("CREATE TABLE refused (id INT)", "Com_create_table"),
        _ => ("INSERT INTO entries VALUES (2, 'refused')", "Com_insert"),
    }
}

/// How many statements of the kind of [`write`] the server has received.
async fn sent(root: &mut Conn) -> u64 {
    let status = format!("SHOW GLOBAL STATUS LIKE '{}'", write().1);
    let (_, count): (String, u64) = root.query_first(status).await.unwrap().unwrap();
    count
}

fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Server { source, .. } if source.code == 1836)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_whose_engine_is_read_only_is_asked_anew_and_the_write_sent_once_more() {
    let world = World::start(1).await;
    world.insert(1).await.unwrap();
    let lab = &world.stage.lab;
    lab.stop(0).await.unwrap();
    lab.restart_with(0, [RESCUE]).await.unwrap();
    let primary = || world.cluster.primary().deadline(PATIENCE);
    eventually("the primary is there again", async || {
        primary().query_drop("DO 1").await.is_ok()
    })
    .await;

    let held = (
        primary().conn().await.unwrap(),
        primary().conn().await.unwrap(),
    );
    drop(held);
    let mut root = lab.admin(0).await.unwrap();
    let before = connections(&mut root, lab.user()).await;
    assert!(before.len() >= 2, "{before:?}");
    // A starting server runs some of these statements itself.
    let at_first = sent(&mut root).await;
    let error = primary().query_drop(write().0).await.unwrap_err();
    assert!(is_refusal(&error), "{error}");
    // The server reports that it is writable, so the statement was sent a second time, but not a
    // third.
    assert_eq!(sent(&mut root).await, at_first + 2);
    eventually("no connection of before is left", async || {
        let left = connections(&mut root, lab.user()).await;
        !left.iter().any(|id| before.contains(id))
    })
    .await;

    // In a transaction nothing is sent again.
    let mut tx = primary().begin().await.unwrap();
    let error = Error::from(tx.query_drop(write().0).await.unwrap_err());
    assert!(is_refusal(&error), "{error}");
    assert_eq!(sent(&mut root).await, at_first + 3);
    drop(tx);

    // Reads are served by both meanwhile. Writes are served once the engine accepts them.
    for route in [primary(), world.cluster.replicas()] {
        let read = route.query_first("SELECT COUNT(*) FROM entries");
        assert_eq!(read.await.unwrap(), Some(1_u64));
    }
    lab.restart(0).await.unwrap();
    // A new id for each attempt: one without an answer may have been executed.
    let mut ids = 3..;
    eventually("writes go on", async || {
        world.insert(ids.next().unwrap()).await.is_ok()
    })
    .await;
    let written: Vec<u64> = primary()
        .query("SELECT id FROM entries ORDER BY id")
        .await
        .unwrap();
    assert!(written.contains(&1) && !written.contains(&2), "{written:?}");
}
