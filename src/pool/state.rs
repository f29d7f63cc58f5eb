//! The connections to one incarnation of a pod.
//!
//! Owns the count of connections, the idle connections, the queue of calls that wait for one, and
//! the knowledge about the server: its identity, whether it is writable, whether it holds the
//! history, and whether older connections are still trusted. It must never choose between pods.
//!
//! `mysql_async::Pool` does not fit: it loses wake-ups when a waiter is cancelled, has no
//! deadlines, and resets every connection on return.
//!
//! Three counters decide whether a connection may still be used:
//! * `generation` grows with the first connection-level error of each event. A connection of an
//!   older generation is pinged before it is handed out, and its errors are not counted again: ten
//!   sockets cut by one restart are one event.
//! * `era` grows when the server behind the address changes or loses its role. A connection of an
//!   older era is closed when it comes back.
//! * `banned_era`: connections of this era or an older one fail at their next statement, because
//!   the pod is no longer the primary, or another incarnation has proven to be the pod.

use crate::balance::Pace;
use crate::config::{Config, PrimaryBy, ReplicaPolicy, Reset};
use crate::error::{ConnectError, PodId};
use crate::gtid::history::History;
use crate::name::Ordinal;
use crate::observe;
use crate::pool::budget::Budget;
use crate::pool::commits::Commits;
use crate::pool::disputes::Disputes;
use crate::pool::evidence::{Evidence, PodRecognition};
use crate::pool::growth::Growth;
use crate::pool::idle::{Idle, IdleList, is_past};
use crate::pool::inquiry::Inquiry;
use crate::pool::known::{Knowledge, KnownGuard};
use crate::pool::limits::{CONFIGURED, PoolLimits};
use crate::pool::quota::Quota;
use crate::pool::side::Side;
use crate::routing::Duty;
use crate::server::dialler::Dialler;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

/// See the module documentation.
pub(crate) struct Pool {
    pub(crate) dialler: Dialler,
    pub(crate) handle: Handle,
    pub(crate) reset: Reset,
    pub(crate) idle_ping_after: Duration,
    pub(crate) kill_query: bool,
    pub(crate) limits: PoolLimits,
    pub(crate) growth: Arc<Growth>,
    /// Wakes waiting calls when a connection could not be made: one call if the pod is at fault,
    /// all calls if the pool cannot grow.
    pub(crate) not_made: Notify,
    pub(crate) budget: Budget,
    /// The queue for stopping statements that were given up.
    pub(crate) side: Side,
    /// The question whether the pod is alive.
    pub(crate) inquiry: Inquiry,
    /// The permits for reads that fall back to the primary. They are limited to half of the pool,
    /// so that writes keep the rest.
    pub(crate) fallback: Arc<Quota>,
    pub(crate) idle: IdleList,
    pub(crate) knowledge: Knowledge,
    pub(crate) generation: AtomicU64,
    pub(crate) era: AtomicU64,
    banned_era: AtomicU64,
    standing: AtomicU8,
    /// See [`Pool::is_listed`].
    listed: AtomicBool,
    /// The pod takes the writes: by its ordinal, or because it was detected as the primary.
    primary: AtomicBool,
    /// See [`Role::Foreign`](crate::routing::Role::Foreign).
    foreign: AtomicBool,
    pub(crate) disputes: Disputes,
    /// The server has proven to be the pod, and no other address has proven it since.
    confirmed: AtomicBool,
    pub(crate) history: Arc<History>,
    /// The primary is the pod with the ordinal 0, not the one that is writable.
    pub(crate) by_ordinal: bool,
    pub(crate) warned_uncounted: AtomicBool,
    pub(crate) commits: Commits,
    pub(crate) evidence: Arc<Evidence>,
    /// The recognition of the pod as a replica.
    pub(crate) recognition: PodRecognition,
    /// The configured weight for reads.
    weight: u32,
    /// Speed of its reads; `None` if `pace` is off.
    pace: Option<Pace>,
    /// Whether `pace` applies even while the pod is the primary.
    paced_as_primary: bool,
    hooks: Hooks,
}

/// What a pool may be used for. The standing only moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Standing {
    /// The pool takes new calls while its pod is listed.
    Open,
    /// The pool takes no more calls. Connections in use may finish.
    Retired,
    /// As `Retired`, but connections in use run no further statement.
    Aborted,
}

impl Standing {
    const ALL: [Self; 3] = [Self::Open, Self::Retired, Self::Aborted];

    fn of(number: u8) -> Self {
        let all = Self::ALL.into_iter();
        { all }
            .find(|standing| *standing as u8 == number)
            .unwrap_or(Self::Aborted)
    }
}

