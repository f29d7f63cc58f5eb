//! Calls and drops without a runtime, and after a runtime has ended.

use super::{SOON, assert_alone, at_once, runtime, use_of};
use crate::double::{Double, Manner, closed_port};
use crate::staged::Staged as _;
use crate::support::{eventually, stage};
use futures_util::FutureExt;
use headless_mysql::cluster::Checkout;
use headless_mysql::discovery::FixedList;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Error, Tx};
use std::time::Duration;
use tower::Service;

async fn begun(cluster: &Cluster) -> Tx {
    let mut tx = cluster.begin().await.unwrap();
    tx.query_drop("DO 1").await.unwrap();
    tx
}

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
    // Checked-out connections.
    let mut conn = runtime.block_on(running.primary().conn()).unwrap();
    outside("a statement", use_of(&mut conn));
    for is_text in [true, false] {
        let mut tx = runtime.block_on(running.begin()).unwrap();
        outside("a first statement", async {
            match is_text {
                true => tx.query_drop("DO 1").await.map_err(Error::from),
                false => tx.exec_drop("DO 1", ()).await.map_err(Error::from),
            }
        });
    }
    let tx = runtime.block_on(begun(&running));
    outside("a commit", tx.commit());
    let tx = runtime.block_on(begun(&running));
    outside("a rollback", tx.rollback());
    // Nothing was sent, so the connection is still usable.
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
    let tx = theirs.block_on(begun(&cluster));

    // One call waits for a pod, another for a connection that is being opened.
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
        // The sockets were closed with the runtime.
        let error = at_once(use_of(&mut held)).await;
        assert!(
            matches!(
                error,
                Error::ConnectionLost { .. } | Error::Disconnected { .. }
            ),
            "{error:?}"
        );
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
