//! Trouble with DNS never affects a working connection.

use crate::staged::Staged as _;
use crate::support::{World, connections, eventually, insert, stage};
use headless_mysql::mysql_async::Conn;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, PodConn};
use headless_mysql_testkit::dns::{Fault, PodSpec};
use headless_mysql_testkit::stage::Stage;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The minimum duration of each kind of trouble.
const SPELL: Duration = Duration::from_secs(1);

/// A world with frequent look-ups, so that several happen during each trouble.
async fn world(replicas: u32) -> World {
    let stage = stage(replicas).await;
    let (min, max) = (Duration::from_millis(20), Duration::from_millis(50));
    let config = stage.config().with_refresh(min, max);
    World::with(stage, config).await
}

/// Two readers and two writers, which stop at the first error.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<(), String>>>,
}

impl Load {
    fn start(cluster: &Cluster, first_id: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let ids = Arc::new(AtomicU64::new(first_id));
        let tasks = (0..4).map(|n| {
            let (stop, done, ids) = (Arc::clone(&stop), Arc::clone(&done), Arc::clone(&ids));
            let cluster = cluster.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let result = match n % 2 {
                        0 => insert(&cluster, ids.fetch_add(1, Ordering::Relaxed)).await,
                        _ => cluster.replicas().query_drop("SELECT 1").await,
                    };
                    result.map_err(|error| error.to_string())?;
                    done.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok(())
            })
        });
        let tasks = tasks.collect();
        Self { stop, done, tasks }
    }

    fn operations(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Stops the load and checks that there were no errors.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap().unwrap();
        }
        assert!(self.done.load(Ordering::Relaxed) > 0);
    }
}

/// Fills the pools, so that the load needs no new connection.
async fn warm_up(cluster: &Cluster) {
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(cluster.primary().conn().await.unwrap());
        held.push(cluster.replicas().conn().await.unwrap());
        held.push(cluster.replicas().conn().await.unwrap());
    }
}

async fn id_of(conn: &mut PodConn) -> u64 {
    let id = conn.query_first("SELECT CONNECTION_ID()").await;
    id.unwrap().unwrap()
}

async fn roots(stage: &Stage) -> Vec<Conn> {
    let mut roots = Vec::new();
    for ordinal in stage.lab.ordinals() {
        roots.push(stage.lab.admin(ordinal).await.unwrap());
    }
    roots
}

/// The ids of the application's connections to each server. If they are unchanged, no connection
/// was lost or opened.
async fn ids(stage: &Stage, roots: &mut [Conn]) -> Vec<Vec<u64>> {
    let mut ids = Vec::new();
    for root in roots {
        ids.push(connections(root, stage.lab.user()).await);
    }
    ids
}

/// As [`ids`], but waits until only the pools have connections: those that ask pods for their
/// identity must have ended.
async fn ids_of_pools(world: &World, roots: &mut [Conn]) -> Vec<Vec<u64>> {
    let mut found = Vec::new();
    eventually("the pools alone have connections", async || {
        found = ids(&world.stage, roots).await;
        let pods = world.cluster.status().pods;
        let pooled = pods
            .iter()
            .map(|pod| pod.connections_in_use + pod.connections_idle);
        found.iter().map(Vec::len).eq(pooled)
    })
    .await;
    found
}

