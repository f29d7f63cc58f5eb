//! What a plain driver sees: statements, statuses, errors.

use crate::support::{number, pods, refusal};
use headless_mysql::mysql_async::prelude::*;
use headless_mysql::mysql_async::{Conn, Error, OptsBuilder, Row, Value};
use headless_mysql_testkit::embedded::{EmbeddedPods, Flavour};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn several_statements_in_one_text_give_several_results() {
    let pods = pods().await;
    let mut conn = pods.connect(0).await.unwrap();
    let text = "INSERT INTO entries VALUES (1, 'a'); SELECT id, pod FROM entries; SELECT 'b;c'";
    let mut result = conn.query_iter(text).await.unwrap();
    assert_eq!(result.affected_rows(), 1);
    let inserted: Vec<Row> = result.collect().await.unwrap();
    assert!(inserted.is_empty());
    let rows: Vec<(u64, String)> = result.collect().await.unwrap();
    assert_eq!(rows, [(1, "a".to_owned())]);
    let last: Vec<String> = result.collect().await.unwrap();
    assert_eq!(last, ["b;c"]);
    assert!(result.is_empty());
    drop(result);

    // The ones before the one that is refused have been executed.
    let code = refusal(
        &mut conn,
        "INSERT INTO entries VALUES (2, 'a'); EXPLAIN x; DO 1",
    )
    .await;
    assert_eq!(code, 1064);
    assert_eq!(number(&mut conn, "SELECT COUNT(*) FROM entries").await, 2);
}

#[tokio::test]
async fn parameters_of_every_kind_come_back_as_they_were_given() {
    let pods = pods().await;
    let mut conn = pods.connect(0).await.unwrap();
    let long = "x".repeat(70_000);
    let given = (i64::MIN, u64::MAX, 1.5, "it's", Value::NULL, true, &long);
    let row: Row = conn
        .exec_first("SELECT ?, ?, ?, ?, ?, ?, ?", given)
        .await
        .unwrap()
        .unwrap();
    let row: (i64, u64, f64, String, Option<u8>, bool, String) =
        headless_mysql::mysql_async::from_row(row);
    assert_eq!(
        row,
        (i64::MIN, u64::MAX, 1.5, "it's".to_owned(), None, true, long)
    );
    let text: Option<u64> = conn
        .query_first(format!("SELECT {}", u64::MAX))
        .await
        .unwrap();
    assert_eq!(text, Some(u64::MAX));
}

#[tokio::test]
async fn a_key_value_table_does_what_the_driver_expects_of_one() {
    let pods = pods().await;
    let mut conn = pods.connect(0).await.unwrap();
    let rows = (1..=5).map(|id| (id, format!("pod-{}", id % 2)));
    conn.exec_batch("INSERT INTO entries (id, pod) VALUES (?, ?)", rows)
        .await
        .unwrap();
    conn.exec_drop("UPDATE entries SET pod = ? WHERE id = ?", ("new", 3))
        .await
        .unwrap();
    assert_eq!(conn.affected_rows(), 1);
    conn.query_drop("UPDATE entries SET pod = 'new' WHERE id = 3")
        .await
        .unwrap();
    assert_eq!(conn.affected_rows(), 0);
    conn.query_drop("DELETE FROM entries WHERE id > 4 OR id IN (1)")
        .await
        .unwrap();
    assert_eq!(conn.affected_rows(), 2);
    let rows: Vec<(i64, String)> = conn
        .exec(
            "SELECT * FROM app.entries WHERE id <> ? ORDER BY id DESC LIMIT 2",
            (99,),
        )
        .await
        .unwrap();
    assert_eq!(rows, [(4, "pod-0".to_owned()), (3, "new".to_owned())]);
    let row: Option<(u64, Option<i64>)> = conn
        .query_first("SELECT COUNT(*), MAX(id) FROM entries WHERE id > 100")
        .await
        .unwrap();
    assert_eq!(row, Some((0, None)));
    let by: Vec<(String, u64)> = conn
        .query("SELECT pod, COUNT(*) AS n FROM entries GROUP BY pod ORDER BY n, pod")
        .await
        .unwrap();
    assert_eq!(by, [("new".to_owned(), 1), ("pod-0".to_owned(), 2)]);
}

