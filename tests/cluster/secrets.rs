//! Passwords and keys never appear in printed output.

use crate::double::impostors;
use crate::staged::Staged as _;
use crate::support::{lab, stage};
use headless_mysql::config::{ReplicaPolicy, SslMode};
use headless_mysql::discovery::FixedList;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Config, Error};
use headless_mysql_testkit::dns::Fault;
use headless_mysql_testkit::lab::Authority;
use headless_mysql_testkit::stage::Stage;
use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Level};
use tracing_subscriber::fmt::MakeWriter;

const PASSWORD: &str = "correcthorse7319battery";
const WRONG: &str = "stapler8204incorrect";

/// All printed output, for a search.
#[derive(Clone, Default)]
pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// Records what this thread logs, until the returned guard is dropped.
    pub(crate) fn record(&self, level: Level) -> (DefaultGuard, Dispatch) {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(self.clone())
            .finish();
        // `tracing` caches for each event whether any subscriber wants it. With a single
        // subscriber, the answer for another test's thread, which has none, would be cached.
        let company = Dispatch::new(tracing_subscriber::registry());
        (tracing::subscriber::set_default(subscriber), company)
    }

    fn show(&self, thing: &impl Debug) {
        writeln!(self.0.lock().unwrap(), "{thing:?}\n{thing:#?}").unwrap();
    }

    fn show_error(&self, error: &Error) {
        self.show(error);
        let mut next: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = next {
            writeln!(self.0.lock().unwrap(), "{error}\n{error:?}").unwrap();
            next = error.source();
        }
    }

    #[track_caller]
    fn assert_clean(&self, what: &str, secrets: &[&str]) {
        // A byte list may be printed with one byte per line.
        let text: String = self.text().split_whitespace().collect();
        for secret in secrets {
            let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            for form in [*secret, &bytes.join(","), &hex] {
                let at = text.find(form);
                let around = at.map(|at| &text[at.saturating_sub(200)..at]);
                assert!(at.is_none(), "in {what}, after {around:?}");
            }
        }
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Paper {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Uses and prints one of each kind of object that a user can hold, while everything works.
async fn succeed(stage: &Stage, config: Config, seen: &Paper) -> Cluster {
    let url = format!(
        "mysql://secretive:{PASSWORD}@{}/{}",
        stage.service(),
        stage.lab.database()
    );
    seen.show(&headless_mysql::url::parse(&url).unwrap());
    seen.show(&config);
    seen.show(&Cluster::builder(config.clone()));
    let builder = Cluster::builder(config);
    let cluster = builder.connect().await.unwrap();
    seen.show(&cluster);
    for route in [cluster.primary(), cluster.replicas()] {
        seen.show(&route);
        let mut conn = route.conn().await.unwrap();
        seen.show(&conn);
        let _: Vec<u8> = conn.query("SELECT 1").await.unwrap();
        seen.show(&conn);
    }
    let mut tx = cluster.begin().await.unwrap();
    tx.query_drop("DO 1").await.unwrap();
    seen.show(&tx);
    seen.show(&tx.commit().await.unwrap());
    seen.show(&cluster.status());
    cluster
}

async fn fail(stage: &Stage, config: Config, seen: &Paper) {
    let quick = Duration::from_millis(200);
    let patient = config.clone();
    let config = config
        .with_connect_timeout(Duration::from_millis(60))
        .with_checkout_timeout(quick)
        .with_connect_wait(quick);
    let address = (stage.lab.address(0), stage.lab.port()).into();
    let builder = |config: Config| Cluster::builder(config).resolver(FixedList::new([address]));

    // Refused logins.
    let refused = [
        config.clone().with_password(WRONG),
        config.clone().with_user("nobody"),
        config.clone().with_database("nosuch"),
    ];
    for config in refused {
        let cluster = builder(config).connect().await.unwrap();
        seen.show_error(&cluster.primary().query_drop("DO 1").await.unwrap_err());
        seen.show_error(&cluster.begin().await.unwrap_err());
        seen.show(&cluster.status());
    }
    // Addresses that are not MySQL servers.
    for (_, address, double) in impostors(stage).await {
        let list = FixedList::new([address]);
        let builder = Cluster::builder(config.clone()).resolver(list);
        seen.show(&builder);
        let cluster = builder.connect().await.unwrap();
        seen.show_error(&cluster.primary().query_drop("DO 1").await.unwrap_err());
        let only = cluster.replicas().policy(ReplicaPolicy::ReplicaOnly);
        seen.show_error(&only.query_drop("DO 1").await.unwrap_err());
        seen.show(&cluster.status());
        drop(double);
    }
    // Invalid names and URLs.
    let nosuch = config.clone().with_service("nosuch");
    seen.show_error(&Cluster::builder(nosuch).connect().await.unwrap_err());
    let bad = config.clone().with_service("no_such");
    seen.show_error(&Cluster::builder(bad).lazy().unwrap_err());
    let nul = config.clone().with_password(format!("{PASSWORD}\0"));
    seen.show_error(&Cluster::builder(nul).lazy().unwrap_err());
    for url in [
        format!("mysql://app:{PASSWORD}@/x"),
        format!("mysql://app:{PASSWORD}%zz@mysql"),
        format!("mysql://app:{PASSWORD}/@mysql"),
        format!("mysql:app:{PASSWORD}@mysql"),
        PASSWORD.to_owned(),
        format!("mysql://app:{PASSWORD}@mysql:port"),
        format!("mysql://app:{PASSWORD}@mysql?verify=x"),
        format!("mysql://app@mysql?password={PASSWORD}"),
    ] {
        seen.show_error(&Cluster::lazy(url).unwrap_err());
    }
    // A DNS server that fails.
    stage.dns.set_fault(Some(Fault::ServFail));
    seen.show_error(
        &Cluster::builder(config.clone())
            .connect()
            .await
            .unwrap_err(),
    );
    stage.dns.set_fault(None);

    // Statements that are refused, lost, late or cut off, and a server that dies.
    let cluster = builder(patient).connect().await.unwrap();
    let primary = || cluster.primary();
    seen.show_error(&primary().query_drop("NONSENSE").await.unwrap_err());
    let late = primary().deadline(Duration::from_millis(100));
    seen.show_error(&late.query_drop("DO SLEEP(5)").await.unwrap_err());
    let converted = primary().query::<u8>("SELECT 'text'").await;
    seen.show_error(&converted.unwrap_err());
    let missing = primary().exec_drop("SELECT ?", ()).await;
    seen.show_error(&missing.unwrap_err());
    let mut held = primary().conn().await.unwrap();
    let mut tx = cluster.begin().await.unwrap();
    tx.query_drop("DO 1").await.unwrap();
    stage.lab.kill(0).await.unwrap();
    seen.show_error(&held.query_drop("DO 1").await.unwrap_err().into());
    seen.show_error(&held.query_drop("DO 1").await.unwrap_err().into());
    seen.show(&held);
    seen.show_error(&tx.commit().await.unwrap_err());
    let gone = primary().deadline(quick);
    seen.show_error(&gone.query_drop("DO 1").await.unwrap_err());
    seen.show(&cluster.status());
    let timeout = cluster.shutdown(Duration::ZERO).await;
    seen.show_error(&timeout.unwrap_err());
    seen.show_error(&primary().query_drop("DO 1").await.unwrap_err());
    seen.show(&cluster);
}

/// A single-threaded runtime, so that one thread's subscriber receives the events of every task.
#[tokio::test(flavor = "current_thread")]
async fn the_password_is_in_no_log_line_no_debug_output_and_no_error() {
    let stage = stage(1).await;
    let mut root = stage.lab.admin(0).await.unwrap();
    for statement in [
        format!("CREATE USER secretive@'%' IDENTIFIED BY '{PASSWORD}'"),
        "GRANT ALL ON app.* TO secretive@'%'".to_owned(),
    ] {
        root.query_drop(statement).await.unwrap();
    }
    let caught_up = stage.lab.wait_for_replication(Duration::from_secs(10));
    caught_up.await.unwrap();
    let config = stage
        .config()
        .with_user("secretive")
        .with_password(PASSWORD);

    let (logged, seen) = (Paper::default(), Paper::default());
    let recording = logged.record(Level::TRACE);
    let cluster = succeed(&stage, config.clone(), &seen).await;
    fail(&stage, config, &seen).await;
    drop(cluster);
    drop(recording);

    // Both outputs must have content, or the search proves nothing.
    let text = logged.text();
    for word in ["topology changed", "endpoint failed", "TRACE", "hickory"] {
        assert!(text.contains(word), "{word} was not logged");
    }
    assert!(seen.text().contains("***"));
    logged.assert_clean("the log", &[PASSWORD, WRONG]);
    seen.assert_clean("what was shown", &[PASSWORD, WRONG]);
}

/// Uses and prints everything that a user can hold of a cluster with this configuration. Returns
/// whether a call succeeds.
async fn try_out(config: &Config, seen: &Paper) -> bool {
    let quick = Duration::from_millis(700);
    let config = config.clone().with_checkout_timeout(quick);
    let builder = Cluster::builder(config.clone());
    seen.show(&(&config, &builder));
    let cluster = builder.connect().await.unwrap();
    let done = cluster.primary().query_drop("DO 1").await;
    match cluster.primary().conn().await {
        Ok(conn) => seen.show(&conn),
        Err(error) => seen.show_error(&error),
    }
    match cluster.begin().await {
        Ok(tx) => seen.show(&tx),
        Err(error) => seen.show_error(&error),
    }
    seen.show(&(&cluster, cluster.status(), cluster.primary()));
    if let Err(error) = &done {
        seen.show_error(error);
    }
    done.is_ok()
}

#[tokio::test(flavor = "current_thread")]
async fn what_files_hold_is_in_no_log_line_no_debug_output_and_no_error() {
    let authority = Authority::new("the test's authority").unwrap();
    let stranger = Authority::new("a stranger").unwrap();
    let server = authority.issue_for_pod("mysql", 0).unwrap();
    let tls = lab().replicas(0).tls(0, server, authority.pem());
    let stage = Stage::with(tls).await.unwrap();
    let mut root = stage.lab.admin(0).await.unwrap();
    let user = format!("CREATE USER secretive@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE X509");
    root.query_drop(user).await.unwrap();
    root.query_drop("GRANT ALL ON app.* TO secretive@'%'")
        .await
        .unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let client = authority.issue(["client"]).unwrap();
    let other = stranger.issue(["client"]).unwrap();
    let password = file("password", PASSWORD);
    let wrong = file("wrong", WRONG);
    let ca = file("ca", authority.pem());
    let others_ca = file("others_ca", stranger.pem());
    let (cert, key) = (file("cert", &client.cert), file("key", &client.key));
    let (others_cert, others_key) = (file("c", &other.cert), file("k", &other.key));
    let broken = file("broken", &client.key.replace("PRIVATE", "PRIVY"));

    let (logged, seen) = (Paper::default(), Paper::default());
    let recording = logged.record(Level::TRACE);
    let config = stage
        .config()
        .with_user("secretive")
        .with_password("")
        .with_password_file(&password)
        .with_ssl_mode(SslMode::VerifyIdentity)
        .with_ssl_ca(&ca)
        .with_ssl_identity(&cert, &key);
    assert!(try_out(&config, &seen).await, "{}", seen.text());
    let failing = [
        config.clone().with_password_file(&wrong),
        config.clone().with_password_file(folder.path()),
        config.clone().with_ssl_ca(&others_ca),
        config.clone().with_ssl_ca(&key),
        config.clone().with_ssl_ca(&password),
        config.clone().with_tls_name("another.name"),
        config.clone().with_ssl_identity(&others_cert, &others_key),
        config.clone().with_ssl_identity(&cert, &others_key),
        config.clone().with_ssl_identity(&cert, &broken),
        config.clone().with_ssl_identity(&cert, &password),
        config.clone().with_ssl_identity(&key, &key),
    ];
    for (n, config) in failing.iter().enumerate() {
        assert!(!try_out(config, &seen).await, "{n}: {config:?}");
    }
    seen.show(&(&authority, &client, &stage));
    drop(recording);

    // The first line after the banner identifies a key.
    let line = |key: &str| key.lines().nth(1).unwrap().to_owned();
    let (ours, others) = (line(&client.key), line(&other.key));
    assert!(ours.len() == 64 && logged.text().contains("TRACE"));
    let secrets = [PASSWORD, WRONG, &ours, &others];
    logged.assert_clean("the log", &secrets);
    seen.assert_clean("what was shown", &secrets);
}
