//! A network that accepts everything and delivers nothing: every wait must end.

use crate::staged::Staged as _;
use crate::support::{PATIENCE, all_slots_are_back, eventually, stage};
use headless_mysql::{Cluster, Config, Error};
use headless_mysql_testkit::stage::Stage;
use mysql_async::prelude::Queryable;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// The delay that a busy machine may add to a deadline.
const MARGIN: Duration = Duration::from_millis(400);

/// A proxy for the primary: it always accepts, and forwards while it is open.
struct Hole {
    swallows: Arc<AtomicBool>,
}

impl Hole {
    async fn before_the_primary(stage: &Stage) -> Self {
        let server = SocketAddr::new(stage.lab.address(0), stage.lab.port());
        let here = stage.lab.fresh_address().unwrap();
        let listener = TcpListener::bind((here, server.port())).await.unwrap();
        stage.publish_at(0, here).unwrap();
        let swallows = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&swallows);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let swallows = Arc::clone(&shared);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::spawn(pass(from_client, to_server, Arc::clone(&swallows)));
                    pass(from_server, to_client, swallows).await;
                });
            }
        });
        Self { swallows }
    }

    fn swallow(&self, swallows: bool) {
        self.swallows.store(swallows, Ordering::SeqCst);
    }
}

/// Forwards one direction. Once bytes were swallowed, the connection stays open and silent.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallows: Arc<AtomicBool>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut deaf = false;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        deaf |= swallows.load(Ordering::SeqCst);
        if !deaf && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    if deaf {
        std::future::pending::<()>().await;
    }
}

async fn world(configure: impl FnOnce(Config) -> Config) -> (Stage, Hole, Cluster) {
    let stage = stage(0).await;
    let hole = Hole::before_the_primary(&stage).await;
    let config = configure(stage.config());
    let cluster = Cluster::builder(config).connect().await.unwrap();
    cluster.primary().query_drop("DO 1").await.unwrap();
    eventually("its connection is back", async || {
        cluster.status().pods[0].connections_in_use == 0
    })
    .await;
    (stage, hole, cluster)
}

/// Checks that `call` takes `limit` or slightly more.
async fn ends_after<T>(limit: Duration, call: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let ended = tokio::time::timeout(PATIENCE, call).await.unwrap();
    let took = started.elapsed();
    assert!(
        limit / 2 <= took && took <= limit + MARGIN,
        "{took:?}, not {limit:?}"
    );
    ended
}