#[tokio::test]
async fn generated_keys_are_told_and_reset_forgets_them() {
    let pods = EmbeddedPods::start(0).await.unwrap();
    let mut conn = pods.connect(0).await.unwrap();
    let create =
        "CREATE TABLE IF NOT EXISTS notes (id BIGINT AUTO_INCREMENT PRIMARY KEY, note TEXT)";
    conn.query_drop(create).await.unwrap();
    conn.query_drop(create).await.unwrap();
    conn.query_drop("INSERT INTO notes (note) VALUES ('a'), ('b')")
        .await
        .unwrap();
    assert_eq!((conn.last_insert_id(), conn.affected_rows()), (Some(1), 2));
    assert_eq!(number(&mut conn, "SELECT LAST_INSERT_ID()").await, 1);
    conn.query_drop("DO LAST_INSERT_ID(0)").await.unwrap();
    assert_eq!(number(&mut conn, "SELECT LAST_INSERT_ID()").await, 0);
    // A roll-back gives no key back.
    conn.query_drop("BEGIN; INSERT INTO notes (note) VALUES ('c'); ROLLBACK")
        .await
        .unwrap();
    conn.query_drop("INSERT INTO notes VALUES (NULL, 'd')")
        .await
        .unwrap();
    assert_eq!(conn.last_insert_id(), Some(4));
}

#[tokio::test]
async fn a_reset_rolls_back_and_forgets_settings_and_statements() {
    let pods = pods().await;
    let mut conn = pods.connect(0).await.unwrap();
    let statement = conn.prep("SELECT ?").await.unwrap();
    let sql = "SET @x = 7, SESSION autocommit = 0; SET SESSION TRANSACTION READ ONLY; \
               START TRANSACTION READ WRITE; INSERT INTO entries VALUES (1, 'x')";
    conn.query_drop(sql).await.unwrap();
    assert_eq!(number(&mut conn, "SELECT @x").await, 7);
    assert!(conn.reset().await.unwrap());
    let row: Option<(u8, u8, Option<u8>)> = conn
        .query_first("SELECT @@autocommit, @@tx_read_only, @x")
        .await
        .unwrap();
    assert_eq!(row, Some((1, 0, None)));
    assert_eq!(number(&mut conn, "SELECT COUNT(*) FROM entries").await, 0);
    let error = conn.exec_drop(&statement, (1,)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Server(error) if error.code == 1243),
        "{error}"
    );
}

#[tokio::test]
async fn refusals_have_the_codes_of_the_servers() {
    let pods = pods().await;
    let mut conn = pods.connect(0).await.unwrap();
    conn.query_drop("INSERT INTO entries VALUES (1, 'a')")
        .await
        .unwrap();
    for (sql, code) in [
        ("INSERT INTO entries VALUES (2, 'b'), (1, 'again')", 1062),
        ("INSERT INTO entries VALUES (2)", 1136),
        ("INSERT INTO entries VALUES ('x', 'x')", 1366),
        ("INSERT INTO entries (pod) VALUES ('x')", 1364),
        ("SELECT nothing FROM entries", 1054),
        ("SELECT * FROM nothing", 1146),
        ("CREATE TABLE entries (id INT PRIMARY KEY)", 1050),
        ("SELECT @@nothing", 1193),
        ("SELECT @@super_read_only", 1193),
        ("SET GLOBAL read_only = 1", 1227),
        ("SELECT NOW()", 1305),
        ("USE other", 1049),
        ("KILL 4711", 1094),
        ("SELECT * FROM entries JOIN entries", 1064),
        (";", 1065),
    ] {
        assert_eq!(refusal(&mut conn, sql).await, code, "{sql}");
    }
    // All of a statement or nothing of it.
    assert_eq!(number(&mut conn, "SELECT COUNT(*) FROM entries").await, 1);
    let error = conn
        .query_drop("INSERT INTO entries VALUES (1, 'a')")
        .await
        .unwrap_err();
    let Error::Server(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.state, "23000");
    assert_eq!(error.message, "Duplicate entry '1' for key 'PRIMARY'");
}

