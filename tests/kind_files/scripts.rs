//! The scripts of the pods, on both kinds of server: first boots, copies, probes, hooks, restarts.

use crate::pod::{Kind, Pod, Set};
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::mysql_async::{Conn, Error, Row};
use std::fs;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The code a server refuses a statement with.
async fn refusal(conn: &mut Conn, statement: &str) -> u16 {
    match conn.query_drop(statement).await {
        Err(Error::Server(error)) => error.code,
        other => panic!("{statement}: {other:?}"),
    }
}

/// A replica follows by GTID and gives up on no primary, however long that is away.
async fn follows_by_gtid(kind: Kind, replica: &Pod) {
    let mut root = replica.root().await;
    match kind {
        Kind::MySql => {
            let how = "SELECT CONCAT(AUTO_POSITION, ' ', CONNECTION_RETRY_COUNT) \
                       FROM performance_schema.replication_connection_configuration";
            let how: Option<String> = root.query_first(how).await.unwrap();
            assert_eq!(how.as_deref(), Some("1 1000000"));
        }
        Kind::MariaDb => {
            let status: Option<Row> = root.query_first("SHOW REPLICA STATUS").await.unwrap();
            let using: Option<String> = status.unwrap().get("Using_Gtid");
            assert_eq!(using.as_deref(), Some("Slave_Pos"));
        }
    }
}

fn ready(pod: &Pod) -> bool {
    pod.probe("ready").status.success()
}

async fn a_primary_and_its_replicas(kind: Kind) {
    let set = Set::new(kind);
    let mut primary = set.pod(0);
    primary.boot().await;
    assert_eq!(primary.restarts, 0, "{}", primary.log());
    assert!(ready(&primary));
    let mut app = primary.app().await;
    app.query_drop("CREATE TABLE t (id INT PRIMARY KEY)")
        .await
        .unwrap();
    app.query_drop("INSERT INTO t VALUES (1)").await.unwrap();
    // Acknowledged is on the disk.
    let durable: Option<(u8, u8)> = app
        .query_first("SELECT @@innodb_flush_log_at_trx_commit, @@sync_binlog")
        .await
        .unwrap();
    assert_eq!(durable, Some((1, 1)));
    // The account has its database and nothing that passes a read-only fence.
    assert_eq!(refusal(&mut app, "SET GLOBAL read_only = 0").await, 1227);
    // A replica cannot be made of binary logs alone.
    let mut root = primary.root().await;
    root.query_drop("FLUSH BINARY LOGS").await.unwrap();
    let logs: Vec<(String, u64)> = {
        let rows: Vec<Row> = root.query("SHOW BINARY LOGS").await.unwrap();
        let rows = rows.into_iter();
        rows.map(|row| (row.get(0).unwrap(), row.get(1).unwrap()))
            .collect()
    };
    let last = &logs.last().unwrap().0;
    root.query_drop(format!("PURGE BINARY LOGS TO '{last}'"))
        .await
        .unwrap();

    let mut replicas = [set.pod(1), set.pod(2)];
    for replica in &mut replicas {
        replica.boot().await;
        // CLONE ends the container once, a dump does not.
        let clones = u32::from(kind == Kind::MySql);
        assert_eq!(replica.restarts, clones, "{}", replica.log());
        assert!(ready(replica));
    }
    app.query_drop("INSERT INTO t VALUES (2)").await.unwrap();
    for (ordinal, replica) in (1..).zip(&replicas) {
        replica.says("SELECT COUNT(*) FROM t", "2").await;
        let name = format!("mysql-{ordinal}");
        replica.says("SELECT @@hostname", &name).await;
        follows_by_gtid(kind, replica).await;
        let server = (ordinal + 1).to_string();
        replica.says("SELECT @@server_id", &server).await;
        let mut conn = replica.app().await;
        assert_eq!(refusal(&mut conn, "INSERT INTO t VALUES (9)").await, 1290);
        if kind == Kind::MySql {
            let mut root = replica.root().await;
            let write = "INSERT INTO app.t VALUES (9)";
            assert_eq!(refusal(&mut root, write).await, 1290);
        }
    }
    // New accounts are made on the primary and are everywhere.
    root.query_drop("CREATE USER 'later'@'%' IDENTIFIED BY 'x'")
        .await
        .unwrap();

    // The end of the primary: refused before it is gone, and replicas stay ready.
    primary.pre_stop();
    assert_eq!(refusal(&mut app, "INSERT INTO t VALUES (3)").await, 1290);
    assert!(ready(&primary), "to refuse writes is not to be unwell");
    primary.terminate().await;
    for replica in &replicas {
        assert!(ready(replica), "a replica is ready without its primary");
    }
    primary.boot().await;
    let mut app = primary.app().await;
    app.query_drop("INSERT INTO t VALUES (3)").await.unwrap();

    // A replica that restarts is a replica, without anybody's help.
    let [first, second] = &mut replicas;
    let restarts = first.restarts;
    first.stop().await;
    app.query_drop("INSERT INTO t VALUES (4)").await.unwrap();
    first.boot().await;
    assert_eq!(first.restarts, restarts, "{}", first.log());
    // Neither has to be told that the primary was away.
    for replica in [&*first, &*second] {
        replica.says("SELECT COUNT(*) FROM t", "4").await;
    }
    let mut conn = first.app().await;
    assert_eq!(refusal(&mut conn, "INSERT INTO t VALUES (9)").await, 1290);
}

