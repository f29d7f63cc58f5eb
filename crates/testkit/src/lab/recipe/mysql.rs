//! MySQL 8.4 or later, unpacked outside of the system's directories by `tests/fetch-mysql`.
//!
//! The server may need newer libraries than the machine has, so it is started by its own dynamic
//! loader. The loader becomes the server, so there is one process with one id.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{
    DATABASE, Dialect, PASSWORD, PORT, REPLICATION_PASSWORD, REPLICATION_USER, ROOT, ROOT_PASSWORD,
    Recipe, Step, USER,
};
use crate::lab::error::LabError;

/// The environment variable for a directory with `usr/sbin/mysqld`. Without it, the cache of
/// `tests/fetch-mysql` is used.
const PREFIX: &str = "HEADLESS_MYSQL_MYSQLD_PREFIX";

pub(super) static DIALECT: Dialect = Dialect {
    name: "mysql",
    shape: &SHAPE,
    running: &RUNNING,
    replica: &REPLICA,
    steps,
    accounts,
    // Contains the server's UUID, which must be unique.
    never_copied: &["auto.cnf"],
    // The lock file contains a process id, and a killed server leaves it behind. If that id belongs
    // to a running process, the next server does not start.
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
    // Each statement also sets the other variable where the server requires it.
    set_read_only: ["SET GLOBAL read_only = 0", "SET GLOBAL super_read_only = 1"],
};

/// The smallest files that this server accepts. A template has 76 MB, mostly undo and system
/// tables.
const SHAPE: [&str; 7] = [
    "--innodb-data-file-path=ibdata1:5M:autoextend",
    "--innodb-autoextend-increment=1",
    "--innodb-redo-log-capacity=8M",
    "--innodb-flush-method=nosync",
    "--innodb-use-native-aio=OFF",
    "--skip-name-resolve",
    "--performance-schema=OFF",
];

/// Commits are written before they are acknowledged, and the doublewrite buffer is on, for the same
/// reasons as with MariaDB.
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
    // Set on the primary as well, because it may become a replica.
    "--replica-net-timeout=5",
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    // The X protocol has one default port, so servers would compete for it.
    "--mysqlx=OFF",
    // Relative to the data directory, because a socket's path is limited to 107 characters.
    "--socket=server.sock",
    "--pid-file=server.pid",
];

/// The number of connection attempts of a replica, one per second. By default (since 8.4) a replica
/// gives up for good after ten attempts.
const RETRIES: u32 = 1_000_000;

/// Replication is not started by the server: the init-file does so after setting the primary's
/// address.
const REPLICA: [&str; 2] = ["--super-read-only=ON", "--skip-replica-start"];

/// The command of the server with the options of every run. It creates its system tables itself, so
/// both commands are the same.
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

/// The directory where `tests/fetch-mysql` unpacked the server, if it exists.
fn fetched() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = match set("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => Path::new(&set("HOME")?).join(".cache"),
    };
    // Resolve the symbolic link now: it may point to another version later in this run.
    cache.join("headless-mysql/mysql").canonicalize().ok()
}

/// The command for the server below `prefix`, with its own loader and libraries if they exist.
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
    // The server finds its messages, character sets and plugins there.
    words.push(format!("--basedir={}", text(&prefix.join("usr"))));
    // The compiled-in default directory does not exist, and without it the server does not start.
    words.push("--secure-file-priv=NULL".to_owned());
    Some(words)
}

/// `x86_64-linux-gnu/ld-linux-x86-64.so.2` or its counterpart for another architecture.
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
        // Has an effect only when the server runs as root, or as root of a user namespace.
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

/// Replication has no TLS here, so the password of `caching_sha2_password` is encrypted with the
/// primary's public key.
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

/// At least a millisecond: a timeout of 0 waits for ever.
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
