//! Helpers of the tests in this folder, above all the choice of the server.
//!
//! The same build runs on MariaDB and on MySQL. So tests must start their servers with [`stage`] or
//! [`lab`] only.

use crate::staged::Staged as _;
use headless_mysql::mysql_async::Conn;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Config, Error};
use headless_mysql_testkit::lab::{Lab, LabBuilder, ServerKind};
use headless_mysql_testkit::stage::Stage;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// How long anything asynchronous may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The kind of server in this run.
pub(crate) fn server() -> ServerKind {
    ServerKind::chosen().unwrap()
}

/// A lab with the servers under test, for `Stage::with`.
pub(crate) fn lab() -> LabBuilder {
    Lab::builder().server(server())
}

/// A stage with the servers under test.
pub(crate) async fn stage(replicas: u32) -> Stage {
    Stage::with(lab().replicas(replicas)).await.unwrap()
}

/// A stage with a table, and a cluster connected to it.
pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) cluster: Cluster,
}

impl World {
    pub(crate) async fn start(replicas: u32) -> Self {
        Self::on(stage(replicas).await).await
    }

    pub(crate) async fn on(stage: Stage) -> Self {
        let config = stage.config();
        Self::with(stage, config).await
    }

    /// With `pace` off: the shares of reads do not depend on each server's speed on a busy machine.
    pub(crate) async fn unpaced(replicas: u32) -> Self {
        let stage = stage(replicas).await;
        let config = stage.config().with_pace(false);
        Self::with(stage, config).await
    }

    /// A world with this configuration. Even with short timeouts, the primary has answered when
    /// this returns. The replicas have the table before they are first asked, because their first
    /// answer identifies them as replicas.
    pub(crate) async fn with(stage: Stage, config: Config) -> Self {
        let mut root = stage.lab.admin(0).await.unwrap();
        let database = stage.lab.database();
        let create = "CREATE TABLE {database}.entries (id BIGINT PRIMARY KEY, pod VARCHAR(64))";
        let create = create.replace("{database}", database);
        root.query_drop(create).await.unwrap();
        replicated(&stage).await;

        let cluster = Cluster::builder(config).connect().await.unwrap();
        let asked = cluster.primary().deadline(PATIENCE).query_drop("DO 0");
        let asked = asked.await;
        asked.unwrap_or_else(|error| panic!("{error}: {:#?}", cluster.status()));
        Self { stage, cluster }
    }

    /// Inserts a row that contains the id of the server that took it.
    pub(crate) async fn insert(&self, id: u64) -> Result<(), Error> {
        insert(&self.cluster, id).await
    }

    /// Inserts a row that must exist afterwards, even with short timeouts in the configuration.
    pub(crate) async fn must_insert(&self, id: u64) {
        let route = self.cluster.primary().deadline(PATIENCE);
        route.exec_drop(INSERT, (id,)).await.unwrap();
    }

    /// The number of rows that each server took, according to the primary.
    pub(crate) async fn written_by(&self) -> BTreeMap<String, u64> {
        let rows: Vec<(String, u64)> = self
            .cluster
            .primary()
            .query("SELECT pod, COUNT(*) FROM entries GROUP BY pod")
            .await
            .unwrap();
        rows.into_iter().collect()
    }
}

/// Waits until the replicas have what the primary has executed.
pub(crate) async fn replicated(stage: &Stage) {
    let replicated = stage.lab.wait_for_replication(PATIENCE).await;
    replicated.unwrap();
}

/// Waits until nothing is in use, and takes as many connections as a pod may have. This detects a
/// leaked slot or a lost wake-up.
pub(crate) async fn all_slots_are_back(cluster: &Cluster, max_connections: usize) {
    eventually("every connection is back", async || {
        let pods = cluster.status().pods;
        pods.iter()
            .all(|pod| pod.connections_in_use == 0 && pod.in_flight == 0)
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..max_connections {
        held.push(cluster.primary().deadline(PATIENCE).conn().await.unwrap());
    }
    let pods = cluster.status().pods;
    let primary = pods.iter().find(|pod| pod.read_only == Some(false));
    let primary = primary.unwrap();
    assert_eq!(primary.connections_in_use, max_connections);
    assert_eq!(primary.in_flight, max_connections);
}

const INSERT: &str = "INSERT INTO entries (id, pod) VALUES (?, @@server_id)";

pub(crate) async fn insert(cluster: &Cluster, id: u64) -> Result<(), Error> {
    cluster.primary().exec_drop(INSERT, (id,)).await
}

/// An additional address of the server with `ordinal`.
pub(crate) async fn forward_to(stage: &Stage, ordinal: u32) -> IpAddr {
    let address = stage.lab.fresh_address().unwrap();
    let port = stage.lab.port();
    let target = stage.lab.address(ordinal);
    let listener = TcpListener::bind((address, port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect((target, port)).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    address
}

/// Waits until `holds` returns true. Otherwise the test fails with `what`.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < give_up, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The ids of an account's connections to a server.
pub(crate) async fn connections(root: &mut Conn, user: &str) -> Vec<u64> {
    let ids = "SELECT id FROM information_schema.processlist WHERE user = ? ORDER BY id";
    root.exec(ids, (user,)).await.unwrap()
}

/// A test that starts its own kind of server would run on MariaDB in both runs.
#[test]
fn no_test_starts_servers_of_a_kind_of_its_own() {
    let mut folders = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster").into()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir::<std::path::PathBuf>(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let is_test = path.extension().is_some_and(|extension| extension == "rs");
            if !is_test || path.ends_with("support.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for start in ["Stage::start(", "Lab::start(", "Lab::builder("] {
                assert!(!text.contains(start), "{start} in {}", path.display());
            }
        }
    }
}
