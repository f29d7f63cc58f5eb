//! Calls that are dropped at any moment, many at once, on connections that are scarce: no slot is
//! lost, and nobody waits for a wake-up that went to somebody who had left.

use crate::staged::Staged as _;
use crate::support::{PATIENCE, World};
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::stage::Stage;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;
use tokio::time::{Instant, timeout};

const TASKS: u64 = 12;
const ROUNDS: u32 = 500;
const MAX_CONNECTIONS: usize = 3;

/// The seed of a run that failed goes here, to see it again.
fn seed() -> u64 {
    let given = std::env::var("HEADLESS_MYSQL_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("HEADLESS_MYSQL_SEED={seed}");
    seed
}

/// One call, which may be dropped at any of its points.
async fn call(cluster: Cluster, kind: u32, n: u64) -> Result<(), Error> {
    let route = match kind % 2 {
        0 => cluster.primary(),
        _ => cluster.replicas(),
    };
    match kind / 2 {
        0 => assert_eq!(route.exec_first("SELECT ?", (n,)).await?, Some(n)),
        1 => {
            let mut conn = route.conn().await?;
            assert_eq!(conn.query_first(format!("SELECT {n}")).await?, Some(n));
            conn.query_drop("SET @a = 1").await?;
        }
        2 => drop(route.conn().await?),
        3 => {
            let mut tx = route.begin().await?;
            assert_eq!(tx.exec_first("SELECT ?", (n,)).await?, Some(n));
            tx.commit().await?;
        }
        4 => drop(route.begin().await?),
        5 => {
            let mut conn = route.conn().await?;
            drop(conn.query_iter(format!("SELECT {n}; SELECT {n}")).await?);
            assert_eq!(conn.query_first(format!("SELECT {n}")).await?, Some(n));
        }
        _ => route.query_drop("SELECT SLEEP(0.002)").await?,
    }
    Ok(())
}

async fn task(cluster: Cluster, mut rng: StdRng) -> u32 {
    let mut dropped = 0;
    for _ in 0..ROUNDS {
        let after = Duration::from_micros(rng.random_range(0..6_000));
        let call = call(cluster.clone(), rng.random_range(0..14), rng.random());
        match rng.random_range(0..4) {
            0 => {
                let running = tokio::spawn(call);
                tokio::time::sleep(after).await;
                running.abort();
                match running.await {
                    Ok(done) => done.unwrap(),
                    Err(error) if error.is_cancelled() => dropped += 1,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                }
            }
            1 => timeout(PATIENCE, call).await.unwrap().unwrap(),
            _ => match timeout(after, call).await {
                Ok(done) => done.unwrap(),
                Err(_) => dropped += 1,
            },
        }
    }
    dropped
}

async fn run(kill_query: bool) {
    let seed = seed();
    let stage = Stage::embedded(1).await.unwrap();
    let config = stage
        .config()
        .with_max_connections(MAX_CONNECTIONS)
        .with_kill_query(kill_query);
    let world = World::with(stage, config).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|n| {
            let rng = StdRng::seed_from_u64(seed.wrapping_add(n));
            tokio::spawn(task(world.cluster.clone(), rng))
        })
        .collect();
    let mut dropped = 0;
    for task in tasks {
        dropped += task.await.unwrap();
    }
    println!("{dropped} of {} calls were dropped", TASKS as u32 * ROUNDS);
    assert!(dropped > 1_000);

    let give_up = Instant::now() + PATIENCE;
    let busy = || {
        let pods = world.cluster.status().pods;
        let mut busy = pods.into_iter();
        busy.find(|pod| pod.connections_in_use > 0 || pod.in_flight > 0)
    };
    while let Some(pod) = busy() {
        assert!(Instant::now() < give_up, "never back: {pod:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // All that there are, and none only when the checkout's timeout is near.
    let mut held = Vec::new();
    for n in 0..2 * MAX_CONNECTIONS {
        let route = match n % 2 {
            0 => world.cluster.primary(),
            _ => world.cluster.replicas(),
        };
        let conn = timeout(Duration::from_secs(3), route.conn()).await;
        held.push(conn.unwrap().unwrap());
    }
    for pod in world.cluster.status().pods {
        assert_eq!(pod.connections_in_use, MAX_CONNECTIONS, "{pod:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_thousand_calls_dropped_at_random_lose_no_slot_and_no_wake_up() {
    run(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_where_nothing_is_stopped() {
    run(false).await;
}