/// The callbacks of a pool.
pub(crate) struct Hooks {
    /// This incarnation has proven to be its pod.
    pub(crate) confirmed: Box<dyn Fn(&Pool) + Send + Sync>,
    /// The primary has become read-only.
    pub(crate) demoted: Box<dyn Fn() + Send + Sync>,
    /// There is room for a call without the end of a checkout.
    pub(crate) freed: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("pod", &self.dialler.pod)
            .field("idle", &self.idle_count())
            .field("standing", &self.standing())
            .finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(
        dialler: Dialler,
        config: &Config,
        history: Arc<History>,
        evidence: Arc<Evidence>,
        pace: Option<Pace>,
        hooks: Hooks,
        handle: Handle,
    ) -> Arc<Self> {
        let max = config.max_connections;
        let named = dialler.ordinal.and_then(|n| config.weights.get(&n.get()));
        let weight = named.copied().unwrap_or(1);
        let by_ordinal = config.primary == PrimaryBy::Ordinal;
        let first = Ordinal::new(config.first_ordinal);
        let primary = by_ordinal && dialler.ordinal == Some(first);
        Arc::new_cyclic(|pool: &Weak<Self>| Self {
            growth: {
                let pool = Weak::clone(pool);
                let resized = move || pool.upgrade().iter().for_each(Self::resized);
                Arc::new(Growth::new(max, CONFIGURED, resized))
            },
            dialler,
            handle,
            reset: config.reset,
            idle_ping_after: config.idle_ping_after,
            kill_query: config.kill_query,
            limits: PoolLimits::new(config),
            not_made: Notify::new(),
            budget: Budget::new(config.statement_cache, max),
            side: Side::default(),
            inquiry: Inquiry::default(),
            fallback: Quota::new((max / 2).max(1)),
            idle: IdleList::default(),
            knowledge: Knowledge::default(),
            generation: AtomicU64::new(0),
            era: AtomicU64::new(1),
            banned_era: AtomicU64::new(0),
            standing: AtomicU8::new(Standing::Open as u8),
            listed: AtomicBool::new(true),
            primary: AtomicBool::new(primary),
            foreign: AtomicBool::new(false),
            disputes: Disputes::default(),
            confirmed: AtomicBool::new(false),
            history,
            by_ordinal,
            warned_uncounted: AtomicBool::new(false),
            commits: Commits::default(),
            evidence,
            recognition: PodRecognition::new(),
            weight,
            pace,
            paced_as_primary: config.replica_policy == ReplicaPolicy::Any,
            hooks,
        })
    }

    pub(crate) fn pod(&self) -> &PodId {
        &self.dialler.pod
    }

    /// The pod's full name: a metric's label.
    pub(crate) fn host(&self) -> &str {
        &self.dialler.host
    }

    pub(crate) fn ordinal(&self) -> Option<Ordinal> {
        self.dialler.ordinal
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.primary.load(Ordering::Acquire)
    }

    /// Whether the pod, as the primary, has no data or the data of another cluster.
    #[inline]
    pub(crate) fn is_foreign(&self) -> bool {
        self.foreign.load(Ordering::Acquire)
    }

    pub(crate) fn set_foreign(&self, foreign: bool) {
        let foreign = foreign && self.evidence.judges();
        if self.foreign.swap(foreign, Ordering::AcqRel) && !foreign {
            // Reads may use the pod as a fallback again.
            self.freed();
        }
    }

    /// The pod's weight for reads.
    pub(crate) fn weight(&self) -> u32 {
        match self.pace() {
            Some(pace) => self.weight * pace.weight(),
            None => self.weight * Pace::FULL,
        }
    }

    /// `None` for the primary, unless it serves reads like a replica: it must not be compared with
    /// the replicas otherwise.
    fn pace(&self) -> Option<&Pace> {
        let paced = self.paced_as_primary || !self.is_primary();
        self.pace.as_ref().filter(|_| paced)
    }

    /// Notes that a read sent at `sent` was answered completely.
    pub(crate) fn answered(&self, sent: Instant) {
        if let Some(pace) = self.pace() {
            let now = Instant::now();
            pace.observe(now.saturating_duration_since(sent), now);
        }
    }

    /// Sets whether this pod takes the writes. If it no longer does, connections in use run no
    /// further statement: its server may still be alive and accept writes.
    pub(crate) fn set_primary(&self, primary: bool) {
        match (self.primary.swap(primary, Ordering::AcqRel), primary) {
            (true, false) => {
                self.ban();
                self.known().is_no_primary();
            }
            // Its history has not been judged yet.
            (false, true) => {
                self.known().judged = None;
                self.set_foreign(false);
                self.evidence.is_to_be_asked();
            }
            _ => {}
        }
    }

    /// There is room for a call without the end of a checkout.
    pub(crate) fn freed(&self) {
        (self.hooks.freed)();
    }

    pub(crate) fn idle_count(&self) -> usize {
        self.idle.len()
    }

    /// Whether a call with this duty would have to wait.
    pub(crate) fn is_full_for(&self, duty: Duty) -> bool {
        (duty == Duty::Fallback && self.fallback.is_full()) || self.is_full()
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing::of(self.standing.load(Ordering::Acquire))
    }

