//! A statement whose caller has given up does not continue on the server.

use crate::load::{Load, TASKS};
use crate::staged::Staged as _;
use crate::support::{PATIENCE, World, all_slots_are_back, eventually, stage};
use headless_mysql::balance::EndpointState;
use headless_mysql::name::Ordinal;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::proxy::{FaultProxy, NetFault};
use headless_mysql_testkit::stage::Stage;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// A statement that runs longer than the test.
pub(crate) const LONG: &str = "SELECT SLEEP(61)";

const LIMIT: Duration = Duration::from_millis(300);

/// Waits until the server is old enough. Servers report their uptime in whole seconds, and the
/// library does not stop statements on a server that may have just restarted.
pub(crate) async fn old_enough(root: &mut Conn) {
    eventually("the server is a few seconds old", async || {
        let uptime = "SHOW GLOBAL STATUS LIKE 'Uptime'";
        let uptime: Option<(String, u64)> = root.query_first(uptime).await.unwrap();
        uptime.unwrap().1 >= 4
    })
    .await;
}

pub(crate) async fn running(root: &mut Conn) -> usize {
    let text = format!("%{}%", &LONG[7..]);
    let sql = "SELECT id FROM information_schema.processlist \
               WHERE info LIKE ? AND id <> CONNECTION_ID()";
    let ids: Vec<u64> = root.exec(sql, (text,)).await.unwrap();
    ids.len()
}

