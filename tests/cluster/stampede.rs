//! The load on a primary that recovers.

use crate::load::Load;
use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, eventually, stage};
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::stage::Stage;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

const WRITERS: usize = 64;
const MAX_CONNECTIONS: usize = 8;

/// The delay of each connect through the proxy. A server that has just started is slow as well.
const LOGIN: Duration = Duration::from_millis(80);

/// A proxy for the primary, which delays and counts connects.
#[derive(Default)]
struct Door {
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    let_in: AtomicUsize,
}

impl Door {
    async fn before_the_primary(stage: &Stage) -> Arc<Self> {
        let server = SocketAddr::new(stage.lab.address(0), stage.lab.port());
        let here = stage.lab.fresh_address().unwrap();
        let listener = TcpListener::bind((here, server.port())).await.unwrap();
        stage.publish_at(0, here).unwrap();
        let door = Arc::<Self>::default();
        let shared = Arc::clone(&door);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&shared).pass(client, server));
            }
        });
        door
    }

    async fn pass(self: Arc<Self>, mut client: TcpStream, server: SocketAddr) {
        let Ok(mut server) = TcpStream::connect(server).await else {
            return;
        };
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        tokio::time::sleep(LOGIN).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        self.let_in.fetch_add(1, Ordering::SeqCst);
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }

    fn forget(&self) {
        self.most_at_once.store(0, Ordering::SeqCst);
        self.let_in.store(0, Ordering::SeqCst);
    }
}

/// Writers with unique ids, without a unique key that would hide a second execution.
fn writers(cluster: &Cluster, acknowledged: &Arc<Mutex<Vec<u64>>>) -> Load {
    let (cluster, acknowledged) = (cluster.clone(), Arc::clone(acknowledged));
    let next = Arc::<AtomicUsize>::default();
    Load::start(WRITERS, move || {
        let (cluster, acknowledged) = (cluster.clone(), Arc::clone(&acknowledged));
        let id = next.fetch_add(1, Ordering::Relaxed) as u64;
        async move {
            let insert = "INSERT INTO marks VALUES (?)";
            cluster.primary().exec_drop(insert, (id,)).await?;
            acknowledged.lock().unwrap().push(id);
            Ok(())
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_comes_back_meets_two_connects_at_a_time_and_no_write_twice() {
    let stage = stage(0).await;
    let door = Door::before_the_primary(&stage).await;
    let config = stage
        .config()
        .with_max_connections(MAX_CONNECTIONS)
        .with_checkout_timeout(2 * PATIENCE);
    let world = World::with(stage, config).await;
    let primary = || world.cluster.primary();
    let create = "CREATE TABLE marks (id BIGINT NOT NULL)";
    primary().query_drop(create).await.unwrap();
    let acknowledged = Arc::<Mutex<Vec<u64>>>::default();
    let load = writers(&world.cluster, &acknowledged);
    load.progress(500).await;

    for again in 1..=3 {
        world.stage.lab.kill(0).await.unwrap();
        let wait = "everybody waits";
        eventually(wait, async || {
            let pods = world.cluster.status().pods;
            pods.iter().all(|pod| pod.connections_in_use == 0)
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        door.forget();
        world.stage.lab.restart(0).await.unwrap();
        load.progress(500).await;
        let most = door.most_at_once.load(Ordering::SeqCst);
        let all = door.let_in.load(Ordering::SeqCst);
        println!("return {again}: {most} connects at a time, {all} in all");
        assert!((1..=2).contains(&most), "{most} connects at a time");
        assert!(all <= MAX_CONNECTIONS, "{all} connects");
    }

    let seen = load.stop().await;
    // Only calls in flight when the primary died may fail, but no waiting ones.
    assert!(
        seen.errors.len() <= 3 * MAX_CONNECTIONS,
        "{:?}",
        seen.errors
    );
    for error in &seen.errors {
        assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    }
    let rows: Vec<u64> = primary().query("SELECT id FROM marks").await.unwrap();
    let mut times = BTreeMap::<u64, usize>::new();
    for id in rows {
        *times.entry(id).or_default() += 1;
    }
    let twice = times.iter().find(|(_, times)| **times > 1);
    assert_eq!(twice, None, "executed twice");
    let lost: Vec<u64> = acknowledged.lock().unwrap().clone();
    let lost = lost.iter().find(|id| !times.contains_key(id));
    assert_eq!(lost, None, "acknowledged and lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_kept_warm_are_opened_one_at_a_time() {
    let stage = stage(0).await;
    let door = Door::before_the_primary(&stage).await;
    let config = stage.config().with_min_connections(MAX_CONNECTIONS);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    eventually("the pod is warm", async || {
        let pods = cluster.status().pods;
        pods.iter()
            .any(|pod| pod.connections_idle == MAX_CONNECTIONS)
    })
    .await;
    assert_eq!(door.most_at_once.load(Ordering::SeqCst), 1);
    assert_eq!(door.let_in.load(Ordering::SeqCst), MAX_CONNECTIONS);
}
