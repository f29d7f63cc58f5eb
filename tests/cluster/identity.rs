//! Servers that do not belong to the pod at whose address they are.

use crate::load::{Acknowledged, Load, TASKS};
use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, eventually, lab, replicated, stage};
use headless_mysql::config::{ReplicaPolicy, Verify};
use headless_mysql::discovery::FixedList;
use headless_mysql::error::ConnectError;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::proxy::FaultProxy;
use headless_mysql_testkit::stage::Stage;
use std::net::SocketAddr;
use std::time::Duration;

fn address_of(stage: &Stage, ordinal: u32) -> SocketAddr {
    (stage.lab.address(ordinal), stage.lab.port()).into()
}

/// A proxy for the server, which DNS lists at the proxy's address.
async fn door(stage: &Stage, ordinal: u32) -> FaultProxy {
    let address = stage.lab.fresh_address().unwrap();
    let listen = (address, stage.lab.port()).into();
    let door = FaultProxy::start(listen, address_of(stage, ordinal)).await;
    stage.publish_at(ordinal, address).unwrap();
    door.unwrap()
}

/// Points each proxy at the server of the same index, and cuts its connections.
fn lead(doors: &[FaultProxy; 2], servers: [SocketAddr; 2]) {
    for (door, server) in doors.iter().zip(servers) {
        door.set_target(server);
    }
    for door in doors {
        door.cut();
    }
}

fn says_it_is(cluster: &Cluster, pod: &str) -> bool {
    let words = format!("says that it is `{pod}`");
    let pods = cluster.status().pods;
    let mut failures = pods.iter().filter_map(|pod| pod.last_failure.as_ref());
    failures.any(|failure| failure.contains(&words))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_that_swap_addresses_under_load_run_nothing_meant_for_the_other() {
    let stage = stage(2).await;
    assert!(stage.lab.own_hostnames(), "needs UTS namespaces");
    let doors = [door(&stage, 0).await, door(&stage, 1).await];
    let servers = [address_of(&stage, 0), address_of(&stage, 1)];
    let world = World::on(stage).await;
    // Make the replica writable, so that only the identity check prevents a write.
    world.stage.lab.set_read_only(1, false).await.unwrap();

    let acknowledged = Acknowledged::default();
    let writes = Load::writes(&world.cluster, &acknowledged);
    let cluster = world.cluster.clone();
    let reads = Load::start(TASKS, move || {
        let route = cluster.replicas().policy(ReplicaPolicy::ReplicaOnly);
        async move {
            let server: Option<u32> = route.query_first("SELECT @@server_id").await?;
            assert!(matches!(server, Some(2 | 3)), "read on {server:?}");
            Ok(())
        }
    });
    for _ in 0..4 {
        writes.progress(50).await;
        lead(&doors, [servers[1], servers[0]]);
        eventually("the wrong server was met", async || {
            says_it_is(&world.cluster, "mysql-1")
        })
        .await;
        lead(&doors, servers);
    }
    writes.progress(50).await;
    let (writes, reads) = (writes.stop().await, reads.stop().await);
    for error in &writes.errors {
        assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    }
    assert!(reads.errors.is_empty(), "{:?}", reads.errors);

    acknowledged.check(&world.cluster).await;
    replicated(&world.stage).await;
    for ordinal in world.stage.lab.ordinals() {
        let mut server = world.stage.lab.connect(ordinal).await.unwrap();
        let by: Vec<String> = {
            use headless_mysql::prelude::*;
            let by = "SELECT DISTINCT pod FROM entries";
            server.query(by).await.unwrap()
        };
        assert_eq!(by, ["1"], "as mysql-{ordinal} has it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_host_name_of_its_own_is_refused_where_names_are_strict() {
    let stage = Stage::with(lab().replicas(0).statefulset("elsewhere"))
        .await
        .unwrap();
    assert!(stage.lab.own_hostnames(), "needs UTS namespaces");
    // Pods of a fixed list do not have the names of our StatefulSet.
    for (verify, accepted) in [
        (Verify::Strict, false),
        (Verify::Auto, true),
        (Verify::Off, true),
    ] {
        let config = stage.config().with_verify(verify);
        let config = config.with_checkout_timeout(Duration::from_secs(1));
        let pods = FixedList::new([address_of(&stage, 0)]);
        let builder = Cluster::builder(config).resolver(pods);
        let cluster = builder.connect().await.unwrap();
        let write = cluster.primary().query_drop("DO 1").await;
        assert_eq!(write.is_ok(), accepted, "{verify:?}: {write:?}");
        if let Err(error) = write {
            let text = error.to_string();
            assert!(text.contains("says that it is `elsewhere-0`"), "{text}");
        }
    }
    let strict = stage.config().with_verify(Verify::Strict);
    let cluster = Cluster::builder(strict).connect().await.unwrap();
    cluster.primary().query_drop("DO 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_met_before_its_replicas_have_answered_takes_no_write_without_its_history() {
    let world = World::start(2).await;
    world.insert(1).await.unwrap();
    let lab = &world.stage.lab;
    lab.wait_for_replication(PATIENCE).await.unwrap();
    drop(world.cluster);
    lab.wipe(0).await.unwrap();
    // One replica is frozen, so collecting the answers of all replicas takes a second.
    lab.freeze(2).await.unwrap();

    let config = world.stage.config().with_min_connections(2);
    let config = config.with_checkout_timeout(Duration::from_millis(1500));
    let cluster = Cluster::builder(config).connect().await.unwrap();
    eventually("the primary has said who it is", async || {
        cluster.status().pods[0].heard.is_some()
    })
    .await;
    let create = "CREATE TABLE astray (id BIGINT PRIMARY KEY)";
    let error = cluster.primary().query_drop(create).await.unwrap_err();
    let lost = matches!(&error, Error::Connect(ConnectError::HistoryLost { .. }));
    lab.thaw(2).await.unwrap();
    assert!(lost, "{error}");
}
