//! A slot of the pool is held as long as the server has the session, even if the client gave it up.

use crate::staged::Staged as _;
use crate::stopping::{LONG, old_enough, running, until_running};
use crate::support::{PATIENCE, World, all_slots_are_back, connections, eventually, server, stage};
use headless_mysql::cluster::PodStatus;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::lab::ServerKind;
use headless_mysql_testkit::proxy::FaultProxy;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_millis(300);

const SECOND: Duration = Duration::from_secs(1);

fn pod(cluster: &Cluster) -> PodStatus {
    cluster.status().pods.remove(0)
}

async fn connections_made(root: &mut Conn) -> u64 {
    let made = "SHOW GLOBAL STATUS LIKE 'Connections'";
    let row: Option<(String, u64)> = root.query_first(made).await.unwrap();
    row.unwrap().1
}

/// Makes the primary wait at each commit for a replica's acknowledgement that never comes.
async fn commits_hang(root: &mut Conn) {
    let statements: &[&str] = match server() {
        ServerKind::MySql => &[
            "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
            "SET GLOBAL rpl_semi_sync_source_timeout = 3600000",
            "SET GLOBAL rpl_semi_sync_source_enabled = 1",
        ],
        _ => &[
            "SET GLOBAL rpl_semi_sync_master_timeout = 3600000",
            "SET GLOBAL rpl_semi_sync_master_enabled = 1",
        ],
    };
    for statement in statements {
        root.query_drop(*statement).await.unwrap();
    }
}

