//! The metrics for dashboards, and the events on real servers that change them.

use crate::staged::Staged as _;
use crate::support::{World, eventually, stage};
use headless_mysql::config::PrimaryBy;
use headless_mysql::observe;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::lab::ServerKind;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use mysql_async::prelude::Queryable;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Records every counter, but only on its own thread, so each of these tests runs on one thread.
#[derive(Default)]
struct Recorder(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorder {
    /// The values of the counter `metric`, by label.
    fn of(&self, metric: &str) -> BTreeMap<String, u64> {
        let counters = self.0.lock().unwrap();
        let named = counters.iter().filter_map(|(key, counter)| {
            let (name, labels) = key.split_once(' ').unwrap();
            (name == metric).then(|| (labels.to_owned(), counter.load(Ordering::Relaxed)))
        });
        named.collect()
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels = key.labels();
        let labels = labels.map(|label| format!("{}={}", label.key(), label.value()));
        let key = format!("{} {}", key.name(), labels.collect::<Vec<_>>().join(","));
        let mut counters = self.0.lock().unwrap();
        Counter::from_arc(Arc::clone(counters.entry(key).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn pod(ordinal: u32) -> String {
    format!("pod=mysql-{ordinal}.mysql.default.svc.cluster.local")
}

fn counts<const N: usize>(counts: [(String, u64); N]) -> BTreeMap<String, u64> {
    counts.into()
}

#[tokio::test]
async fn another_server_behind_the_same_address_is_counted_once() {
    let recorder = Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let world = World::start(1).await;
    let read = async || {
        let read = world.cluster.replicas().query_first("SELECT @@server_id");
        let id: Result<Option<u32>, Error> = read.await;
        id.ok().flatten()
    };
    assert_eq!(read().await, Some(2));
    assert_eq!(recorder.of(observe::SERVERS_REPLACED), counts([]));
    match crate::support::server() {
        // A wipe also removes the server's UUID.
        ServerKind::MySql => world.stage.lab.wipe(1).await.unwrap(),
        _ => {
            let mut root = world.stage.lab.admin(1).await.unwrap();
            root.query_drop("SET GLOBAL server_id = 77").await.unwrap();
            // Existing sessions keep the old id.
            root.query_drop("KILL USER app").await.unwrap();
        }
    }
    let replaced = || recorder.of(observe::SERVERS_REPLACED);
    eventually("it is counted", async || {
        read().await;
        !replaced().is_empty()
    })
    .await;
    for _ in 0..20 {
        read().await;
    }
    assert_eq!(replaced(), counts([(pod(1), 1)]));
}

#[tokio::test]
async fn statements_that_were_given_up_are_counted_by_what_became_of_them() {
    let recorder = Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let world = World::start(0).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    eventually("the server is a few seconds old", async || {
        let uptime = "SHOW GLOBAL STATUS LIKE 'Uptime'";
        let uptime: Option<(String, u64)> = root.query_first(uptime).await.unwrap();
        uptime.unwrap().1 >= 4
    })
    .await;
    let of = |outcome: &str| {
        let labels = format!("{},outcome={outcome}", pod(0));
        recorder.of(observe::STATEMENTS_STOPPED).remove(&labels)
    };
    let late = || world.cluster.primary().deadline(Duration::from_millis(200));
    late().query_drop("DO SLEEP(60)").await.unwrap_err();
    eventually("one is stopped", async || of("stopped") == Some(1)).await;

    assert_eq!(of("unreachable"), None);

    let mut conn = world.cluster.primary().conn().await.unwrap();
    world.stage.lab.freeze(0).await.unwrap();
    conn.set_statement_timeout(Some(Duration::from_millis(200)));
    conn.query_drop("DO 1").await.unwrap_err();
    eventually("one cannot be", async || of("unreachable").is_some()).await;
    world.stage.lab.thaw(0).await.unwrap();
}

#[tokio::test]
async fn two_writable_pods_are_counted_once_for_as_long_as_they_are() {
    let recorder = Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let stage = stage(1).await;
    let config = stage.config().with_primary(PrimaryBy::Detected);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    cluster.primary().query_drop("DO 1").await.unwrap();
    let seen = || recorder.of(observe::TWO_PRIMARIES);
    assert_eq!(seen(), counts([]));
    let service = "service=mysql".to_owned();
    for times in [1, 2] {
        stage.lab.set_read_only(1, false).await.unwrap();
        let expected = counts([(service.clone(), times)]);
        let what = format!("{expected:?}: {:?}", recorder.0);
        eventually(&what, async || seen() == expected).await;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(seen(), expected, "looked at again");
        stage.lab.set_read_only(1, true).await.unwrap();
        cluster.primary().query_drop("DO 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_slot_without_room_on_the_server_is_counted() {
    let recorder = Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let world = World::start(0).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    // Other clients take the free connections. The cluster's connection has seen a larger limit.
    let limit = "SET GLOBAL max_connections = 10";
    root.query_drop(limit).await.unwrap();
    let mut held = Vec::new();
    let mut others = Vec::new();
    while let Ok(conn) = world.stage.lab.connect(0).await {
        others.push(conn);
    }
    let route = || world.cluster.primary().deadline(Duration::from_millis(500));
    while let Ok(conn) = route().conn().await {
        held.push(conn);
    }
    assert!(held.len() < 4, "{} connections", held.len());
    let withheld = recorder.of(observe::SLOTS_WITHHELD);
    let labels = format!("{},reason=full", pod(0));
    assert!(withheld.contains_key(&labels), "{withheld:?}");
    let failed = recorder.of(observe::CONNECTS_FAILED);
    let labels = format!("{},reason=overloaded", pod(0));
    assert!(failed.contains_key(&labels), "{failed:?}");
}
