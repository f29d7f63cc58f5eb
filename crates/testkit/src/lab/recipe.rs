//! Everything that differs between kinds of server: programs, options, SQL.
//!
//! Owns the command lines and statements that are sent to servers. To add a kind of server, add a
//! [`Dialect`]; nothing else in the lab changes. This module must never run a program itself,
//! except to query the server's version.

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
use std::env::VarError;

/// The account of the application under test: all privileges on [`DATABASE`], none elsewhere.
pub(crate) const USER: &str = "app";
pub(crate) const PASSWORD: &str = "app-secret";
pub(crate) const DATABASE: &str = "app";

/// The lab's own account.
pub(super) const ROOT: &str = "root";
pub(super) const ROOT_PASSWORD: &str = "root-secret";

const REPLICATION_USER: &str = "repl";
const REPLICATION_PASSWORD: &str = "repl-secret";

const VERSION_DEADLINE: Duration = Duration::from_secs(10);

/// The environment variable that selects the kind of server, for [`ServerKind::chosen`].
const SERVER_VARIABLE: &str = "HEADLESS_MYSQL_SERVER";

/// The kind of server in a lab.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerKind {
    /// MariaDB 10.5 or later, as distributions package it.
    #[default]
    MariaDb,
    /// MySQL 8.4 or later, from where `tests/fetch-mysql` of this crate's repository unpacked it,
    /// or from the directory that `HEADLESS_MYSQL_MYSQLD_PREFIX` names.
    MySql,
}

impl ServerKind {
    /// The kind that the environment variable `HEADLESS_MYSQL_SERVER` selects: `mariadb` (the
    /// default) or `mysql`. With it, one build of a test runs on both.
    ///
    /// # Errors
    ///
    /// [`LabError::Config`] when the variable has another value.
    pub fn chosen() -> Result<Self, LabError> {
        match std::env::var(SERVER_VARIABLE).as_deref() {
            Err(VarError::NotPresent) | Ok("mariadb") => Ok(Self::MariaDb),
            Ok("mysql") => Ok(Self::MySql),
            other => Err(LabError::Config(format!(
                "{SERVER_VARIABLE} is {other:?}: write mariadb or mysql"
            ))),
        }
    }
}

/// How to create and run servers of one kind on this machine.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// The command that starts the server, without options.
    server: Vec<String>,
    /// The command that creates the system tables.
    installer: Vec<String>,
    pub(super) version: String,
    pub(super) dialect: &'static Dialect,
}

/// The options and statements of one kind of server.
#[derive(Debug)]
pub(super) struct Dialect {
    name: &'static str,
    /// Options that determine the files of a data directory. The template and the servers share
    /// them.
    shape: &'static [&'static str],
    /// Options of a running server, in both roles.
    running: &'static [&'static str],
    /// Additional options of a replica.
    replica: &'static [&'static str],
    /// The steps that create the template: recipe, data directory, file with the accounts.
    steps: fn(&Recipe, &Path, &Path) -> Vec<Step>,
    /// The accounts and the database of every node, one statement per line.
    accounts: fn() -> String,
    /// Files of a data directory that must not be copied to another server.
    pub(super) never_copied: &'static [&'static str],
    /// Files of a data directory that prevent the next start after a kill.
    pub(super) stale: &'static [&'static str],
    /// Statements that point a replica at the primary and start replication.
    pub(super) follow: fn(Ipv4Addr) -> [String; 2],
    pub(super) stop_replication: &'static str,
    /// Removes all replication settings from a replica that has stopped replicating.
    pub(super) forget_primary: &'static str,
    /// Statements that an old primary needs before it can follow another server.
    pub(super) become_replica: &'static [&'static str],
    /// Ends the sleep between two attempts to reach the primary.
    pub(super) wake_replication: [&'static str; 2],
    /// A query that returns one row if both replication threads run and the primary is connected.
    pub(super) replication_runs: &'static str,
    pub(super) replication_status: &'static str,
    /// The columns of the status that explain a replication error.
    pub(super) trouble: [&'static str; 6],
    /// A query for the primary's GTID position, in the form that `caught_up` takes.
    pub(super) written: &'static str,
    /// A query that returns 0 as soon as that position is applied, or another value after a timeout
    /// in seconds.
    pub(super) caught_up: fn(&str, f64) -> String,
    /// Statements that make a server writable, and read-only.
    pub(super) set_read_only: [&'static str; 2],
}

/// One program that is run to create a template.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) what: &'static str,
    pub(super) command: Command,
    /// Whether the program reads the accounts from its standard input.
    pub(super) reads_accounts: bool,
}

impl Recipe {
    /// The recipe for `kind` on this machine. Looked up once per process.
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

    /// Everything that determines the content of a template.
    pub(super) fn fingerprint(&self) -> [String; 4] {
        let Dialect { name, shape, .. } = self.dialect;
        [
            (*name).to_owned(),
            self.version.clone(),
            shape.join(" "),
            self.accounts(),
        ]
    }

    /// The steps that create a template in `data`; `accounts` is a file with [`Recipe::accounts`].
    pub(super) fn steps(&self, data: &Path, accounts: &Path) -> Vec<Step> {
        (self.dialect.steps)(self, data, accounts)
    }

    /// The accounts and the database of every node, one statement per line.
    pub(super) fn accounts(&self) -> String {
        (self.dialect.accounts)()
    }

    /// The complete command line of one server. `init` is the init-file of a replica.
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
            // Has an effect only when the server runs as root, or as root of a user namespace.
            "--user=root".to_owned(),
            format!("--datadir={}", data.display()),
            // A private tmpdir: at its start a server empties it, including other servers' files.
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