/// Waits until the server executes `count` of these statements.
pub(crate) async fn until_running(root: &mut Conn, count: usize) {
    let started = Instant::now();
    while running(root).await != count {
        assert!(started.elapsed() < PATIENCE, "never {count} of them");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The ways to give up a statement.
#[derive(Debug, Clone, Copy)]
enum Leave {
    TimedOut,
    TimedOutPrepared,
    TimedOutOnRoute,
    Dropped,
    DroppedOnRoute,
    DroppedTransaction,
    UnreadStream,
}

impl Leave {
    const ALL: [Self; 7] = [
        Self::TimedOut,
        Self::TimedOutPrepared,
        Self::TimedOutOnRoute,
        Self::Dropped,
        Self::DroppedOnRoute,
        Self::DroppedTransaction,
        Self::UnreadStream,
    ];

    async fn run(self, cluster: &Cluster) {
        let timed_out = |error: Error| assert!(matches!(error, Error::Timeout { .. }), "{error}");
        match self {
            Self::TimedOut | Self::TimedOutPrepared => {
                let mut conn = cluster.primary().conn().await.unwrap();
                conn.set_statement_timeout(Some(LIMIT));
                let error = match self {
                    Self::TimedOut => conn.query_drop(LONG).await,
                    _ => conn.exec_drop(LONG, ()).await,
                };
                timed_out(error.unwrap_err().into());
            }
            Self::TimedOutOnRoute => {
                let call = cluster.primary().deadline(LIMIT).query_drop(LONG);
                timed_out(call.await.unwrap_err());
            }
            Self::Dropped => {
                let mut conn = cluster.primary().conn().await.unwrap();
                let cut = tokio::time::timeout(LIMIT, conn.query_drop(LONG)).await;
                assert!(cut.is_err());
            }
            Self::DroppedOnRoute => {
                let call = cluster.primary().query_drop(LONG);
                assert!(tokio::time::timeout(LIMIT, call).await.is_err());
            }
            Self::DroppedTransaction => {
                let mut tx = cluster.begin().await.unwrap();
                let cut = tokio::time::timeout(LIMIT, tx.exec_drop(LONG, ())).await;
                assert!(cut.is_err());
            }
            Self::UnreadStream => {
                let mut conn = cluster.primary().conn().await.unwrap();
                let two = format!("SELECT 1; {LONG}");
                drop(conn.query_iter(two).await.unwrap());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_was_given_up_is_gone_from_the_server_soon_after() {
    let stage = stage(0).await;
    let config = stage.config().with_max_connections(2);
    let world = World::with(stage, config).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    old_enough(&mut root).await;
    for leave in Leave::ALL {
        leave.run(&world.cluster).await;
        let started = Instant::now();
        // The rest of a stream is read for one second before it is given up.
        let soon = Duration::from_secs(3);
        while running(&mut root).await > 0 {
            assert!(started.elapsed() < soon, "{leave:?} goes on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("{leave:?}: gone after {:?}", started.elapsed());
    }
    all_slots_are_back(&world.cluster, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_statements_given_up_at_once_share_a_few_side_connections() {
    const MANY: usize = 12;
    let stage = stage(0).await;
    let world = World::on(stage).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    old_enough(&mut root).await;
    let tasks: Vec<_> = (0..MANY)
        .map(|_| tokio::spawn(world.cluster.primary().query_drop(LONG)))
        .collect();
    until_running(&mut root, MANY).await;
    let row: Option<(String, u64)> = root
        .query_first("SHOW GLOBAL STATUS LIKE 'Connections'")
        .await
        .unwrap();
    let before = row.unwrap().1;
    tasks.iter().for_each(|task| task.abort());
    until_running(&mut root, 0).await;
    let row: Option<(String, u64)> = root
        .query_first("SHOW GLOBAL STATUS LIKE 'Connections'")
        .await
        .unwrap();
    let made = row.unwrap().1 - before;
    assert!((1..=4).contains(&made), "{made} side connections");
    all_slots_are_back(&world.cluster, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_timed_out_is_not_stopped() {
    let world = World::start(0).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    old_enough(&mut root).await;
    let mut tx = world.cluster.primary().begin().await.unwrap();
    tx.query_drop("INSERT INTO entries VALUES (1, 'x')")
        .await
        .unwrap();
    root.query_drop("FLUSH TABLES WITH READ LOCK")
        .await
        .unwrap();
    let commit = tokio::time::timeout(LIMIT, tx.commit()).await;
    assert!(commit.is_err());
    let mut tx = world
        .cluster
        .primary()
        .deadline(Duration::from_secs(5))
        .begin()
        .await
        .unwrap();
    let _ = tx
        .query_first::<u64, _>("SELECT COUNT(*) FROM entries")
        .await;
    drop(tx);
    // Enough time for a side connection.
    tokio::time::sleep(LIMIT).await;
    root.query_drop("UNLOCK TABLES").await.unwrap();
    eventually("the commit went through", async || {
        let rows = world
            .cluster
            .primary()
            .query_first("SELECT COUNT(*) FROM entries");
        rows.await.unwrap() == Some(1)
    })
    .await;
}

/// A proxy whose clients do not notice the server's death.
async fn deaf_proxy(server: SocketAddr, here: IpAddr) {
    let listener = TcpListener::bind((here, server.port())).await.unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(server).await else {
                continue;
            };
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            });
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                std::future::pending::<()>().await;
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_of_another_start_under_the_same_id_is_never_stopped() {
    let stage = stage(0).await;
    let server = SocketAddr::new(stage.lab.address(0), stage.lab.port());
    let here = stage.lab.fresh_address().unwrap();
    deaf_proxy(server, here).await;
    stage.publish_at(0, here).unwrap();
    let config = stage.config().with_max_connections(2);
    let world = World::with(stage, config).await;
    let lab = &world.stage.lab;
    // Raise the connection ids, so that the restarted server has not used this one yet.
    for _ in 0..40 {
        lab.connect(0).await.unwrap().disconnect().await.unwrap();
    }
    let mut conn = world.cluster.primary().conn().await.unwrap();
    let _ = conn.query_drop("KILL CONNECTION_ID()").await;
    drop(conn);
    // The proxy hides that the killed connection has ended.
    let mut conn = world.cluster.primary().conn().await.unwrap();
    let id = conn.id();
    let victim = tokio::spawn(async move { conn.query_drop(LONG).await });
    let mut root = lab.admin(0).await.unwrap();
    until_running(&mut root, 1).await;

    lab.kill(0).await.unwrap();
    lab.restart(0).await.unwrap();
    let mut others = Vec::new();
    let mut same = loop {
        let other = lab.connect(0).await.unwrap();
        match other.id().cmp(&id) {
            std::cmp::Ordering::Less => others.push(other),
            std::cmp::Ordering::Equal => break other,
            std::cmp::Ordering::Greater => panic!("{} came after {id}", other.id()),
        }
    };
    let slept = tokio::spawn(async move { same.query_first::<u64, _>("SELECT SLEEP(2)").await });
    tokio::time::sleep(LIMIT).await;
    victim.abort();
    // A result of 1 would mean that it was interrupted.
    assert_eq!(slept.await.unwrap().unwrap(), Some(0));
    eventually("the slot is back", async || {
        let pods = world.cluster.status().pods;
        pods.iter().all(|pod| pod.connections_in_use == 0)
    })
    .await;
}

async fn rate(load: &Load, over: Duration) -> u64 {
    let done = || load.done.load(std::sync::atomic::Ordering::Relaxed);
    let before = done();
    tokio::time::sleep(over).await;
    done() - before
}

/// A deadline for reads on a busy machine: only reads on the frozen replica may exceed it.
const PATIENT: Duration = Duration::from_secs(1);

/// Reads under load while a replica is frozen. `own` is the callers' own timeout.
async fn freeze_under_load(stage: Stage, own: Option<Duration>) {
    let config = stage.config().with_statement_timeout(Some(PATIENT));
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let load = match own {
        None => Load::reads(&cluster),
        Some(own) => {
            let cluster = cluster.clone();
            Load::start(TASKS, move || {
                let read = cluster.replicas().no_deadline().query_drop("SELECT 1");
                async move {
                    let cut = tokio::time::timeout(own, read).await;
                    cut.unwrap_or(Err(Error::Closed))
                }
            })
        }
    };
    load.progress(2_000).await;
    let window = Duration::from_millis(500);
    let before = rate(&load, window).await;
    stage.lab.freeze(1).await.unwrap();
    tokio::time::sleep(PATIENT + Duration::from_secs(1)).await;
    // Other tests may take the machine for some of the windows.
    let mut after = 0;
    for _ in 0..5 {
        after = after.max(rate(&load, window).await);
    }
    let seen = load.stop().await;
    println!(
        "{before} before, {after} with one of two frozen; {} errors",
        seen.errors.len()
    );
    assert!(after > before / 3, "{after} of {before}");
    assert!(seen.errors.len() <= TASKS, "{:?}", seen.errors);
    stage.lab.thaw(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_costs_each_task_one_deadline_and_the_load_a_second() {
    freeze_under_load(stage(2).await, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_is_noticed_by_callers_who_never_wait_for_our_deadlines() {
    freeze_under_load(stage(2).await, Some(PATIENT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stops_nothing_for_callers_who_left_is_not_picked_meanwhile() {
    let stage = stage(2).await;
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    let conns = |n| futures_util::future::join_all((0..n).map(|_| cluster.replicas().conn()));
    // Both replicas now have recently used connections.
    drop(conns(8).await);
    stage.lab.freeze(1).await.unwrap();
    let read = || tokio::time::timeout(LIMIT, cluster.replicas().query_drop("SELECT 1"));
    let left = futures_util::future::join_all((0..4).map(|_| read())).await;
    assert!(left.iter().any(Result::is_err));

    let frozen = || {
        let pods = cluster.status().pods;
        let mut frozen = pods
            .into_iter()
            .filter(|pod| pod.ordinal == Some(Ordinal::new(1)));
        frozen.next().unwrap()
    };
    eventually("it is suspect", async || {
        frozen().state == Some(EndpointState::Suspect)
    })
    .await;
    // All at once, so that the other replica is the busier one.
    for conn in conns(12).await {
        assert_ne!(*conn.unwrap().pod(), frozen().pod);
    }
    stage.lab.thaw(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_login_is_slow_is_not_taken_for_dead_when_a_statement_times_out() {
    let stage = stage(0).await;
    let server = SocketAddr::new(stage.lab.address(0), stage.lab.port());
    let here = (stage.lab.fresh_address().unwrap(), server.port()).into();
    let proxy = FaultProxy::start(here, server).await.unwrap();
    stage.publish_at(0, here.ip()).unwrap();
    let config = stage
        .config()
        .with_max_connections(2)
        .with_connect_timeout(Duration::from_secs(6))
        .with_checkout_timeout(PATIENCE);
    // A login is at least five messages, so it takes more than a second.
    proxy.set_fault(Some(NetFault::Slow(LIMIT)));
    let world = World::with(stage, config).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    let old_enough = async || {
        let uptime = "SHOW GLOBAL STATUS LIKE 'Uptime'";
        let uptime: Option<(String, u64)> = root.query_first(uptime).await.unwrap();
        uptime.unwrap().1 >= 8
    };
    eventually("the server is older than that takes", old_enough).await;
    let mut conn = world.cluster.primary().conn().await.unwrap();
    conn.set_statement_timeout(Some(2 * LIMIT));
    conn.query_drop(LONG).await.unwrap_err();
    let started = Instant::now();
    while running(&mut root).await > 0 {
        assert!(started.elapsed() < Duration::from_secs(6), "it goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let pod = world.cluster.status().pods.remove(0);
    assert_eq!(pod.last_failure, None);
}
