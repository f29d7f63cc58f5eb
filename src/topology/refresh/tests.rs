//! Tests of the parent module, under tokio's paused clock.

use std::time::Duration;

use tokio::time::sleep;

use super::*;
use crate::discovery::{BoxFuture, FoundPod};
use crate::name::Ordinal;

mod failures;
mod findings;
mod freshness;
mod outage;
mod promises;

/// How the fake resolver replies.
#[derive(Clone, Debug)]
enum Reply {
    /// Pods with these ordinals, after this many ms.
    Pods(Vec<u32>, u64),
    Fail,
    Error(ResolveError),
    Hang,
    Panic,
}

/// Gives the reply that was set, and records the times of look-ups.
#[derive(Debug)]
struct Fake {
    reply: Mutex<Reply>,
    /// The TTL of answers with pods.
    ttl: Mutex<Option<Duration>>,
    start: Instant,
    asked: Mutex<Vec<u64>>,
}

impl Fake {
    fn new(reply: Reply) -> Arc<Self> {
        let (reply, asked) = (Mutex::new(reply), Mutex::default());
        let ttl = Mutex::new(Some(Duration::from_secs(5)));
        Arc::new(Self {
            reply,
            ttl,
            start: Instant::now(),
            asked,
        })
    }

    fn start(self: &Arc<Self>) -> Discovery {
        let config = RefreshConfig::default();
        Discovery::start(
            Arc::clone(self) as Arc<dyn Resolve>,
            config,
            &Runtime::current(),
        )
    }

    fn set(&self, reply: Reply) {
        *self.reply.lock() = reply;
    }

    /// The begin of each look-up since the last call, in ms since the start of the test.
    fn asked(&self) -> Vec<u64> {
        std::mem::take(&mut *self.asked.lock())
    }
}

impl Resolve for Fake {
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        self.asked.lock().push(now);
        let reply = self.reply.lock().clone();
        let ttl = *self.ttl.lock();
        Box::pin(async move {
            match reply {
                Reply::Pods(ordinals, delay) => {
                    sleep(Duration::from_millis(delay)).await;
                    let pod = |n: u32| {
                        let address = [10, 0, 0, u8::try_from(n).unwrap()].into();
                        FoundPod::new(Some(Ordinal::new(n)), format!("mysql-{n}"), [address], 3306)
                    };
                    Ok(Answer::new("mysql", ordinals.into_iter().map(pod), ttl))
                }
                Reply::Fail => Err(ResolveError::NotFound {
                    name: "mysql".to_owned(),
                    asked: vec![],
                }),
                Reply::Error(error) => Err(error),
                Reply::Hang => std::future::pending().await,
                Reply::Panic => panic!("as the test wants"),
            }
        })
    }

    fn describe(&self) -> String {
        "mysql".to_owned()
    }
}

