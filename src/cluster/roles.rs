//! Which pod takes the writes.
//!
//! Owns the task that asks the pods: once at a cold start, what the replicas hold, which the first
//! primary must hold too; and, where the primary is detected, every second who is writable. It must
//! never make a primary of a pod while another one is known to be writable, unless the options say
//! so; and never take the primary's office away because it could not be asked.

use super::reconcile::{PodKey, Pools};
use crate::balance::{Balance, Class, Classify};
use crate::config::{ColdStart, Config, PrimaryBy, TwoPrimaries};
use crate::error::ConnectError;
use crate::mysql::{History, Monitor, PodPool, Pool, Report};
use crate::name::Ordinal;
use crate::observe;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How often the pods are asked who is writable.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same while a caller waits for a primary.
const URGENT_INTERVAL: Duration = Duration::from_millis(100);
/// How long all pods together may take to say who they are, once. Also what silent replicas cost the
/// first write. A pod whose login takes longer is heard the next time: its login goes on.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Pods that a login is begun to at once; as many more follow after each [`LOGIN_STEP`]. So a set of
/// a thousand is no burst of a thousand, and pods that hang keep none of the others waiting.
const LOGINS_AT_ONCE: u32 = 16;
/// See [`LOGINS_AT_ONCE`]. A thousand are begun within 625 ms.
const LOGIN_STEP: Duration = Duration::from_millis(10);

/// What the task and the callers share.
pub(super) struct Roles {
    by: PrimaryBy,
    two_primaries: TwoPrimaries,
    /// Told when the pods should be asked again.
    poke: Notify,
    /// Callers that wait for a primary.
    waiters: AtomicUsize,
    /// The replicas have been asked what they hold.
    warm: watch::Sender<bool>,
    leader: Mutex<Option<PodKey>>,
    refusals: watch::Sender<Refusals>,
}

/// Why pods did not say who they are, when they were last asked.
#[derive(Debug, Default)]
struct Refusals {
    by_pod: BTreeMap<String, ConnectError>,
    /// No pod said it, and no other would be any better.
    hopeless: Option<ConnectError>,
}

impl Refusals {
    fn of(answers: &[(PodKey, Result<Report, ConnectError>)]) -> Self {
        let refused = answers.iter().filter_map(|(key, answer)| {
            let error = answer.as_ref().err()?;
            Some((key.to_string(), error.clone()))
        });
        let by_pod: BTreeMap<String, ConnectError> = refused.collect();
        let nobody = by_pod.len() == answers.len();
        let hopeless = by_pod.values().find(|error| error.class() == Class::Fatal);
        Self {
            hopeless: hopeless.filter(|_| nobody).cloned(),
            by_pod,
        }
    }
}

/// While one lives, the pods are asked every 100 ms.
pub(super) struct Urgency<'a>(&'a Roles);

impl Drop for Urgency<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Lets those who wait for the replicas' answers go when the task is gone, however it went.
pub(super) struct Warming(Arc<Roles>);

impl Drop for Warming {
    fn drop(&mut self) {
        self.0.warm.send_replace(true);
    }
}

impl Roles {
    pub(super) fn new(config: &Config) -> Arc<Self> {
        let roles = Self {
            by: config.primary,
            two_primaries: config.two_primaries,
            poke: Notify::new(),
            waiters: AtomicUsize::new(0),
            warm: watch::Sender::new(config.cold_start == ColdStart::Trust),
            leader: Mutex::new(None),
            refusals: watch::Sender::default(),
        };
        Arc::new(roles)
    }

    /// Asks for another look at the pods: their set changed, or one of them is not what it was.
    pub(super) fn poke(&self) {
        self.poke.notify_one();
    }

    pub(super) fn is_warm(&self) -> bool {
        *self.warm.borrow()
    }

    /// For the task.
    pub(super) fn warming(self: &Arc<Self>) -> Warming {
        Warming(Arc::clone(self))
    }

    /// Ends when the replicas have been asked what they hold.
    pub(super) async fn warmed(&self) {
        let mut warm = self.warm.subscribe();
        // The sender lives in `self`.
        let _ = warm.wait_for(|warm| *warm).await;
    }

