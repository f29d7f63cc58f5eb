//! What the replicas' route refuses, and what it never runs twice.

use crate::support::{PATIENCE, World, eventually, server};
use headless_mysql::Error;
use headless_mysql::prelude::*;
use headless_mysql_testkit::lab::ServerKind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_on_it_is_refused_also_where_it_falls_back_to_the_primary() {
    let world = World::start(0).await;
    for _ in 0..3 {
        let write = world.cluster.replicas();
        let write = write.exec_drop("INSERT INTO entries VALUES (?, 'x')", (1,));
        let error = write.await.unwrap_err();
        assert!(matches!(&error, Error::OnlyReads { .. }), "{error}");
        // Writers use the same connection in between.
        world.insert(rand::random::<u32>().into()).await.unwrap();
    }
    assert_eq!(world.written_by().await["1"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_not_plainly_a_read_is_not_run_again_when_its_connection_breaks() {
    let world = World::start(2).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    // MySQL's process list shows the account whose privileges apply.
    let procedure = "CREATE PROCEDURE app.slow() SQL SECURITY INVOKER \
                     BEGIN DO SLEEP(20); SELECT 1; END";
    root.query_drop(procedure).await.unwrap();
    world
        .stage
        .lab
        .wait_for_replication(crate::support::PATIENCE)
        .await
        .unwrap();
    let call = world.cluster.replicas().query_drop("CALL slow()");
    let call = tokio::spawn(call);
    let mut admins = Vec::new();
    for ordinal in [1, 2] {
        admins.push((ordinal, world.stage.lab.admin(ordinal).await.unwrap()));
    }
    let mut running = None;
    eventually("the procedure runs somewhere", async || {
        for (ordinal, admin) in &mut admins {
            let busy = "SELECT COUNT(*) FROM information_schema.processlist \
                          WHERE info LIKE 'DO SLEEP%'";
            if admin.query_first(busy).await.unwrap() == Some(1) {
                running = Some(*ordinal);
            }
        }
        assert!(!call.is_finished(), "the call has ended");
        running.is_some()
    })
    .await;
    world.stage.lab.kill(running.unwrap()).await.unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
}

/// Statements that servers execute in a read-only session although they change something.
const NO_READS: &[&str] = &[
    "ANALYZE TABLE entries",
    "OPTIMIZE TABLE entries",
    "FLUSH TABLES",
    "START TRANSACTION READ WRITE",
    "SET GLOBAL max_connections = 77",
    "SET @@global.max_connections = 77",
    "SET SESSION TRANSACTION READ WRITE",
    "SET STATEMENT tx_read_only = 0 FOR INSERT INTO entries VALUES (7, 'x')",
    "SET STATEMENT max_statement_time = 1 FOR ANALYZE TABLE entries",
    "SELECT 1; ANALYZE TABLE entries",
    "/*! ANALYZE */ TABLE entries",
    "ANALYZE /*!*/ TABLE entries",
    "LOCK TABLES entries READ",
    "CREATE TEMPORARY TABLE t (a INT)",
    "SELECT GET_LOCK('job', 0)",
];

/// The GTID position of a server.
async fn position(world: &World, ordinal: u32) -> String {
    let position = match server() {
        ServerKind::MySql => "SELECT @@global.gtid_executed",
        _ => "SELECT @@global.gtid_binlog_pos",
    };
    let mut admin = world.stage.lab.admin(ordinal).await.unwrap();
    admin.query_first(position).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_read_is_refused_on_it_before_it_is_sent() {
    let world = World::start(1).await;
    // The account has all privileges and the replica is writable, so only the text can be the
    // reason.
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    admin.query_drop("GRANT ALL ON *.* TO app").await.unwrap();
    let lab = &world.stage.lab;
    lab.wait_for_replication(PATIENCE).await.unwrap();
    lab.set_read_only(1, false).await.unwrap();
    let before = position(&world, 1).await;
    let route = || {
        let only = headless_mysql::config::ReplicaPolicy::ReplicaOnly;
        world.cluster.replicas().policy(only)
    };
    for text in NO_READS {
        let refused = |done: Result<(), Error>| {
            let error = done.unwrap_err();
            assert!(matches!(&error, Error::OnlyReads { .. }), "{text}: {error}");
            assert!(
                error.to_string().contains("run it on `primary()`"),
                "{error}"
            );
            assert!(!error.is_retryable());
        };
        refused(route().query_drop(*text).await);
        refused(route().exec_drop(*text, ()).await);
        let mut conn = route().conn().await.unwrap();
        refused(conn.query_drop(*text).await.map_err(Error::from));
        let mut tx = route().begin().await.unwrap();
        refused(tx.exec_drop(*text, ()).await.map_err(Error::from));
    }
    assert_eq!(position(&world, 1).await, before);
    // `ANALYZE TABLE` would have stopped replication on MariaDB.
    world.must_insert(1).await;
    lab.wait_for_replication(PATIENCE).await.unwrap();
    let rows = route().query_first("SELECT COUNT(*) FROM entries").await;
    assert_eq!(rows.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_reads_or_concerns_the_session_alone_runs_on_it() {
    let world = World::start(1).await;
    let mut conn = world.cluster.replicas().conn().await.unwrap();
    let mut texts = vec![
        "SELECT @a := 1",
        "SET @a = 1, time_zone = '+00:00'",
        "SET SESSION sort_buffer_size = @@global.sort_buffer_size",
        "SET NAMES utf8mb4",
        "EXPLAIN SELECT * FROM entries",
        "SHOW TABLES",
        "DESCRIBE entries",
        "DO SLEEP(0)",
        "START TRANSACTION READ ONLY",
        "COMMIT",
        "PREPARE s FROM 'SELECT 1'",
        "EXECUTE s",
        "CHECKSUM TABLE entries",
        r"SELECT 'it\'s'",
    ];
    texts.extend(match server() {
        ServerKind::MySql => ["TABLE entries", "EXPLAIN ANALYZE SELECT 1"],
        _ => [
            "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
            "ANALYZE SELECT 1",
        ],
    });
    for text in texts {
        conn.query_drop(text)
            .await
            .unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}
