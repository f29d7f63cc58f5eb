//! Which of the eligible pods gets a read.

use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, eventually, stage};
use headless_mysql::config::ReplicaPolicy;
use headless_mysql_testkit::proxy::{FaultProxy, NetFault};
use std::net::SocketAddr;
use std::time::Duration;

/// An answer larger than a connection to the replica survives.
const LARGE: &str = "SELECT REPEAT('x', 300000)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_broke_on_the_only_replica_is_tried_on_the_primary() {
    let world = World::on(stage(1).await).await;
    let server = SocketAddr::new(world.stage.lab.address(1), world.stage.lab.port());
    let here = world.stage.lab.fresh_address().unwrap();
    let door = FaultProxy::start((here, server.port()).into(), server);
    let door = door.await.unwrap();
    world.stage.publish_at(1, here).unwrap();
    door.set_fault(Some(NetFault::CutAfter(100_000)));
    eventually("the replica is read from through the proxy", async || {
        let alone = world.cluster.replicas().policy(ReplicaPolicy::ReplicaOnly);
        alone.query_drop(LARGE).await.is_err()
    })
    .await;
    let replicas = || world.cluster.replicas().deadline(PATIENCE);
    for read in 0..40 {
        // A read that succeeds on the replica shows that the replica is in use again.
        door.set_fault(None);
        eventually("the replica serves", async || {
            let id = replicas().query_first("SELECT @@server_id");
            id.await.unwrap() == Some(2)
        })
        .await;
        door.set_fault(Some(NetFault::CutAfter(100_000)));
        let text: Result<Option<String>, _> = replicas().query_first(LARGE).await;
        let text = text.unwrap_or_else(|error| panic!("read {read}: {error}"));
        assert_eq!(text.unwrap().len(), 300_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_read_from_like_a_replica_lends_all_its_connections_to_reads() {
    let stage = stage(0).await;
    let config = stage.config().with_max_connections(4);
    let world = World::with(stage, config).await;
    let reads = |policy| {
        let route = world.cluster.replicas().policy(policy);
        route.deadline(Duration::from_secs(2)).conn()
    };
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(reads(ReplicaPolicy::Any).await.unwrap());
    }
    drop(held);
    let _held = (
        reads(ReplicaPolicy::PreferReplica).await.unwrap(),
        reads(ReplicaPolicy::PreferReplica).await.unwrap(),
    );
    let error = reads(ReplicaPolicy::PreferReplica).await.unwrap_err();
    assert!(error.is_retryable(), "half is left to writes: {error}");
}
