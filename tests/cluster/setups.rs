//! A set-up that cannot work causes an error at once, which says what to change. A set-up that is
//! still starting is waited for.

use crate::staged::Staged as _;
use crate::support::{World, eventually, insert, stage};
use headless_mysql::config::{PrimaryBy, ReadFrom, Verify};
use headless_mysql::discovery::ResolveError;
use headless_mysql::{Cluster, Config, Error};
use headless_mysql_testkit::dns::{PodSpec, ServiceSpec};
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;
use tokio::time::Instant;

/// The limit for "without waiting": less than any of the timeouts of 5, 10 and 30 s.
const AT_ONCE: Duration = Duration::from_secs(4);

const WRITE: &str = "CREATE TABLE IF NOT EXISTS marks (id BIGINT PRIMARY KEY)";

/// A Service over the servers of a stage, whose pods have other names than the servers.
fn service(stage: &Stage, name: &str, pods: &[(&str, u32)]) -> ServiceSpec {
    let pods = pods
        .iter()
        .map(|(pod, server)| PodSpec::ready(*pod, stage.lab.address(*server)));
    ServiceSpec::new("default", name)
        .unnamed_port(stage.lab.port())
        .with_pods(pods)
}

/// The error of a call, which must come at once.
async fn told<T>(call: impl Future<Output = Result<T, Error>>) -> Error {
    let began = Instant::now();
    let error = call.await.err().unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}: {error}", began.elapsed());
    error
}

