//! Tests of the parent module, under tokio's paused clock.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::StreamExt;
use proptest::prelude::*;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::discovery::{Answer, BoxFuture, FoundPod, Resolve, ResolveError};
use crate::topology::RefreshConfig;

/// Answers with its value, or fails without one.
#[derive(Debug, Default)]
struct Source(Mutex<Option<Answer>>);

impl Source {
    fn set(&self, answer: Option<Answer>) {
        *self.0.lock().unwrap() = answer;
    }
}

impl Resolve for Source {
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
        let answer = self.0.lock().unwrap().clone();
        let name = self.describe();
        Box::pin(async move { answer.ok_or(ResolveError::NoData { name }) })
    }

    fn describe(&self) -> String {
        "mysql".to_owned()
    }
}

/// Pairs of an ordinal (none if negative) and the last byte of the address.
fn answer(pods: &[(i8, u8)]) -> Option<Answer> {
    let pod = |(n, last): &(i8, u8)| {
        let ordinal = u32::try_from(*n).ok();
        let host = ordinal.map_or("mysql".to_owned(), |n| format!("mysql-{n}"));
        let address = IpAddr::from([10, 0, 0, *last]);
        FoundPod::new(ordinal.map(Ordinal::new), host, [address], 3306)
    };
    Some(Answer::new("mysql", pods.iter().map(pod), None))
}

/// The changes until none arrives for a while, as `+1 at 10.0.0.1:3306 (its host)` and `-...`.
async fn changes(endpoints: &mut Endpoints<String>) -> Vec<String> {
    let mut seen = Vec::new();
    let quiet = Duration::from_secs(6);
    while let Ok(Some(Ok(change))) = timeout(quiet, endpoints.next()).await {
        seen.push(match change {
            Change::Insert(key, service) => format!("+{key} ({service})"),
            Change::Remove(key) => format!("-{key}"),
        });
    }
    seen
}

fn start(source: &Arc<Source>) -> Discovery {
    let resolve = Arc::clone(source) as Arc<dyn Resolve>;
    Discovery::start(resolve, RefreshConfig::default(), &Handle::current())
}

fn host(at: &EndpointAddress) -> String {
    at.host().to_owned()
}

