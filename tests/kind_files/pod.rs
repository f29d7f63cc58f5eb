//! A pod without Kubernetes: the scripts of the manifests in folders laid out like the container's,
//! on a real server.
//!
//! Owns the folders, the container's process and what the kubelet does with it (starting it again
//! when it ends, running probes and hooks in it). A container is a PID namespace: when its first
//! process ends, all of them do. It must never leave a process behind, however the test ends.

use crate::repository;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::mysql_async::{Conn, OptsBuilder};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

/// For a first boot on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the images have, and no more: a script that needs another program fails here.
const TOOLS: [&str; 26] = [
    "bash", "sh", "env", "awk", "basename", "cat", "chmod", "chown", "cp", "cut", "dirname",
    "expr", "find", "grep", "head", "hostname", "id", "ln", "ls", "mkdir", "rm", "sed", "sleep",
    "sort", "touch", "uname",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    MariaDb,
    MySql,
}

/// What the pods of one StatefulSet share.
pub(crate) struct Set {
    pub(crate) kind: Kind,
    root: TempDir,
    /// The first three bytes of the pods' addresses.
    network: [u8; 3],
}

pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) folder: PathBuf,
    /// How often the container was started again after its process had ended by itself.
    pub(crate) restarts: u32,
    environment: Vec<(String, String)>,
    container: Option<Child>,
}

fn program(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    let found = path.split(':').map(|folder| Path::new(folder).join(name));
    let found = found.into_iter().find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("this machine has no {name}"))
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What runs the MySQL that `tests/fetch-mysql` has unpacked, and its options.
fn mysqld() -> String {
    let named = std::env::var_os("HEADLESS_MYSQL_MYSQLD_PREFIX").filter(|path| !path.is_empty());
    let prefix = named.map(PathBuf::from).unwrap_or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache");
        cache.unwrap_or_else(home).join("headless-mysql/mysql")
    });
    let prefix = prefix.canonicalize().unwrap();
    let loader = fs::read_dir(prefix.join("usr/lib")).unwrap().flatten();
    let loader = loader.map(|entry| entry.path()).find_map(|folder| {
        let files = fs::read_dir(folder).ok()?.flatten();
        let mut files = files.map(|entry| entry.path());
        files.find(|file| file.to_string_lossy().contains("/ld-linux"))
    });
    let prefix = prefix.display();
    let run = match loader {
        Some(loader) => format!(
            "{} --library-path {}:{prefix}/usr/lib/mysql/private {prefix}/usr/sbin/mysqld",
            loader.display(),
            loader.parent().unwrap().display()
        ),
        None => format!("{prefix}/usr/sbin/mysqld"),
    };
    format!("exec {run} --defaults-file=\"$MY_CNF\" --basedir={prefix}/usr \"$@\"\n")
}

// === impl Set ===

impl Set {
    pub(crate) fn new(kind: Kind) -> Self {
        let root = tempfile::Builder::new().prefix("pods-").tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["bin", "config", "initdb.d"] {
            fs::create_dir(at(folder)).unwrap();
        }
        let base = repository("tests/kind/manifests/base");
        let options = match kind {
            Kind::MariaDb => "mariadb-11/mariadb.cnf",
            Kind::MySql => "base/mysql.cnf",
        };
        fs::copy(
            repository("tests/kind/manifests").join(options),
            at("config/server.cnf"),
        )
        .unwrap();
        symlink(base.join("scripts"), at("scripts")).unwrap();
        symlink(base.join("scripts/seed.sh"), at("initdb.d/99-seed.sh")).unwrap();

        for tool in TOOLS {
            symlink(program(tool), at("bin").join(tool)).unwrap();
        }
        let wrap = |name: &str, wrapped: &str| {
            let wrapped = program(wrapped);
            let text = format!(
                "#!/bin/sh\nexec {} --defaults-file=\"$MY_CNF\" \"$@\"\n",
                wrapped.display()
            );
            executable(&at("bin").join(name), &text);
        };
        match kind {
            Kind::MariaDb => {
                for name in ["mariadb", "mariadb-dump", "mariadbd", "mariadb-install-db"] {
                    wrap(name, name);
                }
            }
            Kind::MySql => {
                // The unpacked server comes without a client; MariaDB's speaks to it.
                wrap("mysql", "mariadb");
                executable(&at("bin/mysqld"), &format!("#!/bin/sh\n{}", mysqld()));
            }
        }
        let [b, c] = rand::random::<[u8; 2]>();
        let network = [127, 128 + b % 100, c];
        Self {
            kind,
            root,
            network,
        }
    }

