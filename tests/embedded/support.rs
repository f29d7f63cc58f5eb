//! What the tests of this folder share.

use crate::staged::Staged as _;
use headless_mysql::mysql_async::Conn;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Config, Error};
use headless_mysql_testkit::embedded::EmbeddedPods;
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;
use tokio::time::Instant;

/// How long anything asynchronous may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const CREATE: &str = "CREATE TABLE entries (id BIGINT PRIMARY KEY, pod VARCHAR(64))";

/// A stage with a table to write to, and a cluster connected to it.
pub(crate) struct World {
    pub(crate) stage: Stage<EmbeddedPods>,
    pub(crate) cluster: Cluster,
}

impl World {
    pub(crate) async fn start(replicas: u32) -> Self {
        let stage = Stage::embedded(replicas).await.unwrap();
        let config = stage.config();
        Self::with(stage, config).await
    }

    /// With options of the test's own.
    pub(crate) async fn with(stage: Stage<EmbeddedPods>, config: Config) -> Self {
        let cluster = Cluster::builder(config).connect().await.unwrap();
        // However short the test's timeouts are.
        let create = cluster.primary().deadline(PATIENCE).query_drop(CREATE);
        create.await.unwrap();
        stage.lab.wait_for_replication(PATIENCE).await.unwrap();
        Self { stage, cluster }
    }

    pub(crate) async fn insert(&self, id: u64) -> Result<(), Error> {
        insert(&self.cluster, id).await
    }

    /// Inserts rows until one is taken: the first calls after a server died may find out.
    pub(crate) async fn insert_again(&self, id: u64) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.insert(id).await {
            assert!(Instant::now() < deadline, "{error}");
        }
    }
}

pub(crate) async fn insert(cluster: &Cluster, id: u64) -> Result<(), Error> {
    let statement = "INSERT INTO entries (id, pod) VALUES (?, @@server_id)";
    cluster.primary().exec_drop(statement, (id,)).await
}

/// Two pods with the table, and no cluster.
pub(crate) async fn pods() -> EmbeddedPods {
    let pods = EmbeddedPods::start(1).await.unwrap();
    let mut conn = pods.connect(0).await.unwrap();
    conn.query_drop(CREATE).await.unwrap();
    pods.wait_for_replication(PATIENCE).await.unwrap();
    pods
}

/// The code with which the server refuses `sql`.
pub(crate) async fn refusal(conn: &mut Conn, sql: &str) -> u16 {
    use headless_mysql::mysql_async::Error;
    match conn.query_drop(sql).await {
        Err(Error::Server(error)) => error.code,
        other => panic!("{sql}: {other:?}"),
    }
}

pub(crate) async fn number(conn: &mut Conn, sql: &str) -> i64 {
    conn.query_first(sql).await.unwrap().unwrap()
}
