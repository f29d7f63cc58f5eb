//! How reads are distributed over replicas with weights.

use crate::staged::Staged as _;
use crate::support::stage;
use headless_mysql::{Cluster, Config};
use std::collections::BTreeMap;

/// Runs reads in sequence. The server with the id `slow` takes 20 ms longer for each. Returns the
/// number of reads per server (by `server_id`, which is the ordinal + 1).
async fn spread(config: Config, slow: u32, reads: usize) -> BTreeMap<u32, usize> {
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let text = format!("SELECT @@server_id, IF(@@server_id = {slow}, SLEEP(0.02), 0)");
    let mut by = BTreeMap::new();
    for n in 0..reads {
        let row = match n % 2 {
            0 => cluster.replicas().query_first(&*text).await,
            _ => cluster.replicas().exec_first(&*text, ()).await,
        };
        let (id, _): (u32, u32) = row.unwrap().unwrap();
        *by.entry(id).or_default() += 1;
    }
    by
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_answers_slowly_gets_fewer_reads_unless_that_is_turned_off() {
    let stage = stage(2).await;
    let by = spread(stage.config(), 3, 300).await;
    assert!(by.get(&3).is_some_and(|reads| *reads < 60), "{by:?}");
    let by = spread(stage.config().with_pace(false), 3, 300).await;
    assert!(by.get(&3).is_some_and(|reads| *reads > 100), "{by:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_by_ordinal_decide_who_gets_reads_and_do_not_concern_writes() {
    let stage = stage(2).await;
    let by = spread(stage.config().with_weights([(2, 0)]), 0, 50).await;
    assert_eq!(by, [(2, 50)].into());
    // Of two idle replicas the one with more weight is picked. The primary takes writes with any
    // weight.
    let config = stage.config().with_weights([(0, 0), (1, 1), (2, 3)]);
    assert_eq!(spread(config.clone(), 0, 50).await, [(3, 50)].into());
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let id = cluster.primary().query_first("SELECT @@server_id").await;
    assert_eq!(id.unwrap(), Some(1u32));
}
