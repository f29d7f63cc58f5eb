//! Pods that are not replicas of the primary are not read from.

use crate::secrets::Paper;
use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, connections, eventually, lab, replicated, stage};
use headless_mysql::config::{PrimaryBy, ReadFrom};
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Config};
use headless_mysql_testkit::lab::Nodes;
use headless_mysql_testkit::proxy::FaultProxy;
use headless_mysql_testkit::stage::Stage;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tracing::Level;

/// Servers without replication, all with the same `server_id`.
async fn without_replication() -> Stage {
    let lab = lab().replicas(2).replication(false);
    let lab = lab.server_option(Nodes::All, "--server-id=1");
    Stage::with(lab).await.unwrap()
}

async fn connect(config: Config) -> Cluster {
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let create = "CREATE TABLE entries (id INT PRIMARY KEY)";
    let primary = cluster.primary().deadline(PATIENCE);
    primary.query_drop(create).await.unwrap();
    cluster
}

/// The ports and ids of the servers that answer this many reads.
async fn servers(cluster: &Cluster, reads: usize) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    for _ in 0..reads {
        let read = cluster.replicas().query_first("SELECT @@server_id");
        seen.insert(read.await.unwrap().unwrap());
    }
    seen
}

/// The ordinals of the pods that are not read from, with the reasons.
fn not_read_from(cluster: &Cluster) -> Vec<(u32, String)> {
    let pods = cluster.status().pods.into_iter();
    pods.filter_map(|pod| Some((pod.ordinal?.get(), pod.not_read_from?)))
        .collect()
}

