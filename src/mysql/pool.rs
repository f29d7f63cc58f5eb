//! The connections to one incarnation of a pod.
//!
//! Owns the slots (connections that exist or are being made), the idle connections, and what is
//! known of the server: its identity, whether it is writable, whether it holds the history, and
//! whether older connections may still be trusted. It must never choose between pods.
//!
//! Not `mysql_async::Pool`: that one loses wake-ups when a waiter is cancelled, has no deadlines,
//! and resets every connection on return.
//!
//! Three counters say what a connection is worth:
//! * `generation` grows with every connection-level error. An older connection is pinged before it
//!   is handed out, and its errors are not counted again: ten sockets cut by one restart are one
//!   event.
//! * `era` grows when the server behind the address changed or lost its role. An older connection
//!   is closed when it comes back.
//! * `banned_era`: connections up to it fail at their next statement, because another incarnation
//!   has proven to be the pod now.

use super::checkout::Checkout;
use super::connect::Dialler;
use super::idle::Idle;
use super::kill::Side;
use super::known::{Knowledge, KnownGuard};
use super::podconn::PodConn;
use super::position::History;
use super::request::PodRequest;
use super::room::Room;
use super::statements::Budget;
use crate::balance::Pace;
use crate::config::{Config, PrimaryBy, ReplicaPolicy, Reset};
use crate::error::{ConnectError, PodId};
use crate::name::Ordinal;
use crate::observe;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::Service;

/// Connections being made at once to one pod: a pod that is back must not be stormed.
const CONCURRENT_CONNECTS: usize = 2;

/// See the module documentation.
pub(crate) struct Pool {
    pub(crate) dialler: Dialler,
    pub(crate) handle: Handle,
    pub(crate) reset: Reset,
    pub(super) idle_ping_after: Duration,
    pub(super) kill_query: bool,
    pub(super) slots: Arc<Semaphore>,
    pub(super) room: Room,
    pub(super) budget: Budget,
    /// What stops statements that were given up.
    pub(super) side: Side,
    /// Reads that fall back to the primary share these, so that writes keep the rest.
    pub(super) fallback_slots: Arc<Semaphore>,
    pub(super) connecting: Arc<Semaphore>,
    /// The most recently used one last.
    pub(super) idle: Mutex<Vec<Idle>>,
    /// As many as `idle`, for the picker, which must not lock.
    pub(super) idle_count: AtomicUsize,
    pub(super) knowledge: Knowledge,
    pub(super) generation: AtomicU64,
    pub(super) era: AtomicU64,
    banned_era: AtomicU64,
    listed: AtomicBool,
    contested: AtomicBool,
    /// Takes the writes: by its ordinal, or because it was found to be the one that does.
    primary: AtomicBool,
    /// Another pod that is writable too.
    rival: Mutex<Option<PodId>>,
    /// The server has proven to be the pod, and none has proven since that it is elsewhere.
    confirmed: AtomicBool,
    retired: AtomicBool,
    aborted: AtomicBool,
    pub(super) history: Arc<History>,
    /// Of the reads, as configured.
    weight: u32,
    /// How fast it answers reads; `None`: nobody wants to know.
    pace: Option<Pace>,
    /// Also while it takes the writes.
    paced_as_primary: bool,
    hooks: Hooks,
}