    /// A pod with an empty volume.
    pub(crate) fn pod(&self, ordinal: u8) -> Pod {
        let name = format!("mysql-{ordinal}");
        let folder = self.root.path().join(&name);
        for part in ["data", "state", "conf", "run", "tmp"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        let [a, b, c] = self.network;
        let address = |ordinal: u8| format!("{a}.{b}.{c}.{}", 10 + ordinal);
        let at = |part: &str| folder.join(part).display().to_string();
        // What the image configures, and then what makes the server small and fast.
        let small = match self.kind {
            Kind::MariaDb => "innodb_log_file_size=4M\ninnodb_flush_method=nosync\n",
            Kind::MySql => {
                "secure_file_priv=NULL\ninnodb_redo_log_capacity=8M\ninnodb_use_native_aio=OFF\n\
                 innodb_flush_method=nosync\n"
            }
        };
        let my_cnf = format!(
            "[client]\nsocket={socket}\n[mysqld]\nuser=root\nport=3306\nbind_address={address}\n\
             datadir={data}\nsocket={socket}\npid_file={pid}\ntmpdir={tmp}\n!includedir {conf}\n\
             [mysqld]\nperformance_schema=OFF\ninnodb_buffer_pool_size=16M\n{small}",
            socket = at("run/s"),
            address = address(ordinal),
            data = at("data"),
            pid = at("run/mysqld.pid"),
            // A container has one of its own; a server that starts empties it.
            tmp = at("tmp"),
            conf = at("conf"),
        );
        fs::write(folder.join("my.cnf"), my_cnf).unwrap();
        let root = |part: &str| self.root.path().join(part).display().to_string();
        let environment = [
            ("HOSTNAME", name.clone()),
            ("PATH", root("bin")),
            ("MY_CNF", at("my.cnf")),
            // What the StatefulSet takes from the Secret; no password is without traps.
            ("MYSQL_ROOT_PASSWORD", "root-secret".to_owned()),
            ("REPLICATION_PASSWORD", r"it's a \secret".to_owned()),
            ("APP_PASSWORD", r#"app "secret" #1"#.to_owned()),
            ("PROBE_PASSWORD", "probe$secret".to_owned()),
            // Where the container has them elsewhere.
            ("DATADIR", at("data")),
            ("STATE", at("state")),
            ("CONF", at("conf")),
            ("RUN", at("run")),
            ("CONFIG", root("config")),
            ("SCRIPTS", root("scripts")),
            ("INITDB", root("initdb.d")),
            ("PROBE_HOST", address(ordinal)),
            ("PRIMARY_HOST", address(0)),
            ("PRIMARY_DRAIN", "0.2".to_owned()),
            ("REPLICA_DRAIN", "0.2".to_owned()),
            (
                "ENTRYPOINT",
                repository("tests/kind_files/entrypoint")
                    .display()
                    .to_string(),
            ),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        Pod {
            name,
            address: address(ordinal),
            folder,
            restarts: 0,
            environment: environment.into(),
            container: None,
        }
    }
}

// === impl Pod ===

impl Pod {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command
            .env_clear()
            .envs(environment)
            .stdin(Stdio::null())
            .current_dir(&self.folder);
        command
    }

    fn script(&self, name: &str) -> PathBuf {
        self.folder.join("../scripts").join(name)
    }

    /// Starts the container, as the kubelet does.
    pub(crate) fn start(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let mut command = self.command(program("setpriv"));
        command
            .args(["--pdeathsig", "KILL"])
            .arg(program("unshare"));
        if !root {
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args(["--uts", "--pid", "--fork", "--kill-child", "sh", "-c"])
            .arg("hostname \"$HOSTNAME\" && exec \"$0\"")
            .arg(self.script("start.sh"))
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.container = Some(command.spawn().unwrap());
    }

    /// Starts the container, again when it ends, until the startup probe succeeds.
    pub(crate) async fn boot(&mut self) {
        self.start();
        let give_up = Instant::now() + PATIENCE;
        while !self.probe("live").status.success() {
            if self.has_ended() {
                self.restarts += 1;
                // For the test that did not expect it.
                println!("{} has ended: {}", self.name, self.log());
                assert!(
                    self.restarts < 3,
                    "{} keeps ending: {}",
                    self.name,
                    self.log()
                );
                self.start();
            }
            assert!(Instant::now() < give_up, "{}: {}", self.name, self.log());
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn has_ended(&mut self) -> bool {
        let container = self.container.as_mut().unwrap();
        container.try_wait().unwrap().is_some()
    }

    pub(crate) fn probe(&self, what: &str) -> Output {
        self.command(self.script("probe.sh"))
            .arg(what)
            .output()
            .unwrap()
    }

    /// What the kubelet does to a pod that is deleted.
    pub(crate) async fn stop(&mut self) {
        self.pre_stop();
        self.terminate().await;
    }

    pub(crate) fn pre_stop(&self) {
        let hook = self.command(self.script("pre-stop.sh")).output().unwrap();
        assert!(hook.status.success(), "{hook:?}");
        let said = String::from_utf8_lossy(&hook.stderr);
        assert!(said.is_empty(), "{said}");
    }

    /// SIGTERM to the container's first process.
    pub(crate) async fn terminate(&mut self) {
        let unshare = self.container.as_ref().unwrap().id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
        let first = children.unwrap().trim().to_owned();
        let killed = Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &first])
            .status();
        assert!(killed.unwrap().success());
        let ended = async {
            while !self.has_ended() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, ended).await.unwrap();
        self.container = None;
    }

    /// The node dies.
    pub(crate) fn kill(&mut self) {
        if let Some(mut container) = self.container.take() {
            let _ = container.kill();
            let _ = container.wait();
        }
    }

    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Whether its log has a line with this.
    pub(crate) fn said(&self, text: &str) -> bool {
        let log = fs::read(self.folder.join("log")).unwrap();
        String::from_utf8_lossy(&log).contains(text)
    }

    fn value(&self, name: &str) -> &str {
        let mut all = self.environment.iter();
        &all.find(|(known, _)| known == name).unwrap().1
    }

    /// The application's account.
    pub(crate) async fn app(&self) -> Conn {
        let opts = OptsBuilder::default()
            .ip_or_hostname(self.address.clone())
            .user(Some("app"))
            .pass(Some(self.value("APP_PASSWORD")))
            .db_name(Some("app"))
            .prefer_socket(false);
        let conn = timeout(PATIENCE, Conn::new(opts)).await.unwrap();
        conn.unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, self.log()))
    }

    /// Root, through the socket: there is no other root.
    pub(crate) async fn root(&self) -> Conn {
        let opts = OptsBuilder::default()
            .socket(Some(self.folder.join("run/s").display().to_string()))
            .user(Some("root"))
            .pass(Some(self.value("MYSQL_ROOT_PASSWORD")));
        Conn::new(opts).await.unwrap()
    }

    /// Waits until a query's first value, as text, is this.
    pub(crate) async fn says(&self, query: &str, wanted: &str) {
        let mut conn = self.app().await;
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            let found = conn.query_first::<String, _>(query).await;
            if matches!(&found, Ok(Some(found)) if found == wanted) {
                return;
            }
            assert!(
                Instant::now() < give_up,
                "{} says {found:?} to {query}, not {wanted}\n{}",
                self.name,
                self.log()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill();
    }
}
