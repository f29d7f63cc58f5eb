//! Replicas behind, beside and at the primary.

use crate::support::{PATIENCE, World, number, pods};
use headless_mysql::mysql_async::prelude::*;
use headless_mysql_testkit::embedded::EmbeddedPods;
use headless_mysql_testkit::lab::LabError;
use std::time::Duration;
use tokio::time::Instant;

const COUNT: &str = "SELECT COUNT(*) FROM entries";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_is_visible_and_then_gone() {
    let world = World::start(1).await;
    // A replica that is met while it lags is not known to replicate: the primary would be read.
    let warm = world.cluster.replicas().query_first("SELECT @@server_id");
    assert_eq!(warm.await.unwrap(), Some(2_u32));
    let lag = Duration::from_secs(3);
    world.stage.lab.set_lag(1, lag).unwrap();
    let start = Instant::now();
    world.insert(1).await.unwrap();
    let count = async || -> u64 {
        let count = world.cluster.replicas().query_first(COUNT);
        count.await.unwrap().unwrap()
    };
    assert_eq!(count().await, 0);
    assert_eq!(world.stage.lab.position(1).unwrap(), "0-1-1");
    world
        .stage
        .lab
        .wait_for_replication(PATIENCE)
        .await
        .unwrap();
    assert!(start.elapsed() >= lag);
    assert_eq!(count().await, 1);
    assert_eq!(world.stage.lab.position(1).unwrap(), "0-1-2");
}

#[tokio::test]
async fn stopped_replication_is_told_by_who_waits_for_it() {
    let pods = pods().await;
    let mut primary = pods.connect(0).await.unwrap();
    pods.stop_replication(1).unwrap();
    primary
        .query_drop("INSERT INTO entries VALUES (1, 'x')")
        .await
        .unwrap();
    let waited = pods.wait_for_replication(Duration::from_millis(50)).await;
    let error = waited.unwrap_err().to_string();
    assert!(
        error.contains("mysql-1") && error.contains("0-1-2"),
        "{error}"
    );
    pods.start_replication(1).unwrap();
    pods.wait_for_replication(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_new_replica_gets_everything_and_a_removed_one_is_gone() {
    let pods = pods().await;
    let mut primary = pods.connect(0).await.unwrap();
    primary
        .query_drop("INSERT INTO entries VALUES (1, 'x')")
        .await
        .unwrap();
    assert_eq!(pods.add_replica().await.unwrap(), 2);
    pods.wait_for_replication(PATIENCE).await.unwrap();
    let mut replica = pods.connect(2).await.unwrap();
    assert_eq!(number(&mut replica, COUNT).await, 1);
    pods.remove(1).await.unwrap();
    assert_eq!(pods.ordinals(), [0, 2]);
    assert!(matches!(
        pods.kill(1).await,
        Err(LabError::UnknownOrdinal { .. })
    ));
    assert!(pods.remove(0).await.is_err());
    assert_eq!(pods.add_replica().await.unwrap(), 1);
}

#[tokio::test]
async fn replicas_follow_a_moved_primary_when_they_are_told() {
    let pods = pods().await;
    let address = pods.fresh_address().unwrap();
    pods.start_at(0, address).await.unwrap();
    assert_eq!(pods.address(0), address);
    let mut primary = pods.connect(0).await.unwrap();
    primary
        .query_drop("INSERT INTO entries VALUES (1, 'x')")
        .await
        .unwrap();
    let untold = pods.wait_for_replication(Duration::from_millis(50)).await;
    assert!(untold.is_err());
    pods.repoint_replicas().await.unwrap();
    pods.wait_for_replication(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_wiped_replica_replicates_anew_and_one_ahead_of_its_primary_stops() {
    let pods = pods().await;
    let mut primary = pods.connect(0).await.unwrap();
    primary
        .query_drop("INSERT INTO entries VALUES (1, 'x')")
        .await
        .unwrap();
    pods.wipe(1).await.unwrap();
    pods.wait_for_replication(PATIENCE).await.unwrap();

    pods.wipe(0).await.unwrap();
    let mut primary = pods.connect(0).await.unwrap();
    primary.query_drop(crate::support::CREATE).await.unwrap();
    assert!(
        pods.wait_for_replication(Duration::from_millis(50))
            .await
            .is_err()
    );
    let mut replica = pods.connect(1).await.unwrap();
    assert_eq!(number(&mut replica, COUNT).await, 1);
}

#[tokio::test]
async fn data_survives_a_kill_and_read_only_is_as_at_the_start_again() {
    let pods = EmbeddedPods::start(0).await.unwrap();
    let mut conn = pods.connect(0).await.unwrap();
    conn.query_drop(crate::support::CREATE).await.unwrap();
    conn.query_drop("INSERT INTO entries VALUES (1, 'x')")
        .await
        .unwrap();
    pods.set_read_only(0, true).await.unwrap();
    pods.kill(0).await.unwrap();
    assert!(conn.ping().await.is_err());
    assert!(matches!(
        pods.freeze(0).await,
        Err(LabError::NotRunning { .. })
    ));
    assert!(pods.wait_for_replication(PATIENCE).await.is_err());
    pods.restart(0).await.unwrap();
    let mut conn = pods.connect(0).await.unwrap();
    conn.query_drop("INSERT INTO entries VALUES (2, 'x')")
        .await
        .unwrap();
    assert_eq!(number(&mut conn, COUNT).await, 2);
}
