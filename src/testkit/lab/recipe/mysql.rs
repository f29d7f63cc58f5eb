//! MySQL 8.4 or later, unpacked beside the system by `tests/fetch-mysql`.
//!
//! The server may need newer libraries than the machine has, so it is started by the dynamic
//! loader that came with it. The loader becomes the server: it is one process with one id.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{
    DATABASE, Dialect, PASSWORD, PORT, REPLICATION_PASSWORD, REPLICATION_USER, ROOT, ROOT_PASSWORD,
    Recipe, Step, USER,
};
use crate::testkit::lab::error::LabError;

/// Names a directory that has `usr/sbin/mysqld`; without it, the cache of `tests/fetch-mysql`
/// is used.
const PREFIX: &str = "HEADLESS_MYSQL_MYSQLD_PREFIX";

pub(super) static DIALECT: Dialect = Dialect {
    name: "mysql",
    shape: &SHAPE,
    running: &RUNNING,
    replica: &REPLICA,
    steps,
    accounts,
    // The server's UUID, which no two servers may share.
    never_copied: &["auto.cnf"],
    // The lock names the process that made it; a killed one leaves it behind, and if that id
    // lives again the next server does not start.
    stale: &["server.sock", "server.sock.lock"],
    follow,
    stop_replication: "STOP REPLICA",
    forget_primary: "RESET REPLICA ALL",
    become_replica: &[],
    wake_replication: ["STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD"],
    replication_runs: "SELECT 1 FROM performance_schema.replication_connection_status \
        JOIN performance_schema.replication_applier_status AS applier USING (CHANNEL_NAME) \
        WHERE replication_connection_status.SERVICE_STATE = 'ON' AND applier.SERVICE_STATE = 'ON'",
    replication_status: "SHOW REPLICA STATUS",
    trouble: [
        "Replica_IO_Running",
        "Replica_SQL_Running",
        "Source_Host",
        "Executed_Gtid_Set",
        "Last_IO_Error",
        "Last_SQL_Error",
    ],
    written: "SELECT @@global.gtid_executed",
    caught_up,
    // Each also sets the other variable, as far as it has to.
    set_read_only: ["SET GLOBAL read_only = 0", "SET GLOBAL super_read_only = 1"],
};

/// As small as this server takes it: a template is 76 MB, most of that undo and system tables.
const SHAPE: [&str; 7] = [
    "--innodb-data-file-path=ibdata1:5M:autoextend",
    "--innodb-autoextend-increment=1",
    "--innodb-redo-log-capacity=8M",
    "--innodb-flush-method=nosync",
    "--innodb-use-native-aio=OFF",
    "--skip-name-resolve",
    "--performance-schema=OFF",
];

/// Commits are written before they are acknowledged and pages are written twice, for the reasons
/// that hold for MariaDB.
const RUNNING: [&str; 22] = [
    "--innodb-flush-log-at-trx-commit=2",
    "--sync-binlog=0",
    "--innodb-buffer-pool-size=16M",
    "--innodb-log-buffer-size=1M",
    "--innodb-temp-data-file-path=ibtmp1:12M:autoextend",
    "--innodb-buffer-pool-load-at-startup=OFF",
    "--innodb-buffer-pool-dump-at-shutdown=OFF",
    "--innodb-read-io-threads=1",
    "--innodb-write-io-threads=1",
    "--innodb-purge-threads=1",
    "--key-buffer-size=1M",
    "--max-connections=300",
    "--table-open-cache=256",
    "--table-definition-cache=400",
    "--log-bin=bin",
    "--relay-log=relay",
    // The primary's as well, for it may become a replica.
    "--replica-net-timeout=5",
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    // The port of this protocol would be the same for all.
    "--mysqlx=OFF",
    // Relative to the data directory: a socket's path may have 107 characters only.
    "--socket=server.sock",
    "--pid-file=server.pid",
];

/// How often a replica tries to reach its primary, once a second. By default (since 8.4) it gives up
/// for good after ten attempts.
const RETRIES: u32 = 1_000_000;

/// The init-file starts replication, after it has said where the primary is now.
const REPLICA: [&str; 2] = ["--super-read-only=ON", "--skip-replica-start"];

/// How to run the server with the options of all its runs; it makes its system tables itself.
pub(super) fn programs() -> Result<(Vec<String>, Vec<String>), LabError> {
    let named = std::env::var_os(PREFIX).filter(|prefix| !prefix.is_empty());
    let server = match named {
        Some(prefix) => words(Path::new(&prefix)).ok_or_else(|| {
            LabError::Config(format!(
                "{PREFIX} is `{}`, which has no usr/sbin/mysqld",
                prefix.display()
            ))
        })?,
        None => fetched()
            .and_then(|prefix| words(&prefix))
            .ok_or(LabError::Missing {
                program: "mysqld",
                install: "run tests/fetch-mysql, or set HEADLESS_MYSQL_MYSQLD_PREFIX to a \
                          directory that has usr/sbin/mysqld",
            })?,
    };
    Ok((server.clone(), server))
}