#[tokio::test]
async fn a_set_without_replication_is_read_from_its_primary_and_from_replicas_once_it_replicates() {
    let stage = without_replication().await;
    let log = Paper::default();
    let listening = log.record(Level::WARN);
    let cluster = connect(stage.config()).await;
    for id in 1..=20 {
        let insert = "INSERT INTO entries VALUES (?)";
        cluster.primary().exec_drop(insert, (id,)).await.unwrap();
        let count = cluster
            .replicas()
            .query_first("SELECT COUNT(*) FROM entries");
        assert_eq!(count.await.unwrap(), Some(id), "{:#?}", cluster.status());
    }
    let found = not_read_from(&cluster);
    let ordinals: Vec<u32> = found.iter().map(|(ordinal, _)| *ordinal).collect();
    assert_eq!(ordinals, [1, 2], "{found:?}");
    let words = "server_id 1 is the primary's too";
    assert!(
        found.iter().all(|(_, why)| why.contains(words)),
        "{found:?}"
    );
    eventually("a warning", async || !log.text().is_empty()).await;
    drop(listening);
    let (text, pods) = (log.text(), ["mysql-1", "mysql-2"]);
    assert_eq!(text.lines().count(), 1, "one warning: {text}");
    assert!(pods.iter().all(|pod| text.contains(pod)), "{text}");
    assert!(
        text.contains("are not read from") && text.contains(words),
        "{text}"
    );

    for ordinal in [1, 2] {
        let mut root = stage.lab.admin(ordinal).await.unwrap();
        let id = format!("SET GLOBAL server_id = {}", ordinal + 1);
        root.query_drop(id).await.unwrap();
    }
    stage.lab.repoint_replicas().await.unwrap();
    for ordinal in [1, 2] {
        stage.lab.set_read_only(ordinal, true).await.unwrap();
    }
    replicated(&stage).await;
    eventually("reads move to the replicas", async || {
        servers(&cluster, 10).await == BTreeSet::from([2, 3])
    })
    .await;
    assert_eq!(not_read_from(&cluster), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pod_is_read_from_where_the_options_say_so() {
    let stage = without_replication().await;
    let cluster = connect(stage.config().with_read_from(ReadFrom::Listed)).await;
    // The table exists on the primary only.
    let read = cluster
        .replicas()
        .query_drop("SELECT COUNT(*) FROM entries");
    let error = read.await.unwrap_err();
    assert!(error.to_string().contains("entries"), "{error}");
    assert_eq!(not_read_from(&cluster), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_serve_the_first_reads_of_a_process() {
    let world = World::on(stage(2).await).await;
    for id in 0..10 {
        let cluster = Cluster::builder(world.stage.config());
        let cluster = cluster.connect().await.unwrap();
        let seen = servers(&cluster, 4).await;
        assert!(!seen.contains(&1), "{seen:?} {:#?}", cluster.status());
        world.must_insert(id).await;
        replicated(&world.stage).await;
    }
}

/// Tests two clusters of the same name. If `more`, `theirs` has executed more transactions than
/// `ours`.
async fn read_from_the_address_of_another_cluster(more: bool) {
    let world = World::on(stage(1).await).await;
    let theirs = World::on(stage(1).await).await;
    let (few, many) = if more {
        (&world, &theirs)
    } else {
        (&theirs, &world)
    };
    few.must_insert(1).await;
    for id in 1..=30 {
        many.must_insert(id).await;
    }
    for world in [&world, &theirs] {
        replicated(&world.stage).await;
    }
    let at = |stage: &Stage| SocketAddr::new(stage.lab.address(1), stage.lab.port());
    let here = world.stage.lab.fresh_address().unwrap();
    let door = FaultProxy::start((here, world.stage.lab.port()).into(), at(&world.stage));
    let door = door.await.unwrap();
    world.stage.publish_at(1, here).unwrap();
    eventually("the replica is read from through the proxy", async || {
        let pods = world.cluster.status().pods;
        let moved = pods.iter().any(|pod| pod.pod.address().ip() == here);
        moved && servers(&world.cluster, 4).await == BTreeSet::from([2])
    })
    .await;
    door.set_target(at(&theirs.stage));
    door.cut();
    let expected = if more { 1 } else { 30 };
    for _ in 0..20 {
        let count = world.cluster.replicas().deadline(PATIENCE);
        let count = count.query_first("SELECT COUNT(*) FROM entries").await;
        assert_eq!(
            count.unwrap(),
            Some(expected),
            "{:#?}",
            world.cluster.status()
        );
    }
    eventually("it is known why", async || {
        not_read_from(&world.cluster)
            .iter()
            .any(|(ordinal, _)| *ordinal == 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_another_cluster_at_a_replicas_address_is_not_read_from() {
    read_from_the_address_of_another_cluster(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_another_cluster_that_holds_less_is_not_read_from_either() {
    read_from_the_address_of_another_cluster(false).await;
}

/// A replica that has replicated none of the primary's transactions, and does not replicate.
async fn with_an_empty_replica() -> Stage {
    let stage = stage(1).await;
    stage.lab.stop_replication(1).await.unwrap();
    let mut root = stage.lab.admin(0).await.unwrap();
    let create = format!("CREATE TABLE {}.missed (id INT)", stage.lab.database());
    root.query_drop(create).await.unwrap();
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_reads_know_the_primary_that_was_found_only_now() {
    let stage = with_an_empty_replica().await;
    let config = stage.config().with_primary(PrimaryBy::Detected);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let find = cluster.primary().deadline(PATIENCE);
    find.query_drop("SELECT 1").await.unwrap();
    let seen = servers(&cluster, 20).await;
    assert_eq!(seen, BTreeSet::from([1]), "{:#?}", cluster.status());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_ask_a_pod_who_it_is_share_one_connection() {
    let stage = with_an_empty_replica().await;
    // One task looks for the writable pod, another checks whether the replica replicates by now.
    let config = stage.config().with_primary(PrimaryBy::Detected);
    let config = config.with_max_connections(1);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    // A pod is judged when it is first needed.
    let read = cluster.replicas().deadline(PATIENCE);
    read.query_drop("SELECT 1").await.unwrap();
    let mut root = stage.lab.admin(1).await.unwrap();
    let (mut most, mut answers, mut before) = (0, 0, Duration::ZERO);
    eventually("the replica has answered four times", async || {
        most = most.max(connections(&mut root, stage.lab.user()).await.len());
        let pods = cluster.status().pods;
        let replica = pods.iter().find(|pod| pod.not_read_from.is_some());
        if let Some(heard) = replica.and_then(|replica| replica.heard) {
            answers += u32::from(heard < before);
            before = heard;
        }
        answers >= 4
    })
    .await;
    assert_eq!(most, 2, "the pool's connection, and the one that asks");
}
