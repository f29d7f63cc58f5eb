//! Beginning and end: connecting, runtimes, dropping, shutting down.

use crate::double::{Double, Manner, closed_port};
use crate::support::{World, connections, eventually, stage};
use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use headless_mysql::cluster::Checkout;
use headless_mysql::discovery::FixedList;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::testkit::stage::Stage;
use headless_mysql::{Cluster, Config, Error, PodConn};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt};

/// "At once", on a busy machine.
const SOON: Duration = Duration::from_secs(2);

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// The error, which came at once.
async fn at_once<T>(call: impl Future<Output = Result<T, Error>>) -> Error {
    let started = Instant::now();
    let Err(error) = call.await else {
        panic!("the call was served");
    };
    assert!(started.elapsed() < SOON, "{:?}: {error}", started.elapsed());
    error
}

/// What a statement on a connection in hand ends in.
async fn use_of(conn: &mut PodConn) -> Result<(), Error> {
    conn.query_drop("DO 1").await.map_err(Error::from)
}

async fn assert_alone(stage: &Stage) {
    for ordinal in stage.lab.ordinals() {
        let mut root = stage.lab.admin(ordinal).await.unwrap();
        eventually("the server has no connection left", async || {
            connections(&mut root, stage.lab.user()).await.is_empty()
        })
        .await;
    }
}

// --- The beginning ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_waits_for_a_service_that_appears_later() {
    let stage = stage(0).await;
    stage.dns.remove_service("default", "mysql");
    stage.dns.clear_queries();
    let connecting = tokio::spawn(Cluster::builder(stage.config()).connect());
    stage.dns.wait_for_queries(4).await;
    assert!(!connecting.is_finished());
    stage.publish();
    let cluster = connecting.await.unwrap().unwrap();
    cluster.primary().query_drop("DO 1").await.unwrap();
}

