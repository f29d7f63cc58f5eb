//! The example client as a person runs it, against embedded servers.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see that helpers are test code"
)]

use headless_mysql::Cluster;
use headless_mysql::testkit::embedded::EmbeddedPods;
use headless_mysql::testkit::stage::Stage;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use tokio::process::Command;

/// `cargo test` builds examples before it runs tests, into a folder beside theirs; with `--test` it
/// does not.
fn client() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let client = profile.join("examples").join("mysql_client");
    let how = "cargo build --all-features --examples";
    assert!(client.exists(), "build it first: {how}");
    client
}

async fn run(arguments: &[&str]) -> (bool, String) {
    let output: Output = Command::new(client())
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

async fn stage() -> Stage<EmbeddedPods> {
    Stage::embedded(2).await.unwrap()
}

const SERVICE: &str = "mysql.default.svc.cluster.local";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resolve_shows_every_pod_with_its_ordinal_name_and_address() {
    let stage = stage().await;
    let server = stage.dns.addr().to_string();
    let (ok, said) = run(&["resolve", SERVICE, "--server", &server]).await;
    assert!(ok, "{said}");
    for ordinal in 0..3 {
        let host = format!("mysql-{ordinal}.{SERVICE}");
        let address = stage.lab.address(ordinal).to_string();
        let line = said.lines().find(|line| line.contains(&host));
        let line = line.unwrap_or_else(|| panic!("{host} is missing: {said}"));
        assert!(
            line.trim_start().starts_with(&ordinal.to_string()),
            "{line}"
        );
        assert!(line.contains(&address), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resolve_says_which_names_were_asked_in_vain() {
    let stage = stage().await;
    let server = stage.dns.addr().to_string();
    let (ok, said) = run(&[
        "resolve",
        "nosuch.default.svc.cluster.local",
        "--server",
        &server,
    ])
    .await;
    assert!(!ok);
    assert!(
        said.contains("error: ") && said.contains("nosuch.default.svc.cluster.local"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_prints_a_table_from_the_side_asked_for() {
    let stage = stage().await;
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    for statement in [
        "CREATE TABLE entries (id BIGINT PRIMARY KEY, pod VARCHAR(64))",
        "INSERT INTO entries VALUES (7, 'seven'), (8, NULL)",
    ] {
        cluster.primary().query_drop(statement).await.unwrap();
    }
    let url = format!(
        "mysql://{}:{}@{SERVICE}/{}",
        stage.lab.user(),
        stage.lab.password(),
        stage.lab.database()
    );
    let server = stage.dns.addr().to_string();
    let select = "SELECT id, pod FROM entries ORDER BY id";
    let (ok, said) = run(&[
        "query", &url, select, "--route", "primary", "--server", &server,
    ])
    .await;
    assert!(ok, "{said}");
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    assert_eq!(
        lines[..4],
        ["id  pod", "--  -----", "7   seven", "8   NULL"]
    );
    assert!(said.contains("2 rows on mysql-0"), "{said}");

    let (ok, said) = run(&["query", &url, "SELECT 1", "--server", &server]).await;
    assert!(ok, "{said}");
    assert!(
        said.contains("on mysql-1") || said.contains("on mysql-2"),
        "{said}"
    );

    let wrong = url.replace(stage.lab.password(), "not-the-password");
    let (ok, said) = run(&["query", &wrong, "SELECT 1", "--server", &server]).await;
    assert!(!ok && said.contains("refused the login"), "{said}");
    assert!(!said.contains("not-the-password"), "{said}");
}
