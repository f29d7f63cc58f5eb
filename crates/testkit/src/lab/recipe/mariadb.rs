//! MariaDB from the distribution's package.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use super::{
    DATABASE, Dialect, PASSWORD, PORT, REPLICATION_PASSWORD, REPLICATION_USER, ROOT, ROOT_PASSWORD,
    Recipe, Step, USER,
};
use crate::lab::error::LabError;
use crate::lab::process::find;

pub(super) static DIALECT: Dialect = Dialect {
    name: "mariadb",
    shape: &SHAPE,
    running: &RUNNING,
    replica: &REPLICA,
    steps,
    accounts,
    never_copied: &[],
    stale: &[],
    follow,
    stop_replication: "STOP SLAVE",
    forget_primary: "RESET SLAVE ALL",
    // `gtid_slave_pos` covers applied transactions only; this adds the old primary's own writes.
    become_replica: &["SET GLOBAL gtid_slave_pos = @@global.gtid_binlog_pos"],
    wake_replication: ["STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD"],
    replication_runs: "SELECT 1 FROM information_schema.GLOBAL_STATUS \
        WHERE VARIABLE_NAME = 'SLAVE_RUNNING' AND VARIABLE_VALUE = 'ON'",
    replication_status: "SHOW SLAVE STATUS",
    trouble: [
        "Slave_IO_Running",
        "Slave_SQL_Running",
        "Master_Host",
        "Gtid_IO_Pos",
        "Last_IO_Error",
        "Last_SQL_Error",
    ],
    written: "SELECT @@global.gtid_binlog_pos",
    caught_up,
    set_read_only: ["SET GLOBAL read_only = 0", "SET GLOBAL read_only = 1"],
};

/// Small files, so that a template has 20 MB and is copied fast.
const SHAPE: [&str; 7] = [
    "--innodb-data-file-path=ibdata1:4M:autoextend",
    "--innodb-autoextend-increment=1",
    "--innodb-log-file-size=4M",
    "--innodb-flush-method=nosync",
    "--aria-log-file-size=8M",
    "--skip-name-resolve",
    "--performance-schema=OFF",
];

/// Nothing is synced to disk: data survives a killed process, but not a power failure. A commit is
/// still *written* before it is acknowledged: with `innodb-flush-log-at-trx-commit=0`, killing the
/// process loses acknowledged rows. The doublewrite buffer stays on, because a kill may interrupt
/// the write of a page.
const RUNNING: [&str; 23] = [
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
    // Set on the primary as well, because it may become a replica.
    "--slave-net-timeout=5",
    "--gtid-strict-mode=1",
    "--gtid-domain-id=0",
    // Relative to the data directory, because a socket's path is limited to 107 characters.
    "--socket=server.sock",
    "--pid-file=server.pid",
];

/// Replication is not started by the server: the init-file does so after setting the primary's
/// address.
const REPLICA: [&str; 2] = ["--read-only=1", "--skip-slave-start"];

/// The commands of the server and of the program that creates system tables, on this machine.
pub(super) fn programs() -> Result<(Vec<String>, Vec<String>), LabError> {
    let search = |program| match find(&[program]) {
        Some(path) => Ok(vec![path.display().to_string(), "--no-defaults".to_owned()]),
        None => Err(LabError::Missing {
            program,
            install: "apt-get install mariadb-server",
        }),
    };
    Ok((search("mariadbd")?, search("mariadb-install-db")?))
}

fn steps(recipe: &Recipe, data: &Path, _accounts: &Path) -> Vec<Step> {
    let mut install = Command::new(&recipe.installer[0]);
    install
        .args(&recipe.installer[1..])
        .args(["--skip-test-db", "--auth-root-authentication-method=normal"])
        .arg(format!("--datadir={}", data.display()))
        .args(SHAPE);
    if rustix::process::geteuid().is_root() {
        install.arg("--user=root");
    }
    // In bootstrap mode the server executes SQL from its standard input, without replication or
    // network.
    let mut bootstrap = Command::new(&recipe.server[0]);
    bootstrap
        .args(&recipe.server[1..])
        // Has an effect only when the server runs as root, or as root of a user namespace.
        .args(["--user=root", "--bootstrap"])
        .arg(format!("--datadir={}", data.display()))
        .args(SHAPE);
    vec![
        Step {
            what: "making the system tables",
            command: install,
            reads_accounts: false,
        },
        Step {
            what: "making the accounts",
            command: bootstrap,
            reads_accounts: true,
        },
    ]
}

/// In bootstrap mode the grant tables are loaded only by a flush. The root accounts for loopback
/// addresses are deleted: they have no password and match before `root@'%'`.
fn accounts() -> String {
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

fn follow(primary: Ipv4Addr) -> [String; 2] {
    [
        format!(
            "CHANGE MASTER TO MASTER_HOST='{primary}', MASTER_PORT={PORT}, \
             MASTER_USER='{REPLICATION_USER}', MASTER_PASSWORD='{REPLICATION_PASSWORD}', \
             MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1"
        ),
        "START SLAVE".to_owned(),
    ]
}

fn caught_up(written: &str, seconds: f64) -> String {
    format!("SELECT MASTER_GTID_WAIT('{written}', {seconds:.3})")
}
