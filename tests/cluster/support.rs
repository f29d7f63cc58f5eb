//! What the tests of this folder share.

use headless_mysql::testkit::stage::Stage;
use headless_mysql::{Cluster, Error};
use std::collections::BTreeMap;

/// A stage with a table to write to, and a cluster connected to it.
pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) cluster: Cluster,
}

impl World {
    pub(crate) async fn start(replicas: u32) -> Self {
        let stage = Stage::start(replicas).await.unwrap();
        Self::on(stage).await
    }

    pub(crate) async fn on(stage: Stage) -> Self {
        let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
        let create = "CREATE TABLE entries (id BIGINT PRIMARY KEY, pod VARCHAR(64))";
        cluster.primary().query_drop(create).await.unwrap();
        stage
            .lab
            .wait_for_replication(std::time::Duration::from_secs(10))
            .await
            .unwrap();
        Self { stage, cluster }
    }

    /// Inserts a row that also says which server took it.
    pub(crate) async fn insert(&self, id: u64) -> Result<(), Error> {
        insert(&self.cluster, id).await
    }

    /// How many rows each server took, as the primary tells it.
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

pub(crate) async fn insert(cluster: &Cluster, id: u64) -> Result<(), Error> {
    cluster
        .primary()
        .exec_drop(
            "INSERT INTO entries (id, pod) VALUES (?, @@server_id)",
            (id,),
        )
        .await
}