#[tokio::test]
async fn a_read_only_server_refuses_writes_and_a_read_only_session_does() {
    let pods = pods().await;
    let mut replica = pods.connect(1).await.unwrap();
    for sql in [
        "INSERT INTO entries VALUES (1, 'x')",
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "START TRANSACTION READ WRITE",
        "SELECT * FROM entries FOR UPDATE",
    ] {
        let error = replica.query_drop(sql).await.unwrap_err();
        let Error::Server(error) = error else {
            panic!("{error}")
        };
        assert_eq!(
            (error.code, error.message.as_str()),
            (
                1290,
                "The MariaDB server is running with the --read-only option so it cannot \
                    execute this statement"
            ),
        );
    }
    let mut primary = pods.connect(0).await.unwrap();
    let write = "INSERT INTO entries VALUES (1, 'x')";
    primary
        .query_drop("START TRANSACTION READ ONLY")
        .await
        .unwrap();
    assert_eq!(refusal(&mut primary, write).await, 1792);
    primary
        .query_drop("COMMIT; SET SESSION TRANSACTION READ ONLY")
        .await
        .unwrap();
    assert_eq!(refusal(&mut primary, write).await, 1792);
    primary
        .query_drop("START TRANSACTION READ WRITE")
        .await
        .unwrap();
    primary.query_drop(write).await.unwrap();
    // Became read only with a transaction open: the commit is refused, and nothing is left.
    pods.set_read_only(0, true).await.unwrap();
    assert_eq!(refusal(&mut primary, "COMMIT").await, 1290);
    assert_eq!(
        number(&mut primary, "SELECT COUNT(*) FROM entries").await,
        0
    );
}

#[tokio::test]
async fn writers_wait_for_each_other_and_readers_for_nobody() {
    let pods = pods().await;
    let mut one = pods.connect(0).await.unwrap();
    let mut two = pods.connect(0).await.unwrap();
    one.query_drop("BEGIN; INSERT INTO entries VALUES (1, 'one')")
        .await
        .unwrap();
    assert_eq!(number(&mut one, "SELECT COUNT(*) FROM entries").await, 1);
    assert_eq!(number(&mut two, "SELECT COUNT(*) FROM entries").await, 0);
    two.query_drop("SET SESSION innodb_lock_wait_timeout = 0.01")
        .await
        .unwrap();
    assert_eq!(
        refusal(&mut two, "INSERT INTO entries VALUES (2, 'two')").await,
        1205
    );
    two.query_drop("SET SESSION innodb_lock_wait_timeout = 50")
        .await
        .unwrap();
    let waiting = tokio::spawn(async move {
        two.query_drop("INSERT INTO entries VALUES (1, 'two')")
            .await
    });
    one.query_drop("COMMIT").await.unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, Error::Server(error) if error.code == 1062),
        "{error}"
    );
}

#[tokio::test]
async fn a_statement_can_be_killed_and_a_connection_too() {
    let pods = EmbeddedPods::start(0).await.unwrap();
    let mut admin = pods.connect(0).await.unwrap();
    let mut victim = pods.connect(0).await.unwrap();
    let id = victim.id();
    let sleeping = tokio::spawn(async move {
        let start = Instant::now();
        let error = victim.query_drop("SELECT SLEEP(60)").await.unwrap_err();
        assert!(
            matches!(&error, Error::Server(error) if error.code == 1317),
            "{error}"
        );
        assert!(start.elapsed() < Duration::from_secs(30));
        victim
    });
    // It may not sleep yet: then nobody is interrupted.
    while !sleeping.is_finished() {
        admin.query_drop(format!("KILL QUERY {id}")).await.unwrap();
    }
    let mut victim = sleeping.await.unwrap();
    assert_eq!(
        number(&mut victim, "SELECT CONNECTION_ID()").await,
        i64::from(id)
    );
    admin.query_drop(format!("KILL {id}")).await.unwrap();
    assert!(matches!(victim.ping().await.unwrap_err(), Error::Io(_)));
    while refusal_of_kill(&mut admin, id).await.is_none() {}
}

