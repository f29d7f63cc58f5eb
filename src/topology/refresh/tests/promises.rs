//! Properties of the whole loop under random answers, failures, clock steps and users. The jitter
//! is seeded per case, so that a failing case fails again while it is shrunk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::topology::Pod;

const GRACE: u64 = 40_000;
const DEADLINE: u64 = 10_000;

/// A short form of an answer: last bytes of addresses.
#[derive(Clone, Debug)]
struct Spec {
    named: Vec<(u32, u8)>,
    nameless: Vec<u8>,
    complete: bool,
    ttl: Option<u64>,
}

/// The behaviour of the source.
#[derive(Clone, Debug)]
enum Source {
    Answers(Spec, u64),
    /// Two caches behind one address.
    Alternates(Spec, Spec),
    Empty,
    Absent,
    Trouble,
    Hangs,
}

#[derive(Clone, Debug)]
enum Step {
    Becomes(Source),
    Pass(u64),
    Poke,
    Wait,
    StopWaiting,
    Subscribe,
    Unsubscribe,
    Clone,
    DropClone,
}

#[derive(Debug)]
struct Script {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    source: Source,
    /// Time of the last change of `source`.
    since: u64,
    /// Begin of each look-up, and its end unless it hung or still runs.
    look_ups: Vec<(u64, Option<u64>)>,
    /// For each look-up, whether a caller waited in the gap before it.
    urgent: Vec<bool>,
    waiters: usize,
    waited: bool,
    /// Good answers since the last check. `last` is the latest good answer and the begin of its
    /// look-up.
    answers: Vec<Spec>,
    last: Option<(Spec, u64)>,
}

fn address(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 3306).into()
}

impl Spec {
    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.nameless.is_empty()
    }

    fn answer(&self) -> Answer {
        let pod = |(n, at): &(u32, u8)| {
            let ordinal = Some(Ordinal::new(*n));
            FoundPod::new(ordinal, format!("mysql-{n}"), [address(*at).ip()], 3306)
        };
        let nameless = |at: &u8| FoundPod::new(None, "mysql", [address(*at).ip()], 3306);
        let pods = self.named.iter().map(pod);
        let pods = pods.chain(self.nameless.iter().map(nameless));
        let ttl = self.ttl.map(Duration::from_secs);
        let answer = Answer::new("mysql", pods, ttl);
        if self.complete {
            answer
        } else {
            answer.partial()
        }
    }

    /// The pods that the answer assigns to the address.
    fn owners(&self, at: SocketAddr) -> BTreeSet<u32> {
        let named = self.named.iter().filter(|(_, last)| address(*last) == at);
        named.map(|(n, _)| *n).collect()
    }
}

impl Script {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Resolve for Script {
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
        let began = self.now();
        let (source, id) = {
            let mut state = self.state();
            let waited = std::mem::replace(&mut state.waited, false) || state.waiters > 0;
            state.urgent.push(waited);
            state.waited = state.waiters > 0;
            state.look_ups.push((began, None));
            (state.source.clone(), state.look_ups.len() - 1)
        };
        Box::pin(async move {
            let name = || "mysql".to_owned();
            let result = match source {
                Source::Answers(spec, delay) => {
                    pass(delay).await;
                    Ok(spec)
                }
                Source::Alternates(old, new) => Ok(if id % 2 == 0 { old } else { new }),
                Source::Empty => Err(ResolveError::NoData { name: name() }),
                Source::Absent => Err(ResolveError::NotFound {
                    name: name(),
                    asked: vec![],
                }),
                Source::Trouble => Err(ResolveError::ServerFailure {
                    name: name(),
                    code: name(),
                    server: None,
                }),
                Source::Hangs => std::future::pending().await,
            };
            let mut state = self.state();
            state.look_ups[id].1 = Some(self.now());
            let spec = result?;
            if !spec.is_empty() {
                state.answers.push(spec.clone());
                state.last = Some((spec.clone(), began));
            }
            Ok(spec.answer())
        })
    }

    fn describe(&self) -> String {
        "mysql".to_owned()
    }
}

/// The memory of the checks.
struct Checks {
    seen_any: bool,
    version: u64,
    /// The primary's addresses at the last check, and since when each is absent.
    primary: BTreeMap<SocketAddr, Option<Instant>>,
}

