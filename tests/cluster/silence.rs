//! Reads on a pod that does not answer, or on a flow that is lost, move to another connection.

use crate::load::{Load, TASKS};
use crate::staged::Staged as _;
use crate::stopping::old_enough;
use crate::support::{PATIENCE, World, connections, eventually, stage};
use headless_mysql::balance::EndpointState;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::proxy::{FaultProxy, NetFault};
use headless_mysql_testkit::stage::Stage;
use mysql_async::prelude::Queryable;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Starts reads with a deadline of one second each.
fn reads(cluster: &Cluster) -> Load {
    let cluster = cluster.clone();
    Load::start(TASKS, move || {
        cluster.replicas().deadline(SECOND).query_drop("SELECT 1")
    })
}

/// Starts a proxy for each replica.
async fn before_the_replicas(stage: &Stage) -> Vec<FaultProxy> {
    let mut proxies = Vec::new();
    for ordinal in [1, 2] {
        let server = (stage.lab.address(ordinal), stage.lab.port()).into();
        let here = (stage.lab.fresh_address().unwrap(), stage.lab.port()).into();
        proxies.push(FaultProxy::start(here, server).await.unwrap());
        stage.publish_at(ordinal, here.ip()).unwrap();
    }
    proxies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_fails_when_a_replica_freezes_and_thaws() {
    let stage = stage(2).await;
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    let load = reads(&cluster);
    load.progress(2_000).await;
    stage.lab.freeze(1).await.unwrap();
    eventually("the frozen replica is out", async || {
        let pods = cluster.status().pods;
        pods.iter()
            .any(|pod| !matches!(pod.state, Some(EndpointState::Ready)))
    })
    .await;
    tokio::time::sleep(2 * SECOND).await;
    stage.lab.thaw(1).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let seen = load.stop().await;
    println!("longest gap {:?}", seen.longest_gap);
    assert!(seen.errors.is_empty(), "{:?}", seen.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_fails_when_existing_flows_are_forgotten() {
    let stage = stage(2).await;
    let proxies = before_the_replicas(&stage).await;
    let cluster = Cluster::builder(stage.config()).connect().await.unwrap();
    let load = reads(&cluster);
    for proxies in [&proxies[..1], &proxies[..]] {
        load.progress(2_000).await;
        proxies.iter().for_each(FaultProxy::forget_flows);
        tokio::time::sleep(2 * SECOND).await;
        load.progress(2_000).await;
    }
    let seen = load.stop().await;
    println!("longest gap {:?}", seen.longest_gap);
    assert!(seen.errors.is_empty(), "{:?}", seen.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_read_on_a_live_pod_is_run_once() {
    let world = World::on(stage(2).await).await;
    let mut roots = Vec::new();
    for ordinal in [0, 1, 2] {
        roots.push(world.stage.lab.admin(ordinal).await.unwrap());
    }
    let slow = "SELECT SLEEP(2.5)";
    let route = world.cluster.replicas().deadline(3 * SECOND);
    let read = tokio::spawn(route.query_first::<u8>(slow));
    let mut seen = BTreeSet::new();
    while !read.is_finished() {
        for (ordinal, root) in roots.iter_mut().enumerate() {
            let running = "SELECT id FROM information_schema.processlist WHERE info = ?";
            let ids: Vec<u64> = root.exec(running, (slow,)).await.unwrap();
            seen.extend(ids.into_iter().map(|id| (ordinal, id)));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read.await.unwrap().unwrap(), Some(0));
    assert_eq!(seen.len(), 1, "{seen:?}");
    let pods = world.cluster.status().pods;
    assert!(
        pods.iter().all(|pod| pod.last_failure.is_none()),
        "{pods:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_are_told_soon_that_the_primary_answers_nothing() {
    let world = World::start(0).await;
    world.must_insert(1).await;
    world.stage.lab.freeze(0).await.unwrap();
    let begun = Instant::now();
    // The statement timeout is 30 s, so this error has another cause.
    let error = world.insert(2).await.unwrap_err();
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(!error.is_retryable());
    world.stage.lab.thaw(0).await.unwrap();
    world.must_insert(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_takes_no_new_connections_is_not_dead_while_its_statements_run() {
    let stage = stage(0).await;
    let server = (stage.lab.address(0), stage.lab.port()).into();
    let here = (stage.lab.fresh_address().unwrap(), stage.lab.port()).into();
    let proxy = FaultProxy::start(here, server).await.unwrap();
    stage.publish_at(0, here.ip()).unwrap();
    let config = stage.config().with_max_connections(2);
    let world = World::with(stage, config).await;
    let conns = [
        world.cluster.primary().conn().await.unwrap(),
        world.cluster.primary().conn().await.unwrap(),
    ];
    let [mut slow, idle] = conns;
    // Return one connection, so that it can be pinged.
    drop(idle);
    proxy.set_fault(Some(NetFault::SwallowNew));
    slow.query_drop("SELECT SLEEP(4)").await.unwrap();
    let pod = world.cluster.status().pods.remove(0);
    assert_eq!(pod.last_failure, None);
    proxy.set_fault(None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_whose_flows_were_forgotten_do_not_stay_on_the_server() {
    let stage = stage(0).await;
    let server = (stage.lab.address(0), stage.lab.port()).into();
    let here = (stage.lab.fresh_address().unwrap(), stage.lab.port()).into();
    let proxy = FaultProxy::start(here, server).await.unwrap();
    stage.publish_at(0, here.ip()).unwrap();
    let config = stage.config().with_max_connections(8);
    let world = World::with(stage, config).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    old_enough(&mut root).await;
    let user = world.stage.lab.user().to_owned();
    let route = || world.cluster.replicas().deadline(SECOND);
    let conns = |n| futures_util::future::join_all((0..n).map(|_| route().conn()));
    drop(conns(4).await);
    let before = connections(&mut root, &user).await;
    assert!(before.len() >= 4);
    proxy.forget_flows();
    route().query_drop("SELECT 1").await.unwrap();
    eventually("the old sessions are gone", async || {
        let now = connections(&mut root, &user).await;
        assert!(now.len() <= 8 + 2, "{now:?}");
        before.iter().all(|id| !now.contains(id))
    })
    .await;
}
