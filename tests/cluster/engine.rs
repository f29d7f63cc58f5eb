//! A primary whose storage engine takes no writes, though the server says that it does.

use crate::support::{PATIENCE, SERVER, World, connections, eventually};
use headless_mysql::Error;
use headless_mysql::mysql_async::Conn;
use headless_mysql::prelude::*;
use headless_mysql::testkit::lab::ServerKind;

/// Makes InnoDB read-only for the rescue of damaged data. `innodb_read_only` would be another way to
/// that, but what it makes of a write is no 1836: it is 1036 on MariaDB and 1015 on MySQL.
const RESCUE: &str = "--innodb-force-recovery=5";

/// What such an engine refuses with 1836, and the server's counter of such statements. MySQL says
/// 1036, as for a single table that is read-only, to everything but new tables.
const WRITE: (&str, &str) = match SERVER {
    ServerKind::MySql => ("CREATE TABLE refused (id INT)", "Com_create_table"),
    _ => ("INSERT INTO entries VALUES (2, 'refused')", "Com_insert"),
};

/// How many statements of the kind of [`WRITE`] the server has been sent.
async fn sent(root: &mut Conn) -> u64 {
    let status = format!("SHOW GLOBAL STATUS LIKE '{}'", WRITE.1);
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
    // A server that starts sends itself some.
    let at_first = sent(&mut root).await;
    let error = primary().query_drop(WRITE.0).await.unwrap_err();
    assert!(is_refusal(&error), "{error}");
    // It says that it is writable whenever it is asked, so it got a second chance, and no third.
    assert_eq!(sent(&mut root).await, at_first + 2);
    eventually("no connection of before is left", async || {
        let left = connections(&mut root, lab.user()).await;
        !left.iter().any(|id| before.contains(id))
    })
    .await;

    // In a transaction nothing is sent again.
    let mut tx = primary().begin().await.unwrap();
    let error = Error::from(tx.query_drop(WRITE.0).await.unwrap_err());
    assert!(is_refusal(&error), "{error}");
    assert_eq!(sent(&mut root).await, at_first + 3);
    drop(tx);

    // Reads are served meanwhile, by both, and writes when the engine takes them.
    for route in [primary(), world.cluster.replicas()] {
        let read = route.query_first("SELECT COUNT(*) FROM entries");
        assert_eq!(read.await.unwrap(), Some(1_u64));
    }
    lab.restart(0).await.unwrap();
    // A new one each time: one without an answer may have been executed.
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
