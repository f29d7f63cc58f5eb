//! The lab against real servers. Needs what `LabError::Missing` names.
//!
//! The same build runs on MariaDB and on MySQL: `HEADLESS_MYSQL_SERVER` says which.
// clippy.toml allows these in test functions, not in the functions they call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod lifetime;

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use headless_mysql_testkit::lab::{Lab, LabBuilder, LabError, Nodes, ServerKind};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(10);

/// What the servers of this run are.
fn server() -> ServerKind {
    ServerKind::chosen().unwrap()
}

fn builder() -> LabBuilder {
    Lab::builder().server(server())
}

async fn start(replicas: u32) -> Result<Lab, LabError> {
    builder().replicas(replicas).start().await
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("in time")
}

async fn rows(lab: &Lab, ordinal: u32) -> i64 {
    let mut conn = lab.connect(ordinal).await.unwrap();
    in_time(conn.query_first("SELECT COUNT(*) FROM t"))
        .await
        .unwrap()
        .unwrap()
}

async fn with_table(lab: &Lab) -> Conn {
    let mut conn = lab.connect(0).await.unwrap();
    in_time(conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT)"))
        .await
        .unwrap();
    conn
}

async fn insert(conn: &mut Conn) {
    in_time(conn.query_drop("INSERT INTO t () VALUES ()"))
        .await
        .unwrap();
}