    /// A caller waits for a primary.
    pub(super) fn urgent(&self) -> Urgency<'_> {
        if self.waiters.fetch_add(1, Ordering::AcqRel) == 0 {
            self.poke();
        }
        Urgency(self)
    }

    /// Ends when no pod can be asked who it is for a reason that waiting does not cure, such as a
    /// wrong password. Never where the primary has the ordinal 0: there, it says so itself.
    pub(super) async fn hopeless(&self) -> ConnectError {
        let mut refusals = self.refusals.subscribe();
        loop {
            if let Some(error) = &refusals.borrow_and_update().hopeless {
                return error.clone();
            }
            // The sender lives in `self`.
            let _ = refusals.changed().await;
        }
    }

    /// Why a pod did not say who it is, when it was last asked.
    pub(super) fn refusal(&self, pod: &str) -> Option<String> {
        let refusals = self.refusals.borrow();
        refusals.by_pod.get(pod).map(ToString::to_string)
    }

    /// Which pod has the last word on writes.
    pub(super) fn primary_ordinal(&self) -> Option<Ordinal> {
        match self.by {
            PrimaryBy::Ordinal => Some(Ordinal::PRIMARY),
            PrimaryBy::Detected => self.leader().as_ref().and_then(PodKey::ordinal),
        }
    }

    fn leader(&self) -> MutexGuard<'_, Option<PodKey>> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the pods are to be asked again.
    async fn due(&self) {
        let urgent = self.waiters.load(Ordering::Acquire) > 0;
        let interval = if urgent { URGENT_INTERVAL } else { INTERVAL };
        // So that clients that started together do not ask together for ever.
        let interval = interval.mul_f64(0.9 + 0.2 * rand::random::<f64>());
        let _ = tokio::time::timeout(interval, self.poke.notified()).await;
    }

    /// Gives the office to whom `verdict` names.
    fn install(&self, verdict: &Verdict, pods: &[(PodKey, Arc<Pool>)], service: &str) -> bool {
        let mut leader = self.leader();
        let mut changed = false;
        for (key, pool) in pods {
            let (primary, rival) = match verdict {
                Verdict::One(one) => (key == one, None),
                // Only writers are to know of it: reads are served by whoever is left.
                Verdict::Several(all) if all.contains(key) => {
                    let other = pods.iter().find(|(k, _)| k != key && all.contains(k));
                    (true, other.map(|(_, pool)| pool.pod().clone()))
                }
                Verdict::Several(_) | Verdict::None => (false, None),
            };
            changed |= pool.is_primary() != primary || pool.has_rival() != rival.is_some();
            pool.set_rival(rival);
            pool.set_primary(primary);
        }
        match verdict {
            Verdict::Several(all) if changed => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                tracing::error!(pods = %all.join(", "), "several pods are writable");
                observe::count(observe::TWO_PRIMARIES, &[("service", service)]);
            }
            Verdict::One(one) if leader.as_ref() != Some(one) => {
                tracing::info!(pod = %one, "this pod takes the writes now");
                *leader = Some(one.clone());
            }
            Verdict::None => *leader = None,
            Verdict::One(_) | Verdict::Several(_) => {}
        }
        changed
    }
}

/// What became of asking one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Writable,
    ReadOnly,
    /// It did not say anything, and may be what it was.
    Silent,
    /// It could not be asked.
    Unseen,
}

impl From<&Result<Report, ConnectError>> for Sight {
    fn from(answer: &Result<Report, ConnectError>) -> Self {
        match answer {
            Ok(report) if report.writable => Self::Writable,
            Ok(_) => Self::ReadOnly,
            Err(ConnectError::Silent { .. }) => Self::Silent,
            Err(_) => Self::Unseen,
        }
    }
}

/// Who takes the writes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    One(PodKey),
    Several(Vec<PodKey>),
    None,
}