impl Checks {
    fn topology(&mut self, script: &Script, topology: &Topology) -> Result<(), TestCaseError> {
        prop_assert!(
            !(self.seen_any && topology.is_empty()),
            "empty after non-empty"
        );
        self.seen_any |= !topology.is_empty();
        prop_assert!(topology.version() >= self.version, "versions go up");
        self.version = topology.version();

        let mut state = script.state();
        let answers = std::mem::take(&mut state.answers);
        if let Some((last, _)) = &state.last {
            for pod in topology.pods() {
                for at in pod.addresses() {
                    let owners = last.owners(at.socket());
                    let right = pod.ordinal().is_some_and(|n| owners.contains(&n.get()));
                    prop_assert!(owners.is_empty() || right, "{pod:?} is not {owners:?}");
                }
            }
            for (n, at) in &last.named {
                let pod = topology.pod(Ordinal::new(*n));
                let listed =
                    pod.is_some_and(|pod| pod.listed().any(|a| a.socket() == address(*at)));
                prop_assert!(listed, "{n} at {at} is missing in {topology:?}");
            }
            for at in &last.nameless {
                let mut all = topology.pods().iter().flat_map(Pod::listed);
                prop_assert!(all.any(|a| a.socket() == address(*at)), "{at} is missing");
            }
        }

        // A primary stays known unless its address was given to another pod. An older address may
        // have expired before that.
        let primary = topology.pod(Ordinal::PRIMARY);
        let now = primary.iter().flat_map(|pod| pod.addresses());
        let now: BTreeMap<_, _> = now.map(|at| (at.socket(), at.absent_since())).collect();
        if now.is_empty() && !self.primary.is_empty() {
            let taken = |at: &SocketAddr| answers.iter().any(|spec| !spec.owners(*at).is_empty());
            let over = |since: &Option<Instant>| {
                since.is_some_and(|since| since.elapsed() >= Duration::from_millis(GRACE))
            };
            let mut before = self.primary.iter();
            let explained = self.primary.keys().any(taken)
                && before.all(|(at, since)| taken(at) || over(since));
            prop_assert!(
                explained || answers.len() > 1,
                "the primary is gone from {:?}",
                self.primary
            );
        }
        self.primary = now;

        for pod in topology.pods() {
            let newest = pod
                .addresses()
                .iter()
                .filter_map(|at| at.absent_since())
                .max();
            for at in pod.addresses() {
                let Some(since) = at.absent_since() else {
                    continue;
                };
                let kept = pod.ordinal() == Some(Ordinal::PRIMARY)
                    && pod.listed().next().is_none()
                    && Some(since) == newest;
                let over = since.elapsed() > Duration::from_millis(GRACE + 2);
                prop_assert!(kept || !over, "{at:?} of {pod:?} outlived its grace");
            }
        }

        // The current answer of the source is known within one refresh.
        let served = matches!(&state.source, Source::Answers(spec, _) if !spec.is_empty());
        let slowest = 5_500 + 10 + DEADLINE + 300;
        if served && script.now() > state.since + slowest {
            let began = state.last.as_ref().map(|(_, began)| *began);
            prop_assert!(
                began >= Some(state.since),
                "not asked since {}",
                state.since
            );
        }
        Ok(())
    }
}

/// Checks the pace that the documentation of [`Discovery`] promises.
fn pace(state: &State, now: u64) -> Result<(), TestCaseError> {
    let mut free = 0;
    for (i, (began, ended)) in state.look_ups.iter().enumerate() {
        if i > 0 {
            let gap = began.checked_sub(free);
            prop_assert!(gap.is_some(), "two at once");
            let least = if state.urgent[i] { 100 } else { 250 };
            prop_assert!(gap >= Some(least), "{gap:?} after {free}, {least} at least");
            prop_assert!(gap <= Some(5_510), "{gap:?} after {free}");
        }
        free = ended.unwrap_or(began + DEADLINE).max(*began);
    }
    prop_assert!(now <= free + 5_510, "nothing since {free}, and it is {now}");
    for (window, most) in [(1_000, 11), (10_000, 95), (60_000, 300)] {
        for (i, (began, _)) in state.look_ups.iter().enumerate() {
            let inside = state.look_ups[i..]
                .iter()
                .take_while(|l| l.0 < began + window);
            let count = inside.count();
            prop_assert!(count <= most, "{count} within {window} ms of {began}");
        }
    }
    Ok(())
}

