//! A restart of the primary delays writers, but causes no errors.

use crate::support::{World, eventually, insert};
use headless_mysql::Error;
use std::time::Duration;
use tokio::time::Instant;

/// Longer than the 5 s after which reads fail, and shorter than writes wait.
const AWAY: Duration = Duration::from_millis(7_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_default_options_writers_wait_out_a_primary_that_is_away_for_longer_than_reads_wait() {
    let world = World::start(0).await;
    let (stage, cluster) = (&world.stage, &world.cluster);
    let killed = Instant::now();
    stage.lab.kill(0).await.unwrap();
    stage.set_ready(0, false).unwrap();
    // A connection that worked more recently than this is used without a ping, and a statement on
    // it could fail with an unknown outcome.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let writers: Vec<_> = (0..8)
        .map(|id| {
            let cluster = cluster.clone();
            tokio::spawn(async move { insert(&cluster, id).await })
        })
        .collect();
    let read = cluster.replicas().query_drop("SELECT 1").await;
    assert!(matches!(read, Err(Error::NoReplica { .. })), "{read:?}");
    let reads_waited = killed.elapsed();
    assert!(reads_waited < AWAY, "{reads_waited:?}");

    tokio::time::sleep_until(killed + AWAY).await;
    stage.lab.move_to_new_address(0).await.unwrap();
    let queries = stage.dns.query_count();
    stage.publish();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    assert_eq!(world.written_by().await.into_values().sum::<u64>(), 8);
    // Few look-ups: one shows the new address, and some more follow until all writers are served.
    assert!(stage.dns.query_count() - queries < 20);
    eventually("nobody waits", async || {
        cluster.status().pods.iter().all(|pod| pod.in_flight == 0)
    })
    .await;
}
