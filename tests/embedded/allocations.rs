//! What a routed read allocates beyond the driver's own work for the same statement.

use crate::support::World;
use headless_mysql::cluster::Route;
use headless_mysql::config::ReplicaPolicy;
use headless_mysql::mysql_async::Conn;
use headless_mysql::mysql_async::prelude::Queryable;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

const READS: u64 = 200;

const POINT: &str = "SELECT pod FROM entries WHERE id = ?";

/// What `reads` allocates, without the servers, which run on the same thread.
async fn allocations(reads: impl Future<Output = ()>) -> u64 {
    let mut reads = pin!(reads);
    let mut count = 0;
    poll_fn(|cx| {
        let mut polled = Poll::Pending;
        let info = allocation_counter::measure(|| polled = reads.as_mut().poll(cx));
        count += info.count_total;
        polled
    })
    .await;
    count
}

#[tokio::test]
async fn a_routed_read_allocates_little_more_than_the_driver_does_for_it() {
    let world = World::start(1).await;
    compare(&world, 1, || world.cluster.replicas()).await;
}

#[tokio::test]
async fn a_read_on_a_primary_that_is_used_like_a_replica_is_served_at_once_too() {
    let world = World::start(0).await;
    let reads = || world.cluster.replicas().policy(ReplicaPolicy::Any);
    compare(&world, 0, reads).await;
}

/// Reads by `routes`, which lead to the pod with this ordinal, beside the driver alone.
async fn compare(world: &World, ordinal: u32, routes: impl Fn() -> Route) {
    world.insert(1).await.unwrap();
    let patience = crate::support::PATIENCE;
    world
        .stage
        .lab
        .wait_for_replication(patience)
        .await
        .unwrap();
    let mut conn: Conn = world.stage.lab.connect(ordinal).await.unwrap();

    // The first of each makes a connection, or prepares.
    let mut raw = [0; 2];
    let mut ours = [0; 2];
    for reads in [10, READS] {
        raw[0] = allocations(async {
            for _ in 0..reads {
                let one: Option<u64> = conn.query_first("SELECT 1").await.unwrap();
                assert_eq!(one, Some(1));
            }
        })
        .await;
        ours[0] = allocations(async {
            for _ in 0..reads {
                let one: Option<u64> = routes().query_first("SELECT 1").await.unwrap();
                assert_eq!(one, Some(1));
            }
        })
        .await;
        raw[1] = allocations(async {
            for _ in 0..reads {
                let pod: Option<String> = conn.exec_first(POINT, (1,)).await.unwrap();
                assert!(pod.is_some());
            }
        })
        .await;
        ours[1] = allocations(async {
            for _ in 0..reads {
                let pod: Option<String> = routes().exec_first(POINT, (1,)).await.unwrap();
                assert!(pod.is_some());
            }
        })
        .await;
    }
    for (what, raw, ours) in [("text", raw[0], ours[0]), ("prepared", raw[1], ours[1])] {
        println!("{what}: {raw} by the driver, {ours} routed, {READS} reads");
        // Something of the driver's now and then; one more in each read would not pass.
        assert!(
            ours <= raw + READS + READS / 2,
            "{what}: {ours} allocations in {READS} reads, {raw} by the driver alone"
        );
    }
}
