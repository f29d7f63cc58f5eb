//! Determines which pod is the primary.
//!
//! Owns the rules of the task in `follow`, which asks the pods. At a cold start the task asks once
//! which transactions the replicas hold; the first primary must hold them too. If the primary is
//! detected, the task asks every second which pods are writable. A pod must never become the
//! primary while another pod is known to be writable, unless the options allow it. The primary must
//! never lose its role because it could not be asked.

use super::key::PodKey;
use crate::balance::{Class, Classify};
use crate::config::{ColdStart, Config, PrimaryBy, TwoPrimaries};
use crate::error::ConnectError;
use crate::name::Ordinal;
use crate::observe;
use crate::pool::monitor::Report;
use crate::pool::state::Pool;
use crate::topology::Pod;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Interval at which the pods are asked whether they are writable.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// The same interval while a caller waits for a primary.
const URGENT_INTERVAL: Duration = Duration::from_millis(100);
/// Time limit for one round of answers from all pods. It is as well the delay that silent replicas
/// cause for the first write. If a login takes longer, it continues, and its answer counts in the
/// next round.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How many logins start at once; as many more start after each [`LOGIN_STEP`]. A set of a thousand
/// pods therefore causes no burst of a thousand logins, and pods that hang do not delay the others.
pub(super) const LOGINS_AT_ONCE: u32 = 16;
/// See [`LOGINS_AT_ONCE`]. A thousand logins start within 625 ms.
pub(super) const LOGIN_STEP: Duration = Duration::from_millis(10);

/// The state that the task and the callers share.
pub(super) struct Roles {
    pub(super) by: PrimaryBy,
    pub(super) two_primaries: TwoPrimaries,
    /// The primary's ordinal, unless it is detected.
    first: Ordinal,
    /// Notified when the pods should be asked again.
    pub(super) poke: Notify,
    /// Number of callers that wait for a primary.
    waiters: AtomicUsize,
    /// Whether the replicas have been asked which transactions they hold.
    pub(super) warm: watch::Sender<bool>,
    leader: Mutex<Option<PodKey>>,
    pub(super) refusals: watch::Sender<Refusals>,
}

/// The errors of pods in the last round.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    by_pod: BTreeMap<String, ConnectError>,
    /// Set if no pod answered and one of the errors will not go away with time.
    hopeless: Option<ConnectError>,
}

impl Refusals {
    pub(super) fn of(answers: &[(PodKey, Result<Report, ConnectError>)]) -> Self {
        let refused = answers.iter().filter_map(|(key, answer)| {
            let error = answer.as_ref().err()?;
            Some((key.to_string(), error.clone()))
        });
        let by_pod: BTreeMap<String, ConnectError> = refused.collect();
        let nobody = by_pod.len() == answers.len();
        let hopeless = by_pod
            .values()
            .find(|error| matches!(error.class(), Class::Declined | Class::Fatal));
        Self {
            hopeless: hopeless.filter(|_| nobody).cloned(),
            by_pod,
        }
    }
}

/// While it exists, the pods are asked every 100 ms.
pub(super) struct Urgency<'a>(&'a Roles);

impl Drop for Urgency<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Ends all waits in [`Roles::warmed`] when the task ends, for any reason.
pub(super) struct Warming(pub(super) Arc<Roles>);

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
            first: Ordinal::new(config.first_ordinal),
            poke: Notify::new(),
            waiters: AtomicUsize::new(0),
            warm: watch::Sender::new(config.cold_start == ColdStart::Trust),
            leader: Mutex::new(None),
            refusals: watch::Sender::default(),
        };
        Arc::new(roles)
    }

    /// Makes the task ask the pods again: the set of pods changed, or a pod's role may have
    /// changed.
    pub(super) fn poke(&self) {
        self.poke.notify_one();
    }

    pub(super) fn is_warm(&self) -> bool {
        *self.warm.borrow()
    }

    /// The guard that the task holds.
    pub(super) fn warming(self: &Arc<Self>) -> Warming {
        Warming(Arc::clone(self))
    }

    /// Returns when the replicas have been asked which transactions they hold.
    pub(super) async fn warmed(&self) {
        let mut warm = self.warm.subscribe();
        // The sender lives in `self`.
        let _ = warm.wait_for(|warm| *warm).await;
    }

    /// Registers a caller that waits for a primary.
    pub(super) fn urgent(&self) -> Urgency<'_> {
        if self.waiters.fetch_add(1, Ordering::AcqRel) == 0 {
            self.poke();
        }
        Urgency(self)
    }

    /// Returns when no pod answers and at least one refuses for a reason that a wait does not cure,
    /// such as a wrong password. Never returns if the primary is set by ordinal: the primary itself
    /// then returns the error.
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

    /// The error of this pod in the last round.
    pub(super) fn refusal(&self, pod: &str) -> Option<String> {
        let refusals = self.refusals.borrow();
        refusals.by_pod.get(pod).map(ToString::to_string)
    }

    /// Whether this pod is the primary, at any address.
    pub(super) fn is_primary(&self, pod: &Pod) -> bool {
        match self.by {
            PrimaryBy::Ordinal => pod.ordinal() == Some(self.first),
            PrimaryBy::Detected => self
                .leader()
                .as_ref()
                .is_some_and(|leader| leader.is_of(pod)),
        }
    }

    pub(super) fn leader(&self) -> MutexGuard<'_, Option<PodKey>> {
        self.leader.lock()
    }

    /// Waits until the pods should be asked again.
    pub(super) async fn due(&self) {
        let urgent = self.waiters.load(Ordering::Acquire) > 0;
        let interval = if urgent { URGENT_INTERVAL } else { INTERVAL };
        // Jitter, so that clients that started together do not keep asking together.
        let interval = interval.mul_f64(0.9 + 0.2 * rand::random::<f64>());
        let _ = tokio::time::timeout(interval, self.poke.notified()).await;
    }

    /// Assigns the role of the primary by `verdict`. Returns whether a pod's role changed.
    pub(super) fn install(
        &self,
        verdict: &Verdict,
        pods: &[(PodKey, Arc<Pool>)],
        service: &str,
    ) -> bool {
        let mut leader = self.leader();
        let mut changed = false;
        for (key, pool) in pods {
            let (primary, rival) = match verdict {
                Verdict::One(one) => (key == one, None),
                // Only writers see the conflict: reads are served by the other pods.
                Verdict::Several(all) if all.contains(key) => {
                    let other = pods.iter().find(|(k, _)| k != key && all.contains(k));
                    (true, other.map(|(_, pool)| pool.pod().clone()))
                }
                Verdict::Several(_) | Verdict::None => (false, None),
            };
            changed |=
                pool.is_primary() != primary || pool.disputes.rival().is_some() != rival.is_some();
            pool.disputes.set_rival(rival);
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

/// The result of asking one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    Writable,
    ReadOnly,
    /// The pod did not answer; its role may be unchanged.
    Silent,
    /// The pod could not be asked.
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

/// The decision about the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    One(PodKey),
    Several(Vec<PodKey>),
    None,
}

/// Decides which pod is the primary.
///
/// * One pod is writable: it is the primary, even if others could not be asked. Whether it lacks
///   part of the history seen so far is checked when it is connected to.
/// * No pod is writable: the primary keeps its role if it could not be asked, and loses it if it is
///   read-only.
/// * Several pods are writable: the options decide. A pod that was one of several (`rivals`, from
///   the last round) and is silent now still counts as writable: writes must not alternate between
///   them.
pub(super) fn decide(
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

#[cfg(test)]
mod tests;
