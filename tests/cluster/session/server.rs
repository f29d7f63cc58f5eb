//! Servers and options that affect the cleaning, and sessions that need none.

use super::dirt;
use super::{Way, connection_id, look, next_user_sees, plain_world, world};
use crate::support::{all_slots_are_back, lab};
use headless_mysql::config::Reset;
use headless_mysql::{Cluster, Config, Error, PodConn};
use headless_mysql_testkit::lab::{LabBuilder, Nodes};
use mysql_async::prelude::Queryable;

const CHARACTER_SET: &str =
    "SELECT @@character_set_client, @@character_set_connection, @@character_set_results";

/// A status counter of this session. A reset sets it to zero.
async fn session_status(conn: &mut PodConn, name: &str) -> u64 {
    let show = format!("SHOW SESSION STATUS LIKE '{name}'");
    let row: Option<(String, u64)> = conn.query_first(show).await.unwrap();
    row.unwrap().1
}

fn server_with(option: &str) -> LabBuilder {
    lab().replicas(1).server_option(Nodes::All, option)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_stays_clean_is_not_reset_and_keeps_its_prepared_statements() {
    const USES: u64 = 20;
    let world = plain_world().await;
    let cluster = &world.cluster;
    let mut conn = cluster.primary().conn().await.unwrap();
    let id = connection_id(&mut conn).await;
    let before = session_status(&mut conn, "Com_stmt_prepare").await;
    drop(conn);
    for n in 0..USES {
        let mut conn = cluster.primary().conn().await.unwrap();
        assert_eq!(conn.exec_first("SELECT ?", (n,)).await.unwrap(), Some(n));
        drop(conn);
        let mut tx = cluster.begin().await.unwrap();
        let insert = "INSERT INTO numbered (k) VALUES (?)";
        tx.exec_drop(insert, (100 + n,)).await.unwrap();
        tx.commit().await.unwrap();
        let routed = cluster.primary().exec_first("SELECT ?", (n,)).await;
        assert_eq!(routed.unwrap(), Some(n));
    }
    let mut conn = cluster.primary().conn().await.unwrap();
    assert_eq!(connection_id(&mut conn).await, id);
    let after = session_status(&mut conn, "Com_stmt_prepare").await;
    // MySQL prepares again by itself when it learns the parameter types, and counts that too.
    let again = session_status(&mut conn, "Com_stmt_reprepare").await;
    assert_eq!(after - again - before, 2, "one for each text");
    assert!(session_status(&mut conn, "Com_commit").await >= USES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generic_code_over_prepared_statements_is_reset_since_its_text_is_not_known() {
    let world = plain_world().await;
    let cluster = &world.cluster;
    let mut conn = cluster.primary().conn().await.unwrap();
    let id = conn.id();
    let _: Option<u64> = Queryable::exec_first(&mut conn, "SELECT 1", ())
        .await
        .unwrap();
    drop(conn);
    let mut conn = cluster.primary().conn().await.unwrap();
    assert_eq!(connection_id(&mut conn).await, id);
    assert_eq!(session_status(&mut conn, "Com_stmt_prepare").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_session_stays_read_only_after_a_reset() {
    let world = plain_world().await;
    // Make the replica writable, so that only the session prevents a write.
    world.stage.lab.set_read_only(1, false).await.unwrap();
    let replicas = || world.cluster.replicas();
    let writes_fail = async || {
        let mut conn = replicas().conn().await.unwrap();
        assert_eq!(conn.pod().name(), "mysql-1");
        // On the driver's connection, because the library would refuse these statements itself.
        let driver = conn.as_conn_mut().await.unwrap();
        for write in ["INSERT INTO entries VALUES (1, 'x')", "DROP TABLE entries"] {
            let error = driver.query_drop(write).await.unwrap_err();
            assert!(
                matches!(&error, mysql_async::Error::Server(error) if error.code == 1792),
                "{error}"
            );
        }
        conn.id()
    };
    let id = writes_fail().await;
    for dirt in ["SET SESSION TRANSACTION READ WRITE", "SET @a = 1"] {
        let mut conn = replicas().conn().await.unwrap();
        conn.as_conn_mut()
            .await
            .unwrap()
            .query_drop(dirt)
            .await
            .unwrap();
        drop(conn);
        assert_eq!(writes_fail().await, id, "reset, not replaced");
    }
    let mut tx = replicas().begin().await.unwrap();
    let insert = tx.query_drop("INSERT INTO entries VALUES (1, 'x')").await;
    let error = Error::from(insert.unwrap_err());
    assert!(matches!(&error, Error::OnlyReads { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_commits_by_itself_on_a_server_that_does_not() {
    let world = world(server_with("--autocommit=0"), |config| config).await;
    let cluster = &world.cluster;
    let probe = "SELECT @@autocommit, @@in_transaction";
    let (first, id) = next_user_sees(cluster.primary(), probe).await;
    assert_eq!(first, "1 0");
    for n in 1..4 {
        let mut conn = cluster.primary().conn().await.unwrap();
        if n == 2 {
            conn.query_drop("SET @dirt = 1").await.unwrap();
        }
        let insert = format!("INSERT INTO entries VALUES ({n}, 'x')");
        conn.query_drop(insert).await.unwrap();
        drop(conn);
        assert_eq!(
            next_user_sees(cluster.primary(), probe).await,
            (first.clone(), id)
        );
        let mut other = world.stage.lab.admin(0).await.unwrap();
        let rows = other.query_first("SELECT COUNT(*) FROM app.entries").await;
        assert_eq!(rows.unwrap(), Some(n), "seen by others: committed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_init_connect_sets_is_there_for_every_user() {
    let server = server_with("--init-connect=SET @from_init = 42, autocommit = 0");
    let world = world(server, |config| config).await;
    let cluster = &world.cluster;
    let probe = "SELECT @from_init, @dirt, @@autocommit";
    let (first, id) = next_user_sees(cluster.primary(), probe).await;
    assert_eq!(first, "42 NULL 1");
    let mut conn = cluster.primary().conn().await.unwrap();
    conn.query_drop("SET @from_init = 1, @dirt = 1")
        .await
        .unwrap();
    drop(conn);
    let (next, next_id) = next_user_sees(cluster.primary(), probe).await;
    assert_eq!(next, first);
    assert_ne!(next_id, id, "a reset does not run init_connect");
    all_slots_are_back(cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_speaks_utf8mb4_on_a_latin1_server_also_after_a_reset() {
    let server = server_with("--character-set-server=latin1");
    let world = world(server, |config| config).await;
    let cluster = &world.cluster;
    let text = "naïve ☃ 𝄞";
    let (_, id) = next_user_sees(cluster.primary(), CHARACTER_SET).await;
    for dirt in ["SELECT 1", "SET NAMES latin1", "SET @dirt = 1"] {
        let mut conn = cluster.primary().conn().await.unwrap();
        conn.query_drop(dirt).await.unwrap();
        drop(conn);
        let mut conn = cluster.primary().conn().await.unwrap();
        assert_eq!(conn.id(), id);
        let seen = look(&mut conn, CHARACTER_SET).await;
        assert_eq!(seen, "utf8mb4 utf8mb4 utf8mb4", "after {dirt}");
        let hex = format!("SELECT HEX('{text}')");
        let expected: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(conn.query_first(hex).await.unwrap(), Some(expected));
        let back = conn.exec_first("SELECT ?", (text,)).await.unwrap();
        assert_eq!(back, Some(text.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_a_database_comes_back_without_one() {
    let lab = lab().replicas(0);
    let world = world(lab, |config| config).await;
    let config = Config::new(world.stage.service(), world.stage.lab.user())
        .with_password(world.stage.lab.password())
        .with_port(world.stage.lab.port())
        .with_name_servers([world.stage.dns.addr()])
        .with_search(["default.svc.cluster.local"])
        .with_max_connections(1);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let probe = "SELECT DATABASE(), @dirt";
    let (clean, id) = next_user_sees(cluster.primary(), probe).await;
    assert_eq!(clean, "NULL NULL");
    for (dirt, same) in [("SET @dirt = 1", true), ("USE other", false)] {
        let mut conn = cluster.primary().conn().await.unwrap();
        conn.query_drop(dirt).await.unwrap();
        drop(conn);
        let (next, next_id) = next_user_sees(cluster.primary(), probe).await;
        assert_eq!(next, clean);
        assert_eq!(next_id == id, same, "after {dirt}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_reset_always_every_use_ends_in_a_reset() {
    let lab = lab().replicas(0);
    let world = world(lab, |config| config.with_reset(Reset::Always)).await;
    let cluster = &world.cluster;
    let mut conn = cluster.primary().conn().await.unwrap();
    let id = conn.id();
    for _ in 0..3 {
        let one = conn.exec_first("SELECT 1", ()).await.unwrap();
        assert_eq!(one, Some(1));
        assert_eq!(session_status(&mut conn, "Com_stmt_prepare").await, 1);
        drop(conn);
        conn = cluster.primary().conn().await.unwrap();
        assert_eq!(connection_id(&mut conn).await, id);
        assert_eq!(session_status(&mut conn, "Com_stmt_prepare").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_reset_always_what_a_trigger_leaves_is_gone_too() {
    let lab = lab().replicas(0);
    let world = world(lab, |config| config.with_reset(Reset::Always)).await;
    let cluster = &world.cluster;
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    let trigger = "CREATE TRIGGER app.t BEFORE INSERT ON app.held FOR EACH ROW SET @dirt = 7";
    admin.query_drop(trigger).await.unwrap();
    let insert = cluster.primary().query_drop("INSERT INTO held VALUES (1)");
    insert.await.unwrap();
    let (seen, _) = next_user_sees(cluster.primary(), "SELECT @dirt").await;
    assert_eq!(seen, "NULL");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_reset_never_session_state_passes_on_but_no_transaction_does() {
    let lab = lab().replicas(0);
    let world = world(lab, |config| config.with_reset(Reset::Never)).await;
    let cluster = &world.cluster;
    let mut conn = cluster.primary().conn().await.unwrap();
    let id = conn.id();
    for statement in ["SET @dirt = 7", "BEGIN", "INSERT INTO held VALUES (1)"] {
        conn.query_drop(statement).await.unwrap();
    }
    drop(conn);
    let probe = "SELECT @dirt, @@in_transaction, COUNT(*) FROM held";
    assert_eq!(
        next_user_sees(cluster.primary(), probe).await,
        ("7 0 0".to_owned(), id)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_left_on_a_replica_is_seen_by_the_next_reader() {
    let world = plain_world().await;
    let cluster = &world.cluster;
    for name in [
        "a user variable",
        "the database",
        "an isolation level",
        "a warning",
    ] {
        let dirt = dirt::all().find(|dirt| dirt.name == name).unwrap();
        let (clean, id) = next_user_sees(cluster.replicas(), dirt.probe).await;
        for way in [Way::Text, Way::Prepared, Way::DroppedTx] {
            let Some(left) = way.leave(cluster.replicas(), dirt).await else {
                continue;
            };
            assert_ne!(left, clean, "{name} by {way:?}");
            let next = next_user_sees(cluster.replicas(), dirt.probe).await;
            assert_eq!(next, (clean.clone(), id), "{name} by {way:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_tells_nothing_of_what_its_last_user_ran() {
    let world = plain_world().await;
    let cluster = &world.cluster;
    let mut conn = cluster.primary().conn().await.unwrap();
    let id = conn.id();
    let insert = "INSERT IGNORE INTO numbered (k) VALUES (NULL), (NULL), (1)";
    conn.query_drop(insert).await.unwrap();
    assert_eq!(conn.affected_rows(), 2);
    assert_eq!(conn.warnings(), 1);
    assert!(conn.last_insert_id().is_some());
    drop(conn);
    let update = "UPDATE numbered SET k = 9 WHERE k = 1";
    let done = cluster.primary().run(update, ()).await.unwrap();
    assert_eq!(done.affected_rows, 1);
    let conn = cluster.primary().conn().await.unwrap();
    assert_eq!(conn.id(), id);
    let told = (conn.affected_rows(), conn.warnings(), conn.last_insert_id());
    assert_eq!(told, (0, 0, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_xa_transaction_is_prepared_is_given_up() {
    let world = plain_world().await;
    let cluster = &world.cluster;
    let mut conn = cluster.primary().conn().await.unwrap();
    for statement in [
        "XA START 'x'",
        "INSERT INTO held VALUES (1)",
        "XA END 'x'",
        "XA PREPARE 'x'",
    ] {
        conn.query_drop(statement).await.unwrap();
    }
    drop(conn);
    let write = cluster
        .primary()
        .query_drop("INSERT INTO entries VALUES (1, 'x')");
    write.await.unwrap();
    // Another session commits the transaction.
    let commit = cluster.primary().query_drop("XA COMMIT 'x'");
    commit.await.unwrap();
    let held = cluster.primary().query_first("SELECT COUNT(*) FROM held");
    assert_eq!(held.await.unwrap(), Some(1));
}