async fn commits_go_on(root: &mut Conn) {
    let off = match server() {
        ServerKind::MySql => "SET GLOBAL rpl_semi_sync_source_enabled = 0",
        _ => "SET GLOBAL rpl_semi_sync_master_enabled = 0",
    };
    root.query_drop(off).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_cannot_be_stopped_never_fill_a_server_with_sessions() {
    const WRITERS: u64 = 8;
    let stage = stage(0).await;
    let config = stage
        .config()
        .with_max_connections(8)
        .with_checkout_timeout(SECOND)
        .with_statement_timeout(Some(SECOND));
    let world = World::with(stage, config).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    old_enough(&mut root).await;
    commits_hang(&mut root).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (cluster, stop) = (world.cluster.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let sql = format!("INSERT INTO entries VALUES ({}, '')", writer * 1_000 + n);
                    let single = n % 2 == 0;
                    let done = match single {
                        true => cluster.primary().query_drop(sql).await,
                        false => transaction(&cluster, &sql).await,
                    };
                    done.unwrap_err();
                }
            })
        })
        .collect();
    let user = world.stage.lab.user().to_owned();
    let begun = Instant::now();
    let mut most = 0;
    while begun.elapsed() < 8 * SECOND {
        most = most.max(connections(&mut root, &user).await.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seen = pod(&world.cluster);
    println!("at most {most} sessions, {} stuck", seen.stuck_sessions);
    assert!(most <= 8 + 2, "{most} sessions");
    assert!(seen.stuck_sessions > 0, "{seen:?}");
    assert!(seen.stuck_sessions <= seen.connections_in_use, "{seen:?}");

    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    commits_go_on(&mut root).await;
    all_slots_are_back(&world.cluster, 8).await;
    assert_eq!(pod(&world.cluster).stuck_sessions, 0);
}

async fn transaction(cluster: &Cluster, insert: &str) -> Result<(), Error> {
    let mut tx = cluster.begin().await?;
    tx.query_drop(insert).await?;
    tx.commit().await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_option_off_nothing_is_stopped_and_the_slot_stays_taken_until_it_ends() {
    let stage = stage(0).await;
    let config = stage.config().with_kill_query(false);
    let world = World::with(stage, config).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    old_enough(&mut root).await;
    let mut conn = world.cluster.primary().conn().await.unwrap();
    conn.set_statement_timeout(Some(LIMIT));
    let id = conn.id();
    conn.query_drop(LONG).await.unwrap_err();
    drop(conn);
    eventually("it is known to go on", async || {
        pod(&world.cluster).stuck_sessions == 1
    })
    .await;
    assert_eq!(running(&mut root).await, 1);
    assert_eq!(pod(&world.cluster).connections_in_use, 1);
    root.query_drop(format!("KILL {id}")).await.unwrap();
    all_slots_are_back(&world.cluster, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slot_of_a_commit_stays_taken_until_the_commit_ends() {
    let world = World::start(0).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    old_enough(&mut root).await;
    let mut tx = world.cluster.begin().await.unwrap();
    tx.query_drop("INSERT INTO entries VALUES (1, 'x')")
        .await
        .unwrap();
    commits_hang(&mut root).await;
    assert!(tokio::time::timeout(LIMIT, tx.commit()).await.is_err());
    eventually("it is known to go on", async || {
        pod(&world.cluster).stuck_sessions == 1
    })
    .await;
    assert_eq!(pod(&world.cluster).connections_in_use, 1);
    commits_go_on(&mut root).await;
    eventually("the commit went through", async || {
        let count: Option<u64> = root
            .query_first("SELECT COUNT(*) FROM app.entries")
            .await
            .unwrap();
        count == Some(1)
    })
    .await;
    all_slots_are_back(&world.cluster, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_dropped_one_after_the_other_cost_one_login_beside_their_own() {
    const CALLS: u64 = 10;
    let world = World::start(0).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    old_enough(&mut root).await;
    let before = connections_made(&mut root).await;
    for _ in 0..CALLS {
        let call = tokio::spawn(world.cluster.primary().query_drop(LONG));
        until_running(&mut root, 1).await;
        call.abort();
        until_running(&mut root, 0).await;
    }
    let made = connections_made(&mut root).await - before;
    assert!(made <= CALLS + 2, "{made} logins for {CALLS} calls");
    all_slots_are_back(&world.cluster, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_of_a_frozen_server_come_back_once_it_says_what_became_of_the_statements() {
    let stage = stage(0).await;
    let config = stage
        .config()
        .with_max_connections(1)
        .with_statement_timeout(Some(LIMIT));
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let mut root = stage.lab.admin(0).await.unwrap();
    old_enough(&mut root).await;
    let mut conn = cluster.primary().conn().await.unwrap();
    stage.lab.freeze(0).await.unwrap();
    let error = Error::from(conn.query_drop("DO 1").await.unwrap_err());
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    drop(conn);
    eventually("it is known to be dead", async || {
        pod(&cluster).last_failure.is_some()
    })
    .await;
    assert_eq!(pod(&cluster).connections_in_use, 1);
    stage.lab.thaw(0).await.unwrap();
    cluster.primary().query_drop("DO 1").await.unwrap();
    all_slots_are_back(&cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_not_told_of_the_end_of_its_connection_is_ended() {
    let stage = stage(0).await;
    let server = (stage.lab.address(0), stage.lab.port()).into();
    let here = (stage.lab.fresh_address().unwrap(), stage.lab.port()).into();
    let proxy = FaultProxy::start(here, server).await.unwrap();
    stage.publish_at(0, here.ip()).unwrap();
    let config = stage.config().with_max_connections(1);
    let world = World::with(stage, config).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    old_enough(&mut root).await;
    let mut conn = world.cluster.primary().conn().await.unwrap();
    let id = u64::from(conn.id());
    conn.set_statement_timeout(Some(LIMIT));
    proxy.forget_flows();
    conn.query_drop("DO 1").await.unwrap_err();
    drop(conn);
    let user = world.stage.lab.user().to_owned();
    eventually("the session is gone", async || {
        !connections(&mut root, &user).await.contains(&id)
    })
    .await;
    let route = world.cluster.primary().deadline(PATIENCE);
    route.query_drop("DO 1").await.unwrap();
    all_slots_are_back(&world.cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_hang_after_the_server_let_them_in_never_fill_it_with_sessions() {
    let stage = stage(0).await;
    let config = stage.config().with_connect_timeout(LIMIT);
    let world = World::with(stage, config).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    for statement in [
        "CREATE TABLE app.logins (at TIMESTAMP)",
        "SET GLOBAL init_connect = 'INSERT INTO app.logins VALUES (NOW())'",
    ] {
        root.query_drop(statement).await.unwrap();
    }
    commits_hang(&mut root).await;
    for id in connections(&mut root, world.stage.lab.user()).await {
        root.query_drop(format!("KILL {id}")).await.unwrap();
    }
    // The process list does not contain these sessions.
    let sessions = "SHOW GLOBAL STATUS LIKE 'Threads_connected'";
    let before: Option<(String, usize)> = root.query_first(sessions).await.unwrap();
    let end = Instant::now() + 6 * SECOND;
    let callers = (0..8).map(|_| {
        let cluster = world.cluster.clone();
        tokio::spawn(async move {
            while Instant::now() < end {
                let call = cluster.primary().deadline(SECOND).query_drop("DO 1");
                call.await.unwrap_err();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let after: Option<(String, usize)> = root.query_first(sessions).await.unwrap();
    let more = after.unwrap().1 - before.unwrap().1;
    assert!((2..=8).contains(&more), "{more} sessions more");
    commits_go_on(&mut root).await;
    let call = world.cluster.primary().deadline(3 * SECOND);
    call.query_drop("DO 1").await.unwrap();
    all_slots_are_back(&world.cluster, 16).await;
}
