//! The operator's settings for new sessions remain in effect.

use crate::staged::Staged as _;
use crate::support::{lab, server};
use headless_mysql::prelude::*;
use headless_mysql::{Cluster, PodConn};
use headless_mysql_testkit::lab::{Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;

async fn cluster(stage: &Stage) -> Cluster {
    let config = stage.config().with_max_connections(1);
    Cluster::builder(config).connect().await.unwrap()
}

async fn collation(conn: &mut PodConn) -> (String, String) {
    let question = "SELECT @@character_set_client, @@collation_connection";
    conn.query_first(question).await.unwrap().unwrap()
}

/// Checks the collation at login, and for the next user after a session was cleaned.
async fn has_collation(stage: &Stage, expected: &str) {
    let cluster = cluster(stage).await;
    for route in [cluster.primary(), cluster.replicas()] {
        for _ in 0..2 {
            let mut conn = route.clone().conn().await.unwrap();
            let found = collation(&mut conn).await;
            assert_eq!(found, ("utf8mb4".to_owned(), expected.to_owned()));
            conn.query_drop("SET @mine = 1, NAMES latin1")
                .await
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collation_set_for_new_connections_stays_also_after_a_reset() {
    let init = "--init-connect=SET collation_connection = utf8mb4_unicode_ci";
    let lab = lab().replicas(1).server_option(Nodes::All, init);
    has_collation(&Stage::with(lab).await.unwrap(), "utf8mb4_unicode_ci").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ignores_the_clients_character_set_keeps_its_own_collation() {
    if server() == ServerKind::MySql {
        // MySQL 9.7 does not have this option.
        return;
    }
    let lab = lab()
        .replicas(1)
        .server_option(Nodes::All, "--character-set-client-handshake=OFF")
        .server_option(Nodes::All, "--character-set-server=utf8mb4")
        .server_option(Nodes::All, "--collation-server=utf8mb4_unicode_ci");
    has_collation(&Stage::with(lab).await.unwrap(), "utf8mb4_unicode_ci").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_wish_of_the_operator_the_collation_is_what_the_driver_asks_for() {
    let stage = Stage::with(lab().replicas(1)).await.unwrap();
    has_collation(&stage, "utf8mb4_general_ci").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_sessions_are_read_only_is_written_to_only_in_a_transaction_that_says_so() {
    let option = "--transaction-read-only=ON";
    let lab = lab().replicas(0).server_option(Nodes::All, option);
    let stage = Stage::with(lab).await.unwrap();
    let cluster = cluster(&stage).await;
    let create = "CREATE TABLE entries (id BIGINT PRIMARY KEY)";
    for _ in 0..2 {
        let error = cluster.primary().query_drop(create).await.unwrap_err();
        assert!(
            error.to_string().contains("READ ONLY transaction"),
            "{error}"
        );
        let mut conn = cluster.primary().conn().await.unwrap();
        // The next user's session has the state of a new one.
        conn.query_drop("SET @mine = 1").await.unwrap();
    }
    let mut conn = cluster.primary().conn().await.unwrap();
    conn.query_drop("SET SESSION TRANSACTION READ WRITE")
        .await
        .unwrap();
    conn.query_drop(create).await.unwrap();
    drop(conn);
    let mut tx = cluster.begin().await.unwrap();
    tx.exec_drop("INSERT INTO entries VALUES (1)", ())
        .await
        .unwrap();
    tx.commit().await.unwrap();
}
