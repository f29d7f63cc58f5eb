//! One test for real and for embedded servers.

use crate::staged::Staged as _;
use crate::support::{CREATE, PATIENCE};
use headless_mysql::Cluster;
use headless_mysql_testkit::embedded::EmbeddedPods;
use headless_mysql_testkit::lab::{Lab, LabError};
use headless_mysql_testkit::pods::{Pods, StatefulSetSpec};
use headless_mysql_testkit::stage::Stage;

async fn a_set_serves_while_its_primary_moves<P: Pods>() -> Result<(), LabError> {
    let spec = StatefulSetSpec::new(1).statefulset("db");
    let stage = Stage::<P>::launch(spec).await?;
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    cluster.primary().query_drop(CREATE).await.unwrap();
    stage.lab.move_to_new_address(0).await?;
    stage.publish();
    // May run twice: a write that was cut off may have been executed.
    let insert = "REPLACE INTO entries VALUES (1, @@server_id)";
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = cluster.primary().query_drop(insert).await {
        assert!(tokio::time::Instant::now() < deadline, "{error}");
    }
    stage.lab.wait_for_replication(PATIENCE).await?;
    let read = cluster.replicas().query_first("SELECT pod FROM entries");
    assert_eq!(read.await.unwrap(), Some("1".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_runs_on_embedded_servers() {
    a_set_serves_while_its_primary_moves::<EmbeddedPods>()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_test_runs_on_real_servers() {
    a_set_serves_while_its_primary_moves::<Lab>().await.unwrap();
}
