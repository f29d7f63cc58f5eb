//! Several clusters, several concurrent calls, and tower layers around them.

use super::{SOON, use_of};
use crate::staged::Staged as _;
use crate::support::{World, stage};
use futures_util::future::try_join_all;
use headless_mysql::cluster::Checkout;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Config, PodConn};
use std::time::Duration;
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_in_one_process_do_not_know_each_other() {
    let (one, other) = tokio::join!(World::start(0), World::start(0));
    for id in 0..20 {
        one.insert(id).await.unwrap();
    }
    let count = "SELECT COUNT(*) FROM entries";
    let of_one = one.cluster.primary().query_first(count).await.unwrap();
    let of_other = other.cluster.primary().query_first(count).await.unwrap();
    assert_eq!((of_one, of_other), (Some(20u32), Some(0u32)));
    // Two clusters may use the same Service.
    let second = Cluster::builder(one.stage.config())
        .connect()
        .await
        .unwrap();
    one.cluster.shutdown(SOON).await.unwrap();
    assert_eq!(
        second.primary().query_first(count).await.unwrap(),
        Some(20u32)
    );
    other.insert(0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_owned_and_can_be_spawned_joined_and_stored() {
    fn owned<T: Send + 'static>(value: T) -> T {
        value
    }
    let world = World::start(1).await;
    let cluster = world.cluster.clone();
    let inserts = (0..50u64).map(|id| {
        let insert = "INSERT INTO entries (id, pod) VALUES (?, '-')";
        owned(cluster.primary().exec_drop(insert, (id,)))
    });
    try_join_all(inserts).await.unwrap();
    let reads = (0..50).map(|_| {
        let read = cluster.primary().query("SELECT id FROM entries");
        tokio::spawn(owned(read))
    });
    for rows in try_join_all(reads).await.unwrap() {
        let rows: Vec<u64> = rows.unwrap();
        assert_eq!(rows.len(), 50);
    }
    let conn = owned(cluster.replicas().conn());
    let begin = owned(cluster.primary().begin());
    drop(cluster);
    let (mut conn, tx) = tokio::try_join!(conn, begin).unwrap();
    use_of(&mut conn).await.unwrap();
    tokio::spawn(owned(tx.commit())).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_serves_connections_under_towers_timeout_and_concurrency_limit() {
    let stage = stage(1).await;
    let config: Config = stage.config().with_max_connections(1);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let service = ServiceBuilder::new()
        .timeout(Duration::from_millis(300))
        .concurrency_limit(2)
        .service(cluster.primary());
    let served = service.clone().oneshot(Checkout::new()).await;
    let mut held: PodConn = served.unwrap();
    let id: Option<u32> = held.query_first("SELECT @@server_id").await.unwrap();
    assert_eq!(id, Some(1));

    // The layers apply to the checkout, which waits because the only connection is in use.
    let started = Instant::now();
    let late = service.clone().oneshot(Checkout::new()).await.unwrap_err();
    assert!(late.is::<tower::timeout::error::Elapsed>(), "{late:?}");
    assert!(started.elapsed() < SOON);
    // A checkout that was cut off does not affect the next one.
    drop(held);
    for _ in 0..20 {
        let served = service.clone().oneshot(Checkout::new()).await.unwrap();
        drop(served);
    }
    let busy = (0..10).map(|_| {
        let service = service.clone();
        async move {
            let mut conn = service.oneshot(Checkout::new()).await?;
            conn.query_drop("DO 1").await?;
            Ok::<_, tower::BoxError>(())
        }
    });
    try_join_all(busy).await.unwrap();
}
