//! The number and the age of connections, and the effect of a server without room.

use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, all_slots_are_back, connections, eventually, lab, stage};
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::lab::Nodes;
use headless_mysql_testkit::stage::Stage;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minimum_of_connections_is_there_before_anybody_calls_and_comes_back_when_cut() {
    const MIN: usize = 3;
    let stage = stage(1).await;
    let config = stage.config().with_min_connections(MIN);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let idle = || -> Vec<usize> {
        let pods = cluster.status().pods;
        pods.iter().map(|pod| pod.connections_idle).collect()
    };
    eventually("both pods are warm", async || idle() == [MIN; 2]).await;
    let user = stage.lab.user().to_owned();
    let mut root = stage.lab.admin(0).await.unwrap();
    // The connection on which the pod was asked for its identity is closed.
    eventually("the pool alone has connections", async || {
        connections(&mut root, &user).await.len() == MIN
    })
    .await;

    // Checkouts must not leave more idle connections than the minimum.
    let mut held = Vec::new();
    for _ in 0..MIN {
        held.push(cluster.primary().conn().await.unwrap());
    }
    drop(held);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(connections(&mut root, &user).await.len(), MIN);

    stage.lab.restart(1).await.unwrap();
    let mut on_replica = stage.lab.admin(1).await.unwrap();
    assert!(connections(&mut on_replica, &user).await.is_empty());
    // The next read detects the dead connections.
    cluster.replicas().query_drop("SELECT 1").await.unwrap();
    eventually("the replica is warm again", async || {
        connections(&mut on_replica, &user).await.len() == MIN
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_minimum_outlives_the_idle_timeout_and_what_exceeds_it_does_not() {
    const MIN: usize = 2;
    let stage = stage(0).await;
    let config = stage
        .config()
        .with_min_connections(MIN)
        .with_idle_timeout(Duration::from_secs(5));
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..2 * MIN {
        held.push(cluster.primary().conn().await.unwrap());
    }
    let ids: Vec<u64> = held.iter().map(|conn| conn.id().into()).collect();
    drop(held);
    let user = stage.lab.user().to_owned();
    let mut root = stage.lab.admin(0).await.unwrap();
    let started = Instant::now();
    let left = loop {
        let left = connections(&mut root, &user).await;
        if left.len() <= MIN || started.elapsed() > 3 * PATIENCE {
            break left;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(left.len(), MIN, "those beyond the minimum are closed");
    tokio::time::sleep(Duration::from_secs(8)).await;
    let kept = connections(&mut root, &user).await;
    assert_eq!(kept, left, "the others are kept, not replaced");
    assert!(kept.iter().all(|id| ids.contains(id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_beyond_its_lifetime_is_closed_when_it_comes_back_and_not_before() {
    let stage = stage(0).await;
    let config = stage
        .config()
        .with_max_connections(1)
        .with_max_lifetime(Some(Duration::from_secs(1)));
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let mut conn = cluster.primary().conn().await.unwrap();
    let id = conn.id();
    drop(conn);
    conn = cluster.primary().conn().await.unwrap();
    assert_eq!(conn.id(), id);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let seen = conn.query_first("SELECT CONNECTION_ID()").await.unwrap();
    assert_eq!(seen, Some(id), "in use");
    drop(conn);
    let conn = cluster.primary().conn().await.unwrap();
    assert_ne!(conn.id(), id);
    let id = conn.id();
    drop(conn);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let conn = cluster.primary().conn().await.unwrap();
    assert_ne!(conn.id(), id, "too old while it was idle");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_takes_no_more_than_its_share_of_a_small_server() {
    let lab = lab()
        .replicas(0)
        .server_option(Nodes::All, "--max-connections=10");
    let stage = Stage::with(lab).await.unwrap();
    for (share, most) in [(50, 5), (20, 2), (1, 1)] {
        let config = stage.config().with_max_share(share);
        let cluster = Cluster::builder(config).connect().await.unwrap();
        let mut held = vec![cluster.primary().conn().await.unwrap()];
        while held.len() < most {
            held.push(cluster.primary().conn().await.unwrap());
        }
        let beyond = cluster.primary().deadline(Duration::from_millis(700));
        let error = beyond.conn().await.unwrap_err();
        assert!(matches!(error, Error::AllInUse { .. }), "{share}: {error}");
        assert!(error.to_string().contains("max_share"), "{error}");
        assert_eq!(cluster.status().pods[0].connections_in_use, most);
        // A returned connection serves the next caller.
        held.pop();
        held.push(cluster.primary().conn().await.unwrap());
        drop(held);
        cluster.shutdown(PATIENCE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_grows_gets_the_connections_that_were_configured() {
    let lab = lab()
        .replicas(0)
        .server_option(Nodes::All, "--max-connections=10");
    let stage = Stage::with(lab).await.unwrap();
    let config = stage.config().with_max_connections(8);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    cluster.primary().query_drop("DO 1").await.unwrap();
    let mut root = stage.lab.admin(0).await.unwrap();
    root.query_drop("SET GLOBAL max_connections = 100")
        .await
        .unwrap();
    eventually("all of them can be had", async || {
        let mut held = Vec::new();
        for _ in 0..8 {
            let call = cluster.primary().deadline(Duration::from_millis(300));
            held.extend(call.conn().await.ok());
        }
        held.len() == 8
    })
    .await;
}

/// How a server refuses a login for lack of room.
#[derive(Debug, Clone, Copy)]
enum Full {
    /// 1040: the whole server is full.
    Server,
    /// 1203: the limit per account, which is the same for every account.
    Users,
    /// 1226: the limit of this account.
    User,
}

impl Full {
    async fn limit(self, root: &mut Conn, most: u32) {
        let sql = match self {
            Self::Server => format!("SET GLOBAL max_connections = {}", most.max(10)),
            Self::Users => format!("SET GLOBAL max_user_connections = {most}"),
            Self::User => format!("ALTER USER app WITH MAX_USER_CONNECTIONS {most}"),
        };
        root.query_drop(sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_whose_server_becomes_smaller_shrinks_while_all_its_connections_are_in_use() {
    const SHARE: usize = 5;
    let stage = stage(0).await;
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    let callers = (0..40).map(|_| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            loop {
                let call = cluster.primary().deadline(PATIENCE);
                call.query_drop("DO SLEEP(0.02)").await.unwrap();
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    let in_use = || cluster.status().pods[0].connections_in_use;
    eventually("all are in use", async || in_use() == 16).await;
    let mut root = stage.lab.admin(0).await.unwrap();
    let smaller = format!("SET GLOBAL max_connections = {}", 2 * SHARE);
    root.query_drop(smaller).await.unwrap();
    eventually("its share is in use", async || in_use() == SHARE).await;
    for caller in callers {
        assert!(!caller.is_finished());
        caller.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_costs_no_writer_an_error_and_every_slot_comes_back() {
    const MAX: usize = 12;
    const LEFT: u32 = 3;
    // For 1203 the option must be set at the start: an unlimited server cannot be limited later.
    let lab = lab()
        .replicas(0)
        .server_option(Nodes::All, "--max-user-connections=1000");
    let stage = Stage::with(lab).await.unwrap();
    let mut root = stage.lab.admin(0).await.unwrap();
    let user = stage.lab.user().to_owned();
    for full in [Full::Server, Full::Users, Full::User] {
        let config = stage
            .config()
            .with_max_connections(MAX)
            .with_max_share(100)
            .with_checkout_timeout(PATIENCE);
        let cluster = Cluster::builder(config).connect().await.unwrap();
        cluster.primary().query_drop("DO 1").await.unwrap();
        full.limit(&mut root, LEFT).await;
        // Other clients take part of the room.
        let mut others = Vec::new();
        if let Full::Server = full {
            while others.len() < 10 - LEFT as usize {
                match stage.lab.connect(0).await {
                    Ok(conn) => others.push(conn),
                    Err(_) => break,
                }
            }
        }
        let calls = (0..MAX).map(|_| {
            let route = cluster.primary();
            tokio::spawn(async move {
                let end = Instant::now() + Duration::from_secs(2);
                let mut done = 0;
                while Instant::now() < end {
                    route.clone().query_drop("DO SLEEP(0.01)").await?;
                    done += 1;
                }
                Ok::<u32, Error>(done)
            })
        });
        let calls: Vec<_> = calls.collect();
        let mut served = 0;
        for call in calls {
            served += call
                .await
                .unwrap()
                .unwrap_or_else(|error| panic!("{full:?}: {error}"));
        }
        let had = connections(&mut root, &user).await.len() - others.len();
        println!("{full:?}: {served} served by {had} connections");
        // While it refuses logins, MariaDB accepts slightly more connections than its limit.
        assert!(had < MAX, "{full:?}: none was refused");
        assert!(served > 50, "{full:?}: {served}");

        drop(others);
        full.limit(&mut root, 100).await;
        // Slots that were blocked for lack of room are available again after one second.
        let started = Instant::now();
        all_slots_are_back(&cluster, MAX).await;
        let took = started.elapsed();
        assert!(took < Duration::from_secs(4), "{full:?}: {took:?}");
        cluster.shutdown(PATIENCE).await.unwrap();
    }
}

/// A different text for each `n`, so that each becomes a prepared statement of its own.
fn text(n: u32) -> String {
    format!("SELECT ? + {n}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_at_its_limit_of_prepared_statements_is_given_back_those_used_least() {
    let stage = stage(0).await;
    let config = stage.config().with_max_connections(4);
    let world = World::with(stage, config).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    root.query_drop("SET GLOBAL max_prepared_stmt_count = 10")
        .await
        .unwrap();
    let cluster = &world.cluster;
    // One connection prepares more statements than the server allows.
    let mut conn = cluster.primary().conn().await.unwrap();
    let id = conn.id();
    for round in 0..2 {
        for n in 0..30u32 {
            let got = conn.exec_first(text(n), (round,)).await;
            let got = got.unwrap_or_else(|error| panic!("{n}: {error}"));
            assert_eq!(got, Some(n + round));
        }
    }
    // The statement used last is kept, so it is not prepared again.
    let prepared = async |conn: &mut headless_mysql::PodConn| -> u64 {
        let show = "SHOW SESSION STATUS LIKE 'Com_stmt_%prepare'";
        let rows: Vec<(String, u64)> = conn.query(show).await.unwrap();
        let count = |name| rows.iter().find(|row| row.0 == name).map_or(0, |row| row.1);
        // MySQL also counts the statements that it prepares again by itself.
        count("Com_stmt_prepare") - count("Com_stmt_reprepare")
    };
    let before = prepared(&mut conn).await;
    let _: Option<u32> = conn.exec_first(text(29), (1,)).await.unwrap();
    assert_eq!(prepared(&mut conn).await, before);
    assert_eq!(conn.id(), id, "the connection was not replaced");

    // If the text is unknown to the library, the call is not repeated, but the next one finds room.
    root.query_drop("SET GLOBAL max_prepared_stmt_count = 1")
        .await
        .unwrap();
    let generic = Queryable::exec_first::<u32, _, _>(&mut conn, text(90), (1,)).await;
    let error = generic.unwrap_err();
    assert!(
        matches!(&error, mysql_async::Error::Server(error) if error.code == 1461),
        "{error}"
    );
    root.query_drop("SET GLOBAL max_prepared_stmt_count = 10")
        .await
        .unwrap();
    let generic = Queryable::exec_first::<u32, _, _>(&mut conn, text(90), (1,)).await;
    assert_eq!(generic.unwrap(), Some(91));

    // Batches and explicitly prepared statements behave the same.
    let insert = "INSERT INTO entries VALUES (?, 'x')";
    conn.exec_batch(insert, (100..105u32).map(|n| (n,)))
        .await
        .unwrap();
    let mut own = Vec::new();
    for n in 0..5 {
        own.push(conn.prep(text(n)).await.unwrap());
    }
    for (n, statement) in own.iter().enumerate() {
        let got: Option<usize> = conn.exec_first(statement, (1,)).await.unwrap();
        assert_eq!(got, Some(n + 1), "held by the user, so never closed");
    }
    for statement in own {
        conn.close(statement).await.unwrap();
    }
    drop(conn);

    // Several connections, each with its own statements.
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut conn = cluster.primary().conn().await.unwrap();
        for n in 40..44u32 {
            let got = conn.exec_first(text(n), (1,)).await.unwrap();
            assert_eq!(got, Some(n + 1));
        }
        held.push(conn);
    }
    drop(held);
    let calls = (0..60u32).map(|n| {
        let route = cluster.primary();
        async move { route.exec_first(text(n), (1,)).await.map(|got| (n, got)) }
    });
    for (n, got) in futures_util::future::try_join_all(calls).await.unwrap() {
        assert_eq!(got, Some(n + 1));
    }
    all_slots_are_back(cluster, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_keeps_as_many_prepared_statements_as_it_was_given() {
    let stage = stage(0).await;
    let config = stage
        .config()
        .with_max_connections(4)
        .with_statement_cache(8);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(cluster.primary().conn().await.unwrap());
    }
    for conn in &mut held {
        for n in 0..20u32 {
            let _: Option<u32> = conn.exec_first(text(n), (1,)).await.unwrap();
        }
    }
    drop(held);
    let mut root = stage.lab.admin(0).await.unwrap();
    eventually("two for each connection", async || {
        let show = "SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'";
        let row: Option<(String, u64)> = root.query_first(show).await.unwrap();
        row.unwrap().1 == 8
    })
    .await;
}
