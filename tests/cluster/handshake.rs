//! What the client learns from a server at login, and how it sets the session up.

use crate::staged::Staged as _;
use crate::support::{World, lab, server, stage};
use headless_mysql::error::ConnectError;
use headless_mysql::prelude::*;
use headless_mysql::{Cluster, Error, PodConn};
use headless_mysql_testkit::lab::{Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;

type Session = (String, String, bool, bool);

async fn session(conn: &mut PodConn) -> Session {
    let read_only = match server() {
        ServerKind::MySql => "@@transaction_read_only",
        _ => "@@tx_read_only",
    };
    let question = format!(
        "SELECT @@character_set_client, @@character_set_results, @@autocommit, {read_only}"
    );
    conn.query_first(question).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_the_same_after_a_login_and_after_a_reset_whatever_the_servers_defaults() {
    let lab = lab()
        .replicas(1)
        .server_option(Nodes::All, "--character-set-server=latin1")
        .server_option(Nodes::All, "--autocommit=0");
    let stage = Stage::with(lab).await.unwrap();
    let config = stage.config().with_max_connections(1);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    for (route, read_only) in [(cluster.primary(), false), (cluster.replicas(), true)] {
        let expected = ("utf8mb4".to_owned(), "utf8mb4".to_owned(), true, read_only);
        let mut conn = route.clone().conn().await.unwrap();
        let id = conn.id();
        assert_eq!(session(&mut conn).await, expected);
        conn.query_drop("SET @mine = 1, NAMES latin1")
            .await
            .unwrap();
        drop(conn);

        let mut conn = route.conn().await.unwrap();
        assert_eq!(conn.id(), id, "reset, not closed");
        assert_eq!(session(&mut conn).await, expected);
        let mine: Option<Option<i64>> = conn.query_first("SELECT @mine").await.unwrap();
        assert_eq!(mine, Some(None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_several_origins_is_understood() {
    let stage = stage(1).await;
    let config = stage.config().with_checkout_timeout(Duration::from_secs(1));
    let world = World::with(stage, config).await;
    world.must_insert(1).await;
    let mut admin = world.stage.lab.admin(0).await.unwrap();
    let origins: &[&str] = match server() {
        ServerKind::MySql => &[
            "SET gtid_next = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:7'",
            "INSERT INTO entries VALUES (2, 'elsewhere')",
            "SET gtid_next = 'AUTOMATIC:a_tag'",
            "INSERT INTO entries VALUES (3, 'tagged')",
        ],
        _ => &[
            "SET gtid_domain_id = 7",
            "INSERT INTO entries VALUES (2, 'elsewhere')",
        ],
    };
    for statement in origins {
        admin.query_drop(*statement).await.unwrap();
    }
    world.stage.lab.restart(0).await.unwrap();
    // The first call after the restart may get a cut connection.
    let _ = world.insert(4).await;
    world.must_insert(5).await;

    // The client notices that the history it has seen is gone.
    world.stage.lab.wipe(0).await.unwrap();
    let _ = world.insert(6).await;
    let error = world.insert(7).await.unwrap_err();
    let seen = match &error {
        Error::Connect(ConnectError::HistoryLost { seen, .. }) => seen,
        _ => panic!("{error}"),
    };
    let parts: &[&str] = match server() {
        ServerKind::MySql => &["aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:7-7", ":a_tag:1-1"],
        _ => &["0-1-", "7-1-"],
    };
    assert!(parts.iter().all(|part| seen.contains(part)), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_with_a_locked_account_or_an_expired_password_is_denied_at_once() {
    let stage = stage(0).await;
    let mut admin = stage.lab.admin(0).await.unwrap();
    for change in ["ACCOUNT LOCK", "PASSWORD EXPIRE ACCOUNT UNLOCK"] {
        let alter = format!("ALTER USER '{}'@'%' {change}", stage.lab.user());
        admin.query_drop(alter).await.unwrap();
        let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
        let error = cluster.primary().query_drop("DO 1").await.unwrap_err();
        assert!(
            matches!(error, Error::Connect(ConnectError::AccessDenied { .. })),
            "{error}"
        );
    }
}
