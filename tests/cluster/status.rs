//! The status without traffic, and the results of a check.

use crate::staged::Staged as _;
use crate::support::{World, eventually, stage};
use headless_mysql::balance::EndpointState;
use headless_mysql::cluster::Status;
use headless_mysql::{Cluster, Error};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_millis(800);

fn names(
    status: &Status,
    which: impl Fn(&headless_mysql::cluster::PodStatus) -> bool,
) -> Vec<&str> {
    let pods = status.pods.iter().filter(|pod| which(pod));
    pods.map(|pod| pod.pod.name()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_lists_the_pods_when_connect_returns() {
    let stage = stage(2).await;
    for _ in 0..50 {
        let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
        let status = cluster.status();
        assert_eq!(
            names(&status, |pod| pod.listed),
            ["mysql-0", "mysql-1", "mysql-2"]
        );
        assert_eq!(names(&status, |pod| pod.primary), ["mysql-0"]);
        assert!(status.hints.is_empty(), "{:?}", status.hints);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_was_never_heard_is_not_called_ready_and_one_that_answered_is() {
    let stage = stage(1).await;
    stage.lab.kill(1).await.unwrap();
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    for pod in cluster.status().pods {
        assert_eq!((pod.state, pod.heard, pod.read_only), (None, None, None));
    }
    cluster.primary().query_drop("DO 1").await.unwrap();
    let pods = cluster.status().pods;
    assert_eq!(pods[0].state, Some(EndpointState::Ready));
    assert!(pods[0].heard.is_some() && pods[1].heard.is_none());
    assert_ne!(pods[1].state, Some(EndpointState::Ready));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pod_is_listed_while_dns_lists_none_and_calls_are_served_all_the_same() {
    let world = World::start(1).await;
    let (stage, cluster) = (&world.stage, &world.cluster);
    stage.set_ready(0, false).unwrap();
    stage.set_ready(1, false).unwrap();
    eventually("no pod is listed", async || {
        names(&cluster.status(), |pod| pod.listed).is_empty()
    })
    .await;
    let status = cluster.status();
    assert_eq!(names(&status, |pod| pod.primary), ["mysql-0"]);
    assert!(status.hints[0].contains("no pod is ready"), "{status:?}");
    world.insert(1).await.unwrap();
    cluster.replicas().query_drop("SELECT 1").await.unwrap();
    stage.publish();
    eventually("all are listed", async || {
        names(&cluster.status(), |pod| pod.listed).len() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_has_moved_is_one_primary_in_the_status() {
    let world = World::start(0).await;
    let address = world.stage.lab.move_to_new_address(0).await.unwrap();
    world.stage.publish_at(0, address).unwrap();
    eventually("the new address is known", async || {
        world.cluster.status().pods.len() == 2
    })
    .await;
    let status = world.cluster.status();
    let primaries = status.pods.iter().filter(|pod| pod.primary);
    let primaries: Vec<_> = primaries.map(|pod| pod.pod.address().ip()).collect();
    assert_eq!(primaries, [address]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_says_whether_the_primary_takes_writes_and_a_replica_reads() {
    let world = World::start(1).await;
    let (stage, cluster) = (&world.stage, &world.cluster);
    let check = cluster.check(Duration::from_secs(10)).await;
    assert!(check.is_ok(), "{check:?}");
    assert_eq!(check.primary.unwrap().name(), "mysql-0");
    assert_eq!(check.replica.unwrap().name(), "mysql-1");

    stage.lab.set_read_only(0, true).await.unwrap();
    let check = cluster.check(DEADLINE).await;
    assert!(check.primary.is_err() && check.replica.is_ok(), "{check:?}");
    stage.lab.set_read_only(0, false).await.unwrap();

    stage.lab.kill(1).await.unwrap();
    let check = cluster.check(Duration::from_secs(10)).await;
    assert_eq!(check.replica.unwrap().name(), "mysql-0", "the reserve");
    stage.lab.kill(0).await.unwrap();
    let check = cluster.check(DEADLINE).await;
    let primary = check.primary.unwrap_err();
    assert!(matches!(primary, Error::NoPrimary { .. }), "{primary}");
    assert!(check.replica.is_err());
}
