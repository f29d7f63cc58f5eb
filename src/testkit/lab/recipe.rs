//! Everything that differs between kinds of server: programs, options, SQL.
//!
//! Owns the words that are spoken to a server of one kind; another kind is another [`Recipe`] and
//! nothing else in the lab changes. It must never run anything itself but the question for the
//! server's version.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::address::PORT;
use super::error::LabError;
use super::process::{find, run};

/// The account of the application under test: every right on [`DATABASE`], none elsewhere.
pub(in crate::testkit) const USER: &str = "app";
pub(in crate::testkit) const PASSWORD: &str = "app-secret";
pub(in crate::testkit) const DATABASE: &str = "app";

/// The account of the lab itself.
pub(super) const ROOT: &str = "root";
pub(super) const ROOT_PASSWORD: &str = "root-secret";

const REPLICATION_USER: &str = "repl";
const REPLICATION_PASSWORD: &str = "repl-secret";

const VERSION_DEADLINE: Duration = Duration::from_secs(10);

/// Which server a lab is made of.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerKind {
    /// MariaDB 10.5 or later, as distributions package it.
    #[default]
    MariaDb,
}

/// How to make and run servers of one kind on this machine.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub(super) server: PathBuf,
    pub(super) installer: PathBuf,
    pub(super) version: String,
    /// Options that shape the files of a data directory; the template and the servers share them.
    shape: &'static [&'static str],
    /// Options of a running server, whatever its role.
    running: &'static [&'static str],
    /// Options of a replica on top.
    replica: &'static [&'static str],
}

/// Small files, so that a template is 20 MB and copies in no time.
const MARIADB_SHAPE: [&str; 7] = [
    "--innodb-data-file-path=ibdata1:4M:autoextend",
    "--innodb-autoextend-increment=1",
    "--innodb-log-file-size=4M",
    "--innodb-flush-method=nosync",
    "--aria-log-file-size=8M",
    "--skip-name-resolve",
    "--performance-schema=OFF",
];

/// Nothing is ever synced to the disk (the machine may not lose power, the process may die), but
/// a commit is *written* before it is acknowledged: with `innodb-flush-log-at-trx-commit=0` rows
/// that were acknowledged are lost when the process is killed. The doublewrite buffer stays on:
/// a kill may tear the page that is being written.
const MARIADB_RUNNING: [&str; 22] = [
    "--innodb-flush-log-at-trx-commit=2",
    "--sync-binlog=0",
    "--innodb-buffer-pool-size=16M",
    "--innodb-log-buffer-size=2M",
    "--innodb-temp-data-file-path=ibtmp1:1M:autoextend",
    "--innodb-buffer-pool-load-at-startup=0",
    "--innodb-buffer-pool-dump-at-shutdown=0",
    "--innodb-read-io-threads=1",
    "--innodb-write-io-threads=2",
    "--innodb-purge-threads=1",
    "--aria-pagecache-buffer-size=1M",
    "--key-buffer-size=1M",
    "--max-connections=300",
    "--table-open-cache=256",
    "--table-definition-cache=400",
    "--log-bin=bin",
    "--log-slave-updates=1",
    "--relay-log=relay",
    "--gtid-strict-mode=1",
    "--gtid-domain-id=0",
    // Relative to the data directory: a socket's path may have 107 characters only.
    "--socket=server.sock",
    "--pid-file=server.pid",
];

/// The init-file starts replication, after it has said where the primary is now.
const MARIADB_REPLICA: [&str; 3] = [
    "--read-only=1",
    "--slave-net-timeout=5",
    "--skip-slave-start",
];

// === impl Recipe ===

impl Recipe {
    /// The recipe for `kind` on this machine; looked up once per process.
    pub(super) async fn of(kind: ServerKind) -> Result<Self, LabError> {
        static MARIADB: OnceCell<Recipe> = OnceCell::const_new();
        match kind {
            ServerKind::MariaDb => MARIADB.get_or_try_init(Self::mariadb).await.cloned(),
        }
    }

    async fn mariadb() -> Result<Self, LabError> {
        const INSTALL: &str = "apt-get install mariadb-server";
        let missing = |program| LabError::Missing {
            program,
            install: INSTALL,
        };
        let server = find(&["mariadbd"]).ok_or(missing("mariadbd"))?;
        let installer = find(&["mariadb-install-db"]).ok_or(missing("mariadb-install-db"))?;
        let mut question = Command::new(&server);
        question.args(["--no-defaults", "--version"]);
        let version = run("`mariadbd --version`", question, None, VERSION_DEADLINE).await?;
        Ok(Self {
            server,
            installer,
            version: version.trim().to_owned(),
            shape: &MARIADB_SHAPE,
            running: &MARIADB_RUNNING,
            replica: &MARIADB_REPLICA,
        })
    }