/// Checks the error of each write, including the first of a `lazy` cluster, and the status.
async fn assert_writes_are_refused(config: Config, words: &str) {
    let lazy = Cluster::builder(config.clone()).lazy().unwrap();
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let calls = [
        told(lazy.primary().query_drop(WRITE)).await,
        told(cluster.primary().query_drop(WRITE)).await,
        told(cluster.begin()).await,
    ];
    for error in calls {
        let Error::NoPrimary { hints, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(hints[0].contains(words), "{hints:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.is_retryable());
    }
    let hints = cluster.status().hints;
    assert!(hints[0].contains(words), "{hints:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_a_cluster_ip_is_told_at_once_however_the_primary_is_found() {
    let stage = stage(0).await;
    let spec = service(&stage, "mysql", &[("mysql-0", 0)]);
    stage.dns.set_service(spec.cluster_ip(stage.lab.address(0)));
    for by in [PrimaryBy::Ordinal, PrimaryBy::Detected] {
        let config = stage.config().with_primary(by);
        let words = "is the Service headless (clusterIP: None)?";
        assert_writes_are_refused(config.clone(), words).await;

        // A single writable pod cannot be identified as a replica.
        let cluster = Cluster::builder(config.clone()).connect().await.unwrap();
        let route = cluster.replicas().deadline(Duration::from_millis(500));
        let error = route.query_drop("SELECT 1").await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        let config = config.with_read_from(ReadFrom::Listed);
        let cluster = Cluster::builder(config).connect().await.unwrap();
        cluster.replicas().query_drop("SELECT 1").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_a_replica_in_the_place_of_the_service_is_told_at_once() {
    let stage = stage(1).await;
    let config = stage.config().with_service("mysql-1.mysql");
    assert_writes_are_refused(config.clone(), "one pod's name, with ordinal 1").await;
    // The primary is read-only, but it still answers reads.
    let cluster = Cluster::builder(config).connect().await.unwrap();
    cluster.replicas().query_drop("SELECT 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_without_ordinals_are_told_at_once_unless_the_primary_is_detected() {
    let stage = stage(1).await;
    let spec = ServiceSpec::new("default", "mysql").unnamed_port(stage.lab.port());
    let pods = [0, 1].map(|n| {
        let pod = PodSpec::ready(format!("mysql-7d9f8c-{n}x"), stage.lab.address(n));
        pod.without_hostname()
    });
    stage.dns.set_service(spec.with_pods(pods));
    assert_writes_are_refused(stage.config(), "serviceName is another Service").await;

    let config = stage.config().with_primary(PrimaryBy::Detected);
    let world = World::with(stage, config).await;
    for id in 0..5 {
        world.insert(id).await.unwrap();
    }
    let by: Vec<String> = world.written_by().await.into_keys().collect();
    assert_eq!(by, ["1"]);
    let primary = world.cluster.primary().conn().await.unwrap();
    assert_eq!(
        primary.pod().address().ip(),
        world.stage.lab.address(0),
        "the writable one"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_statefulset_is_told_at_once_and_calls_go_on_when_its_first_pod_is_ready() {
    let stage = stage(1).await;
    let words = "no pod behind the Service is called `orders-0` or the like";
    let config = stage.config().with_statefulset("orders");
    let error = told(Cluster::builder(config.clone()).connect()).await;
    let Error::Discovery { source, hints, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(matches!(**source, ResolveError::NotOurs { .. }), "{error}");
    assert!(hints[0].contains(words), "{error}");
    assert!(error.to_string().contains("mysql-1.mysql"), "{error}");

    let lazy = Cluster::builder(config).lazy().unwrap();
    for route in [lazy.primary(), lazy.replicas()] {
        let error = told(route.query_drop("SELECT 1")).await;
        assert!(matches!(error, Error::Discovery { .. }), "{error:?}");
        assert!(error.to_string().contains(words) && error.is_retryable());
    }
    assert!(lazy.status().hints[0].contains(words));
    // The set-up may become valid: a StatefulSet that shares its Service was still starting.
    let starting = [("orders-1", 1), ("mysql-0", 0), ("mysql-1", 1)];
    stage.dns.set_service(service(&stage, "mysql", &starting));
    eventually("reads are served", async || {
        lazy.replicas().query_drop("SELECT 1").await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statefulset_that_is_still_starting_is_waited_for() {
    let stage = stage(1).await;
    // First no pod is ready, then a replica, then the primary.
    stage.set_ready(0, false).unwrap();
    stage.set_ready(1, false).unwrap();
    let name = "mysql.default.svc.cluster.local";
    let config = stage.config().with_service(name);
    let lazy = Cluster::builder(config).lazy().unwrap();
    let write = tokio::spawn(lazy.primary().query_drop(WRITE));
    eventually("DNS has been asked", async || {
        lazy.status().last_discovery_error.is_some()
    })
    .await;
    let hints = lazy.status().hints;
    assert!(hints[0].contains("no pod is ready"), "{hints:?}");
    stage.set_ready(1, true).unwrap();
    eventually("the replica is known", async || {
        lazy.status().pods.len() == 1
    })
    .await;
    let hints = lazy.status().hints;
    assert!(hints[0].contains("ordinal 0 is not listed"), "{hints:?}");
    assert!(!write.is_finished());
    stage.set_ready(0, true).unwrap();
    write.await.unwrap().unwrap();
    assert!(lazy.status().hints.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primarys_own_name_works_and_the_status_says_that_it_gets_all_reads() {
    let stage = stage(1).await;
    let config = stage.config().with_service("mysql-0.mysql");
    let world = World::with(stage, config).await;
    world.insert(1).await.unwrap();
    let hints = world.cluster.status().hints;
    assert!(hints[0].contains("gets all reads too"), "{hints:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinals_that_start_above_0_are_told_of_and_written_to_once_their_start_is_given() {
    let stage = stage(1).await;
    let pods = [("mysql-5", 0), ("mysql-6", 1)];
    stage.dns.set_service(service(&stage, "mysql", &pods));
    let config = stage.config().with_verify(Verify::Off);
    let cluster = Cluster::builder(config.clone()).connect().await.unwrap();
    let write = cluster.primary().deadline(Duration::from_millis(500));
    let error = write.query_drop(WRITE).await.unwrap_err();
    let words = "then set first_ordinal, to 5 perhaps";
    assert!(error.to_string().contains(words), "{error}");
    assert!(cluster.status().hints[0].contains(words));

    let config = config.with_first_ordinal(5);
    let world = World::with(stage, config.with_grace(Duration::from_millis(300))).await;
    world.insert(1).await.unwrap();
    let by: Vec<String> = world.written_by().await.into_keys().collect();
    assert_eq!(by, ["1"]);
    // A replica that has not caught up when it is first met is read from a moment later.
    eventually("the replica is read from", async || {
        let read = world.cluster.replicas().query_first("SELECT @@server_id");
        read.await.unwrap() == Some(2u32)
    })
    .await;
    // The primary's last address is kept, as for an ordinal 0.
    let pods = [("mysql-6", 1)];
    let spec = service(&world.stage, "mysql", &pods);
    world.stage.dns.set_service(spec);
    eventually("the primary is not listed", async || {
        let pods = world.cluster.status().pods;
        pods.iter().any(|pod| pod.primary && !pod.listed)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    world.insert(2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_another_statefulset_behind_the_service_are_read_from_only_if_an_option_says_so() {
    let stage = stage(2).await;
    let both = [("mysql-0", 0), ("mysql-1", 1), ("orders-0", 2)];
    stage.dns.set_service(service(&stage, "mysql", &both));
    let config = stage.config().with_pace(false).with_verify(Verify::Off);
    let readers = async |config: Config| {
        let cluster = Cluster::builder(config).connect().await.unwrap();
        let mut readers = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let read = cluster.replicas().query_first("SELECT @@server_id");
            let id: Option<u32> = read.await.unwrap();
            readers.insert(id.unwrap());
        }
        (readers, cluster)
    };
    // Once with the StatefulSet's name set, and once with the Service's name as the default.
    for config in [config.clone().with_statefulset("mysql"), config.clone()] {
        let (readers, cluster) = readers(config).await;
        assert_eq!(readers, [2].into());
        let status = cluster.status();
        assert_eq!(status.pods.len(), 2);
        let words = "1 pods behind the Service are not of the StatefulSet";
        assert!(status.hints[0].contains(words), "{:?}", status.hints);
    }
    let (readers, cluster) = readers(config.with_read_other_pods(true)).await;
    assert_eq!(readers, [2, 3].into());
    cluster.primary().query_drop(WRITE).await.unwrap();
    assert!(insert(&cluster, 1).await.is_err(), "no such table");
}