/// Plays one case; no task is left at its end.
async fn play(seed: u64, steps: &[Step]) -> Result<(), TestCaseError> {
    let script = Arc::new(Script {
        start: Instant::now(),
        state: Mutex::new(State {
            source: Source::Absent,
            since: 0,
            look_ups: Vec::new(),
            urgent: Vec::new(),
            waiters: 0,
            waited: false,
            answers: Vec::new(),
            last: None,
        }),
    });
    let tasks = Runtime::current().metrics().num_alive_tasks();
    let mut jitter = rand::rngs::StdRng::seed_from_u64(seed);
    let discovery = Discovery::start_with(
        Arc::clone(&script) as Arc<dyn Resolve>,
        RefreshConfig::default(),
        &Runtime::current(),
        move || jitter.random(),
    );
    let mut checks = Checks {
        seen_any: false,
        version: 0,
        primary: BTreeMap::new(),
    };
    let (mut waiters, mut receivers, mut clones) = (Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Becomes(source) => {
                let mut state = script.state();
                (state.source, state.since) = (source.clone(), script.now());
            }
            Step::Pass(ms) => pass(*ms).await,
            Step::Poke => discovery.resolve_now(),
            Step::Wait => {
                waiters.push(discovery.wait_for_primary());
                let mut state = script.state();
                (state.waiters, state.waited) = (waiters.len(), true);
            }
            Step::StopWaiting => {
                waiters.pop();
                script.state().waiters = waiters.len();
            }
            Step::Subscribe => receivers.push(discovery.subscribe()),
            Step::Unsubscribe => drop(receivers.pop()),
            Step::Clone => clones.push(discovery.clone()),
            Step::DropClone => drop(clones.pop()),
        }
        checks.topology(&script, &discovery.topology())?;
        for receiver in &receivers {
            prop_assert_eq!(&*receiver.borrow(), &discovery.topology());
        }
    }
    pace(&script.state(), script.now())?;
    let ended = |look_up: &&(u64, Option<u64>)| look_up.1.is_some();
    let known = script.state().look_ups.iter().filter(ended).count();
    let status = discovery.status();
    prop_assert!(status.look_ups >= u64::try_from(known).unwrap());
    prop_assert_eq!(
        status.failures_by_kind.values().sum::<u64>(),
        status.failures
    );

    drop((discovery, clones));
    pass(1).await;
    prop_assert_eq!(Arc::strong_count(&script), 1, "the task is gone");
    prop_assert_eq!(Runtime::current().metrics().num_alive_tasks(), tasks);
    for receiver in &mut receivers {
        receiver.borrow_and_update();
        prop_assert!(receiver.changed().await.is_err(), "receivers are told");
    }
    Ok(())
}

fn any_spec() -> impl Strategy<Value = Spec> {
    (
        proptest::collection::vec((0..4u32, 1..7u8), 0..5),
        prop_oneof![
            3 => Just(Vec::new()),
            1 => proptest::collection::vec(1..7u8, 0..4),
        ],
        proptest::bool::weighted(0.8),
        proptest::option::of(0..40u64),
    )
        .prop_map(|(named, nameless, complete, ttl)| Spec {
            named,
            nameless,
            complete,
            ttl,
        })
}

fn any_step() -> impl Strategy<Value = Step> {
    let source = prop_oneof![
        6 => (any_spec(), 0..300u64).prop_map(|(spec, delay)| Source::Answers(spec, delay)),
        1 => (any_spec(), any_spec()).prop_map(|(old, new)| Source::Alternates(old, new)),
        1 => Just(Source::Empty),
        1 => Just(Source::Absent),
        1 => Just(Source::Trouble),
        1 => Just(Source::Hangs),
    ];
    prop_oneof![
        8 => source.prop_map(Step::Becomes),
        6 => (0..1_500u64).prop_map(Step::Pass),
        6 => (1_500..20_000u64).prop_map(Step::Pass),
        1 => (20_000..90_000u64).prop_map(Step::Pass),
        4 => Just(Step::Poke),
        2 => Just(Step::Wait),
        2 => Just(Step::StopWaiting),
        1 => Just(Step::Subscribe),
        1 => Just(Step::Unsubscribe),
        1 => Just(Step::Clone),
        1 => Just(Step::DropClone),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_loop_holds_its_promises(
        seed in any::<u64>(),
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(seed, &steps))?;
    }
}
