//! Accounts with login methods other than the default, and accounts that cannot log in.

use crate::staged::Staged as _;
use crate::support::{lab, server};
use headless_mysql::config::SslMode;
use headless_mysql::error::ConnectError;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Config, Error};
use headless_mysql_testkit::lab::{Authority, LabBuilder, Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;
use tokio::time::Instant;

/// Runs statements as root on every server, without replication.
async fn everywhere(stage: &Stage, statements: &[&str]) {
    for ordinal in stage.lab.ordinals() {
        let mut root = stage.lab.admin(ordinal).await.unwrap();
        let mut all = vec!["SET sql_log_bin = 0"];
        if server() == ServerKind::MySql && ordinal > 0 {
            all.push("SET GLOBAL super_read_only = 0");
        }
        all.extend(statements);
        for statement in all {
            let done = root.query_drop(statement).await;
            done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
}

fn config(stage: &Stage) -> Config {
    stage.config().with_user("other").with_password("secret")
}

/// Servers with additional login plugins.
fn with_plugins() -> LabBuilder {
    lab().server_option(Nodes::All, "--plugin-dir=/usr/lib/mysql/plugin")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_of_mariadb_logs_in_by_ed25519() {
    if server() == ServerKind::MySql {
        return;
    }
    let stage = Stage::with(with_plugins().replicas(1)).await.unwrap();
    let setup = [
        "INSTALL SONAME 'auth_ed25519'",
        "CREATE USER other@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret')",
        "GRANT ALL ON *.* TO other@'%'",
    ];
    everywhere(&stage, &setup).await;
    let cluster = Cluster::builder(config(&stage)).connect().await.unwrap();
    let user: Option<String> = cluster
        .primary()
        .query_first("SELECT USER()")
        .await
        .unwrap();
    assert!(user.unwrap().starts_with("other@"));
    cluster.replicas().query_drop("SELECT 1").await.unwrap();

    let wrong = config(&stage).with_password("wrong");
    let cluster = Cluster::builder(wrong).connect().await.unwrap();
    let error = cluster.primary().query_drop("DO 1").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), ("access_denied", Some(1045)));
}

/// Each route fails at once. The error names the method and the remedy, and the pod is not blamed.
async fn assert_told(cluster: &Cluster, words: &[&str]) {
    for route in [cluster.primary(), cluster.replicas()] {
        let started = Instant::now();
        let error = route.query_drop("SELECT 1").await.unwrap_err();
        let took = started.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}: {error}");
        assert!(
            matches!(error, Error::Connect(ConnectError::Method { .. })),
            "{error:?}"
        );
        for word in words {
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
        assert!(!error.is_retryable());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_method_that_is_not_available_is_told_at_once_with_what_would_help() {
    let (lab, setup, words) = match server() {
        ServerKind::MySql => (
            lab(),
            "CREATE USER other@'%' IDENTIFIED WITH sha256_password BY 'secret'",
            ["sha256_password", "caching_sha2_password"],
        ),
        _ => (
            with_plugins().server_option(Nodes::All, "--plugin-load-add=auth_pam"),
            "CREATE USER other@'%' IDENTIFIED VIA pam USING 'mariadb'",
            ["dialog", "cleartext_password"],
        ),
    };
    let stage = Stage::with(lab.replicas(1)).await.unwrap();
    everywhere(&stage, &[setup]).await;
    let cluster = Cluster::builder(config(&stage)).connect().await.unwrap();
    assert_told(&cluster, &words).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_sent_as_it_is_where_that_is_allowed() {
    if server() == ServerKind::MySql {
        return;
    }
    let authority = Authority::new("test").unwrap();
    let mut lab = with_plugins()
        .replicas(0)
        .server_option(Nodes::All, "--plugin-load-add=auth_pam")
        .server_option(Nodes::All, "--pam-use-cleartext-plugin=ON");
    lab = lab.tls(
        0,
        authority.issue_for_pod("mysql", 0).unwrap(),
        authority.pem(),
    );
    let stage = Stage::with(lab).await.unwrap();
    let create = "CREATE USER other@'%' IDENTIFIED VIA pam USING 'mariadb'";
    everywhere(&stage, &[create]).await;
    let cluster = Cluster::builder(config(&stage)).connect().await.unwrap();
    assert_told(&cluster, &["mysql_clear_password", "cleartext_password"]).await;

    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let config = config(&stage)
        .with_ssl_ca(&ca)
        .with_ssl_mode(SslMode::VerifyCa)
        .with_cleartext_password(true);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    // PAM was asked, but does not know the account.
    let error = cluster.primary().query_drop("DO 1").await.unwrap_err();
    assert_eq!(error.code(), Some(1045), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_with_all_the_connections_that_it_may_have_is_not_refused_one_more() {
    const LIMIT: usize = 4;
    let stage = Stage::with(lab().replicas(0)).await.unwrap();
    let limit = format!(
        "ALTER USER '{}'@'%' WITH MAX_USER_CONNECTIONS {LIMIT}",
        stage.lab.user()
    );
    everywhere(&stage, &[&limit]).await;
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..LIMIT {
        held.push(cluster.primary().conn().await.unwrap());
    }
    // The client knows the limit without a refusal, and attempts no login beyond it.
    let said = format!("max_user_connections of the account is {LIMIT}");
    let call = cluster.primary().deadline(Duration::from_millis(300));
    let error = call.conn().await.unwrap_err();
    assert!(matches!(error, Error::AllInUse { .. }), "{error:?}");
    assert!(error.to_string().contains(&said), "{error}");
}
