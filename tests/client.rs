//! The example client as a person runs it, against embedded servers.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see that helpers are test code"
)]

mod staged;
use headless_mysql::Cluster;
use headless_mysql_testkit::dns::{ClusterDns, Fault, PodSpec, ServiceSpec, Upstream};
use headless_mysql_testkit::embedded::EmbeddedPods;
use headless_mysql_testkit::stage::Stage;
use serde_json::{Value, json};
use staged::Staged as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
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
        let row = |line: &&str| line.starts_with(&format!("  {ordinal} ")) && line.contains(&host);
        let line = said.lines().find(row);
        let line = line.unwrap_or_else(|| panic!("{host} is missing: {said}"));
        assert!(line.contains(&address), "{line}");
    }
}

/// Exit code, standard output and standard error of `resolve` with these arguments against `dns`.
async fn resolve(dns: &ClusterDns, arguments: &[&str]) -> (i32, String, String) {
    let server = dns.addr().to_string();
    let search = "default.svc.cluster.local,svc.cluster.local,cluster.local";
    let output = Command::new(client())
        .args(["resolve", "--server", &server, "--search", search])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

async fn two_pods() -> ClusterDns {
    let dns = ClusterDns::start().await.unwrap();
    let pods = [0, 1].map(|n| PodSpec::ready(format!("mysql-{n}"), [10, 244, 1, n]));
    let service = ServiceSpec::new("default", "mysql").unnamed_port(3306);
    dns.set_service(service.with_pods(pods));
    dns
}

#[tokio::test]
async fn resolve_tells_each_query_its_answer_and_what_was_concluded() {
    let dns = two_pods().await;
    let (code, out, err) = resolve(&dns, &["mysql"]).await;
    assert_eq!((code, &*err), (0, ""), "{out}");
    let server = dns.addr().to_string();
    for expected in [
        format!("SRV  {SERVICE}.  NOERROR from {server} over UDP in "),
        format!("     {SERVICE}. 5 SRV 0 50 3306 mysql-1.{SERVICE}."),
        format!("  +  mysql-1.{SERVICE}. 5 A 10.244.1.1"),
        format!("  => {SERVICE} has 2 pods, 2 with an ordinal"),
        format!("{SERVICE} has 2 pods (TTL 5s; 1 query in "),
    ] {
        assert!(out.contains(&expected), "{expected}\n{out}");
    }
    assert!(!out.contains("hint"), "{out}");
}

#[tokio::test]
async fn resolve_hints_at_what_is_odd() {
    let dns = two_pods().await;
    let nohost = [0, 1].map(|n| PodSpec::ready(format!("mysql-{n}"), [10, 244, 1, n]));
    let read = ServiceSpec::new("default", "mysql-read").unnamed_port(3306);
    dns.set_service(read.with_pods(nohost.map(PodSpec::without_hostname)));
    let (code, out, _) = resolve(&dns, &["mysql-read"]).await;
    assert_eq!(code, 0);
    assert!(
        out.contains("hint: no ordinals: the StatefulSet's serviceName is another"),
        "{out}"
    );

    dns.set_service(ServiceSpec::new("default", "db").external_name("db.example.com"));
    dns.set_upstream(Some(Upstream::new().host("db.example.com", [10, 9, 9, 9])));
    let (code, out, err) = resolve(&dns, &["db"]).await;
    assert_eq!(code, 1);
    assert!(
        out.contains("no pods found: foreign") && out.contains("ExternalName"),
        "{out}"
    );
    assert!(
        err.contains("error: ") && err.contains("db.example.com"),
        "{err}"
    );
    let (code, out, _) = resolve(&dns, &["db", "--allow-alias"]).await;
    assert!(
        code == 0 && out.contains("which is asked in its place"),
        "{out}"
    );
}

#[tokio::test]
async fn resolve_ends_with_a_code_that_says_how_it_went() {
    let dns = two_pods().await;
    dns.set_upstream(Some(Upstream::new()));
    for (arguments, expected) in [
        (&["mysql-1.mysql"][..], 0),
        (&["nosuch"], 3),
        (&["my_sql"], 2),
        (&["mysql", "--timeout", "never"], 2),
        (&["mysql", "--look-ups", "1"], 2),
    ] {
        let (code, out, err) = resolve(&dns, arguments).await;
        assert_eq!(code, expected, "{arguments:?}: {out}{err}");
    }
    dns.set_fault(Some(Fault::ServFail));
    assert_eq!(resolve(&dns, &["mysql"]).await.0, 1);
}

#[tokio::test]
async fn resolve_speaks_json() {
    let dns = two_pods().await;
    let (code, out, _) = resolve(&dns, &["mysql", "--json"]).await;
    assert_eq!(code, 0);
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["service"], SERVICE);
    assert_eq!(
        (&said["queries"], &said["complete"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(
        said["pods"][1],
        json!({
            "ordinal": 1,
            "host": format!("mysql-1.{SERVICE}"),
            "addresses": ["10.244.1.1"],
            "port": 3306,
        })
    );
    let asked = &said["steps"][0];
    assert_eq!(
        (&asked["type"], &asked["said"]),
        (&json!("SRV"), &json!("NOERROR"))
    );
    assert_eq!(asked["protocol"], "UDP");
    assert_eq!(asked["answers"][0]["ttl_seconds"], 5);

    let (code, out, _) = resolve(&dns, &["nosuch.default", "--json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        code, 1,
        "the last name asked is not of the cluster, and is refused"
    );
    assert_eq!(said["error"]["kind"], "server_failure");
    assert!(said["hints"][0].is_string());
}

#[tokio::test]
async fn resolve_watches_two_services_and_shows_changes_as_they_happen() {
    let dns = two_pods().await;
    let replica = PodSpec::ready("db-secondary-0", [10, 244, 2, 0]);
    let service = ServiceSpec::new("default", "db-secondary").unnamed_port(3306);
    dns.set_service(service.pod(replica));
    // The next look-up is after the least interval, which is a second.
    dns.set_ttl(Duration::ZERO);
    let server = dns.addr().to_string();
    let search = "default.svc.cluster.local,svc.cluster.local,cluster.local";
    let mut child = Command::new(client())
        .args([
            "resolve",
            "mysql-0.mysql",
            "--replica-service",
            "db-secondary",
            "--json",
        ])
        .args([
            "--watch",
            "--look-ups",
            "4",
            "--server",
            &server,
            "--search",
            search,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || -> Value {
        let line = lines.next_line().await.unwrap().expect("another event");
        serde_json::from_str(&line).unwrap()
    };
    let first = next().await;
    assert_eq!(first["event"], "look_up");
    let host = "db-secondary-0.db-secondary.default.svc.cluster.local";
    assert_eq!(first["pods"][1]["host"], host);
    assert_eq!(first["pods"][1]["ordinal"], 1);

    dns.set_pod_address("default", "mysql", "mysql-0", [10, 244, 9, 9])
        .unwrap();
    let (one, other) = (next().await, next().await);
    let mut kinds = [&one, &other].map(|event| event["change"].as_str().unwrap());
    kinds.sort_unstable();
    assert_eq!(kinds, ["absent", "added"]);
    assert_eq!(one["time"].as_str().unwrap().len(), "12:34:56.789".len());
    dns.set_fault(Some(Fault::Refused));
    let failed = next().await;
    assert_eq!(failed["event"], "failed");
    assert_eq!(failed["error"]["kind"], "server_failure");
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
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
    assert_eq!(said.matches("refused the login").count(), 1, "{said}");
}

/// As in `mysql_client ... | head -1`: `head` may be gone before the first line, or after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_leaves_ends_the_program_without_a_word() {
    let stage = stage().await;
    let server = stage.dns.addr().to_string();
    let (user, password) = (stage.lab.user(), stage.lab.password());
    let url = format!("mysql://{user}:{password}@{SERVICE}");
    let table: [&[&str]; 6] = [
        &["query", &url, "SELECT 1", "--server", &server],
        &["resolve", SERVICE, "--server", &server],
        &["resolve", SERVICE, "--server", &server, "--json"],
        &["resolve", SERVICE, "--server", &server, "--watch"],
        &["demo", "--seconds", "4"],
        // The last, since its reader leaves later and the Service goes.
        &["resolve", SERVICE, "--server", &server, "--watch", "--json"],
    ];
    for arguments in table {
        let mut child = Command::new(client())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        if arguments.ends_with(&["--watch", "--json"]) {
            let mut lines = BufReader::new(output).lines();
            lines.next_line().await.unwrap().unwrap();
            drop(lines);
            // It notices when it has something to say.
            stage.dns.remove_service("default", "mysql");
        } else {
            drop(output);
        }
        let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output());
        let output = ended.await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), &*said),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}
