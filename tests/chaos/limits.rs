//! Faults of limits and options: of a server, of the account, of this process.

use crate::PATIENCE;
use crate::doors::Doors;
use headless_mysql::mysql_async::Conn;
use headless_mysql::prelude::*;
use headless_mysql_testkit::lab::ServerKind;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// While [`small_packets`] is active, statements above this size in bytes are too large.
pub(crate) const SMALL_PACKET: usize = 4096;

/// Runs statements on one server, without replicating them.
async fn locally(doors: &Doors, ordinal: u32, statements: &[String]) {
    let lab = &doors.stage.lab;
    let mut conn = lab.admin(ordinal).await.unwrap();
    run(&mut conn, "SET SESSION sql_log_bin = 0").await;
    // With `super_read_only`, not even an administrator can change accounts.
    let super_read_only = match lab.server_kind() {
        ServerKind::MySql => conn
            .query_first::<bool, _>("SELECT @@global.super_read_only")
            .await
            .unwrap()
            .unwrap_or_default(),
        _ => false,
    };
    if super_read_only {
        run(&mut conn, "SET GLOBAL super_read_only = 0").await;
    }
    for statement in statements {
        run(&mut conn, statement).await;
    }
    if super_read_only {
        run(&mut conn, "SET GLOBAL super_read_only = 1").await;
    }
}

async fn run(conn: &mut Conn, statement: &str) {
    let done = timeout(PATIENCE, conn.query_drop(statement)).await;
    let done = done.unwrap_or_else(|_| panic!("no answer to {statement}"));
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// Changes a global option of one server temporarily.
async fn with_option(doors: &Doors, ordinal: u32, option: &str, value: &str, lasts: Duration) {
    let mut conn = doors.stage.lab.admin(ordinal).await.unwrap();
    let before = format!("SELECT CAST(@@global.{option} AS CHAR)");
    let before: Option<String> = conn.query_first(before).await.unwrap();
    let before = before.unwrap();
    let before = match before.parse::<u64>() {
        Ok(_) => before,
        Err(_) => format!("'{before}'"),
    };
    run(&mut conn, &format!("SET GLOBAL {option} = {value}")).await;
    sleep(lasts).await;
    run(&mut conn, &format!("SET GLOBAL {option} = {before}")).await;
}

/// Limits the server to ten connections. Together with the lab's own, the client would need more.
pub(crate) async fn server_full(doors: &Doors, ordinal: u32, lasts: Duration) {
    with_option(doors, ordinal, "max_connections", "10", lasts).await;
}

/// Limits the account to three connections.
pub(crate) async fn account_full(doors: &Doors, ordinal: u32, lasts: Duration) {
    let user = doors.stage.lab.user();
    let limit = |most: u32| {
        [format!(
            "ALTER USER {user} WITH MAX_USER_CONNECTIONS {most}"
        )]
    };
    locally(doors, ordinal, &limit(3)).await;
    sleep(lasts).await;
    locally(doors, ordinal, &limit(0)).await;
}

/// Renames the account temporarily. Existing connections are not affected.
pub(crate) async fn no_account(doors: &Doors, ordinal: u32, lasts: Duration) {
    let user = doors.stage.lab.user();
    let rename = |from: &str, to: &str| [format!("RENAME USER {from} TO {to}")];
    let away = format!("{user}_away");
    locally(doors, ordinal, &rename(user, &away)).await;
    sleep(lasts).await;
    locally(doors, ordinal, &rename(&away, user)).await;
}

/// Limits this process to the file descriptors below the first free one.
pub(crate) async fn no_descriptors(lasts: Duration) {
    let before = getrlimit(Resource::Nofile);
    let is_free = |fd: &u64| !std::path::Path::new(&format!("/proc/self/fd/{fd}")).exists();
    let first_free = (0..).find(is_free);
    let limit = Rlimit {
        current: first_free,
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    sleep(lasts).await;
    setrlimit(Resource::Nofile, before).unwrap();
}

/// Makes COMMITs hang. On MariaDB they cannot be interrupted.
pub(crate) async fn hanging_commits(doors: &Doors, primary: u32, lasts: Duration) {
    let lab = &doors.stage.lab;
    let mut conn = lab.admin(primary).await.unwrap();
    let (begin, end): (&[&str], &str) = match lab.server_kind() {
        // No replica acknowledges semi-synchronously, but the primary waits for one.
        ServerKind::MariaDb => (
            &[
                "SET GLOBAL rpl_semi_sync_master_timeout = 60000",
                "SET GLOBAL rpl_semi_sync_master_enabled = 1",
            ],
            "SET GLOBAL rpl_semi_sync_master_enabled = 0",
        ),
        _ => (&["FLUSH TABLES WITH READ LOCK"], "UNLOCK TABLES"),
    };
    for statement in begin {
        run(&mut conn, statement).await;
    }
    sleep(lasts).await;
    run(&mut conn, end).await;
}

/// Makes each COMMIT open the next transaction, by the server's default for new sessions.
pub(crate) async fn chain(doors: &Doors, primary: u32, lasts: Duration) {
    let chained = "'CHAIN'";
    doors.cut(primary);
    with_option(doors, primary, "completion_type", chained, lasts * 2).await;
}

/// Makes new sessions refuse large statements.
pub(crate) async fn small_packets(doors: &Doors, ordinal: u32, lasts: Duration) {
    doors.cut(ordinal);
    let small = SMALL_PACKET.to_string();
    with_option(doors, ordinal, "max_allowed_packet", &small, lasts * 2).await;
}
