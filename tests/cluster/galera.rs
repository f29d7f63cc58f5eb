//! A Galera node that refuses to work: error 1047.
//!
//! Each server is the only node of its own Galera cluster, and replicates as usual.

use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, eventually, replicated, server, stage};
use headless_mysql::balance::EndpointState;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::lab::ServerKind;
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;

/// Makes the server with `ordinal` a Galera node.
async fn join(stage: &Stage, ordinal: u32) {
    let listen = format!(
        "gmcast.listen_addr=tcp://{}:4567",
        stage.lab.address(ordinal)
    );
    let options = [
        "--wsrep-on=ON".to_owned(),
        "--wsrep-provider=/usr/lib/galera/libgalera_smm.so".to_owned(),
        "--wsrep-cluster-address=gcomm://".to_owned(),
        format!("--wsrep-node-address={}", stage.lab.address(ordinal)),
        format!("--wsrep-provider-options={listen};gcache.size=1M"),
        "--binlog-format=ROW".to_owned(),
        "--innodb-autoinc-lock-mode=2".to_owned(),
    ];
    stage.lab.restart_with(ordinal, options).await.unwrap();
    eventually("the node is ready", async || {
        let Ok(mut root) = stage.lab.admin(ordinal).await else {
            return false;
        };
        let show = "SHOW STATUS LIKE 'wsrep_ready'";
        let ready: Option<(String, String)> = root.query_first(show).await.unwrap();
        ready.is_some_and(|ready| ready.1 == "ON")
    })
    .await;
}

async fn reject(stage: &Stage, ordinal: u32, what: &str) {
    let mut root = stage.lab.admin(ordinal).await.unwrap();
    let reject = format!("SET GLOBAL wsrep_reject_queries = {what}");
    root.query_drop(reject).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_and_transactions_wait_for_a_node_that_refuses_to_work() {
    if server() == ServerKind::MySql {
        return;
    }
    let stage = stage(0).await;
    join(&stage, 0).await;
    let world = World::on(stage).await;
    world.must_insert(1).await;
    reject(&world.stage, 0, "ALL").await;
    let short = Duration::from_millis(700);
    let error = world.cluster.primary().deadline(short);
    let error = error
        .exec_drop("INSERT INTO entries (id) VALUES (2)", ())
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::NoPrimary { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("WSREP") || text.contains("wsrep"), "{text}");

    let cluster = world.cluster.clone();
    let write = tokio::spawn(async move {
        let route = cluster.primary().deadline(PATIENCE);
        route
            .exec_drop("INSERT INTO entries (id) VALUES (3)", ())
            .await
    });
    let cluster = world.cluster.clone();
    let begin = tokio::spawn(async move {
        let mut tx = cluster.primary().deadline(PATIENCE).begin().await?;
        tx.exec_drop("INSERT INTO entries (id) VALUES (4)", ())
            .await?;
        tx.commit().await
    });
    tokio::time::sleep(short).await;
    assert!(!write.is_finished() && !begin.is_finished());
    reject(&world.stage, 0, "NONE").await;
    write.await.unwrap().unwrap();
    begin.await.unwrap().unwrap();
    let ids = world
        .cluster
        .primary()
        .query::<u64>("SELECT id FROM entries ORDER BY id");
    assert_eq!(ids.await.unwrap(), [1, 3, 4], "nothing ran twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_leave_a_node_that_refuses_to_work_and_come_back() {
    if server() == ServerKind::MySql {
        return;
    }
    let stage = stage(2).await;
    let world = World::on(stage).await;
    world.must_insert(1).await;
    replicated(&world.stage).await;
    join(&world.stage, 1).await;
    let read = "SELECT CONCAT(@@server_id, '') FROM entries LIMIT 1";
    let served_by = async || -> String {
        let served: Option<String> = world.cluster.replicas().query_first(read).await.unwrap();
        served.unwrap()
    };
    eventually("the node serves", async || served_by().await == "2").await;
    reject(&world.stage, 1, "ALL").await;
    for _ in 0..200 {
        assert_eq!(served_by().await, "3");
        let begun = world.cluster.replicas().begin().await;
        let mut tx = begun.unwrap();
        let _: Option<String> = tx.query_first("SELECT 1").await.unwrap();
    }
    let pods = world.cluster.status().pods;
    assert_ne!(pods[1].state, Some(EndpointState::Ready), "{pods:#?}");
    // A process that starts now gets the error at login.
    let fresh = Cluster::builder(world.stage.config())
        .connect()
        .await
        .unwrap();
    for _ in 0..50 {
        let served: Option<String> = fresh.replicas().query_first(read).await.unwrap();
        assert_eq!(served.unwrap(), "3");
    }
    reject(&world.stage, 1, "NONE").await;
    eventually("the node serves again", async || served_by().await == "2").await;
}