async fn what_the_probes_see(kind: Kind) {
    let set = Set::new(kind);
    let mut pod = set.pod(0);
    assert!(!pod.probe("live").status.success());
    pod.boot().await;
    assert!(ready(&pod) && pod.probe("live").status.success());

    // Out of service by hand, which is no reason to be restarted.
    let by_hand = pod.folder.join("run/out-of-service");
    fs::write(&by_hand, "").unwrap();
    assert!(!ready(&pod) && pod.probe("live").status.success());
    fs::remove_file(&by_hand).unwrap();
    assert!(ready(&pod));

    // A server without room is alive, but not ready.
    let mut root = pod.root().await;
    root.query_drop("SET GLOBAL max_connections = 10")
        .await
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(pod.app().await);
        if !ready(&pod) {
            break;
        }
    }
    let live = pod.probe("live");
    assert!(!ready(&pod) && live.status.success(), "{live:?}");
    drop(held);

    // A login is a login: a wrong password is found out.
    let give_up = Instant::now() + Duration::from_secs(10);
    while !ready(&pod) {
        assert!(Instant::now() < give_up);
        sleep(Duration::from_millis(50)).await;
    }
    pod.set("PROBE_PASSWORD", "wrong");
    assert!(!ready(&pod) && !pod.probe("live").status.success());
}

async fn a_first_boot_that_was_cut_off(kind: Kind) {
    let set = Set::new(kind);
    let mut pod = set.pod(0);
    pod.start();
    let system_tables = pod.folder.join("data/mysql");
    let give_up = Instant::now() + Duration::from_secs(60);
    while !system_tables.exists() {
        assert!(Instant::now() < give_up, "{}", pod.log());
        sleep(Duration::from_millis(5)).await;
    }
    pod.kill();
    assert!(!pod.folder.join("state/complete").exists());

    pod.boot().await;
    assert!(pod.said("the first boot was cut off"), "{}", pod.log());
    let mut app = pod.app().await;
    app.query_drop("CREATE TABLE t (id INT PRIMARY KEY)")
        .await
        .unwrap();
    pod.stop().await;

    // A volume from before the manifests: whatever is in there is somebody's.
    for note in ["begun", "complete"] {
        fs::remove_file(pod.folder.join("state").join(note)).unwrap();
    }
    pod.boot().await;
    assert!(pod.said("from before these manifests"), "{}", pod.log());
    pod.says("SELECT COUNT(*) FROM t", "0").await;
}

macro_rules! on_both {
    ($($name:ident: $run:ident;)*) => {
        mod mariadb {
            use super::*;
            $(#[tokio::test] async fn $name() { $run(Kind::MariaDb).await; })*
        }
        mod mysql {
            use super::*;
            $(#[tokio::test] async fn $name() { $run(Kind::MySql).await; })*
        }
    };
}

on_both! {
    pods_become_a_primary_and_replicas_and_stay_that: a_primary_and_its_replicas;
    probes_log_in_and_know_busy_from_dead: what_the_probes_see;
    a_first_boot_that_was_cut_off_begins_again: a_first_boot_that_was_cut_off;
}