/// The entry goes when the connection's task has noticed.
async fn refusal_of_kill(conn: &mut Conn, id: u32) -> Option<u16> {
    match conn.query_drop(format!("KILL QUERY {id}")).await {
        Ok(()) => None,
        Err(Error::Server(error)) => Some(error.code),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_session_tells_whose_it_is() {
    let pods = pods().await;
    let mut conn = pods.connect(0).await.unwrap();
    let home: Option<String> = conn
        .query_first("SELECT CONCAT(QUOTE(CURRENT_USER()), QUOTE(CURRENT_ROLE()), QUOTE('a\\'b'))")
        .await
        .unwrap();
    assert_eq!(home.as_deref(), Some("'app@%'NULL'a\\'b'"));
    let one = "SELECT LAST_INSERT_ID(5) FROM (SELECT 1) AS nothing";
    assert_eq!(number(&mut conn, one).await, 5);
    assert_eq!(number(&mut conn, "SELECT LAST_INSERT_ID()").await, 5);
}

#[tokio::test]
async fn pods_present_themselves_as_their_flavour() {
    let maria = pods().await;
    let mut conn = maria.connect(1).await.unwrap();
    assert_eq!(conn.server_version().0, 10);
    let row: Option<(String, u32, u8, String, String)> = conn
        .query_first(
            "SELECT @@global.hostname, @@server_id, @@read_only, @@gtid_slave_pos, \
             @@gtid_current_pos",
        )
        .await
        .unwrap();
    let position = "0-1-1".to_owned();
    assert_eq!(
        row,
        Some(("mysql-1".to_owned(), 2, 1, position.clone(), position))
    );

    let mysql = EmbeddedPods::builder().replicas(0).flavour(Flavour::MySql);
    let mysql = mysql.start().await.unwrap();
    let mut conn = mysql.connect(0).await.unwrap();
    assert_eq!(conn.server_version().0, 9);
    let uuid: String = conn
        .query_first("SELECT @@server_uuid")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(uuid.len(), 36);
    mysql.wipe(0).await.unwrap();
    let mut conn = mysql.connect(0).await.unwrap();
    let other: String = conn
        .query_first("SELECT @@server_uuid")
        .await
        .unwrap()
        .unwrap();
    assert_ne!(uuid, other);
}

#[tokio::test]
async fn logins_are_checked() {
    let pods = EmbeddedPods::start(0).await.unwrap();
    let opts = || {
        OptsBuilder::default()
            .ip_or_hostname(pods.address(0).to_string())
            .tcp_port(pods.port())
            .prefer_socket(false)
            .user(Some(pods.user()))
            .pass(Some(pods.password()))
            .db_name(Some(pods.database()))
    };
    let conn = Conn::new(opts()).await.unwrap();
    conn.disconnect().await.unwrap();
    Conn::from_url(pods.url(0)).await.unwrap();
    for (opts, code) in [
        (opts().pass(Some("wrong")), 1045),
        (opts().pass(None::<&str>), 1045),
        (opts().user(Some("somebody")), 1045),
        (opts().db_name(Some("other")), 1049),
    ] {
        match Conn::new(opts).await {
            Err(Error::Server(error)) => assert_eq!(error.code, code),
            other => panic!("{other:?}"),
        }
    }
    // Without a database only statements that need none.
    let mut conn = Conn::new(opts().db_name(None::<&str>)).await.unwrap();
    conn.query_drop("DO 1").await.unwrap();
    assert_eq!(refusal(&mut conn, "SELECT * FROM entries").await, 1046);
}