/// Waits until the trouble has lasted long enough, several look-ups met it, and the load made
/// progress.
async fn sit_out(world: &World, load: &Load, what: &str) {
    let began = Instant::now();
    let (queries, operations) = (world.stage.dns.query_count(), load.operations());
    eventually(what, async || {
        began.elapsed() >= SPELL
            && world.stage.dns.query_count() >= queries + 2
            && load.operations() >= operations + 20
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_trouble_with_dns_fails_an_operation_or_costs_a_connection() {
    let world = world(2).await;
    let (stage, cluster) = (&world.stage, &world.cluster);
    warm_up(cluster).await;
    let mut on_primary = cluster.primary().conn().await.unwrap();
    let mut on_replica = cluster.replicas().conn().await.unwrap();
    let held = (id_of(&mut on_primary).await, id_of(&mut on_replica).await);
    let mut roots = roots(stage).await;
    let before = ids_of_pools(&world, &mut roots).await;
    let load = Load::start(cluster, 0);

    for fault in [
        Fault::ServFail,
        Fault::Refused,
        Fault::Drop,
        Fault::Delay(Duration::from_millis(700)),
        Fault::NxDomain,
        Fault::Truncated,
    ] {
        let what = format!("{fault:?}");
        stage.dns.set_fault(Some(fault));
        sit_out(&world, &load, &what).await;
        stage.dns.set_fault(None);
        assert_eq!(ids(stage, &mut roots).await, before, "{what}");
        let now = (id_of(&mut on_primary).await, id_of(&mut on_replica).await);
        assert_eq!(now, held, "{what}");
        let healed = Instant::now();
        eventually("DNS works again", async || {
            let last = cluster.status().last_answer;
            last.is_some_and(|ago| ago < healed.elapsed())
        })
        .await;
    }

    // No errors, but answers that are incomplete, outdated or premature.
    let pods = |ordinals: &[u32]| -> Vec<PodSpec> {
        let ready = |n: &u32| PodSpec::ready(stage.lab.pod_name(*n), stage.lab.address(*n));
        ordinals.iter().map(ready).collect()
    };
    let list = |ordinals: &[u32]| {
        let set = stage.dns.update_service("default", "mysql", |service| {
            service.pods = pods(ordinals);
        });
        set.unwrap();
    };
    list(&[]);
    sit_out(&world, &load, "an empty answer").await;
    list(&[0]);
    sit_out(&world, &load, "an answer without replicas").await;
    list(&[1, 2]);
    sit_out(&world, &load, "an answer without the primary").await;
    stage.dns.freeze();
    list(&[0, 1, 2]);
    sit_out(&world, &load, "a stale answer").await;
    stage.dns.alternate();
    sit_out(&world, &load, "an old and a new answer in turn").await;
    stage.dns.thaw();
    assert_eq!(ids(stage, &mut roots).await, before, "answers that flap");
    let now = (id_of(&mut on_primary).await, id_of(&mut on_replica).await);
    assert_eq!(now, held, "answers that flap");
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_replica_in_answers_old_and_new_in_turn_fails_no_read() {
    let world = world(2).await;
    let (stage, cluster) = (&world.stage, &world.cluster);
    warm_up(cluster).await;
    let load = Load::start(cluster, 0);
    stage.dns.freeze();
    stage.lab.move_to_new_address(2).await.unwrap();
    stage.publish();
    sit_out(&world, &load, "a stale answer after a move").await;
    stage.dns.alternate();
    sit_out(&world, &load, "old and new in turn after a move").await;
    stage.dns.thaw();
    eventually("the moved replica serves reads", async || {
        let id = cluster.replicas().query_first("SELECT @@server_id").await;
        id.unwrap() == Some(3u32)
    })
    .await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_find_a_moved_primary_through_answers_old_and_new_in_turn() {
    let stage = stage(1).await;
    // Ping every connection before use, so that no write is sent on a connection to a killed
    // server.
    let config = stage
        .config()
        .with_refresh(Duration::from_millis(20), Duration::from_millis(50))
        .with_idle_ping_after(Duration::ZERO);
    let world = World::with(stage, config).await;
    let (stage, cluster) = (&world.stage, &world.cluster);
    world.insert(0).await.unwrap();
    stage.dns.freeze();
    stage.lab.move_to_new_address(0).await.unwrap();
    stage.publish();
    stage.dns.alternate();
    for id in 1..50 {
        world.insert(id).await.unwrap();
    }
    let load = Load::start(cluster, 1000);
    sit_out(&world, &load, "old and new in turn").await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_not_ready_gets_no_new_work_keeps_what_it_has_and_comes_back() {
    let stage = stage(2).await;
    let (min, max) = (Duration::from_millis(20), Duration::from_millis(50));
    // The grace period ends before the pod is ready again.
    let config = stage
        .config()
        .with_refresh(min, max)
        .with_grace(Duration::from_millis(500));
    let world = World::with(stage, config).await;
    let (stage, cluster) = (&world.stage, &world.cluster);
    let mut held = cluster.replicas().conn().await.unwrap();
    while held.pod().name() != "mysql-2" {
        let next = cluster.replicas().conn().await.unwrap();
        held = next;
    }
    let id = id_of(&mut held).await;

    let serves = async || {
        let id = cluster.replicas().query_first("SELECT @@server_id").await;
        let id: Option<u32> = id.unwrap();
        id
    };
    let listed = |cluster: &Cluster| {
        let pods = cluster.status().pods;
        pods.iter()
            .filter(|pod| pod.listed)
            .map(|pod| pod.pod.name().to_owned())
            .collect::<Vec<_>>()
    };
    stage.set_ready(2, false).unwrap();
    eventually("the pod is not listed", async || {
        listed(cluster) == ["mysql-0", "mysql-1"]
    })
    .await;
    for _ in 0..50 {
        assert_eq!(serves().await, Some(2));
        assert_eq!(id_of(&mut held).await, id);
    }
    eventually("the pod is forgotten", async || {
        cluster.status().pods.len() == 2
    })
    .await;
    assert_eq!(id_of(&mut held).await, id, "after the grace period");
    stage.set_ready(2, true).unwrap();
    eventually("the pod serves again", async || serves().await == Some(3)).await;
    assert_eq!(id_of(&mut held).await, id, "when it is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_when_dns_forgets_ordinal_0_even_beyond_the_grace_period() {
    let stage = stage(1).await;
    let (min, max) = (Duration::from_millis(20), Duration::from_millis(50));
    let grace = Duration::from_millis(300);
    let config = stage.config().with_refresh(min, max).with_grace(grace);
    let world = World::with(stage, config).await;
    let (stage, cluster) = (&world.stage, &world.cluster);
    let mut roots = roots(stage).await;
    warm_up(cluster).await;
    let before = ids_of_pools(&world, &mut roots).await;
    let load = Load::start(cluster, 0);
    stage.dns.remove_pod("default", "mysql", "mysql-0").unwrap();
    // Longer than the grace period.
    sit_out(&world, &load, "ordinal 0 is missing").await;
    assert_eq!(ids(stage, &mut roots).await, before);
    // The pod's address also remains known for new connections.
    let mut held = Vec::new();
    for _ in 0..12 {
        held.push(cluster.primary().conn().await.unwrap());
    }
    drop(held);
    load.end().await;
    assert_eq!(
        world.written_by().await.into_keys().collect::<Vec<_>>(),
        ["1"]
    );
}
