//! Connecting, and a lazy cluster that connects with its first call.

use super::{SOON, at_once, runtime};
use crate::staged::Staged as _;
use crate::support::stage;
use futures_util::future::join_all;
use headless_mysql::{Cluster, Error};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_waits_for_a_service_that_appears_later() {
    let stage = stage(0).await;
    stage.dns.remove_service("default", "mysql");
    stage.dns.clear_queries();
    let connecting = tokio::spawn(Cluster::builder(stage.config()).connect());
    stage.dns.wait_for_queries(4).await;
    assert!(!connecting.is_finished());
    stage.publish();
    let cluster = connecting.await.unwrap().unwrap();
    cluster.primary().query_drop("DO 1").await.unwrap();
}

#[test]
fn a_lazy_cluster_does_nothing_until_its_first_call_and_needs_no_runtime_before() {
    let runtime = runtime();
    let stage = runtime.block_on(stage(1));
    stage.dns.clear_queries();
    let tasks = runtime.metrics().num_alive_tasks();

    let cluster = Cluster::builder(stage.config()).lazy().unwrap();
    let other = cluster.clone();
    assert!(cluster.status().pods.is_empty());
    let first = cluster.primary().query_first("SELECT @@server_id");
    assert_eq!(stage.dns.query_count(), 0);
    assert_eq!(runtime.metrics().num_alive_tasks(), tasks);

    let id: Option<u32> = runtime.block_on(first).unwrap();
    assert_eq!(id, Some(1));
    assert!(stage.dns.query_count() > 0);
    // All clones run, even those made before.
    assert_eq!(other.status().pods.len(), 2);
    let read = other.replicas().query_first("SELECT @@server_id");
    assert_eq!(runtime.block_on(read).unwrap(), Some(2u32));
    // A lazy cluster that was never used can be shut down too.
    let unused = Cluster::builder(stage.config()).lazy().unwrap();
    runtime.block_on(unused.shutdown(SOON)).unwrap();
    let error = runtime.block_on(at_once(unused.primary().query_drop("DO 1")));
    assert!(matches!(error, Error::Closed), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_calls_on_a_lazy_cluster_start_it_once_however_many_they_are() {
    let stage = stage(1).await;
    let cluster = Cluster::builder(stage.config()).lazy().unwrap();
    stage.dns.clear_queries();
    let calls = (0..32).map(|_| tokio::spawn(cluster.replicas().query_drop("DO 1")));
    for call in join_all(calls).await {
        call.unwrap().unwrap();
    }
    assert!(stage.dns.query_count() < 16, "{}", stage.dns.query_count());
}