const LIMIT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_into_a_black_hole_ends_with_the_checkout() {
    let (_stage, hole, cluster) = world(|config| {
        config
            .with_connect_timeout(Duration::from_millis(200))
            .with_checkout_timeout(LIMIT)
    })
    .await;
    let held = cluster.primary().conn().await.unwrap();
    hole.swallow(true);
    for call in [cluster.primary(), cluster.primary().deadline(LIMIT)] {
        let error = ends_after(LIMIT, call.conn()).await.unwrap_err();
        assert!(matches!(error, Error::NoPrimary { .. }), "{error}");
    }
    hole.swallow(false);
    drop(held);
    cluster.primary().query_drop("DO 1").await.unwrap();
    all_slots_are_back(&cluster, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_transactions_and_pings_in_a_black_hole_end_with_their_deadline() {
    let (_stage, hole, cluster) = world(|config| config.with_statement_timeout(Some(LIMIT))).await;
    let mut conns = Vec::new();
    for _ in 0..5 {
        conns.push(cluster.primary().conn().await.unwrap());
    }
    let mut tx = [
        cluster.begin().await.unwrap(),
        cluster.begin().await.unwrap(),
    ];
    for tx in &mut tx {
        tx.query_drop("DO 1").await.unwrap();
    }
    hole.swallow(true);
    let [commit, rollback] = tx;
    let [mut query, mut exec, mut ping, mut stream, mut prepare] =
        <[_; 5]>::try_from(conns).unwrap();
    let timed_out = |error: mysql_async::Error| {
        let error = Error::from(error);
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    };
    tokio::join!(
        async {
            timed_out(
                ends_after(LIMIT, query.query_drop("DO 1"))
                    .await
                    .unwrap_err(),
            )
        },
        async {
            timed_out(
                ends_after(LIMIT, exec.exec_drop("DO 1", ()))
                    .await
                    .unwrap_err(),
            )
        },
        async { timed_out(ends_after(LIMIT, ping.ping()).await.unwrap_err()) },
        async {
            let begun = ends_after(LIMIT, stream.query_iter("SELECT 1")).await;
            timed_out(begun.map(|_| ()).unwrap_err());
        },
        async {
            timed_out(
                ends_after(LIMIT, prepare.prep("SELECT ?"))
                    .await
                    .unwrap_err(),
            )
        },
        async {
            let error = ends_after(LIMIT, commit.commit()).await.unwrap_err();
            assert!(matches!(error, Error::CommitUnknown { .. }), "{error}");
        },
        async {
            let error = ends_after(LIMIT, rollback.rollback()).await.unwrap_err();
            assert!(matches!(error, Error::Timeout { .. }), "{error}");
        },
    );
    drop((query, exec, ping, stream, prepare));
    // The slots are held until the server can be asked, because it may still have the sessions.
    hole.swallow(false);
    cluster.primary().query_drop("DO 1").await.unwrap();
    all_slots_are_back(&cluster, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_statement_of_a_transaction_in_a_black_hole_ends_with_its_deadline() {
    let (_stage, hole, cluster) = world(|config| config.with_statement_timeout(Some(LIMIT))).await;
    let mut transactions = Vec::new();
    for _ in 0..2 {
        transactions.push(cluster.begin().await.unwrap());
    }
    hole.swallow(true);
    for (n, mut tx) in transactions.into_iter().enumerate() {
        let error = match n {
            0 => ends_after(LIMIT, tx.query_drop("DO 1")).await.unwrap_err(),
            _ => ends_after(LIMIT, tx.exec_drop("DO 1", ()))
                .await
                .unwrap_err(),
        };
        let error = Error::from(error);
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    }
    hole.swallow(false);
    all_slots_are_back(&cluster, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_and_a_rollback_in_a_black_hole_give_their_slots_back_once_it_is_healed() {
    let (_stage, hole, cluster) = world(|config| config).await;
    let mut dirty = cluster.primary().conn().await.unwrap();
    dirty.query_drop("SET @a = 1").await.unwrap();
    let mut tx = cluster.begin().await.unwrap();
    tx.query_drop("DO 1").await.unwrap();
    let mut unread = cluster.primary().conn().await.unwrap();
    drop(unread.query_iter("SELECT 1; SELECT 2").await.unwrap());
    hole.swallow(true);
    drop((dirty, tx, unread));
    eventually("the pod is known to be dead", async || {
        cluster.status().pods[0].last_failure.is_some()
    })
    .await;
    hole.swallow(false);
    all_slots_are_back(&cluster, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_connections_into_a_black_hole_takes_no_time() {
    let (_stage, hole, cluster) = world(|config| config.with_max_connections(4)).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(cluster.primary().conn().await.unwrap());
    }
    held.truncate(2);
    hole.swallow(true);
    let started = Instant::now();
    drop(held);
    cluster.shutdown(PATIENCE).await.unwrap();
    assert!(started.elapsed() < MARGIN, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_does_not_wait_longer_than_told_for_a_statement_in_a_black_hole() {
    let (_stage, hole, cluster) = world(|config| config).await;
    let mut conn = cluster.primary().conn().await.unwrap();
    hole.swallow(true);
    let stuck = tokio::spawn(async move { conn.query_drop("DO 1").await });
    eventually("it is under way", async || {
        cluster.status().pods[0].connections_in_use == 1
    })
    .await;
    let error = ends_after(LIMIT, cluster.shutdown(LIMIT))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::ShutdownTimeout { in_use: 1, .. }),
        "{error}"
    );
    stuck.abort();
}
