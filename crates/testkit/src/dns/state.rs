//! The state of a running server: the description, which version of it is shown, the active faults
//! and the log of queries.
//!
//! This module decides how each query is answered. It must never wait or send, because it decides
//! under a lock.

use parking_lot::{Mutex, MutexGuard};
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::{Answer, answer, load_balance};
use super::cache::Cache;
use super::fault::{Fault, FaultScope};
use super::options::Flavor;
use super::spec::{Cluster, Protocol};

/// A query as the server received it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// The name in the client's spelling, with the final dot.
    pub name: String,
    /// The record type: `A`, `AAAA`, `SRV`, …
    pub kind: String,
    /// The transport.
    pub protocol: Protocol,
}

/// State shared by the owner of the server and its tasks.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// The number of queries in the log, for tasks that wait for it.
    asked: watch::Sender<usize>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) cluster: Cluster,
    pub(super) view: View,
    pub(super) cache: Option<Cache>,
    pub(super) clock: Clock,
    /// The first fault whose scope matches a query applies.
    pub(super) faults: Vec<(Fault, FaultScope)>,
    queries: Vec<Query>,
}

/// Which version of the description is shown.
#[derive(Debug)]
pub(super) enum View {
    Current,
    /// An earlier version, as from a cache.
    Frozen(Cluster),
    /// An earlier version and the current one in turn, as from two servers behind one address.
    Alternating {
        frozen: Cluster,
        frozen_is_next: bool,
    },
}

/// The clock that ages cache entries.
#[derive(Debug, Default)]
pub(super) struct Clock {
    stopped_at: Option<Instant>,
    ahead: Duration,
}

/// The parts of a query that determine its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) name: &'a Name,
    pub(super) kind: RecordType,
    pub(super) dnssec_ok: bool,
    pub(super) protocol: Protocol,
}

/// The result for a query.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Silence,
    Reply {
        answer: Answer,
        /// Whether to set the truncation flag at any size.
        truncated: bool,
        after: Option<Duration>,
    },
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                cluster: Cluster::new(),
                view: View::Current,
                cache: None,
                clock: Clock::default(),
                faults: Vec::new(),
                queries: Vec::new(),
            }),
            asked: watch::Sender::new(0),
        }
    }

    /// The lock has no poisoning, so a panic in a test's closure does not disable the server.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Logs a query and decides how it is answered.
    pub(super) fn ask(&self, question: &Question<'_>) -> Outcome {
        let mut state = self.state();
        let spelled = question.name.to_ascii();
        let outcome = state.decide(question, &spelled);
        state.queries.push(Query {
            name: spelled,
            kind: question.kind.to_string(),
            protocol: question.protocol,
        });
        self.asked.send_replace(state.queries.len());
        outcome
    }

    pub(super) fn queries(&self) -> Vec<Query> {
        self.state().queries.clone()
    }

    pub(super) fn query_count(&self) -> usize {
        self.state().queries.len()
    }

    pub(super) fn clear_queries(&self) {
        let mut state = self.state();
        state.queries.clear();
        self.asked.send_replace(0);
    }

    /// Waits until the log holds `count` queries.
    pub(super) async fn wait_for_queries(&self, count: usize) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self
            .asked
            .subscribe()
            .wait_for(|asked| *asked >= count)
            .await;
    }
}

impl State {
    fn decide(&mut self, question: &Question<'_>, spelled: &str) -> Outcome {
        let (kind, protocol) = (question.kind, question.protocol);
        let fault = self
            .faults
            .iter_mut()
            .find_map(|(fault, scope)| scope.strikes(spelled, kind, protocol).then_some(*fault));
        let cluster = match &mut self.view {
            View::Current => &self.cluster,
            View::Frozen(frozen) => frozen,
            View::Alternating {
                frozen,
                frozen_is_next,
            } => {
                let show_frozen = *frozen_is_next;
                *frozen_is_next = !show_frozen;
                if show_frozen { frozen } else { &self.cluster }
            }
        };
        let (cache, now) = (&mut self.cache, self.clock.now());
        match fault {
            None => Outcome::reply(ask(cluster, cache, question, now)),
            Some(Fault::ServFail) => Outcome::reply(Answer::server_failure(cluster)),
            Some(Fault::Refused) => Outcome::reply(Answer::refused()),
            Some(Fault::Drop) => Outcome::Silence,
            Some(Fault::Delay(delay)) => Outcome::Reply {
                answer: ask(cluster, cache, question, now),
                truncated: false,
                after: Some(delay),
            },
            Some(Fault::NxDomain) => {
                let empty = cluster.without_services();
                Outcome::reply(ask(&empty, &mut None, question, now))
            }
            Some(Fault::Truncated) => Outcome::Reply {
                answer: Answer::bare(ResponseCode::NoError),
                truncated: true,
                after: None,
            },
        }
    }

    /// The description that [`super::ClusterDns::freeze`] and [`super::ClusterDns::alternate`]
    /// keep: the one that is already frozen, else the current one.
    pub(super) fn take_frozen(&mut self) -> Cluster {
        match std::mem::replace(&mut self.view, View::Current) {
            View::Current => self.cluster.clone(),
            View::Frozen(frozen) | View::Alternating { frozen, .. } => frozen,
        }
    }
}

/// Answers from the cache if there is one, else from the cluster, and then shuffles.
fn ask(
    cluster: &Cluster,
    cache: &mut Option<Cache>,
    question: &Question<'_>,
    now: Instant,
) -> Answer {
    let (name, kind) = (question.name, question.kind);
    let chance = &mut rand::rng();
    if cluster.options.flavor == Flavor::KubeDns {
        return answer(cluster, name, kind, chance);
    }
    let mut answer = match cache {
        None => answer(cluster, name, kind, chance),
        Some(cache) => cache.answer((name, kind, question.dnssec_ok), now, || {
            answer(cluster, name, kind, chance)
        }),
    };
    // `loadbalance` is in front of the cache, so cached answers are shuffled again for each query.
    if cluster.options.load_balance {
        load_balance(&mut answer, chance);
    }
    answer
}

impl Clock {
    fn now(&self) -> Instant {
        self.stopped_at.unwrap_or_else(Instant::now) + self.ahead
    }

    pub(super) fn stop(&mut self) {
        self.stopped_at.get_or_insert_with(Instant::now);
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.ahead += by;
    }
}

impl Outcome {
    pub(super) fn reply(answer: Answer) -> Self {
        Self::Reply {
            answer,
            truncated: false,
            after: None,
        }
    }
}