    /// Everything the content of a template depends on.
    pub(super) fn fingerprint(&self) -> [String; 3] {
        [self.version.clone(), self.shape.join(" "), Self::accounts()]
    }

    /// Makes the system tables in `data`.
    pub(super) fn install(&self, data: &Path) -> Command {
        let mut command = Command::new(&self.installer);
        command
            .args([
                "--no-defaults",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ])
            .arg(format!("--datadir={}", data.display()));
        if rustix::process::geteuid().is_root() {
            command.arg("--user=root");
        }
        command.args(self.shape);
        command
    }

    /// Reads SQL from its standard input and runs it in `data`, without replication or network.
    pub(super) fn bootstrap(&self, data: &Path) -> Command {
        let mut command = Command::new(&self.server);
        command
            .args(["--no-defaults", "--user=root", "--bootstrap"])
            .arg(format!("--datadir={}", data.display()))
            .args(self.shape);
        command
    }

    /// The accounts and the database of every node, one statement per line.
    ///
    /// The grants tables are not loaded in bootstrap mode until they are flushed. Accounts of root
    /// on loopback addresses go: they have no password and match before `root@'%'`.
    pub(super) fn accounts() -> String {
        format!(
            "use mysql;\n\
             flush privileges;\n\
             DELETE FROM global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');\n\
             flush privileges;\n\
             ALTER USER '{ROOT}'@'localhost' IDENTIFIED BY '{ROOT_PASSWORD}';\n\
             CREATE USER '{ROOT}'@'%' IDENTIFIED BY '{ROOT_PASSWORD}';\n\
             GRANT ALL ON *.* TO '{ROOT}'@'%' WITH GRANT OPTION;\n\
             CREATE USER '{REPLICATION_USER}'@'%' IDENTIFIED BY '{REPLICATION_PASSWORD}';\n\
             GRANT REPLICATION SLAVE ON *.* TO '{REPLICATION_USER}'@'%';\n\
             CREATE DATABASE {DATABASE};\n\
             CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON {DATABASE}.* TO '{USER}'@'%';\n"
        )
    }

    /// The whole command of one server. `init` is the init-file of a replica.
    pub(super) fn serve(
        &self,
        ordinal: u32,
        address: Ipv4Addr,
        data: &Path,
        log: &Path,
        init: Option<&Path>,
    ) -> Vec<String> {
        let mut words = vec![
            self.server.display().to_string(),
            "--no-defaults".to_owned(),
            // Only heeded when the server (believes it) is root.
            "--user=root".to_owned(),
            format!("--datadir={}", data.display()),
            // A server that starts empties its tmpdir, also of tables that others are using.
            format!("--tmpdir={}", data.display()),
            format!("--log-error={}", log.display()),
            format!("--bind-address={address}"),
            format!("--report-host={address}"),
            format!("--port={PORT}"),
            format!("--server-id={}", ordinal + 1),
        ];
        words.extend(
            self.shape
                .iter()
                .chain(self.running)
                .map(|&word| word.to_owned()),
        );
        if let Some(init) = init {
            words.extend(self.replica.iter().map(|&word| word.to_owned()));
            words.push(format!("--init-file={}", init.display()));
        }
        words
    }

    /// Points a replica at the primary and starts replication; one statement per line.
    pub(super) fn follow(primary: Ipv4Addr) -> [String; 2] {
        [
            format!(
                "CHANGE MASTER TO MASTER_HOST='{primary}', MASTER_PORT={PORT}, \
                 MASTER_USER='{REPLICATION_USER}', MASTER_PASSWORD='{REPLICATION_PASSWORD}', \
                 MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1"
            ),
            "START SLAVE".to_owned(),
        ]
    }

    pub(super) const STOP_REPLICATION: &'static str = "STOP SLAVE";
    /// Ends the sleep between two attempts to reach the primary.
    pub(super) const WAKE_REPLICATION: [&'static str; 2] =
        ["STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD"];
    /// One row when both replication threads run and the primary is connected.
    pub(super) const REPLICATION_RUNS: &'static str = "SELECT 1 FROM information_schema.GLOBAL_STATUS \
         WHERE VARIABLE_NAME = 'SLAVE_RUNNING' AND VARIABLE_VALUE = 'ON'";
    pub(super) const REPLICATION_STATUS: &'static str = "SHOW SLAVE STATUS";
    /// What the primary has written, as something [`Recipe::caught_up`] takes.
    pub(super) const WRITTEN: &'static str = "SELECT @@global.gtid_binlog_pos";

    /// A query that returns 0 when `written` is applied, and something else after `seconds`.
    pub(super) fn caught_up(written: &str, seconds: f64) -> String {
        format!("SELECT MASTER_GTID_WAIT('{written}', {seconds:.3})")
    }
}
