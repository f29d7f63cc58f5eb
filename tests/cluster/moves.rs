//! Callers that wait for a connection, or hold one, while the primary moves.

use crate::staged::Staged as _;
use crate::support::{World, eventually, forward_to, stage};
use headless_mysql::prelude::*;
use headless_mysql::{Cluster, Error};
use std::net::IpAddr;
use std::time::Duration;

/// Whether exactly the primary's address `address` is listed, and `places` addresses of the primary
/// are known: 2 while the old one is in its grace period, 1 after that.
fn has_moved(cluster: &Cluster, address: IpAddr, places: usize) -> bool {
    let pods = cluster.status().pods;
    let primaries = pods.iter().filter(|pod| pod.pod.name() == "mysql-0");
    let listed = primaries.clone().filter(|pod| pod.listed);
    let mut listed = listed.map(|pod| pod.pod.address().ip());
    primaries.count() == places && listed.next() == Some(address) && listed.next().is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_waits_for_a_connection_while_the_primary_moves_gets_one_to_the_new_place() {
    let stage = stage(0).await;
    // By default DNS is queried again after up to 5 s, which is as long as a checkout may take.
    let (min, max) = (Duration::from_millis(20), Duration::from_millis(50));
    let config = stage.config().with_refresh(min, max);
    let world = World::with(stage, config.with_max_connections(1)).await;
    let held = world.cluster.primary().conn().await.unwrap();
    let waiting = tokio::spawn(world.cluster.primary().conn());
    eventually("the writer waits at the old place", async || {
        let pods = world.cluster.status().pods;
        pods.iter().map(|pod| pod.in_flight).sum::<usize>() == 2
    })
    .await;

    let new = forward_to(&world.stage, 0).await;
    world.stage.publish_at(0, new).unwrap();
    eventually("DNS's word has arrived", async || {
        has_moved(&world.cluster, new, 2)
    })
    .await;
    // The old address still works, and now has a free connection for the writer.
    drop(held);
    let conn = waiting.await.unwrap().unwrap();
    assert_eq!(conn.pod().address().ip(), new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_after_a_shutdown_shows_the_primary_at_its_new_place_only() {
    let stage = stage(0).await;
    let (min, max) = (Duration::from_millis(20), Duration::from_millis(50));
    let config = stage.config().with_refresh(min, max);
    let world = World::with(stage, config).await;
    let new = forward_to(&world.stage, 0).await;
    world.stage.publish_at(0, new).unwrap();
    eventually("DNS's word has arrived", async || {
        has_moved(&world.cluster, new, 2)
    })
    .await;
    world
        .cluster
        .shutdown(Duration::from_secs(5))
        .await
        .unwrap();
    let pods = world.cluster.status().pods;
    let primaries = pods.iter().filter(|pod| pod.primary);
    let primaries: Vec<_> = primaries.map(|pod| pod.pod.address().ip()).collect();
    assert_eq!(primaries, [new]);
}

/// A connection to an old address of the primary that is already forgotten.
async fn held_beyond_grace() -> (World, headless_mysql::PodConn) {
    let stage = stage(0).await;
    let config = stage.config().with_grace(Duration::from_millis(200));
    let world = World::with(stage, config).await;
    let held = world.cluster.primary().conn().await.unwrap();
    let new = forward_to(&world.stage, 0).await;
    world.stage.publish_at(0, new).unwrap();
    eventually("the old place is forgotten", async || {
        has_moved(&world.cluster, new, 1)
    })
    .await;
    (world, held)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_a_forgotten_place_counts_in_a_shutdown_and_ends_with_it() {
    let (world, mut held) = held_beyond_grace().await;
    let shutdown = world.cluster.shutdown(Duration::from_millis(200)).await;
    let error = shutdown.unwrap_err();
    assert!(
        matches!(error, Error::ShutdownTimeout { in_use: 1, .. }),
        "{error}"
    );
    let error = Error::from(held.query_drop("DO 1").await.unwrap_err());
    assert!(matches!(error, Error::Closed), "{error}");
}