/// * One pod is writable: it is the primary, also if others could not be asked. What it lacks of
///   the history seen so far is looked at when it is connected to.
/// * None is: the primary keeps its office if it could not be asked, and loses it if it is read-only.
/// * Several are: as the options say. One of several (`rivals`, as of the last look) that is
///   silent now counts as writable still: writes must not go back and forth between them.
fn decide(
    leader: Option<&PodKey>,
    rivals: &[PodKey],
    seen: &[(PodKey, Sight)],
    two_primaries: TwoPrimaries,
) -> Verdict {
    let writable: Vec<&PodKey> = seen
        .iter()
        .filter(|(key, sight)| match sight {
            Sight::Writable => true,
            Sight::Silent => rivals.contains(key),
            Sight::ReadOnly | Sight::Unseen => false,
        })
        .map(|(key, _)| key)
        .collect();
    match (&*writable, leader) {
        ([], Some(leader)) if !seen.contains(&(leader.clone(), Sight::ReadOnly)) => {
            Verdict::One(leader.clone())
        }
        ([], _) => Verdict::None,
        ([one], _) => Verdict::One((*one).clone()),
        (several, leader) if two_primaries == TwoPrimaries::Keep => {
            let kept = leader.filter(|leader| several.contains(leader));
            Verdict::One(kept.unwrap_or(several[0]).clone())
        }
        (several, _) => Verdict::Several(several.iter().map(|key| (*key).clone()).collect()),
    }
}

/// Asks the pods until the cluster is gone; where the primary has the ordinal 0, only once.
pub(super) async fn follow(
    warming: Warming,
    pools: Arc<Pools>,
    history: Arc<History>,
    balance: Balance<PodPool>,
    service: String,
) {
    let roles = &warming.0;
    if roles.by == PrimaryBy::Ordinal && roles.is_warm() {
        return;
    }
    let mut monitors: BTreeMap<PodKey, Monitor> = BTreeMap::new();
    // Before the first answer of discovery there is nobody to ask.
    while pools.all().is_empty() {
        roles.poke.notified().await;
    }
    loop {
        let mut pods = pools.all();
        pods.retain(|(_, pool)| pool.ordinal().is_some() && pool.is_listed());
        if roles.by == PrimaryBy::Ordinal {
            pods.retain(|(_, pool)| !pool.is_primary());
        }
        let answers = ask_all(&mut monitors, &pods).await;
        if !roles.is_warm() {
            let others = answers
                .iter()
                .filter_map(|(_, report)| report.as_ref().ok());
            for replica in others.filter(|r| roles.by == PrimaryBy::Ordinal || !r.writable) {
                history.expect(replica.replicated.clone());
            }
            history.opened();
            roles.warm.send_replace(true);
        }
        if roles.by == PrimaryBy::Ordinal {
            return;
        }
        let seen: Vec<(PodKey, Sight)> = answers
            .iter()
            .map(|(key, answer)| (key.clone(), answer.into()))
            .collect();
        roles.refusals.send_replace(Refusals::of(&answers));
        let leader = roles.leader().clone();
        let rivals: Vec<PodKey> = pods
            .iter()
            .filter(|(_, pool)| pool.has_rival())
            .map(|(key, _)| key.clone())
            .collect();
        let verdict = decide(leader.as_ref(), &rivals, &seen, roles.two_primaries);
        // Also those that are not listed any more, which lose their office.
        if roles.install(&verdict, &pools.all(), &service) {
            balance.wake();
        }
        roles.due().await;
    }
}

/// What each pod says, in the order of `pods`; forgets monitors of others.
async fn ask_all(
    monitors: &mut BTreeMap<PodKey, Monitor>,
    pods: &[(PodKey, Arc<Pool>)],
) -> Vec<(PodKey, Result<Report, ConnectError>)> {
    let mut kept = std::mem::take(monitors);
    let begun = Instant::now();
    let mut logins = 0;
    let turns = pods.iter().map(|(key, pool)| {
        let mut monitor = kept.remove(key).unwrap_or_default();
        let mut delay = Duration::ZERO;
        if !monitor.is_connected() {
            delay = ANSWER_LIMIT.min(LOGIN_STEP * (logins / LOGINS_AT_ONCE));
            logins += 1;
        }
        async move {
            if !delay.is_zero() {
                tokio::time::sleep_until(begun + delay).await;
            }
            let report = monitor.ask(pool, begun + ANSWER_LIMIT).await;
            if let Err(error) = &report {
                tracing::debug!(pod = %key, %error, "a pod did not say who it is");
            }
            (key.clone(), report, monitor)
        }
    });
    let turns: Vec<_> = turns.collect();
    let mut seen = Vec::with_capacity(pods.len());
    for (key, report, monitor) in join_all(turns).await {
        monitors.insert(key.clone(), monitor);
        seen.push((key, report));
    }
    seen
}

#[cfg(test)]
mod tests;
