//! Passwords and certificates that are replaced in Kubernetes' way while the cluster is used.

use crate::staged::Staged as _;
use crate::support::{PATIENCE, eventually, lab, replicated, server, stage};
use headless_mysql::config::SslMode;
use headless_mysql::error::{ConnectError, TlsProblem};
use headless_mysql::mysql_async::Conn;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Config, Error};
use headless_mysql_testkit::lab::{Authority, ServerKind};
use headless_mysql_testkit::stage::Stage;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A folder whose file is a link through `..data` into a folder that is replaced as a whole, like a
/// mounted Kubernetes Secret.
struct Mount {
    folder: TempDir,
    generation: usize,
}

impl Mount {
    fn new(content: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink("..data/secret", folder.path().join("secret")).unwrap();
        let mut mount = Self {
            folder,
            generation: 0,
        };
        mount.exchange(content);
        mount
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    fn exchange(&mut self, content: &str) {
        self.generation += 1;
        let (folder, name) = (self.folder.path(), format!("..{}", self.generation));
        fs::create_dir(folder.join(&name)).unwrap();
        fs::write(folder.join(&name).join("secret"), content).unwrap();
        symlink(&name, folder.join("..tmp")).unwrap();
        fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
    }
}

/// A stage with a separate account for the test.
async fn with_account(replicas: u32, password: &str) -> (Stage, Conn) {
    let stage = stage(replicas).await;
    let mut root = stage.lab.admin(0).await.unwrap();
    for statement in [
        format!("CREATE USER rotor@'%' IDENTIFIED BY '{password}'"),
        "GRANT ALL ON app.* TO rotor@'%'".to_owned(),
        "CREATE TABLE app.ticks (id BIGINT PRIMARY KEY AUTO_INCREMENT)".to_owned(),
    ] {
        root.query_drop(statement).await.unwrap();
    }
    replicated(&stage).await;
    (stage, root)
}

fn config(stage: &Stage, mount: &Mount) -> Config {
    let config = stage.config().with_user("rotor").with_password("");
    config.with_password_file(mount.path())
}

/// Writers and readers that use more and more connections, so that new logins are always needed.
struct Load {
    cluster: Cluster,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: JoinSet<Result<(), Error>>,
}

impl Load {
    fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            stop: Arc::default(),
            done: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    fn grow(&mut self, by: usize) {
        for n in 0..by {
            let (cluster, stop) = (self.cluster.clone(), Arc::clone(&self.stop));
            let done = Arc::clone(&self.done);
            self.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if n % 2 == 0 {
                        let insert = "INSERT INTO ticks VALUES (DEFAULT)";
                        cluster.primary().query_drop(insert).await?;
                    } else {
                        cluster.replicas().query_drop("DO SLEEP(0.01)").await?;
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
    }

    async fn go_on(&self, time: Duration) {
        let before = self.done.load(Ordering::Relaxed);
        tokio::time::sleep(time).await;
        eventually("something moves", async || {
            self.done.load(Ordering::Relaxed) > before
        })
        .await;
    }

    /// Stops the load and checks that every call succeeded.
    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

async fn alter(root: &mut Conn, password: &str) {
    let alter = format!("ALTER USER rotor@'%' IDENTIFIED BY '{password}'");
    root.query_drop(alter).await.unwrap();
}

const STEP: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_changes_in_the_file_first_costs_no_call_under_load() {
    let (stage, mut root) = with_account(2, "first").await;
    let mut mount = Mount::new("first\n");
    let mut load = Load::new(
        Cluster::builder(config(&stage, &mount))
            .connect()
            .await
            .unwrap(),
    );
    load.grow(2);
    load.go_on(STEP).await;
    mount.exchange("second\n");
    load.grow(4);
    load.go_on(STEP).await;
    // More connections than exist, so new logins use the password that the file no longer contains.
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(load.cluster.primary().conn().await.unwrap());
    }
    drop(held);
    alter(&mut root, "second").await;
    load.grow(6);
    load.go_on(STEP).await;
    load.end().await;
    the_file_holds(&stage, &mount, "first").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_changes_on_the_servers_first_costs_no_call_under_load() {
    let (stage, mut root) = with_account(2, "first").await;
    let mut mount = Mount::new("first\n");
    let mut load = Load::new(
        Cluster::builder(config(&stage, &mount))
            .connect()
            .await
            .unwrap(),
    );
    load.grow(2);
    load.go_on(STEP).await;
    alter(&mut root, "second").await;
    load.grow(4);
    load.go_on(STEP).await;
    mount.exchange("second\n");
    load.grow(6);
    load.go_on(STEP).await;
    load.end().await;
    the_file_holds(&stage, &mount, "first").await;
}

/// Checks that new clusters can log in with the file, but not with the old password.
async fn the_file_holds(stage: &Stage, mount: &Mount, old: &str) {
    replicated(stage).await;
    let fresh = Cluster::builder(config(stage, mount))
        .connect()
        .await
        .unwrap();
    fresh.replicas().query_drop("DO 1").await.unwrap();
    let old = stage.config().with_user("rotor").with_password(old);
    let old = Cluster::builder(old).connect().await.unwrap();
    let error = old.primary().query_drop("DO 1").await.unwrap_err();
    assert!(
        matches!(error, Error::Connect(ConnectError::AccessDenied { .. })),
        "{error:?}"
    );
}

/// The number of connection attempts on all servers, from all accounts.
async fn attempts(roots: &mut [Conn]) -> u64 {
    let mut sum = 0;
    for root in roots {
        let status = "SHOW GLOBAL STATUS LIKE 'Connections'";
        let (_, count): (String, u64) = root.query_first(status).await.unwrap().unwrap();
        sum += count;
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_once_at_each_pod_by_all_callers_and_a_mended_one_at_once() {
    let (stage, root) = with_account(2, "right").await;
    let mut roots = vec![root];
    for n in 1..3 {
        roots.push(stage.lab.admin(n).await.unwrap());
    }
    // Three wrong passwords lock the account. Each server counts separately.
    match server() {
        ServerKind::MySql => {
            let lock = "ALTER USER rotor@'%' FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME 1";
            roots[0].query_drop(lock).await.unwrap();
        }
        _ => {
            for root in &mut roots {
                let lock = "SET GLOBAL max_password_errors = 3";
                root.query_drop(lock).await.unwrap();
            }
        }
    }
    replicated(&stage).await;
    // Replication has made its connections by now, so the count below includes them.
    let before = attempts(&mut roots).await;
    let mut mount = Mount::new("wrong");
    let cluster = Cluster::builder(config(&stage, &mount))
        .connect()
        .await
        .unwrap();
    let end = Instant::now() + Duration::from_secs(3);
    let callers = (0..8).map(|n| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            while Instant::now() < end {
                let started = Instant::now();
                let call = match n % 2 {
                    0 => cluster.primary().query_drop("DO 1").await,
                    _ => cluster.replicas().query_drop("DO 1").await,
                };
                slowest = slowest.max(started.elapsed());
                let error = call.unwrap_err();
                assert!(
                    matches!(error, Error::Connect(ConnectError::AccessDenied { .. })),
                    "{error:?}"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            slowest
        })
    });
    let callers: Vec<_> = callers.collect();
    for caller in callers {
        // At once, rather than after the checkout timeout of five seconds.
        assert!(caller.await.unwrap() < Duration::from_secs(2));
    }
    assert_eq!(attempts(&mut roots).await - before, 3);

    mount.exchange("right");
    let started = Instant::now();
    cluster.primary().query_drop("DO 1").await.unwrap();
    cluster.replicas().query_drop("DO 1").await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
}

/// A server may restart faster than connections need a ping. With this setting every connection is
/// pinged, so that no call gets one from before the restart.
const AT_ONCE: Duration = Duration::ZERO;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchanged_bundle_of_authorities_is_used_without_a_restart() {
    let (old, new) = (
        Authority::new("old").unwrap(),
        Authority::new("new").unwrap(),
    );
    let lab = lab()
        .replicas(0)
        .tls(0, old.issue_for_pod("mysql", 0).unwrap(), old.pem());
    let stage = Stage::with(lab).await.unwrap();
    let mut mount = Mount::new(old.pem());
    let config = stage
        .config()
        .with_idle_ping_after(AT_ONCE)
        .with_ssl_mode(SslMode::VerifyIdentity)
        .with_ssl_ca(mount.path());
    let cluster = Cluster::builder(config).connect().await.unwrap();
    cluster.primary().query_drop("DO 1").await.unwrap();

    let identity = new.issue_for_pod("mysql", 0).unwrap();
    stage.lab.set_certificate(0, identity, new.pem());
    stage.lab.restart(0).await.unwrap();
    let call = cluster.primary().deadline(Duration::from_secs(1));
    let said = call.query_drop("DO 1").await.unwrap_err().to_string();
    let words = TlsProblem::UnknownAuthority.to_string();
    assert!(said.contains(&words), "{said}");

    mount.exchange(new.pem());
    // A connect that began earlier may still fail one call with the old file.
    eventually("the new file is used", async || {
        let call = cluster.primary().deadline(PATIENCE);
        call.query_drop("DO 1").await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchanged_client_certificate_and_its_key_are_used_without_a_restart() {
    let servers = Authority::new("servers").unwrap();
    let (old, new) = (
        Authority::new("old").unwrap(),
        Authority::new("new").unwrap(),
    );
    let both = |authority: &Authority| {
        let client = authority.issue(["client"]).unwrap();
        format!("{}{}", client.cert, client.key)
    };
    let server = || servers.issue_for_pod("mysql", 0).unwrap();
    let lab = lab().replicas(0).tls(0, server(), old.pem());
    let stage = Stage::with(lab).await.unwrap();
    let mut root = stage.lab.admin(0).await.unwrap();
    let require = "ALTER USER app@'%' REQUIRE X509";
    root.query_drop(require).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca");
    fs::write(&ca, servers.pem()).unwrap();
    // One file contains both, so that both change together.
    let mut mount = Mount::new(&both(&old));
    let config = stage
        .config()
        .with_idle_ping_after(AT_ONCE)
        .with_ssl_mode(SslMode::VerifyIdentity)
        .with_ssl_ca(&ca)
        .with_ssl_identity(mount.path(), mount.path());
    let cluster = Cluster::builder(config).connect().await.unwrap();
    cluster.primary().query_drop("DO 1").await.unwrap();

    // From now on the server accepts client certificates of another authority.
    stage.lab.set_certificate(0, server(), new.pem());
    stage.lab.restart(0).await.unwrap();
    let call = cluster.primary().deadline(Duration::from_secs(1));
    let said = call.query_drop("DO 1").await.unwrap_err().to_string();
    let words = TlsProblem::ClientCertificate.to_string();
    assert!(said.contains(&words), "{said}");

    mount.exchange(&both(&new));
    // A connect that began earlier may still fail one call with the old file.
    eventually("the new file is used", async || {
        let call = cluster.primary().deadline(PATIENCE);
        call.query_drop("DO 1").await.is_ok()
    })
    .await;
}
