//! A worker that holds its connection notices, like a call, that the primary moved or is disputed.

use crate::staged::Staged as _;
use crate::support::{World, eventually, forward_to, stage};
use headless_mysql::config::PrimaryBy;
use headless_mysql::error::ConnectError;
use headless_mysql::prelude::*;
use headless_mysql::{Error, PodConn};
use headless_mysql_testkit::dns::{PodSpec, ServiceSpec};
use std::time::Duration;

/// A world with frequent look-ups, which forgets an address only after `grace`.
async fn world(grace: Duration) -> World {
    let stage = stage(0).await;
    let (min, max) = (Duration::from_millis(20), Duration::from_millis(50));
    let config = stage.config().with_refresh(min, max).with_grace(grace);
    World::with(stage, config).await
}

/// Writes on the held connection until a write is refused, and returns the error.
async fn refused(held: &mut PodConn, first: u64) -> Error {
    let mut error = None;
    let mut id = first;
    eventually("the held connection is refused", async || {
        id += 1;
        let write = held.exec_drop("INSERT INTO entries VALUES (?, 'held')", (id,));
        error = write.await.err();
        error.is_some()
    })
    .await;
    Error::from(error.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_connection_is_refused_once_the_primarys_new_address_is_proven_without_any_call() {
    let world = world(Duration::from_secs(3600)).await;
    let mut held = world.cluster.primary().conn().await.unwrap();
    let new = forward_to(&world.stage, 0).await;
    world.stage.publish_at(0, new).unwrap();
    let error = refused(&mut held, 0).await;
    assert!(matches!(error, Error::Superseded { .. }), "{error}");
    let again = world.cluster.primary().conn().await.unwrap();
    assert_eq!(again.pod().address().ip(), new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_connection_is_refused_after_the_grace_period_though_the_new_address_is_silent() {
    let world = world(Duration::from_millis(300)).await;
    let mut held = world.cluster.primary().conn().await.unwrap();
    let mut tx = world.cluster.begin().await.unwrap();
    let insert = "INSERT INTO entries VALUES (?, 'tx')";
    tx.exec_drop(insert, (1,)).await.unwrap();
    let mut reader = world.cluster.replicas().conn().await.unwrap();
    let nobody = world.stage.lab.fresh_address().unwrap();
    world.stage.publish_at(0, nobody).unwrap();
    let error = refused(&mut held, 10).await;
    assert!(matches!(error, Error::Superseded { .. }), "{error}");
    // A transaction that began on the primary may end there, and reads are still allowed.
    tx.exec_drop(insert, (2,)).await.unwrap();
    tx.commit().await.unwrap();
    reader.query_drop("SELECT 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_connection_is_refused_while_ordinal_0_has_two_addresses_and_serves_again_after() {
    let world = world(Duration::from_secs(3600)).await;
    let stage = &world.stage;
    let mut held = world.cluster.primary().conn().await.unwrap();
    let mut tx = world.cluster.begin().await.unwrap();
    let insert = "INSERT INTO entries VALUES (?, 'tx')";
    tx.exec_drop(insert, (1,)).await.unwrap();
    let (name, other) = (stage.lab.pod_name(0), forward_to(stage, 0).await);
    let both = [stage.lab.address(0), other].map(|address| PodSpec::ready(&name, address));
    let spec = ServiceSpec::new("default", stage.service());
    let spec = spec.unnamed_port(stage.lab.port()).with_pods(both);
    stage.dns.set_service(spec);
    let error = refused(&mut held, 10).await;
    let Error::Disputed { source, .. } = &error else {
        panic!("{error}");
    };
    assert!(matches!(source, ConnectError::Contested { .. }), "{error}");
    assert!(error.is_retryable());
    tx.commit().await.unwrap();

    stage.publish();
    eventually("it serves again", async || {
        held.query_drop("DO 1").await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_connection_is_refused_while_two_pods_are_writable() {
    let stage = stage(1).await;
    let config = stage.config().with_primary(PrimaryBy::Detected);
    let world = World::with(stage, config).await;
    let mut held = world.cluster.primary().conn().await.unwrap();
    let mut tx = world.cluster.begin().await.unwrap();
    let insert = "INSERT INTO entries VALUES (?, 'tx')";
    tx.exec_drop(insert, (1,)).await.unwrap();
    world.stage.lab.set_read_only(1, false).await.unwrap();
    let error = refused(&mut held, 10).await;
    let Error::Disputed { source, .. } = &error else {
        panic!("{error}");
    };
    let rival = matches!(source, ConnectError::TwoPrimaries { .. });
    assert!(rival, "{error}");
    tx.commit().await.unwrap();

    world.stage.lab.set_read_only(1, true).await.unwrap();
    eventually("it serves again", async || {
        held.query_drop("DO 1").await.is_ok()
    })
    .await;
}
