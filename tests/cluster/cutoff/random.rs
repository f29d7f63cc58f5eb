//! Cuts at random times, many in parallel, with few connections.

use super::operations::{OnConn, OnRoute, refuses_or_answers_right, unique};
use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, all_slots_are_back, stage};
use headless_mysql::{Cluster, Error};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

const TASKS: u64 = 8;
const ROUNDS: usize = 750;
const MAX_CONNECTIONS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_thousand_random_cuts_mix_up_no_answers_and_leak_nothing() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let stage = stage(1).await;
    let config = stage.config().with_max_connections(MAX_CONNECTIONS);
    let world = World::with(stage, config).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let cluster = world.cluster.clone();
            let rng = StdRng::seed_from_u64(seed.wrapping_add(task));
            tokio::spawn(run(cluster, rng))
        })
        .collect();
    let (mut cut, mut refused) = (0, 0);
    for task in tasks {
        let counts = task.await.unwrap();
        cut += counts.0;
        refused += counts.1;
    }
    println!("{cut} cut off, {refused} connections refused to go on");
    assert!(cut > 1_000 && refused > 100);
    all_slots_are_back(&world.cluster, MAX_CONNECTIONS).await;
}

/// Returns the number of operations cut off, and of connections that then refused.
async fn run(cluster: Cluster, mut rng: StdRng) -> (usize, usize) {
    let (mut cut, mut refused) = (0, 0);
    for _ in 0..ROUNDS {
        let after = Duration::from_micros(rng.random_range(0..1_500));
        let exact = rng.random_bool(0.5);
        if rng.random_bool(0.3) {
            let operation = OnRoute::ALL[rng.random_range(0..OnRoute::ALL.len())];
            match within(after, exact, operation.run(&cluster)).await {
                Some(result) => result.unwrap(),
                None => cut += 1,
            }
            continue;
        }
        let route = match rng.random_bool(0.5) {
            true => cluster.primary(),
            false => cluster.replicas(),
        };
        let mut conn = match within(10 * after, exact, route.conn()).await {
            Some(conn) => conn.unwrap(),
            None => {
                cut += 1;
                continue;
            }
        };
        let operation = OnConn::ALL[rng.random_range(0..OnConn::ALL.len())];
        match within(after, exact, operation.run(&mut conn)).await {
            Some(result) => match result.map_err(Error::from) {
                Err(Error::OnlyReads { .. }) => {
                    assert!(matches!(operation, OnConn::Batch), "only that one writes");
                }
                result => result.unwrap(),
            },
            None => cut += 1,
        }
        if rng.random_bool(0.7) {
            refused += usize::from(refuses_or_answers_right(&mut conn).await);
        }
        // The next user, in this task or another, also checks its answers.
        let n = unique();
        drop(conn);
        let got: Result<Option<u64>, Error> =
            tokio::time::timeout(PATIENCE, cluster.primary().exec_first("SELECT ?", (n,)))
                .await
                .unwrap();
        assert_eq!(got.unwrap(), Some(n), "another statement's rows");
    }
    (cut, refused)
}

/// Drops `future` after `after`. If `exact`, by constant polling with microsecond precision; else
/// by tokio's timer, which has millisecond precision.
async fn within<F: Future>(after: Duration, exact: bool, future: F) -> Option<F::Output> {
    if !exact {
        return tokio::time::timeout(after, future).await.ok();
    }
    let until = Instant::now() + after;
    let mut future = Box::pin(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if Instant::now() >= until => Poll::Ready(None),
        Poll::Pending => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}
