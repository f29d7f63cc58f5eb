//! A probe checks whether the pod is alive, not whether it may serve the call that caused the
//! probe.

use crate::support::{PATIENCE, World, eventually, insert, replicated};
use headless_mysql::balance::EndpointState;
use headless_mysql::error::ConnectError;
use headless_mysql::{Cluster, Error};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(2);

/// A writer that never stops, so that every probe of the primary is caused by it. Returns its last
/// error.
fn writer(cluster: &Cluster) -> tokio::sync::watch::Receiver<Option<Error>> {
    let cluster = cluster.clone();
    let (tell, told) = tokio::sync::watch::channel(None);
    tokio::spawn(async move {
        while !tell.is_closed() {
            let write = cluster.primary().deadline(WAIT).query_drop("DO 1");
            tell.send_replace(write.await.err());
        }
    });
    told
}

/// An ejected primary, its dead replica, and a writer that waits for the primary.
async fn outage() -> (World, tokio::sync::watch::Receiver<Option<Error>>) {
    let world = World::start(1).await;
    insert(&world.cluster, 1).await.unwrap();
    // The next login then learns the position that includes this row.
    world.stage.lab.restart(0).await.unwrap();
    let _ = insert(&world.cluster, 2).await;
    world.must_insert(3).await;
    replicated(&world.stage).await;
    world.stage.lab.kill(1).await.unwrap();
    world.stage.lab.kill(0).await.unwrap();
    let told = writer(&world.cluster);
    eventually("the primary is out", async || {
        let pods = world.cluster.status().pods;
        let primary = pods.iter().find(|pod| pod.primary).unwrap();
        !matches!(primary.state, None | Some(EndpointState::Ready))
    })
    .await;
    (world, told)
}

async fn reads_are_served(world: &World) {
    for _ in 0..5 {
        let read = world.cluster.replicas().deadline(PATIENCE);
        let server = read.query_first::<u32>("SELECT @@server_id").await.unwrap();
        assert_eq!(server, Some(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_comes_back_read_only_serves_reads_and_writers_are_told() {
    let (world, mut told) = outage().await;
    world
        .stage
        .lab
        .restart_with(0, ["--read-only"])
        .await
        .unwrap();
    reads_are_served(&world).await;
    told.mark_unchanged();
    // Skip one error: the second one belongs to a call that began after the restart.
    for _ in 0..2 {
        told.changed().await.unwrap();
    }
    let told = told.borrow();
    let error = told.as_ref().unwrap();
    assert!(matches!(error, Error::NoPrimary { .. }), "{error}");
    assert!(error.is_retryable());
    assert!(
        error.to_string().contains("read-only and takes no writes"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_comes_back_empty_serves_nothing_and_readers_and_writers_are_told() {
    let (world, mut told) = outage().await;
    world.stage.lab.wipe(0).await.unwrap();
    eventually("it is known why it is not read from", async || {
        let pods = world.cluster.status().pods;
        pods.iter()
            .any(|pod| pod.primary && pod.not_read_from.is_some())
    })
    .await;
    let read = world.cluster.replicas().deadline(Duration::from_secs(1));
    let error = read.query_drop("SELECT 1").await.unwrap_err();
    assert!(matches!(error, Error::NoReplica { .. }), "{error}");
    told.mark_unchanged();
    for _ in 0..2 {
        told.changed().await.unwrap();
    }
    let told = told.borrow();
    let error = told.as_ref().unwrap();
    let is_told = matches!(error, Error::Connect(ConnectError::HistoryLost { .. }));
    assert!(is_told, "{error}");
    assert!(!error.is_retryable());
}
