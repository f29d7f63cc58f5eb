//! What ends with the last handle of a cluster, and what continues.

use super::{SOON, assert_alone, runtime, use_of};
use crate::double::{Double, Manner};
use crate::staged::Staged as _;
use crate::support::{eventually, stage};
use futures_util::future::{join_all, try_join_all};
use headless_mysql::Cluster;
use headless_mysql::discovery::FixedList;
use headless_mysql::mysql_async::prelude::Queryable;
use std::time::Duration;

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
        // Calls dropped in the middle: of a statement, and of a connect to a closed port.
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

#[test]
fn a_transaction_that_has_begun_keeps_no_task_of_its_cluster_alive() {
    let (mine, theirs) = (runtime(), runtime());
    let stage = mine.block_on(stage(0));
    let before = theirs.metrics().num_alive_tasks();
    for is_text in [true, false] {
        let mut tx = theirs.block_on(async {
            let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
            let mut tx = cluster.begin().await.unwrap();
            match is_text {
                true => tx.query_drop("DO 1").await.unwrap(),
                false => tx.exec_drop("DO 1", ()).await.unwrap(),
            }
            tx
        });
        mine.block_on(eventually("no task is left", async || {
            theirs.metrics().num_alive_tasks() == before
        }));
        theirs.block_on(tx.query_drop("DO 1")).unwrap();
        theirs.block_on(tx.commit()).unwrap();
    }
    mine.block_on(assert_alone(&stage));
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
    // A pending call counts as a handle.
    assert_eq!(waiting.await.unwrap(), Some(7u8));
    use_of(&mut write).await.unwrap();
    drop((write, read));
    assert_alone(&stage).await;
}
