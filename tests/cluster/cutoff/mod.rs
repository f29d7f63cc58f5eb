//! An operation that is cut off never affects the next one.

mod dribble;
mod operations;
mod random;
mod transactions;

use self::dribble::Dribble;
use self::operations::{OnConn, OnRoute, next_checkout_is_right, refuses_or_answers_right, unique};
use crate::staged::Staged as _;
use crate::stopping::old_enough;
use crate::support::{PATIENCE, World, all_slots_are_back, stage};
use headless_mysql::{Cluster, Error};
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// More polls than any operation needs.
const MANY: usize = 2_000;

/// With one connection, a connection that is wrongly returned is certainly the next one handed out.
async fn world_of_one_connection() -> (World, Dribble) {
    let stage = stage(0).await;
    let dribble = Dribble::before_the_primary(&stage).await;
    let config = stage.config().with_max_connections(1);
    (World::with(stage, config).await, dribble)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_off_at_any_point_refuses_or_answers_right_and_the_next_is_right() {
    let (world, dribble) = world_of_one_connection().await;
    let cluster = &world.cluster;
    let mut rounds = 0;
    for operation in OnConn::ALL {
        let mut refused = 0;
        for polls in 0.. {
            assert!(polls < MANY, "{operation:?} never ends");
            let mut conn = cluster.primary().conn().await.unwrap();
            let done = dribble.cut(polls, operation.run(&mut conn)).await;
            let refuses = refuses_or_answers_right(&mut conn).await;
            assert!(!refuses || polls > 0, "nothing was sent for {operation:?}");
            assert!(!refuses || done.is_none(), "{operation:?} had ended");
            assert_eq!(refuses_or_answers_right(&mut conn).await, refuses);
            refused += u32::from(refuses);
            drop(conn);
            next_checkout_is_right(cluster).await;
            rounds += 1;
            if let Some(result) = done {
                result.unwrap();
                break;
            }
        }
        assert!(
            refused > 0,
            "{operation:?} was never cut off while under way"
        );
    }
    println!("{rounds} rounds");
    all_slots_are_back(cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_dropped_right_after_the_cut_gives_nobody_its_rows() {
    let (world, dribble) = world_of_one_connection().await;
    let cluster = &world.cluster;
    let mut rounds = 0;
    for operation in OnConn::ALL {
        for polls in 0..MANY {
            let mut conn = cluster.primary().conn().await.unwrap();
            let done = dribble.cut(polls, operation.run(&mut conn)).await;
            drop(conn);
            next_checkout_is_right(cluster).await;
            rounds += 1;
            if done.is_some() {
                break;
            }
        }
    }
    println!("{rounds} rounds");
    all_slots_are_back(cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_on_a_route_cut_off_at_any_point_leaves_nothing_behind() {
    let (world, dribble) = world_of_one_connection().await;
    let cluster = &world.cluster;
    let mut rounds = 0;
    for operation in OnRoute::ALL {
        for polls in 0..MANY {
            let done = dribble.cut(polls, operation.run(cluster)).await;
            next_checkout_is_right(cluster).await;
            rounds += 1;
            if let Some(result) = done {
                result.unwrap();
                break;
            }
        }
    }
    println!("{rounds} rounds");
    all_slots_are_back(cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_cut_off_while_it_connects_or_pings_loses_no_slot() {
    let stage = stage(0).await;
    let dribble = Dribble::before_the_primary(&stage).await;
    let config = stage
        .config()
        .with_max_connections(1)
        // A checkout whose answers never come must still end.
        .with_checkout_timeout(Duration::from_secs(5))
        .with_idle_ping_after(Duration::ZERO);
    let world = World::with(stage, config).await;
    let cluster = &world.cluster;
    for fresh in [true, false] {
        for polls in 0..MANY {
            let mut conn = cluster.primary().conn().await.unwrap();
            if fresh {
                // The next checkout must open a new connection.
                let _ = conn.query_drop("KILL CONNECTION_ID()").await;
            }
            drop(conn);
            let done = dribble.cut(polls, cluster.primary().conn()).await;
            let checked_out = done.is_some();
            drop(done);
            next_checkout_is_right(cluster).await;
            if checked_out {
                break;
            }
        }
    }
    all_slots_are_back(cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_cut_off_while_it_is_being_sent_is_not_finished_by_the_next_user() {
    let stage = stage(0).await;
    let config = stage.config().with_max_connections(1);
    let world = World::with(stage, config).await;
    let cluster = &world.cluster;
    // Larger than the socket buffers on the path.
    let padding = "x".repeat(6 << 20);
    let mut refused = 0;
    for polls in 0..6 {
        let mut conn = cluster.primary().conn().await.unwrap();
        let statement = format!("SELECT {} /* {padding} */", unique());
        let mut left = polls;
        let mut operation = Box::pin(conn.query::<u64, _>(statement));
        std::future::poll_fn(|cx| {
            if left == 0 || operation.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(());
            }
            left -= 1;
            std::task::Poll::Pending
        })
        .await;
        drop(operation);
        if refuses_or_answers_right(&mut conn).await {
            refused += 1;
        }
        drop(conn);
        next_checkout_is_right(cluster).await;
    }
    assert!(refused > 0);
    all_slots_are_back(cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_times_out_names_its_pod_and_ends_its_connection() {
    let stage = stage(0).await;
    let config = stage.config().with_max_connections(1);
    let world = World::with(stage, config).await;
    let address = format!("{}:{}", world.stage.lab.address(0), world.stage.lab.port());
    let cluster = &world.cluster;
    for prepared in [false, true] {
        let mut conn = cluster.primary().conn().await.unwrap();
        conn.set_statement_timeout(Some(Duration::from_millis(50)));
        let error = match prepared {
            false => conn.query_drop("SELECT SLEEP(2)").await,
            true => conn.exec_drop("SELECT SLEEP(?)", (2,)).await,
        };
        let error = Error::from(error.unwrap_err());
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("mysql-0") && text.contains(&address),
            "{text}"
        );
        for _ in 0..2 {
            assert!(refuses_or_answers_right(&mut conn).await);
        }
        drop(conn);
        next_checkout_is_right(cluster).await;
    }
    all_slots_are_back(cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_out_in_the_second_result_set_ends_the_connection() {
    let stage = stage(0).await;
    let config = stage.config().with_max_connections(1);
    let world = World::with(stage, config).await;
    let cluster = &world.cluster;
    let mut conn = cluster.primary().conn().await.unwrap();
    conn.set_statement_timeout(Some(Duration::from_millis(100)));
    let result = conn.query::<u64, _>("SELECT 666; SELECT SLEEP(0.3); SELECT 667");
    let error = Error::from(result.await.unwrap_err());
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(refuses_or_answers_right(&mut conn).await);
    drop(conn);
    next_checkout_is_right(cluster).await;
    all_slots_are_back(cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_left_unread_are_read_within_the_deadline_or_the_connection_is_given_up() {
    let stage = stage(0).await;
    let config = stage.config().with_max_connections(1);
    let world = World::with(stage, config).await;
    // The library does not stop statements on a server that may have restarted recently.
    let mut root = world.stage.lab.admin(0).await.unwrap();
    old_enough(&mut root).await;
    let limit = Duration::from_millis(200);
    let mut conn = world.cluster.primary().conn().await.unwrap();
    conn.set_statement_timeout(Some(limit));
    let slow = "SELECT 666; SELECT SLEEP(5)";
    drop(conn.query_iter(slow).await.unwrap());
    let started = tokio::time::Instant::now();
    assert!(refuses_or_answers_right(&mut conn).await);
    let took = started.elapsed();
    // If the statement has no deadline, the library reads the rest for one second.
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(conn);
    next_checkout_is_right(&world.cluster).await;
}

/// Counts rows on the primary, within [`PATIENCE`].
async fn count(cluster: &Cluster, condition: &str) -> u64 {
    let sql = format!("SELECT COUNT(*) FROM entries WHERE {condition}");
    let count = tokio::time::timeout(PATIENCE, cluster.primary().query_first(sql));
    count.await.unwrap().unwrap().unwrap()
}