#[tokio::test(start_paused = true)]
async fn only_differences_are_told_removals_first() {
    let source = Arc::new(Source::default());
    let discovery = start(&source);
    let mut endpoints = Endpoints::new(&discovery, host);
    assert!(changes(&mut endpoints).await.is_empty());

    source.set(answer(&[(-1, 9), (1, 2), (0, 1)]));
    assert_eq!(
        changes(&mut endpoints).await,
        [
            "+0 at 10.0.0.1:3306 (mysql-0)",
            "+1 at 10.0.0.2:3306 (mysql-1)",
            "+10.0.0.9:3306 (mysql)"
        ]
    );
    assert!(changes(&mut endpoints).await.is_empty(), "nothing changed");

    // One pod moves to the address of another, which moves to a third address.
    source.set(answer(&[(0, 2), (1, 9)]));
    assert_eq!(
        changes(&mut endpoints).await,
        [
            "-0 at 10.0.0.1:3306",
            "-1 at 10.0.0.2:3306",
            "-10.0.0.9:3306",
            "+0 at 10.0.0.2:3306 (mysql-0)",
            "+1 at 10.0.0.9:3306 (mysql-1)"
        ]
    );

    // A failure is not passed on, however long it lasts.
    source.set(None);
    sleep(Duration::from_secs(600)).await;
    assert!(changes(&mut endpoints).await.is_empty());
    assert!(discovery.status().failures > 0);
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_a_new_name_gets_a_new_service() {
    let source = Arc::new(Source::default());
    source.set(answer(&[(0, 1)]));
    let discovery = start(&source);
    let mut endpoints = Endpoints::new(&discovery, host);
    changes(&mut endpoints).await;
    let address = IpAddr::from([10, 0, 0, 1]);
    let pod = FoundPod::new(Some(Ordinal::PRIMARY), "db-0", [address], 3306);
    source.set(Some(Answer::new("db", [pod], None)));
    assert_eq!(
        changes(&mut endpoints).await,
        ["+0 at 10.0.0.1:3306 (db-0)"]
    );
}

#[tokio::test(start_paused = true)]
async fn absent_endpoints_go_at_once_or_after_their_grace() {
    let source = Arc::new(Source::default());
    source.set(answer(&[(0, 1), (1, 2)]));
    let discovery = start(&source);
    let mut strict = Endpoints::new(&discovery, host);
    let mut lenient = Endpoints::new(&discovery, host).keep_absent();
    changes(&mut strict).await;
    changes(&mut lenient).await;

    source.set(answer(&[(2, 3)]));
    assert_eq!(
        changes(&mut strict).await,
        [
            "-0 at 10.0.0.1:3306",
            "-1 at 10.0.0.2:3306",
            "+2 at 10.0.0.3:3306 (mysql-2)"
        ]
    );
    assert_eq!(
        changes(&mut lenient).await,
        ["+2 at 10.0.0.3:3306 (mysql-2)"]
    );
    // The primary's last address stays, as it does in the topology.
    sleep(Duration::from_secs(40)).await;
    assert_eq!(changes(&mut lenient).await, ["-1 at 10.0.0.2:3306"]);
    source.set(answer(&[(0, 1), (2, 3)]));
    assert!(changes(&mut lenient).await.is_empty(), "it had never gone");
    assert_eq!(
        changes(&mut strict).await,
        ["+0 at 10.0.0.1:3306 (mysql-0)"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_undone_before_it_was_asked_for_is_not_told() {
    let source = Arc::new(Source::default());
    source.set(answer(&[(0, 1), (1, 2)]));
    let discovery = start(&source);
    let mut endpoints = Endpoints::new(&discovery, host);
    changes(&mut endpoints).await;
    source.set(answer(&[(0, 1), (1, 7)]));
    sleep(Duration::from_secs(6)).await;
    source.set(answer(&[(0, 1), (1, 2)]));
    sleep(Duration::from_secs(6)).await;
    assert_eq!(discovery.topology().pods()[1].addresses().len(), 2);
    assert!(changes(&mut endpoints).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_discovery_is_stopped_and_keeps_it_running_until_then() {
    let source = Arc::new(Source::default());
    source.set(answer(&[(0, 1)]));
    let discovery = start(&source);
    let mut endpoints = Endpoints::new(&discovery, host);
    drop(discovery);
    assert_eq!(changes(&mut endpoints).await.len(), 1);
    source.set(answer(&[(0, 2)]));
    assert_eq!(changes(&mut endpoints).await.len(), 2, "it still looks");

    let discovery = endpoints.discovery.clone();
    let waiting = tokio::spawn(async move { endpoints.next().await.is_none() });
    sleep(Duration::from_secs(1)).await;
    discovery.stop();
    assert!(waiting.await.unwrap(), "and it ends");

    drop(discovery);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(Arc::strong_count(&source), 1, "nothing is left");
}

#[test]
fn keys_sort_by_ordinal_and_nameless_ones_last() {
    let key = |n: Option<u32>, last| {
        EndpointKey::new(n.map(Ordinal::new), ([10, 0, 0, last], 3306).into())
    };
    let sorted = [
        key(Some(0), 9),
        key(Some(2), 1),
        key(Some(2), 3),
        key(Some(10), 2),
        key(None, 1),
    ];
    assert!(sorted.is_sorted());
    assert_eq!(sorted[3].to_string(), "10 at 10.0.0.2:3306");
    assert_eq!(sorted[4].to_string(), "10.0.0.1:3306");
}

proptest! {
    /// For any answers: a consumer that applies all changes has the endpoints that the topology
    /// lists. No `Insert` changes nothing, and no `Remove` is for an unknown endpoint.
    #[test]
    fn applied_in_order_the_changes_are_the_topology(
        steps in proptest::collection::vec(
            (proptest::option::of(proptest::collection::vec((-1..4i8, 1..6u8), 0..5)), 0..8u8),
            1..12,
        ),
        keep in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let source = Arc::new(Source::default());
            let discovery = start(&source);
            let mut endpoints = Endpoints::new(&discovery, EndpointAddress::clone);
            if keep {
                endpoints = endpoints.keep_absent();
            }
            let mut known: BTreeMap<EndpointKey, EndpointAddress> = BTreeMap::new();
            for (pods, take) in steps {
                source.set(pods.as_deref().and_then(answer));
                sleep(Duration::from_secs(6)).await;
                // Only some changes are read now: the others must still be right later.
                let mut left = usize::from(take);
                while left > 0 {
                    let next = timeout(Duration::ZERO, endpoints.next()).await;
                    let Ok(Some(Ok(change))) = next else { break };
                    match change {
                        Change::Insert(key, at) => {
                            prop_assert_eq!(key, at.key());
                            prop_assert_ne!(known.insert(key, at.clone()), Some(at));
                        }
                        Change::Remove(key) => prop_assert!(known.remove(&key).is_some()),
                    }
                    left -= 1;
                }
                if left > 0 {
                    let mut listed = BTreeMap::new();
                    for pod in discovery.topology().pods() {
                        for at in pod.addresses().iter().filter(|at| keep || at.is_listed()) {
                            let key = EndpointKey::new(pod.ordinal(), at.socket());
                            listed.insert(key, pod.host().to_owned());
                        }
                    }
                    let known = known.iter().map(|(key, at)| (*key, at.host.clone()));
                    prop_assert_eq!(known.collect::<BTreeMap<_, _>>(), listed);
                }
            }
            Ok(())
        })?;
    }
}
