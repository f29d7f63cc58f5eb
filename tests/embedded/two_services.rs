//! A primary Service and a replica Service, as some charts deploy them.

use crate::staged::Staged as _;
use crate::support::*;
use headless_mysql::Cluster;
use headless_mysql::prelude::*;
use headless_mysql_testkit::dns::{PodSpec, ServiceSpec};
use headless_mysql_testkit::embedded::EmbeddedPods;
use headless_mysql_testkit::stage::Stage;
use std::collections::BTreeSet;

/// A Service of these pods of the stage. Their host names count on from 0 in one StatefulSet, but
/// for the replicas' Service they begin at 1: there is a gap at its ordinal 0.
fn service(stage: &Stage<EmbeddedPods>, name: &str, pods: &[u32]) -> ServiceSpec {
    let pods = pods
        .iter()
        .map(|n| PodSpec::ready(stage.lab.pod_name(*n), stage.lab.address(*n)));
    let service = ServiceSpec::new("default", name).unnamed_port(stage.lab.port());
    service.with_pods(pods.collect::<Vec<_>>())
}

async fn pods_of_reads(cluster: &Cluster) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let mut conn = cluster.replicas().conn().await.unwrap();
        conn.query_drop("SELECT 1").await.unwrap();
        seen.insert(conn.pod().to_string());
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_to_the_one_service_and_reads_to_the_other_and_either_may_be_gone() {
    let stage = Stage::embedded(2).await.unwrap();
    stage.dns.set_service(service(&stage, "db-primary", &[0]));
    stage
        .dns
        .set_service(service(&stage, "db-replicas", &[1, 2]));
    let zone = "default.svc.cluster.local";
    let config = stage
        .config()
        .with_service(format!("db-primary.{zone}"))
        .with_replica_service(format!("db-replicas.{zone}"));
    let cluster = Cluster::builder(config).connect().await.unwrap();
    cluster.primary().query_drop(CREATE).await.unwrap();
    insert(&cluster, 1).await.unwrap();
    let seen = pods_of_reads(&cluster).await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(!seen.iter().any(|pod| pod.contains("mysql-0")), "{seen:?}");
    let status = cluster.status();
    let mut ordinals: Vec<_> = status.pods.iter().filter_map(|pod| pod.ordinal).collect();
    ordinals.sort_unstable();
    let expected = [0, 2, 3].map(headless_mysql::name::Ordinal::new);
    assert_eq!(ordinals, expected);

    // A Service that is gone takes no pod with it: writes and reads go on.
    for gone in ["db-replicas", "db-primary"] {
        stage.dns.remove_service("default", gone);
        stage.dns.clear_queries();
        stage.dns.wait_for_queries(4).await;
    }
    insert(&cluster, 2).await.unwrap();
    assert_eq!(pods_of_reads(&cluster).await.len(), 2);
}