/// Whom a pool tells of what it found out.
pub(crate) struct Hooks {
    /// This incarnation has proven to be its pod.
    pub(crate) confirmed: Box<dyn Fn(&Pool) + Send + Sync>,
    /// The primary has become read-only.
    pub(crate) demoted: Box<dyn Fn() + Send + Sync>,
    /// A slot is free again that nobody had checked out.
    pub(crate) freed: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("pod", &self.dialler.pod)
            .field("idle", &self.idle_count())
            .field("listed", &self.listed)
            .finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(
        dialler: Dialler,
        config: &Config,
        history: Arc<History>,
        pace: Option<Pace>,
        hooks: Hooks,
        handle: Handle,
    ) -> Arc<Self> {
        let max = config.max_connections;
        let named = dialler.ordinal.and_then(|n| config.weights.get(&n.get()));
        let weight = named.copied().unwrap_or(1);
        let by_ordinal = config.primary == PrimaryBy::Ordinal;
        let primary = by_ordinal && dialler.ordinal == Some(Ordinal::PRIMARY);
        Arc::new(Self {
            dialler,
            handle,
            reset: config.reset,
            idle_ping_after: config.idle_ping_after,
            kill_query: config.kill_query,
            slots: Arc::new(Semaphore::new(max)),
            room: Room::new(config),
            budget: Budget::new(config.statement_cache, max),
            side: Side::default(),
            fallback_slots: Arc::new(Semaphore::new((max / 2).max(1))),
            connecting: Arc::new(Semaphore::new(CONCURRENT_CONNECTS)),
            idle: Mutex::new(Vec::new()),
            idle_count: AtomicUsize::new(0),
            knowledge: Knowledge::default(),
            generation: AtomicU64::new(0),
            era: AtomicU64::new(1),
            banned_era: AtomicU64::new(0),
            listed: AtomicBool::new(true),
            contested: AtomicBool::new(false),
            primary: AtomicBool::new(primary),
            rival: Mutex::new(None),
            confirmed: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            history,
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
    pub(super) fn host(&self) -> &str {
        &self.dialler.host
    }

    pub(crate) fn ordinal(&self) -> Option<Ordinal> {
        self.dialler.ordinal
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.primary.load(Ordering::Acquire)
    }

    /// How much of the reads it is to take.
    pub(super) fn weight(&self) -> u32 {
        match self.pace() {
            Some(pace) => self.weight * pace.weight(),
            None => self.weight * Pace::FULL,
        }
    }

    /// The primary is not compared with the replicas unless it does their work.
    fn pace(&self) -> Option<&Pace> {
        let paced = self.paced_as_primary || !self.is_primary();
        self.pace.as_ref().filter(|_| paced)
    }

    /// A read was answered completely, that was begun at `sent`.
    pub(super) fn answered(&self, sent: Instant) {
        if let Some(pace) = self.pace() {
            let now = Instant::now();
            pace.observe(now.saturating_duration_since(sent), now);
        }
    }

    /// Says whether this pod takes the writes. One that does no longer runs no further statement on
    /// connections it has lent: its server may be alive, and not know.
    pub(crate) fn set_primary(&self, primary: bool) {
        match (self.primary.swap(primary, Ordering::AcqRel), primary) {
            (true, false) => {
                self.ban();
                self.known().is_no_primary();
            }
            // Nobody has judged its history yet.
            (false, true) => self.known().judged = None,
            _ => {}
        }
    }

    /// A slot came free without the end of a checkout.
    pub(super) fn freed(&self) {
        (self.hooks.freed)();
    }

    /// Another pod that is writable too: no writes until one is left.
    pub(crate) fn set_rival(&self, rival: Option<PodId>) {
        *self.rival.lock().unwrap_or_else(PoisonError::into_inner) = rival;
    }

    pub(crate) fn has_rival(&self) -> bool {
        self.rival().is_some()
    }

    pub(super) fn rival(&self) -> Option<PodId> {
        let rival = self.rival.lock();
        rival.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn idle_count(&self) -> usize {
        self.idle_count.load(Ordering::Relaxed)
    }

    /// Whether a read that falls back to this pod would have to wait.
    pub(crate) fn is_full_for_fallback(&self) -> bool {
        self.fallback_slots.available_permits() == 0 || self.is_full()
    }

    /// Whether discovery lists this incarnation (or keeps it as the last known primary).
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }

    pub(crate) fn set_listed(&self, listed: bool) {
        self.listed.store(listed, Ordering::Relaxed);
    }

    /// Whether another address claims to be the same ordinal: no writes until DNS has settled.
    pub(crate) fn is_contested(&self) -> bool {
        self.contested.load(Ordering::Relaxed)
    }

    pub(crate) fn set_contested(&self, contested: bool) {
        self.contested.store(contested, Ordering::Relaxed);
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Acquire)
    }

    pub(super) fn confirm(&self) {
        self.confirmed.store(true, Ordering::Release);
        (self.hooks.confirmed)(self);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Whether a caller would have to wait here.
    pub(crate) fn is_full(&self) -> bool {
        self.idle_count() == 0
            && (self.slots.available_permits() == 0 || self.connecting.available_permits() == 0)
    }

    /// `None` until a server has answered.
    pub(crate) fn is_read_only(&self) -> Option<bool> {
        self.known().writable.map(|writable| !writable)
    }

    /// Takes no more callers, also those that wait; connections in use may finish, and are closed
    /// when they come back.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.drop_idle(|_| true);
    }

    /// As [`Pool::retire`], for good: those who wait for a slot are told at once.
    pub(crate) fn close(&self) {
        self.retire();
        self.slots.close();
        self.fallback_slots.close();
    }

    /// As [`Pool::close`]; connections in use run no further statement.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.close();
    }

    /// Another incarnation has proven to be this pod: connections of this one must not run another
    /// statement.
    pub(crate) fn supersede(&self) {
        // Once per proof: what is dialled later has proven itself again.
        if !self.confirmed.swap(false, Ordering::AcqRel) && self.idle_count() + self.in_use() == 0 {
            return;
        }
        self.ban();
        tracing::info!(pod = %self.pod(), "another address has proven to be this pod");
        observe::count(observe::ADDRESSES_SUPERSEDED, &[("pod", self.host())]);
    }

    /// Connections there are run no further statement.
    fn ban(&self) {
        let era = self.era.fetch_add(1, Ordering::AcqRel);
        self.banned_era.fetch_max(era, Ordering::AcqRel);
        self.drop_idle(|_| true);
    }

    /// The server said on a connection of `era` that it is read-only now. Only the first to say it
    /// counts: all that were under way say it.
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
        self.drop_idle(|_| true);
        tracing::warn!(pod = %self.pod(), "the primary has become read-only");
        observe::count(observe::DEMOTIONS, &[("pod", self.host())]);
        (self.hooks.demoted)();
    }

    /// A connection broke. Returns whether this is news, or part of an event already counted.
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

    pub(super) fn known(&self) -> KnownGuard<'_> {
        self.knowledge.lock()
    }

    pub(super) fn closed(&self) -> ConnectError {
        ConnectError::Closed {
            pod: self.pod().clone(),
        }
    }
}

/// A pool as the balancer's endpoint: always ready, and whatever has to be waited for happens in the
/// future.
#[derive(Debug, Clone)]
pub(crate) struct PodPool(pub(crate) Arc<Pool>);

impl Service<PodRequest> for PodPool {
    type Response = PodConn;
    type Error = ConnectError;
    type Future = Checkout;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: PodRequest) -> Self::Future {
        self.0.checkout(request)
    }
}

#[cfg(test)]
mod tests;