async fn pass(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

fn ordinals(topology: &Topology) -> Vec<u32> {
    topology
        .pods()
        .iter()
        .filter_map(|pod| pod.ordinal())
        .map(Ordinal::get)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_is_published_and_refreshed() {
    let fake = Fake::new(Reply::Pods(vec![0, 1], 20));
    let discovery = fake.start();
    assert!(discovery.topology().is_empty());
    let topology = discovery.first_answer().await;
    assert_eq!(ordinals(&topology), [0, 1]);
    assert_eq!(ordinals(&*discovery.first_answer().await), [0, 1]);

    pass(20_000).await;
    let asked = fake.asked();
    assert_eq!(asked[0], 0);
    let gaps: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(
        gaps.len() >= 3 && gaps.iter().all(|gap| (4_500..=5_530).contains(gap)),
        "{gaps:?}"
    );
    assert_eq!(
        discovery.topology().version(),
        1,
        "the same answer is no change"
    );
    let status = discovery.status();
    assert_eq!(
        (status.look_ups, status.failures),
        (u64::try_from(asked.len()).unwrap(), 0)
    );
    assert_eq!(discovery.name(), "mysql");
}

#[tokio::test(start_paused = true)]
async fn pokes_are_met_by_one_look_up() {
    let fake = Fake::new(Reply::Pods(vec![0], 100));
    let discovery = fake.start();
    discovery.first_answer().await;
    assert_eq!(fake.asked(), [0]);

    // After 250 ms without a look-up, a poke is met at once.
    pass(900).await;
    for _ in 0..100 {
        discovery.resolve_now();
    }
    pass(50).await;
    assert_eq!(fake.asked(), [1_000]);
    // That look-up is still running: exactly one more follows.
    for _ in 0..100 {
        discovery.resolve_now();
        tokio::task::yield_now().await;
    }
    pass(3_000).await;
    assert_eq!(fake.asked(), [1_350], "250 ms after the end of the last");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_makes_it_urgent_while_it_lives() {
    let fake = Fake::new(Reply::Pods(vec![1], 0));
    let discovery = fake.start();
    discovery.first_answer().await;
    pass(1_000).await;
    let (one, other) = (discovery.wait_for_primary(), discovery.wait_for_primary());
    pass(350).await;
    assert_eq!(fake.asked(), [0, 1_000, 1_100, 1_200, 1_300]);
    drop(one);
    pass(100).await;
    assert_eq!(fake.asked(), [1_400]);
    drop(other);
    pass(4_000).await;
    assert_eq!(
        fake.asked(),
        [] as [u64; 0],
        "the regular interval counts again"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_and_empty_answers_keep_the_pods() {
    let fake = Fake::new(Reply::Pods(vec![0, 1], 0));
    let discovery = fake.start();
    let first = discovery.first_answer().await;
    for reply in [
        Reply::Fail,
        Reply::Pods(vec![], 0),
        Reply::Panic,
        Reply::Hang,
    ] {
        fake.set(reply.clone());
        pass(60_000).await;
        assert_eq!(discovery.topology(), first, "{reply:?}");
        assert!(discovery.status().failures_in_a_row > 5);
    }
    let status = discovery.status();
    assert!(
        matches!(status.last_error, Some(ResolveError::Timeout { .. })),
        "{status:?}"
    );

    fake.set(Reply::Pods(vec![0, 2], 0));
    pass(20_000).await;
    assert_eq!(ordinals(&discovery.topology()), [0, 1, 2]);
    let status = discovery.status();
    assert_eq!((status.failures_in_a_row, status.failing_since), (0, None));
    assert!(status.last_error.is_some() && status.last_ok.is_some());
}

#[tokio::test(start_paused = true)]
async fn before_the_first_answer_it_keeps_asking() {
    let fake = Fake::new(Reply::Fail);
    let discovery = fake.start();
    pass(1_100).await;
    assert_eq!(fake.asked(), [0, 250, 500, 750, 1_000]);
    fake.set(Reply::Pods(vec![0], 0));
    let topology = discovery.first_answer().await;
    assert_eq!(ordinals(&topology), [0]);
    assert_eq!(fake.asked(), [1_250]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_look_up_ends_at_its_deadline() {
    let fake = Fake::new(Reply::Hang);
    let discovery = fake.start();
    pass(10_100).await;
    assert_eq!(discovery.status().failures, 1);
    pass(200).await;
    assert_eq!(fake.asked(), [0, 10_250]);
}

#[tokio::test(start_paused = true)]
async fn what_is_absent_goes_without_a_new_answer() {
    let fake = Fake::new(Reply::Pods(vec![0, 1], 0));
    let discovery = fake.start();
    discovery.first_answer().await;
    fake.set(Reply::Pods(vec![0], 0));
    discovery.resolve_now();
    pass(300).await;
    let topology = discovery.topology();
    assert_eq!(topology.pods()[1].listed().count(), 0);
    fake.set(Reply::Fail);
    let mut snapshots = discovery.subscribe();
    snapshots.changed().await.unwrap();
    assert_eq!(ordinals(&snapshots.borrow_and_update()), [0]);
    // The pod is absent since the look-up at 250 ms.
    let passed = fake.start.elapsed().as_millis();
    assert!((40_250..40_260).contains(&passed), "{passed}");
}

#[tokio::test(start_paused = true)]
async fn what_is_absent_goes_while_a_look_up_hangs() {
    let fake = Fake::new(Reply::Pods(vec![0, 1], 0));
    let discovery = fake.start();
    discovery.first_answer().await;
    fake.set(Reply::Pods(vec![0], 0));
    discovery.resolve_now();
    pass(300).await;
    pass(35_000).await;
    fake.set(Reply::Hang);
    let hangs = fake.asked().len();
    // The next regular look-up could begin after the grace period is over.
    discovery.resolve_now();
    let mut snapshots = discovery.subscribe();
    let known = |n: usize| move |topology: &Arc<Topology>| topology.pods().len() == n;
    snapshots.wait_for(known(1)).await.unwrap();
    let passed = fake.start.elapsed().as_millis();
    // The pod was first missing from the answer at 250 ms.
    assert!((40_250..40_260).contains(&passed), "{passed}");
    assert!(hangs > 0 && fake.asked().len() == 1, "it still hangs");
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_handle() {
    for (reply, idle) in [
        (Reply::Pods(vec![0], 0), 1_000),
        (Reply::Hang, 1_000),
        (Reply::Fail, 0),
    ] {
        let fake = Fake::new(reply.clone());
        let discovery = fake.start();
        let clone = discovery.clone();
        let mut snapshots = discovery.subscribe();
        let waiter = discovery.wait_for_primary();
        pass(idle).await;
        drop(discovery);
        pass(1).await;
        assert_eq!(Arc::strong_count(&fake), 2, "{reply:?}: a clone lives");
        drop(clone);
        pass(1).await;
        assert_eq!(Arc::strong_count(&fake), 1, "{reply:?}: the task is gone");
        snapshots.borrow_and_update();
        assert!(
            snapshots.changed().await.is_err(),
            "{reply:?}: receivers are told"
        );
        drop(waiter);
    }
}

#[tokio::test(start_paused = true)]
async fn stop_ends_the_task_and_those_who_wait() {
    let fake = Fake::new(Reply::Fail);
    let discovery = fake.start();
    let waiting = tokio::spawn({
        let discovery = discovery.clone();
        async move { discovery.first_answer().await }
    });
    pass(1_000).await;
    assert!(!discovery.is_stopped());
    discovery.stop();
    assert!(waiting.await.unwrap().is_empty());
    assert!(discovery.is_stopped());
    fake.asked();
    discovery.resolve_now();
    pass(60_000).await;
    assert_eq!(fake.asked(), [] as [u64; 0]);
    assert_eq!(Arc::strong_count(&fake), 1);
}

#[test]
fn the_end_of_the_runtime_is_noticed_and_a_late_drop_is_harmless() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let resolve = Arc::new(crate::discovery::FixedList::new([
        ([127, 0, 0, 1], 3306).into()
    ]));
    let discovery = Discovery::start(resolve, RefreshConfig::default(), runtime.handle());
    runtime.block_on(discovery.first_answer());
    drop(runtime);
    assert!(discovery.is_stopped());
    assert!(!discovery.topology().is_empty());
    drop(discovery.wait_for_primary());
    drop(discovery);
}