    /// Whether discovery lists this incarnation, or keeps it as the last known primary. A shutdown
    /// does not change it: the connections still in use must know which address is the pod's.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    pub(crate) fn set_listed(&self, listed: bool) {
        self.listed.store(listed, Ordering::Release);
    }

    pub(crate) fn takes_calls(&self) -> bool {
        self.is_listed() && self.standing() == Standing::Open
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Acquire)
    }

    pub(crate) fn confirm(&self) {
        self.confirmed.store(true, Ordering::Release);
        (self.hooks.confirmed)(self);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.standing() >= Standing::Retired
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.standing() == Standing::Aborted
    }

    pub(crate) fn is_full(&self) -> bool {
        self.idle_count() == 0 && !self.growth.is_open()
    }

    /// When the server last answered. Connections in use are not considered.
    pub(crate) fn heard(&self) -> Option<Instant> {
        self.known().heard.max(self.idle.last_alive())
    }

    /// `None` until a server has answered.
    pub(crate) fn is_read_only(&self) -> Option<bool> {
        self.known().writable.map(|writable| !writable)
    }

    /// Takes no more calls, and fails the waiting ones. Connections in use may finish, and are
    /// closed when they come back.
    pub(crate) fn retire(&self) {
        self.end(Standing::Retired);
    }

    /// As [`Pool::retire`], but connections in use run no further statement.
    pub(crate) fn abort(&self) {
        self.end(Standing::Aborted);
    }

    fn end(&self, standing: Standing) {
        self.standing.fetch_max(standing as u8, Ordering::AcqRel);
        self.idle.close();
        self.fallback.close();
        self.side.news.notify_one();
    }

    /// Call when another incarnation has proven to be this pod. The connections of this incarnation
    /// run no further statement.
    pub(crate) fn supersede(&self) {
        // Only once per proof: a connection dialled later has proven the pod again.
        if !self.confirmed.swap(false, Ordering::AcqRel) && self.idle_count() + self.in_use() == 0 {
            return;
        }
        self.ban();
        tracing::info!(pod = %self.pod(), "another address has proven to be this pod");
        observe::count(observe::ADDRESSES_SUPERSEDED, &[("pod", self.host())]);
    }

    /// Existing connections run no further statement.
    fn ban(&self) {
        let era = self.era.fetch_add(1, Ordering::AcqRel);
        self.banned_era.fetch_max(era, Ordering::AcqRel);
        self.idle.drop_those(|_| true);
    }

    /// Call when the server has reported on a connection of `era` that it is read-only now. Only
    /// the first report of an era counts: every statement under way gets the same error.
    pub(crate) fn demoted(&self, era: u64) {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let first = self
            .era
            .compare_exchange(era, era + 1, order.0, order.1)
            .is_ok();
        if !first {
            return;
        }
        let pod = self.pod().clone();
        {
            let mut known = self.known();
            known.writable = Some(false);
            known.unfit = Some(ConnectError::ReadOnly { pod });
        }
        self.idle.drop_those(|_| true);
        tracing::warn!(pod = %self.pod(), "the primary has become read-only");
        observe::count(observe::DEMOTIONS, &[("pod", self.host())]);
        (self.hooks.demoted)();
    }

    /// Call when the server has reported on a connection of `era` that it refuses to work for now.
    /// Returns whether this is the first such report of the era.
    pub(crate) fn refuses_to_work(&self, era: u64) -> bool {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let first = (self.era).compare_exchange(era, era + 1, order.0, order.1);
        if first.is_err() {
            return false;
        }
        // New connections are checked before they are used.
        self.idle.drop_those(|_| true);
        tracing::warn!(pod = %self.pod(), "the server refuses to work for now");
        true
    }

    /// Call when a connection has broken. Returns false if this is part of an event that is already
    /// counted.
    pub(crate) fn broke(&self, generation: u64) -> bool {
        let next = generation + 1;
        let order = (Ordering::AcqRel, Ordering::Acquire);
        self.generation
            .compare_exchange(generation, next, order.0, order.1)
            .is_ok()
    }

    pub(crate) fn is_banned(&self, era: u64) -> bool {
        era <= self.banned_era.load(Ordering::Acquire)
    }

    /// Puts a clean connection back. It is closed if it is a surplus one, if it was too old when it
    /// was used last, if the pool is retired, or if the era has changed.
    pub(crate) fn give_back(&self, mut idle: Idle) {
        if idle.slot.sheds() || is_past(idle.kept.expires, idle.since) {
            return;
        }
        let era = idle.kept.era;
        // Checked under the list's lock. Retiring the pool or ending the era empties the list only
        // after that, so no old connection stays in it.
        let good = || !self.is_retired() && era == self.era.load(Ordering::Acquire);
        self.idle.put(idle, good);
    }

    pub(crate) fn known(&self) -> KnownGuard<'_> {
        self.knowledge.lock()
    }

    pub(crate) fn closed(&self) -> ConnectError {
        ConnectError::Closed {
            pod: self.pod().clone(),
        }
    }
}

#[cfg(test)]
mod tests;