/// Where `tests/fetch-mysql` puts the server, if it has.
fn fetched() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = match set("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => Path::new(&set("HOME")?).join(".cache"),
    };
    // Without the link: it may lead to another version while we run.
    cache.join("headless-mysql/mysql").canonicalize().ok()
}

/// What runs the server below `prefix`, with its own loader and libraries if they are there.
fn words(prefix: &Path) -> Option<Vec<String>> {
    let server = prefix.join("usr/sbin/mysqld");
    if !server.is_file() {
        return None;
    }
    let text = |path: &Path| path.display().to_string();
    let mut words = Vec::new();
    if let Some(loader) = loader(&prefix.join("usr/lib")) {
        let libraries = text(loader.parent()?);
        let private = text(&prefix.join("usr/lib/mysql/private"));
        words.extend([text(&loader), "--library-path".to_owned()]);
        words.push(format!("{libraries}:{private}"));
    }
    words.extend([text(&server), "--no-defaults".to_owned()]);
    // Messages, character sets and plugins are found from there.
    words.push(format!("--basedir={}", text(&prefix.join("usr"))));
    // The built-in directory for this does not exist, and then the server does not start.
    words.push("--secure-file-priv=NULL".to_owned());
    Some(words)
}

/// `x86_64-linux-gnu/ld-linux-x86-64.so.2` or that of another architecture.
fn loader(libraries: &Path) -> Option<PathBuf> {
    let entries = |directory: &Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    };
    let named = |path: &Path, part: &str| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().contains(part)
    };
    entries(libraries)
        .filter(|directory| named(directory, "-linux-gnu"))
        .flat_map(|directory| entries(&directory).collect::<Vec<_>>())
        .find(|file| named(file, "ld-linux") && named(file, ".so."))
}

fn steps(recipe: &Recipe, data: &Path, accounts: &Path) -> Vec<Step> {
    let mut initialize = Command::new(&recipe.installer[0]);
    initialize
        .args(&recipe.installer[1..])
        // Only heeded when the server (believes it) is root.
        .args(["--user=root", "--initialize-insecure", "--disable-log-bin"])
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--init-file={}", accounts.display()))
        .args(SHAPE);
    vec![Step {
        what: "making the system tables and accounts",
        command: initialize,
        reads_accounts: false,
    }]
}

/// The accounts have the default plugin, `caching_sha2_password`.
fn accounts() -> String {
    format!(
        "ALTER USER '{ROOT}'@'localhost' IDENTIFIED BY '{ROOT_PASSWORD}';\n\
         CREATE USER '{ROOT}'@'%' IDENTIFIED BY '{ROOT_PASSWORD}';\n\
         GRANT ALL ON *.* TO '{ROOT}'@'%' WITH GRANT OPTION;\n\
         CREATE USER '{REPLICATION_USER}'@'%' IDENTIFIED BY '{REPLICATION_PASSWORD}';\n\
         GRANT REPLICATION SLAVE ON *.* TO '{REPLICATION_USER}'@'%';\n\
         CREATE DATABASE {DATABASE};\n\
         CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON {DATABASE}.* TO '{USER}'@'%';\n"
    )
}

/// The password of `caching_sha2_password` travels encrypted with the primary's public key, for
/// replication has no TLS here.
fn follow(primary: Ipv4Addr) -> [String; 2] {
    [
        format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='{primary}', SOURCE_PORT={PORT}, \
             SOURCE_USER='{REPLICATION_USER}', SOURCE_PASSWORD='{REPLICATION_PASSWORD}', \
             SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1, \
             SOURCE_RETRY_COUNT={RETRIES}, SOURCE_HEARTBEAT_PERIOD=1"
        ),
        "START REPLICA".to_owned(),
    ]
}

/// Never 0 seconds: that waits for ever.
fn caught_up(written: &str, seconds: f64) -> String {
    let seconds = seconds.max(0.001);
    format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{written}', {seconds:.3})")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(path: PathBuf) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn a_prefix_with_a_loader_is_run_by_it_and_one_without_by_the_system() {
        let prefix = tempfile::tempdir().unwrap();
        assert_eq!(words(prefix.path()), None);
        file(prefix.path().join("usr/sbin/mysqld"));
        let home = prefix.path().display();
        let system = words(prefix.path()).unwrap();
        assert_eq!(system[0], format!("{home}/usr/sbin/mysqld"));

        let libraries = "usr/lib/aarch64-linux-gnu";
        file(prefix.path().join(libraries).join("ld-linux-aarch64.so.1"));
        let own = words(prefix.path()).unwrap();
        assert_eq!(own[0], format!("{home}/{libraries}/ld-linux-aarch64.so.1"));
        assert!(
            own[2].starts_with(&format!("{home}/{libraries}:")),
            "{own:?}"
        );
        assert_eq!(own[3..], system);
    }
}
