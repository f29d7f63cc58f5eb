//! TLS: what each `sslmode` promises, with certificates from the test's own authorities.

use crate::double::greeting;
use crate::staged::Staged as _;
use crate::support::{eventually, lab, server, stage};
use headless_mysql::config::{ReplicaPolicy, SslMode};
use headless_mysql::discovery::FixedList;
use headless_mysql::error::{ConnectError, FileProblem, TlsProblem};
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Config, Error, Route};
use headless_mysql_testkit::lab::{Authority, Identity, LabBuilder, Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

const SHORT: Duration = Duration::from_secs(1);
const SERVICE: &str = "mysql.default.svc.cluster.local";

/// An authority, with its certificate in a file.
struct Trust {
    authority: Authority,
    folder: TempDir,
}

impl Trust {
    fn new() -> Self {
        let authority = Authority::new("the test's authority").unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Self { authority, folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A lab whose servers each have a valid certificate.
    fn lab(&self, replicas: u32) -> LabBuilder {
        let identity = |n| self.authority.issue_for_pod("mysql", n).unwrap();
        (0..=replicas).fold(lab().replicas(replicas), |lab, n| {
            lab.tls(n, identity(n), self.authority.pem())
        })
    }

    fn config(&self, stage: &Stage, mode: SslMode) -> Config {
        let config = stage
            .config()
            .with_ssl_mode(mode)
            .with_checkout_timeout(SHORT * 5);
        match mode {
            SslMode::VerifyCa | SslMode::VerifyIdentity => config.with_ssl_ca(self.ca()),
            _ => config,
        }
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn with_identity(&self, config: Config, identity: &Identity) -> Config {
        let cert = self.write("client.pem", &identity.cert);
        let key = self.write("client.key", &identity.key);
        config.with_ssl_identity(cert, key)
    }
}

/// A server without TLS. MySQL offers TLS unless an option disables it, and then it cannot
/// replicate.
fn plain_lab() -> LabBuilder {
    match server() {
        ServerKind::MySql => lab()
            .replicas(0)
            .server_option(Nodes::All, "--tls-version="),
        _ => lab().replicas(0),
    }
}

async fn connect(config: Config) -> Cluster {
    Cluster::builder(config).connect().await.unwrap()
}

/// The session's cipher on the server; empty without TLS.
async fn cipher(route: Route) -> Result<String, Error> {
    let status = route.query_first("SHOW STATUS LIKE 'Ssl_cipher'").await?;
    let (_, cipher): (String, String) = status.unwrap();
    Ok(cipher)
}

async fn refusal(route: Route) -> String {
    let error = route.deadline(SHORT).query_drop("DO 1").await.unwrap_err();
    error.to_string()
}

const MODES: [SslMode; 5] = [
    SslMode::Disabled,
    SslMode::Preferred,
    SslMode::Required,
    SslMode::VerifyCa,
    SslMode::VerifyIdentity,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_servers_with_tls_every_mode_but_disabled_is_encrypted() {
    let trust = Trust::new();
    let stage = Stage::with(trust.lab(1)).await.unwrap();
    for mode in MODES {
        let cluster = connect(trust.config(&stage, mode)).await;
        for route in [cluster.primary(), cluster.replicas()] {
            let cipher = cipher(route).await.unwrap();
            assert_eq!(cipher.is_empty(), mode == SslMode::Disabled, "{mode:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_servers_without_tls_only_disabled_and_preferred_connect() {
    let trust = Trust::new();
    let stage = Stage::with(plain_lab()).await.unwrap();
    for mode in MODES {
        let cluster = connect(trust.config(&stage, mode)).await;
        for route in [cluster.primary(), cluster.replicas()] {
            if matches!(mode, SslMode::Disabled | SslMode::Preferred) {
                assert_eq!(cipher(route).await.unwrap(), "", "{mode:?}");
            } else {
                let said = refusal(route).await;
                assert!(said.contains("the server offers none"), "{mode:?}: {said}");
                assert!(said.contains("mysql-0 ("), "{mode:?}: {said}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_offers_no_tls_is_told_nothing_when_it_is_demanded() {
    let trust = Trust::new();
    let stage = Stage::with(plain_lab()).await.unwrap();
    let greeting = greeting(&stage).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, mut heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut heard = Vec::new();
            socket.write_all(&greeting).await.unwrap();
            let _ = socket.read_to_end(&mut heard).await;
            tell.send(heard).unwrap();
        }
    });
    let config = trust.config(&stage, SslMode::Required);
    let builder = Cluster::builder(config).resolver(FixedList::new([address]));
    let cluster = builder.connect().await.unwrap();
    let said = refusal(cluster.primary()).await;
    assert!(said.contains("the server offers none"), "{said}");
    assert_eq!(heard.recv().await.unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_demands_tls_is_told_or_given_it() {
    let trust = Trust::new();
    let stage = Stage::with(trust.lab(0)).await.unwrap();
    let mut root = stage.lab.admin(0).await.unwrap();
    root.query_drop(DEMAND).await.unwrap();
    let disabled = connect(trust.config(&stage, SslMode::Disabled)).await;
    let said = refusal(disabled.primary()).await;
    let words = match server() {
        ServerKind::MySql => "the server demands it",
        // The error says no more than this.
        _ => "refused the login",
    };
    assert!(said.contains(words), "{said}");
    let preferred = connect(trust.config(&stage, SslMode::Preferred)).await;
    assert_ne!(cipher(preferred.primary()).await.unwrap(), "");
}

const DEMAND: &str = "SET GLOBAL require_secure_transport = ON";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preferring_client_takes_up_tls_when_the_server_begins_to_demand_it() {
    let trust = Trust::new();
    let stage = Stage::with(plain_lab()).await.unwrap();
    let cluster = connect(trust.config(&stage, SslMode::Preferred)).await;
    assert_eq!(cipher(cluster.primary()).await.unwrap(), "");
    if server() == ServerKind::MySql {
        // The server's options disable TLS permanently.
        return;
    }
    let identity = trust.authority.issue_for_pod("mysql", 0).unwrap();
    stage
        .lab
        .set_certificate(0, identity, trust.authority.pem());
    stage.lab.restart(0).await.unwrap();
    let mut root = stage.lab.admin(0).await.unwrap();
    root.query_drop(DEMAND).await.unwrap();
    eventually("it is used with TLS", async || {
        cipher(cluster.primary())
            .await
            .is_ok_and(|cipher| !cipher.is_empty())
    })
    .await;
}

/// The ids of the servers that answer this many reads.
async fn seen(cluster: &Cluster, reads: usize) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    for _ in 0..reads {
        let only = cluster.replicas().policy(ReplicaPolicy::ReplicaOnly);
        let id = only.query_first("SELECT @@server_id").await;
        seen.insert(id.unwrap_or_else(|error| panic!("{error}")).unwrap());
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_certificate_has_its_own_error_and_keeps_only_its_pod_away() {
    let trust = Trust::new();
    // An authority of the same name is still another authority.
    let stranger = Authority::new("the test's authority").unwrap();
    let names = |n: u32| [format!("mysql-{n}.{SERVICE}")];
    let authority = &trust.authority;
    let lab = trust
        .lab(5)
        // The certificate of another pod.
        .tls(
            1,
            authority.issue_for_pod("mysql", 2).unwrap(),
            authority.pem(),
        )
        .tls(
            2,
            authority.issue_expired(names(2)).unwrap(),
            authority.pem(),
        )
        .tls(
            3,
            stranger.issue_for_pod("mysql", 3).unwrap(),
            authority.pem(),
        )
        .tls(
            4,
            authority.issue_not_yet_valid(names(4)).unwrap(),
            authority.pem(),
        );
    let stage = Stage::with(lab).await.unwrap();

    let config = trust.config(&stage, SslMode::VerifyIdentity);
    let cluster = connect(config).await;
    assert_eq!(seen(&cluster, 60).await, BTreeSet::from([6]));
    cluster.primary().query_drop("DO 1").await.unwrap();
    // The name does not matter with this mode.
    let cluster = connect(trust.config(&stage, SslMode::VerifyCa)).await;
    assert_eq!(seen(&cluster, 60).await, BTreeSet::from([2, 6]));
    // Nothing is verified with this mode.
    let cluster = connect(trust.config(&stage, SslMode::Required)).await;
    let all = BTreeSet::from([2, 3, 4, 5, 6]);
    assert_eq!(seen(&cluster, 300).await, all);

    stage.lab.stop(5).await.unwrap();
    let cluster = connect(trust.config(&stage, SslMode::VerifyIdentity)).await;
    // If no pod can be verified, each call fails at once with the error of one of them.
    let mut said = String::new();
    let begun = Instant::now();
    for _ in 0..100 {
        said += &refusal(cluster.replicas().policy(ReplicaPolicy::ReplicaOnly)).await;
    }
    // No call waited for its deadline.
    assert!(begun.elapsed() < 20 * SHORT, "{:?}", begun.elapsed());
    for (n, problem) in [
        (1, TlsProblem::WrongName),
        (2, TlsProblem::Expired),
        (3, TlsProblem::UnknownAuthority),
        (4, TlsProblem::NotYetValid),
    ] {
        let address = stage.lab.address(n);
        let words = format!("no TLS with mysql-{n} ({address}:3306): {problem}");
        assert!(said.contains(&words), "{words}: {said}");
    }
    // The error names the certificate's name and the expected one.
    for n in [1, 2] {
        assert!(said.contains(&format!("mysql-{n}.{SERVICE}")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_with_another_name_than_the_pods_is_accepted_by_its_template() {
    let trust = Trust::new();
    let issue = |name: String| trust.authority.issue([name]).unwrap();
    let ca = trust.authority.pem();
    let wildcard = issue(format!("*.{SERVICE}"));
    let lab = lab()
        .replicas(2)
        .tls(0, issue(SERVICE.to_owned()), ca)
        .tls(1, wildcard, ca)
        .tls(2, issue("mysql-2.db.example.com".to_owned()), ca);
    let stage = Stage::with(lab).await.unwrap();
    let config = || trust.config(&stage, SslMode::VerifyIdentity);
    for (template, good) in [
        (None, 1),
        (Some("{host}"), 1),
        (Some("{service}"), 0),
        (Some(SERVICE), 0),
        (Some("{pod}.db.example.com"), 2),
    ] {
        let config = match template {
            None => config(),
            Some(template) => config().with_tls_name(template),
        };
        let cluster = connect(config).await;
        let any = cluster.replicas().policy(ReplicaPolicy::Any);
        let id: Option<u32> = any.query_first("SELECT @@server_id").await.unwrap();
        assert_eq!(id, Some(good + 1), "{template:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_requires_a_certificate_is_used_with_one_and_not_without() {
    let trust = Trust::new();
    let stage = Stage::with(trust.lab(0)).await.unwrap();
    let mut root = stage.lab.admin(0).await.unwrap();
    let require = "ALTER USER app@'%' REQUIRE X509";
    root.query_drop(require).await.unwrap();
    let config = || trust.config(&stage, SslMode::VerifyIdentity);

    let cluster = connect(config()).await;
    let error = cluster.primary().query_drop("DO 1").await.unwrap_err();
    assert!(
        matches!(error, Error::Connect(ConnectError::AccessDenied { .. })),
        "{error:?}"
    );

    let client = trust.authority.issue(["client"]).unwrap();
    let cluster = connect(trust.with_identity(config(), &client)).await;
    assert_ne!(cipher(cluster.primary()).await.unwrap(), "");
    drop(cluster);

    let stranger = Authority::new("a stranger").unwrap();
    let client = stranger.issue(["client"]).unwrap();
    let cluster = connect(trust.with_identity(config(), &client)).await;
    let said = refusal(cluster.primary()).await;
    let words = TlsProblem::ClientCertificate.to_string();
    assert!(said.contains(&words), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_used_is_told_at_once_by_its_option_and_path() {
    let trust = Trust::new();
    let stage = stage(0).await;
    let text = trust.write("text", "no certificate");
    let missing = trust.folder.path().join("missing");
    let told = async |config: Config, wanted: (&str, &Path, FileProblem)| {
        let cluster = connect(config).await;
        let error = cluster.primary().query_drop("DO 1").await.unwrap_err();
        let Error::Connect(ConnectError::File {
            option,
            path,
            problem,
            ..
        }) = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!((*option, path.as_path(), *problem), wanted);
        let said = error.to_string();
        assert!(said.contains(&wanted.1.display().to_string()), "{said}");
    };
    let ca = |path: &Path| stage.config().with_ssl_ca(path);
    told(ca(&missing), ("ssl_ca", &missing, FileProblem::Unreadable)).await;
    told(ca(&text), ("ssl_ca", &text, FileProblem::NotPem)).await;
    let identity = stage
        .config()
        .with_ssl_mode(SslMode::Required)
        .with_ssl_identity(trust.ca(), &text);
    told(identity, ("ssl_key", &text, FileProblem::NotPem)).await;
    let password = stage
        .config()
        .with_password("")
        .with_password_file(&missing);
    told(
        password,
        ("password_file", &missing, FileProblem::Unreadable),
    )
    .await;
}

/// The certificate has no names at all, so only its authority can be verified.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_that_mysql_makes_itself_is_good_for_verify_ca() {
    if server() != ServerKind::MySql {
        return;
    }
    let stage = stage(0).await;
    let ca = stage.lab.directory().join("mysql-0/data/ca.pem");
    let config = |mode| stage.config().with_ssl_mode(mode).with_ssl_ca(&ca);
    let cluster = connect(config(SslMode::VerifyCa)).await;
    assert_ne!(cipher(cluster.primary()).await.unwrap(), "");
    let cluster = connect(config(SslMode::VerifyIdentity)).await;
    let said = refusal(cluster.primary()).await;
    assert!(said.contains(&TlsProblem::WrongName.to_string()), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_gets_tls_later_is_found_out_by_the_next_pool() {
    let trust = Trust::new();
    let stage = Stage::with(plain_lab()).await.unwrap();
    let cluster = connect(trust.config(&stage, SslMode::VerifyIdentity)).await;
    let said = refusal(cluster.primary()).await;
    assert!(said.contains("the server offers none"), "{said}");
    if server() == ServerKind::MySql {
        // The server's options disable TLS permanently.
        return;
    }
    let identity = trust.authority.issue_for_pod("mysql", 0).unwrap();
    let ca = trust.authority.pem();
    stage.lab.set_certificate(0, identity, ca);
    stage.lab.restart(0).await.unwrap();
    eventually("the server is used with TLS", async || {
        cipher(cluster.primary())
            .await
            .is_ok_and(|cipher| !cipher.is_empty())
    })
    .await;
}