fn processes(lab: &Lab) -> Vec<u32> {
    lab.ordinals()
        .into_iter()
        .filter_map(|ordinal| lab.process_id(ordinal))
        .collect()
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn three_nodes_replicate_under_their_own_names_and_addresses() {
    let begin = Instant::now();
    let lab = start(2).await.unwrap();
    let started = begin.elapsed();
    let mut primary = with_table(&lab).await;
    insert(&mut primary).await;
    lab.wait_for_replication(SOON).await.unwrap();
    println!(
        "three nodes: started in {started:?}, replicated after {:?}",
        begin.elapsed()
    );

    assert_eq!(
        (lab.size(), lab.ordinals(), lab.port()),
        (3, vec![0, 1, 2], 3306)
    );
    let addresses: HashSet<_> = (0..3).map(|ordinal| lab.address(ordinal)).collect();
    assert_eq!(addresses.len(), 3);
    for ordinal in 0..3 {
        assert_eq!(rows(&lab, ordinal).await, 1);
        let mut conn = lab.connect(ordinal).await.unwrap();
        let (hostname, read_only, performance_schema): (String, bool, bool) = conn
            .query_first("SELECT @@hostname, @@read_only, @@performance_schema")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(read_only, ordinal != 0);
        assert!(!performance_schema);
        if lab.own_hostnames() {
            assert_eq!(hostname, lab.pod_name(ordinal));
        }
    }
}

#[tokio::test]
async fn the_application_cannot_write_where_it_is_read_only_but_root_can() {
    let lab = builder()
        .replicas(1)
        .statefulset("db")
        .start()
        .await
        .unwrap();
    let mut primary = with_table(&lab).await;
    lab.wait_for_replication(SOON).await.unwrap();
    assert_eq!(lab.pod_name(1), "db-1");

    let write = "INSERT INTO t () VALUES ()";
    let refused = |error: Error| matches!(error, Error::Server(error) if error.code == 1290);
    let mut replica = lab.connect(1).await.unwrap();
    assert!(refused(
        in_time(replica.query_drop(write)).await.unwrap_err()
    ));
    // No privilege to lift that, or to see anything beyond its database.
    assert!(
        replica
            .query_drop("SET GLOBAL read_only = 0")
            .await
            .is_err()
    );
    assert!(
        replica
            .query_drop("SELECT * FROM mysql.user")
            .await
            .is_err()
    );

    lab.set_read_only(0, true).await.unwrap();
    assert!(refused(
        in_time(primary.query_drop(write)).await.unwrap_err()
    ));
    let root = lab.admin(0).await.unwrap().query_drop(write).await;
    match server() {
        ServerKind::MySql => assert!(refused(root.unwrap_err()), "super_read_only binds root"),
        _ => root.unwrap(),
    }
    lab.set_read_only(0, false).await.unwrap();
    insert(&mut primary).await;

    for url in [lab.url(0), lab.root_url(0)] {
        Conn::from_url(url).await.unwrap().ping().await.unwrap();
    }
}

#[tokio::test]
async fn acknowledged_rows_survive_a_kill() {
    let lab = start(1).await.unwrap();
    with_table(&lab).await;
    for _ in 0..3 {
        let mut conn = lab.connect(0).await.unwrap();
        let before = rows(&lab, 0).await;
        let writer = tokio::spawn(async move {
            let mut acknowledged = 0;
            while conn.query_drop("INSERT INTO t () VALUES ()").await.is_ok() {
                acknowledged += 1;
            }
            acknowledged
        });
        sleep(Duration::from_millis(200)).await;
        let begin = Instant::now();
        lab.kill(0).await.unwrap();
        let killed = begin.elapsed();
        let acknowledged: i64 = in_time(writer).await.unwrap();
        assert!(matches!(lab.connect(0).await, Err(LabError::Query { .. })));
        lab.kill(0).await.expect("killing twice does nothing");

        let begin = Instant::now();
        lab.restart(0).await.unwrap();
        println!(
            "killed in {killed:?} after {acknowledged} rows, back in {:?}",
            begin.elapsed()
        );
        let after = rows(&lab, 0).await;
        assert!(acknowledged > 0);
        // One more may have been written and not acknowledged.
        let written = after - before;
        assert!(
            written == acknowledged || written == acknowledged + 1,
            "{written}"
        );
    }
    lab.wait_for_replication(SOON).await.unwrap();
    assert_eq!(rows(&lab, 1).await, rows(&lab, 0).await);
}

#[tokio::test]
async fn a_frozen_server_hangs_a_query_and_a_thaw_resumes_it() {
    let lab = start(1).await.unwrap();
    let mut conn = lab.connect(1).await.unwrap();
    lab.freeze(1).await.unwrap();
    {
        let mut query = std::pin::pin!(conn.query_first::<i64, _>("SELECT 7"));
        assert!(
            timeout(Duration::from_millis(300), &mut query)
                .await
                .is_err()
        );
        // What is frozen is not waited for.
        lab.wait_for_replication(SOON).await.unwrap();
        lab.thaw(1).await.unwrap();
        assert_eq!(in_time(query).await.unwrap(), Some(7));
    }
    lab.freeze(1).await.unwrap();
    lab.stop(1).await.expect("a frozen server can be stopped");
    assert!(matches!(
        lab.thaw(1).await,
        Err(LabError::NotRunning { .. })
    ));
    assert_eq!(lab.process_id(1), None);
    lab.restart(1).await.unwrap();
    lab.freeze(1).await.unwrap();
    lab.restart(1)
        .await
        .expect("a frozen server can be restarted");
    lab.wait_for_replication(SOON).await.unwrap();
}

#[tokio::test]
async fn a_replica_goes_on_trying_for_as_long_as_its_primary_is_away() {
    let lab = start(1).await.unwrap();
    lab.kill(0).await.unwrap();
    // Ten attempts, one a second, and then some.
    sleep(Duration::from_millis(12_500)).await;
    let mut conn = lab.admin(1).await.unwrap();
    let status: Option<Row> = conn.query_first("SHOW REPLICA STATUS").await.unwrap();
    let column = match server() {
        ServerKind::MySql => "Replica_IO_Running",
        _ => "Slave_IO_Running",
    };
    let running: Option<String> = status.unwrap().get(column);
    assert_eq!(running.as_deref(), Some("Connecting"));
}

#[tokio::test]
async fn a_moved_server_keeps_its_data_and_replication() {
    let lab = start(2).await.unwrap();
    insert(&mut with_table(&lab).await).await;
    let before: Vec<_> = (0..3).map(|ordinal| lab.address(ordinal)).collect();

    let begin = Instant::now();
    let primary = lab.move_to_new_address(0).await.unwrap();
    println!("primary moved in {:?}", begin.elapsed());
    assert_eq!(lab.address(0), primary);
    assert!(!before.contains(&primary));
    insert(&mut lab.connect(0).await.unwrap()).await;

    // A replica that was away when the primary moved finds it.
    lab.kill(2).await.unwrap();
    lab.move_to_new_address(0).await.unwrap();
    insert(&mut lab.connect(0).await.unwrap()).await;
    let replica = lab.move_to_new_address(2).await.unwrap();
    assert_ne!(replica, before[2]);

    lab.wait_for_replication(SOON).await.unwrap();
    for ordinal in 0..3 {
        assert_eq!(rows(&lab, ordinal).await, 3);
    }

    // Without telling the replicas: the primary serves, they do not replicate.
    lab.start_at(0, lab.fresh_address().unwrap()).await.unwrap();
    insert(&mut lab.connect(0).await.unwrap()).await;
    let behind = lab.wait_for_replication(Duration::from_millis(300)).await;
    assert!(
        matches!(behind, Err(LabError::Timeout { .. })),
        "{behind:?}"
    );
    lab.repoint_replicas().await.unwrap();
    lab.wait_for_replication(SOON).await.unwrap();
    assert_eq!(rows(&lab, 1).await, 4);
}

#[tokio::test]
async fn a_promoted_server_takes_the_writes_and_all_others_follow_it_from_then_on() {
    let lab = start(2).await.unwrap();
    insert(&mut with_table(&lab).await).await;
    lab.promote(2).await.unwrap();
    assert_eq!(lab.primary(), 2);
    insert(&mut lab.connect(2).await.unwrap()).await;
    lab.wait_for_replication(SOON).await.unwrap();
    assert_eq!(rows(&lab, 0).await, 2, "the old primary follows");

    // Whoever comes back is what it was.
    for ordinal in 0..3 {
        lab.kill(ordinal).await.unwrap();
        lab.restart(ordinal).await.unwrap();
    }
    lab.move_to_new_address(2).await.unwrap();
    insert(&mut lab.connect(2).await.unwrap()).await;
    let mut old = lab.connect(0).await.unwrap();
    assert!(old.query_drop("INSERT INTO t () VALUES ()").await.is_err());
    assert!(matches!(lab.remove(2).await, Err(LabError::Config(_))));

    // And there and back again: nothing that one of them wrote is missing anywhere.
    for ordinal in [0, 1, 0] {
        lab.promote(ordinal).await.unwrap();
        insert(&mut lab.connect(ordinal).await.unwrap()).await;
    }
    lab.wait_for_replication(SOON).await.unwrap();
    for ordinal in 0..3 {
        assert_eq!(rows(&lab, ordinal).await, 6);
    }

    lab.kill(1).await.unwrap();
    let dead = lab.promote(1).await;
    assert!(matches!(dead, Err(LabError::NotRunning { .. })), "{dead:?}");
    insert(&mut lab.connect(0).await.unwrap()).await;
}

#[tokio::test]
async fn a_wiped_server_has_accounts_but_no_data_and_no_gtid() {
    let lab = start(1).await.unwrap();
    insert(&mut with_table(&lab).await).await;

    lab.wipe(1).await.unwrap();
    lab.wait_for_replication(SOON).await.unwrap();
    assert_eq!(rows(&lab, 1).await, 1, "a wiped replica replicates anew");

    lab.wipe(0).await.unwrap();
    let mut conn = lab.connect(0).await.unwrap();
    let position = match server() {
        ServerKind::MySql => "SELECT @@global.gtid_executed",
        _ => "SELECT @@gtid_current_pos",
    };
    let gtid: Option<String> = conn.query_first(position).await.unwrap();
    assert_eq!(gtid.as_deref(), Some(""));
    let tables: Vec<String> = conn.query("SHOW TABLES").await.unwrap();
    assert!(tables.is_empty(), "{tables:?}");
}

#[tokio::test]
async fn replicas_are_added_and_removed() {
    let lab = start(0).await.unwrap();
    insert(&mut with_table(&lab).await).await;
    assert_eq!(lab.add_replica().await.unwrap(), 1);
    assert_eq!(lab.add_replica().await.unwrap(), 2);
    lab.wait_for_replication(SOON).await.unwrap();
    assert_eq!((lab.size(), rows(&lab, 2).await), (3, 1));

    let pid = lab.process_id(1).unwrap();
    lab.remove(1).await.unwrap();
    assert!(!exists(pid) && !lab.directory().join("mysql-1").exists());
    assert_eq!(lab.ordinals(), [0, 2]);
    assert!(matches!(
        lab.connect(1).await,
        Err(LabError::UnknownOrdinal { ordinal: 1, .. })
    ));
    assert!(matches!(lab.remove(0).await, Err(LabError::Config(_))));
    assert_eq!(lab.add_replica().await.unwrap(), 1);
}

#[tokio::test]
async fn options_reach_the_servers_they_are_for_and_bad_ones_are_quoted() {
    let lab = builder()
        .replicas(1)
        .server_option(Nodes::All, "--init-connect=SET @everywhere = 1")
        .server_option(1, "--max-connections=77")
        .start()
        .await
        .unwrap();
    for (ordinal, connections) in [(0, 300), (1, 77)] {
        let mut conn = lab.connect(ordinal).await.unwrap();
        let seen = conn
            .query_first("SELECT @everywhere, @@max_connections")
            .await
            .unwrap();
        assert_eq!(seen, Some((1, connections)));
    }

    let error = builder()
        .server_option(0, "--no-such-option")
        .start()
        .await
        .unwrap_err();
    assert!(matches!(error, LabError::Exited { .. }), "{error}");
    assert!(error.to_string().contains("no-such-option"), "{error}");
}
