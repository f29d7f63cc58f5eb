//! Shutting down: what it waits for, and how calls fail from then on.

use super::{SOON, assert_alone, at_once, use_of};
use crate::double::{Double, Manner, closed_port};
use crate::staged::Staged as _;
use crate::support::{World, eventually, stage};
use headless_mysql::discovery::FixedList;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Error};
use std::time::Duration;
use tower::ServiceExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_waits_for_connections_that_come_back_in_time() {
    let world = World::start(1).await;
    let cluster = &world.cluster;
    let mut held = cluster.primary().conn().await.unwrap();
    let mut tx = cluster.begin().await.unwrap();
    let statement = tokio::spawn(cluster.replicas().query_first("SELECT SLEEP(0.3)"));
    let mut root = world.stage.lab.admin(1).await.unwrap();
    let running = "SELECT COUNT(*) FROM information_schema.processlist \
                   WHERE info LIKE 'SELECT SLEEP%'";
    eventually("the statement runs", async || {
        root.query_first(running).await.unwrap() == Some(1u8)
    })
    .await;

    let shutting = tokio::spawn({
        let cluster = cluster.clone();
        async move { cluster.shutdown(Duration::from_secs(30)).await }
    });
    eventually("new calls are refused", async || {
        matches!(
            cluster.primary().query_drop("DO 1").await,
            Err(Error::Closed)
        )
    })
    .await;
    use_of(&mut held).await.unwrap();
    let insert = "INSERT INTO entries (id, pod) VALUES (1, 'x')";
    tx.query_drop(insert).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(statement.await.unwrap().unwrap(), Some(0u8));
    assert!(!shutting.is_finished());
    drop(held);
    let shut = tokio::time::timeout(SOON, shutting).await;
    shut.unwrap().unwrap().unwrap();
    let status = cluster.status();
    let primary = status.primary().map(|pod| pod.pod.name());
    assert_eq!(primary, Some("mysql-0"), "the last status stays");
    assert_alone(&world.stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_gives_up_at_its_deadline_and_what_is_still_held_runs_no_further_statement() {
    let stage = stage(1).await;
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    let mut write = cluster.primary().conn().await.unwrap();
    let mut read = cluster.replicas().conn().await.unwrap();
    let mut tx = cluster.begin().await.unwrap();
    tx.query_drop("DO 1").await.unwrap();
    let patience = Duration::from_millis(200);
    let error = at_once(cluster.shutdown(patience)).await;
    assert!(
        matches!(error, Error::ShutdownTimeout { in_use: 3, .. }),
        "{error:?}"
    );
    for conn in [&mut write, &mut read] {
        let error = use_of(conn).await.unwrap_err();
        assert!(matches!(error, Error::Closed), "{error:?}");
    }
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::Closed), "{error:?}");
    drop((write, read));
    assert_alone(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shutdown_every_call_fails_at_once_also_one_that_was_waiting() {
    let stage = stage(0).await;
    let patient = Duration::from_secs(60);
    let config = stage
        .config()
        .with_checkout_timeout(patient)
        .with_connect_timeout(patient)
        .with_max_connections(1);
    let silent = Double::start(Manner::Silent).await;
    // Calls that wait for a free connection, for a pod, for a pod that never answers, and for an
    // answer.
    let full = Cluster::builder(config.clone()).connect().await.unwrap();
    let held = full.primary().conn().await.unwrap();
    let address = closed_port();
    let list = FixedList::new([address]);
    let dead = Cluster::builder(config.clone()).resolver(list);
    let list = FixedList::new([silent.address]);
    let mute = Cluster::builder(config.clone()).resolver(list);
    let lost = Cluster::builder(config.with_service("nosuch"));
    let clusters = [
        full,
        dead.lazy().unwrap(),
        mute.lazy().unwrap(),
        lost.lazy().unwrap(),
    ];
    let waiting = clusters.clone().map(|cluster| {
        let routes = [cluster.primary(), cluster.replicas()];
        routes.map(|route| tokio::spawn(route.query_drop("DO 1")))
    });
    eventually("the calls wait", async || {
        let busy = |cluster: &Cluster| {
            let status = cluster.status();
            let pod = |pod: &headless_mysql::cluster::PodStatus| {
                pod.in_flight > 0 || pod.last_failure.is_some()
            };
            status.pods.iter().any(pod) || status.last_discovery_error.is_some()
        };
        clusters.iter().all(busy)
    })
    .await;

    let shutting = clusters.clone().map(|cluster| {
        tokio::spawn(async move { cluster.shutdown(Duration::from_secs(30)).await })
    });
    for calls in waiting {
        for call in calls {
            let error = at_once(async { call.await.unwrap() }).await;
            assert!(matches!(error, Error::Closed), "{error:?}");
        }
    }
    for cluster in &clusters {
        for mut route in [cluster.primary(), cluster.replicas()] {
            let error = at_once(route.clone().query_drop("DO 1")).await;
            assert!(matches!(error, Error::Closed), "{error:?}");
            let error = at_once(route.clone().begin()).await;
            assert!(matches!(error, Error::Closed), "{error:?}");
            let Err(error) = route.ready().await else {
                panic!("ready after a shutdown");
            };
            assert!(matches!(error, Error::Closed), "{error:?}");
        }
    }
    drop(held);
    drop(silent);
    for shut in shutting {
        let shut = tokio::time::timeout(SOON, shut).await;
        shut.expect("a shutdown that nothing holds up")
            .unwrap()
            .unwrap();
    }
    // A second shutdown is not an error.
    for cluster in &clusters {
        cluster.shutdown(Duration::ZERO).await.unwrap();
    }
}