#[test]
fn a_lazy_cluster_does_nothing_until_its_first_call_and_needs_no_runtime_before() {
    let runtime = runtime();
    let stage = runtime.block_on(stage(1));
    stage.dns.clear_queries();
    let tasks = runtime.metrics().num_alive_tasks();

    let cluster = Cluster::builder(stage.config()).lazy().unwrap();
    let other = cluster.clone();
    assert!(cluster.status().pods.is_empty());
    let first = cluster.primary().query_first("SELECT @@server_id");
    assert_eq!(stage.dns.query_count(), 0);
    assert_eq!(runtime.metrics().num_alive_tasks(), tasks);

    let id: Option<u32> = runtime.block_on(first).unwrap();
    assert_eq!(id, Some(1));
    assert!(stage.dns.query_count() > 0);
    // All clones run, also those made before.
    assert_eq!(other.status().pods.len(), 2);
    let read = other.replicas().query_first("SELECT @@server_id");
    assert_eq!(runtime.block_on(read).unwrap(), Some(2u32));
    // As if it had never been used.
    let unused = Cluster::builder(stage.config()).lazy().unwrap();
    runtime.block_on(unused.shutdown(SOON)).unwrap();
    let error = runtime.block_on(at_once(unused.primary().query_drop("DO 1")));
    assert!(matches!(error, Error::Closed), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_calls_on_a_lazy_cluster_start_it_once_however_many_they_are() {
    let stage = stage(1).await;
    let cluster = Cluster::builder(stage.config()).lazy().unwrap();
    stage.dns.clear_queries();
    let calls = (0..32).map(|_| tokio::spawn(cluster.replicas().query_drop("DO 1")));
    for call in join_all(calls).await {
        call.unwrap().unwrap();
    }
    assert!(stage.dns.query_count() < 16, "{}", stage.dns.query_count());
}

// --- Runtimes ---

#[test]
fn a_call_outside_of_any_runtime_fails_with_runtime_gone_and_never_panics() {
    fn outside<T>(what: &str, call: impl Future<Output = Result<T, Error>>) {
        match call.now_or_never() {
            Some(Err(Error::RuntimeGone)) => {}
            Some(Err(error)) => panic!("{what}: {error:?}"),
            Some(Ok(_)) => panic!("{what} was served"),
            None => panic!("{what} waits for a wake-up that cannot come"),
        }
    }

    let runtime = runtime();
    let stage = runtime.block_on(stage(1));
    outside("connect", Cluster::builder(stage.config()).connect());
    let lazy = Cluster::builder(stage.config()).lazy().unwrap();
    let builder = Cluster::builder(stage.config());
    let running = runtime.block_on(builder.connect()).unwrap();
    for cluster in [lazy, running.clone()] {
        for mut route in [cluster.primary(), cluster.replicas()] {
            outside("query", route.clone().query_drop("DO 1"));
            outside("exec", route.clone().exec_drop("DO ?", (1,)));
            outside("run", route.clone().run("DO 1", ()));
            outside("conn", route.clone().conn());
            outside("begin", route.clone().begin());
            outside("deadline", route.clone().deadline(SOON).query_drop("DO 1"));
            outside("call", route.call(Checkout::new()));
        }
    }
    // Connections in hand.
    let mut conn = runtime.block_on(running.primary().conn()).unwrap();
    outside("a statement", use_of(&mut conn));
    let tx = runtime.block_on(running.begin()).unwrap();
    outside("a commit", tx.commit());
    let tx = runtime.block_on(running.begin()).unwrap();
    outside("a rollback", tx.rollback());
    // Nothing was sent, so nothing is lost.
    runtime.block_on(use_of(&mut conn)).unwrap();
    drop(conn);
    outside("a shutdown", running.shutdown(SOON));
}

#[test]
fn a_cluster_whose_runtime_is_gone_says_so_at_once_also_to_calls_that_wait() {
    let (mine, theirs) = (runtime(), runtime());
    let stage = mine.block_on(stage(0));
    let cluster = {
        let builder = Cluster::builder(stage.config());
        theirs.block_on(builder.connect()).unwrap()
    };
    let mut held = theirs.block_on(cluster.primary().conn()).unwrap();
    let tx = theirs.block_on(cluster.begin()).unwrap();

    // One waits for a pod, one for a connection that is being made.
    let nobody = closed_port();
    let silent = mine.block_on(Double::start(Manner::Silent));
    let waiting = [nobody, silent.address].map(|address| {
        let config = stage
            .config()
            .with_checkout_timeout(Duration::from_secs(60))
            .with_connect_timeout(Duration::from_secs(60));
        let builder = Cluster::builder(config).resolver(FixedList::new([address]));
        let cluster = theirs.block_on(builder.connect()).unwrap();
        let call = mine.spawn(cluster.primary().query_drop("DO 1"));
        mine.block_on(eventually("the call waits", async || {
            let pods = cluster.status().pods;
            pods.iter()
                .any(|pod| pod.in_flight > 0 || pod.last_failure.is_some())
        }));
        call
    });

    theirs.shutdown_timeout(SOON);
    mine.block_on(async {
        for call in [cluster.primary(), cluster.replicas()] {
            let error = at_once(call.query_drop("DO 1")).await;
            assert!(matches!(error, Error::RuntimeGone), "{error:?}");
        }
        let error = at_once(cluster.begin()).await;
        assert!(matches!(error, Error::RuntimeGone), "{error:?}");
        for call in waiting {
            let error = at_once(async { call.await.unwrap() }).await;
            assert!(matches!(error, Error::RuntimeGone), "{error:?}");
        }
        // The sockets went with the runtime.
        let error = at_once(use_of(&mut held)).await;
        assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
        let error = at_once(tx.commit()).await;
        assert!(matches!(error, Error::CommitUnknown { .. }), "{error:?}");
        cluster.shutdown(SOON).await.unwrap_err();
        drop(held);
        cluster.shutdown(SOON).await.unwrap();
    });
}

#[test]
fn nothing_that_is_dropped_outside_of_a_runtime_panics() {
    for gone_before in [false, true] {
        let (mine, theirs) = (runtime(), runtime());
        let stage = mine.block_on(stage(1));
        let builder = Cluster::builder(stage.config());
        let cluster = theirs.block_on(builder.connect()).unwrap();
        let (clean, dirty, cut, streaming, tx) = theirs.block_on(async {
            let clean = cluster.primary().conn().await.unwrap();
            let mut dirty = cluster.replicas().conn().await.unwrap();
            dirty.query_drop("SET @x = 1").await.unwrap();
            let mut cut = cluster.primary().conn().await.unwrap();
            let sleep = tokio::time::timeout(SOON / 20, cut.query_drop("DO SLEEP(1)"));
            sleep.await.unwrap_err();
            let mut streaming = cluster.replicas().conn().await.unwrap();
            let rows = streaming.query_iter("SELECT 1 UNION SELECT 2").await;
            drop(rows.unwrap());
            let mut tx = cluster.begin().await.unwrap();
            tx.query_drop("DO 1").await.unwrap();
            (clean, dirty, cut, streaming, tx)
        });
        let route = cluster.primary();
        let unpolled = cluster.replicas().query_drop("DO 1");
        if gone_before {
            theirs.shutdown_timeout(SOON);
            drop((clean, dirty, cut, streaming, tx));
            drop((unpolled, route, cluster));
        } else {
            drop((clean, dirty, cut, streaming, tx));
            drop((unpolled, route, cluster));
            drop(theirs);
        }
        mine.block_on(assert_alone(&stage));
    }
}

// --- The end ---

#[test]
fn the_last_handle_takes_every_task_and_every_connection_with_it() {
    let (mine, theirs) = (runtime(), runtime());
    let stage = mine.block_on(stage(2));
    let silent = mine.block_on(Double::start(Manner::Silent));
    let before = theirs.metrics().num_alive_tasks();

    let builder = Cluster::builder(stage.config());
    let cluster = theirs.block_on(builder.connect()).unwrap();
    theirs.block_on(async {
        let calls = (0..20).map(|_| cluster.replicas().query_drop("SELECT SLEEP(0.01)"));
        try_join_all(calls).await.unwrap();
        cluster.primary().query_drop("SET @x = 1").await.unwrap();
        // Dropped in the middle: of a statement, and of connecting to nobody.
        let cut = cluster.primary().query_drop("DO SLEEP(1)");
        tokio::time::timeout(SOON / 20, cut).await.unwrap_err();
    });
    let list = FixedList::new([silent.address]);
    let builder = Cluster::builder(stage.config()).resolver(list);
    let hopeless = theirs.block_on(builder.connect()).unwrap();
    theirs.block_on(async {
        let calls = (0..8).map(|_| hopeless.primary().deadline(SOON / 20).query_drop("DO 1"));
        for result in join_all(calls).await {
            result.unwrap_err();
        }
    });
    assert!(theirs.metrics().num_alive_tasks() > before);
    drop((cluster.clone(), hopeless.clone()));
    assert!(theirs.metrics().num_alive_tasks() > before);

    drop((cluster, hopeless));
    mine.block_on(async {
        eventually("no task is left", async || {
            theirs.metrics().num_alive_tasks() == before
        })
        .await;
        assert_alone(&stage).await;
    });
}

#[test]
fn a_hundred_clusters_one_after_the_other_leave_no_task_and_no_connection() {
    let (mine, theirs) = (runtime(), runtime());
    let stage = mine.block_on(stage(1));
    let before = theirs.metrics().num_alive_tasks();
    theirs.block_on(async {
        for n in 0..100 {
            let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
            cluster.replicas().query_drop("DO 1").await.unwrap();
            let mut tx = cluster.begin().await.unwrap();
            tx.query_drop("DO 1").await.unwrap();
            match n % 3 {
                0 => drop(tx),
                1 => drop(tx.commit().await.unwrap()),
                _ => drop((cluster, tx)),
            }
        }
    });
    mine.block_on(async {
        eventually("no task is left", async || {
            theirs.metrics().num_alive_tasks() == before
        })
        .await;
        assert_alone(&stage).await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_that_is_dropped_or_fails_leaves_nothing_behind() {
    let stage = stage(0).await;
    let theirs = runtime();
    let before = theirs.metrics().num_alive_tasks();
    let wait = Duration::from_millis(300);
    let config = stage
        .config()
        .with_service("nosuch")
        .with_connect_wait(wait);
    let failing = theirs.spawn(Cluster::builder(config.clone()).connect());
    failing.await.unwrap().unwrap_err();
    let config = config.with_connect_wait(Duration::from_secs(60));
    let connecting = theirs.spawn(Cluster::builder(config).connect());
    stage.dns.clear_queries();
    stage.dns.wait_for_queries(1).await;
    connecting.abort();
    eventually("no task is left", async || {
        theirs.metrics().num_alive_tasks() == before
    })
    .await;
    theirs.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_in_hand_works_on_when_the_last_handle_of_its_cluster_is_dropped() {
    let stage = stage(1).await;
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    let mut write = cluster.primary().conn().await.unwrap();
    let mut read = cluster.replicas().conn().await.unwrap();
    let mut tx = cluster.begin().await.unwrap();
    let waiting = cluster.primary().query_first("SELECT 7");
    drop(cluster);
    use_of(&mut write).await.unwrap();
    use_of(&mut read).await.unwrap();
    tx.query_drop("DO 1").await.unwrap();
    tx.commit().await.unwrap();
    // A call that was made is a handle, too.
    assert_eq!(waiting.await.unwrap(), Some(7u8));
    use_of(&mut write).await.unwrap();
    drop((write, read));
    assert_alone(&stage).await;
}

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
    assert_alone(&world.stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_gives_up_at_its_deadline_and_what_is_still_held_runs_no_further_statement() {
    let stage = stage(1).await;
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    let mut write = cluster.primary().conn().await.unwrap();
    let mut read = cluster.replicas().conn().await.unwrap();
    let tx = cluster.begin().await.unwrap();
    let patience = Duration::from_millis(200);
    let error = at_once(cluster.shutdown(patience)).await;
    assert!(
        matches!(error, Error::ShutdownTimeout { in_use: 3 }),
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
    // They wait: for a free connection, for a pod, for one that never answers, for any answer.
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
    // Once more is no error.
    for cluster in &clusters {
        cluster.shutdown(Duration::ZERO).await.unwrap();
    }
}

// --- Company ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_in_one_process_do_not_know_each_other() {
    let (one, other) = tokio::join!(World::start(0), World::start(0));
    for id in 0..20 {
        one.insert(id).await.unwrap();
    }
    let count = "SELECT COUNT(*) FROM entries";
    let of_one = one.cluster.primary().query_first(count).await.unwrap();
    let of_other = other.cluster.primary().query_first(count).await.unwrap();
    assert_eq!((of_one, of_other), (Some(20u32), Some(0u32)));
    // Also two on the same Service.
    let second = Cluster::builder(one.stage.config())
        .connect()
        .await
        .unwrap();
    one.cluster.shutdown(SOON).await.unwrap();
    assert_eq!(
        second.primary().query_first(count).await.unwrap(),
        Some(20u32)
    );
    other.insert(0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_owned_and_can_be_spawned_joined_and_stored() {
    fn owned<T: Send + 'static>(value: T) -> T {
        value
    }
    let world = World::start(1).await;
    let cluster = world.cluster.clone();
    let inserts = (0..50u64).map(|id| {
        let insert = "INSERT INTO entries (id, pod) VALUES (?, '-')";
        owned(cluster.primary().exec_drop(insert, (id,)))
    });
    try_join_all(inserts).await.unwrap();
    let reads = (0..50).map(|_| {
        let read = cluster.primary().query("SELECT id FROM entries");
        tokio::spawn(owned(read))
    });
    for rows in try_join_all(reads).await.unwrap() {
        let rows: Vec<u64> = rows.unwrap();
        assert_eq!(rows.len(), 50);
    }
    let conn = owned(cluster.replicas().conn());
    let begin = owned(cluster.primary().begin());
    drop(cluster);
    let (mut conn, tx) = tokio::try_join!(conn, begin).unwrap();
    use_of(&mut conn).await.unwrap();
    tokio::spawn(owned(tx.commit())).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_serves_connections_under_towers_timeout_and_concurrency_limit() {
    let stage = stage(1).await;
    let config: Config = stage.config().with_max_connections(1);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let service = ServiceBuilder::new()
        .timeout(Duration::from_millis(300))
        .concurrency_limit(2)
        .service(cluster.primary());
    let served = service.clone().oneshot(Checkout::new()).await;
    let mut held: PodConn = served.unwrap();
    let id: Option<u32> = held.query_first("SELECT @@server_id").await.unwrap();
    assert_eq!(id, Some(1));

    // The layers cover the checkout: the only connection is in use.
    let started = Instant::now();
    let late = service.clone().oneshot(Checkout::new()).await.unwrap_err();
    assert!(late.is::<tower::timeout::error::Elapsed>(), "{late:?}");
    assert!(started.elapsed() < SOON);
    // And a checkout that was cut off costs the next one nothing.
    drop(held);
    for _ in 0..20 {
        let served = service.clone().oneshot(Checkout::new()).await.unwrap();
        drop(served);
    }
    let busy = (0..10).map(|_| {
        let service = service.clone();
        async move {
            let mut conn = service.oneshot(Checkout::new()).await?;
            conn.query_drop("DO 1").await?;
            Ok::<_, tower::BoxError>(())
        }
    });
    try_join_all(busy).await.unwrap();
}
