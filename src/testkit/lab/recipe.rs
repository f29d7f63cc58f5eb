//! Everything that differs between kinds of server: programs, options, SQL.
//!
//! Owns the words that are spoken to servers; another kind is another [`Dialect`] and nothing
//! else in the lab changes. It must never run anything itself but the question for the server's
//! version.

mod mariadb;
mod mysql;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::address::PORT;
use super::error::LabError;
use super::process::run;

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
    /// MySQL 8.4 or later, from where `tests/fetch-mysql` of this crate's repository has unpacked
    /// it, or from the directory that `HEADLESS_MYSQL_MYSQLD_PREFIX` names.
    MySql,
}

/// How to make and run servers of one kind on this machine.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// What starts the server; options are added.
    server: Vec<String>,
    /// What makes the system tables.
    installer: Vec<String>,
    pub(super) version: String,
    pub(super) dialect: &'static Dialect,
}

/// The words of one kind of server.
#[derive(Debug)]
pub(super) struct Dialect {
    name: &'static str,
    /// Options that shape the files of a data directory; the template and the servers share them.
    shape: &'static [&'static str],
    /// Options of a running server, whatever its role.
    running: &'static [&'static str],
    /// Options of a replica on top.
    replica: &'static [&'static str],
    /// How the template in a directory is made, with the accounts in a file.
    steps: fn(&Recipe, &Path, &Path) -> Vec<Step>,
    /// The accounts and the database of every node, one statement per line.
    accounts: fn() -> String,
    /// Files of a data directory that no other server may have.
    pub(super) never_copied: &'static [&'static str],
    /// Files of a data directory that keep the next server from starting after a kill.
    pub(super) stale: &'static [&'static str],
    /// Points a replica at the primary and starts replication; one statement per line.
    pub(super) follow: fn(Ipv4Addr) -> [String; 2],
    pub(super) stop_replication: &'static str,
    /// Makes a replica that has stopped one that never was any.
    pub(super) forget_primary: &'static str,
    /// What an old primary needs before it can follow another.
    pub(super) become_replica: &'static [&'static str],
    /// Ends the sleep between two attempts to reach the primary.
    pub(super) wake_replication: [&'static str; 2],
    /// One row when both replication threads run and the primary is connected.
    pub(super) replication_runs: &'static str,
    pub(super) replication_status: &'static str,
    /// What the status says about trouble.
    pub(super) trouble: [&'static str; 6],
    /// What the primary has written, as something `caught_up` takes.
    pub(super) written: &'static str,
    /// A query that returns 0 when that is applied, and something else after some seconds.
    pub(super) caught_up: fn(&str, f64) -> String,
    /// To writable, and to read-only.
    pub(super) set_read_only: [&'static str; 2],
}

/// One program to be run to make a template.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) what: &'static str,
    pub(super) command: Command,
    /// Whether it takes the accounts from its standard input.
    pub(super) reads_accounts: bool,
}

// === impl Recipe ===

impl Recipe {
    /// The recipe for `kind` on this machine; looked up once per process.
    pub(super) async fn of(kind: ServerKind) -> Result<Self, LabError> {
        static MARIADB: OnceCell<Recipe> = OnceCell::const_new();
        static MYSQL: OnceCell<Recipe> = OnceCell::const_new();
        let recipe = match kind {
            ServerKind::MariaDb => {
                MARIADB
                    .get_or_try_init(|| Self::new(mariadb::programs(), &mariadb::DIALECT))
                    .await
            }
            ServerKind::MySql => {
                MYSQL
                    .get_or_try_init(|| Self::new(mysql::programs(), &mysql::DIALECT))
                    .await
            }
        };
        recipe.cloned()
    }

    async fn new(
        programs: Result<(Vec<String>, Vec<String>), LabError>,
        dialect: &'static Dialect,
    ) -> Result<Self, LabError> {
        let (server, installer) = programs?;
        let mut question = Command::new(&server[0]);
        question.args(&server[1..]).arg("--version");
        let version = run("`--version` of a server", question, None, VERSION_DEADLINE).await?;
        Ok(Self {
            server,
            installer,
            version: version.trim().to_owned(),
            dialect,
        })
    }

    /// Everything the content of a template depends on.
    pub(super) fn fingerprint(&self) -> [String; 4] {
        let Dialect { name, shape, .. } = self.dialect;
        [
            (*name).to_owned(),
            self.version.clone(),
            shape.join(" "),
            self.accounts(),
        ]
    }

    /// What makes a template in `data`; `accounts` is a file with [`Recipe::accounts`].
    pub(super) fn steps(&self, data: &Path, accounts: &Path) -> Vec<Step> {
        (self.dialect.steps)(self, data, accounts)
    }

    /// The accounts and the database of every node, one statement per line.
    pub(super) fn accounts(&self) -> String {
        (self.dialect.accounts)()
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
        let Dialect {
            shape,
            running,
            replica,
            ..
        } = self.dialect;
        let mut words = self.server.clone();
        words.extend([
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
        ]);
        words.extend(shape.iter().chain(*running).map(|&word| word.to_owned()));
        if let Some(init) = init {
            words.extend(replica.iter().map(|&word| word.to_owned()));
            words.push(format!("--init-file={}", init.display()));
        }
        words
    }
}
