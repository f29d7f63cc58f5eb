//! Idle connections: dead ones are detected before a caller gets them.

use crate::staged::Staged as _;
use crate::support::{World, connections, eventually, stage};
use headless_mysql::{Config, Error, PodConn};
use mysql_async::prelude::Queryable;
use std::time::Duration;

const IDLE: usize = 4;

/// A world with `IDLE` idle connections to the primary, all of them ended by the server.
async fn dead_world(configure: impl FnOnce(Config) -> Config) -> World {
    let stage = stage(0).await;
    let config = configure(stage.config().with_max_connections(IDLE));
    let world = World::with(stage, config).await;
    drop(all(&world).await);
    kill_all(&world).await;
    world
}

async fn all(world: &World) -> Vec<PodConn> {
    let mut held = Vec::new();
    for _ in 0..IDLE {
        held.push(world.cluster.primary().conn().await.unwrap());
    }
    held
}

async fn kill_all(world: &World) {
    let mut root = world.stage.lab.admin(0).await.unwrap();
    let user = world.stage.lab.user().to_owned();
    let ids = connections(&mut root, &user).await;
    assert_eq!(ids.len(), IDLE);
    for id in ids {
        root.query_drop(format!("KILL {id}")).await.unwrap();
    }
    let ended = async || connections(&mut root, &user).await.is_empty();
    eventually("all are gone", ended).await;
}

/// Uses every connection. Statements that change the session are not retried, so a dead connection
/// shows as an error.
async fn use_all(world: &World) -> Vec<Error> {
    let mut errors = Vec::new();
    for mut conn in all(world).await {
        if let Err(error) = conn.query_drop("SET @a = 1").await {
            errors.push(error.into());
        }
    }
    errors
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_idle_for_longer_than_half_a_second_is_asked_before_it_is_used() {
    let world = dead_world(|config| config).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let errors = use_all(&world).await;
    assert!(errors.is_empty(), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_one_connection_broke_the_others_of_its_generation_are_asked_first() {
    // Only the generation, not the idle time, may cause a ping.
    let patient = |config: Config| config.with_idle_ping_after(Duration::from_secs(60));
    let world = dead_world(patient).await;
    let mut first = world.cluster.primary().conn().await.unwrap();
    let error = Error::from(first.query_drop("SET @a = 1").await.unwrap_err());
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
    drop(first);
    let errors = use_all(&world).await;
    assert!(errors.is_empty(), "{errors:?}");
}
