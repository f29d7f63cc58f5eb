//! The connections to one incarnation of a pod.
//!
//! Owns the slots (connections that exist or are being made), the idle connections, and what is
//! known of the server: its identity, whether it is writable, and whether older connections may
//! still be trusted. It must never choose between pods, and never let a caller wait for something
//! that nobody will wake it for: every wait is on a fair semaphore or on a task that always ends.
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

use super::connect::{Dialler, Facts, Origin, Raw, Role};
use super::lease::Lease;
use super::podconn::PodConn;
use super::position::History;
use super::request::{PodRequest, Target};
use crate::config::{Config, Reset};
use crate::error::{ConnectError, PodId};
use crate::name::Ordinal;
use mysql_async::prelude::Queryable;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tower::Service;

/// Connections being made at once to one pod: a pod that is back must not be stormed.
const CONCURRENT_CONNECTS: usize = 2;

/// A ping that takes longer means that the pod does not answer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// An unclaimed failure older than this says nothing about now.
const UNCLAIMED_MEMORY: Duration = Duration::from_secs(5);

/// For how long a pod that said it is read-only is not asked again.
const ROLE_MEMORY: Duration = Duration::from_millis(100);

/// A connection that nobody uses.
struct Idle {
    raw: Raw,
    since: Instant,
    generation: u64,
    era: u64,
    origin: Arc<Origin>,
}

#[derive(Default)]
struct State {
    /// The most recently used one last.
    idle: Vec<Idle>,
    identity: Option<String>,
    read_only_at: Option<Instant>,
    /// Why a connect failed whose caller had left: the next caller gets it, or a pod that never
    /// answers would not be noticed by callers with short deadlines.
    unclaimed_failure: Option<(Instant, ConnectError)>,
}

/// See the module documentation.
pub(crate) struct Pool {
    pub(crate) dialler: Dialler,
    pub(crate) handle: Handle,
    pub(crate) reset: Reset,
    idle_ping_after: Duration,
    idle_timeout: Duration,
    slots: Arc<Semaphore>,
    max_slots: usize,
    /// Reads that fall back to the primary share these, so that writes keep the rest.
    fallback_slots: Arc<Semaphore>,
    connecting: Arc<Semaphore>,
    state: Mutex<State>,
    /// As many as `state.idle`, for the picker, which must not lock.
    idle_count: AtomicUsize,
    generation: AtomicU64,
    era: AtomicU64,
    banned_era: AtomicU64,
    listed: AtomicBool,
    contested: AtomicBool,
    closed: AtomicBool,
    history: Arc<History>,
    /// Told when this incarnation has proven to be its pod.
    confirmed: Box<dyn Fn(&Self) + Send + Sync>,
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
        confirmed: impl Fn(&Self) + Send + Sync + 'static,
        handle: Handle,
    ) -> Arc<Self> {
        let max = config.max_connections;
        Arc::new(Self {
            dialler,
            handle,
            reset: config.reset,
            idle_ping_after: config.idle_ping_after,
            idle_timeout: config.idle_timeout,
            slots: Arc::new(Semaphore::new(max)),
            max_slots: max,
            fallback_slots: Arc::new(Semaphore::new((max / 2).max(1))),
            connecting: Arc::new(Semaphore::new(CONCURRENT_CONNECTS)),
            state: Mutex::new(State::default()),
            idle_count: AtomicUsize::new(0),
            generation: AtomicU64::new(0),
            era: AtomicU64::new(1),
            banned_era: AtomicU64::new(0),
            listed: AtomicBool::new(true),
            contested: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            history,
            confirmed: Box::new(confirmed),
        })
    }

    pub(crate) fn pod(&self) -> &PodId {
        &self.dialler.pod
    }

    pub(crate) fn ordinal(&self) -> Option<Ordinal> {
        self.dialler.ordinal
    }

    pub(crate) fn idle_count(&self) -> usize {
        self.idle_count.load(Ordering::Relaxed)
    }

    /// Connections handed out, being made, or being cleaned.
    pub(crate) fn in_use(&self) -> usize {
        self.max_slots
            .saturating_sub(self.slots.available_permits())
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

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether a caller would have to wait here.
    pub(crate) fn is_full(&self) -> bool {
        self.idle_count() == 0
            && (self.slots.available_permits() == 0 || self.connecting.available_permits() == 0)
    }

    /// `None` until a server has answered.
    pub(crate) fn is_read_only(&self) -> Option<bool> {
        let state = self.lock();
        state.identity.as_ref()?;
        Some(state.read_only_at.is_some())
    }

    /// Takes no more callers; connections in use may finish, and are closed when they come back.
    pub(crate) fn retire(&self) {
        self.closed.store(true, Ordering::Release);
        self.drop_idle(|_| true);
    }

    /// Ends when no connection is in use any more. Call [`Pool::retire`] first.
    pub(crate) async fn drained(&self) {
        let all = u32::try_from(self.max_slots).unwrap_or(u32::MAX);
        // An error means that the pool was closed meanwhile: nobody gets a slot either.
        let _ = self.slots.acquire_many(all).await;
    }

    /// Ends the pool: connections in use run no further statement.
    pub(crate) fn close(&self) {
        self.retire();
        self.slots.close();
        self.fallback_slots.close();
    }

    /// Another incarnation has proven to be this pod: connections of this one must not run another
    /// statement.
    pub(crate) fn supersede(&self) {
        let era = self.era.fetch_add(1, Ordering::AcqRel);
        self.banned_era.fetch_max(era, Ordering::AcqRel);
        self.drop_idle(|_| true);
        tracing::info!(pod = %self.pod(), "another address has proven to be this pod");
    }

    /// The server said that it is read-only now.
    pub(crate) fn demoted(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
        self.lock().read_only_at = Some(Instant::now());
        self.drop_idle(|_| true);
        tracing::warn!(pod = %self.pod(), "the primary has become read-only");
    }

    /// A connection broke. Returns whether this is news, or part of an event already counted.
    pub(crate) fn broke(&self, generation: u64) -> bool {
        self.generation
            .compare_exchange(
                generation,
                generation + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .is_ok()
    }

    pub(crate) fn is_banned(&self, era: u64) -> bool {
        era <= self.banned_era.load(Ordering::Acquire)
    }

    /// Closes connections that were idle for too long.
    pub(crate) fn prune(&self) {
        let limit = self.idle_timeout;
        self.drop_idle(|idle| idle.since.elapsed() > limit);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_idle(&self, which: impl Fn(&Idle) -> bool) {
        let dropped: Vec<Idle> = {
            let mut state = self.lock();
            let dropped = state.idle.extract_if(.., |idle| which(idle)).collect();
            self.idle_count.store(state.idle.len(), Ordering::Relaxed);
            dropped
        };
        // Closing writes to sockets: not under the lock.
        drop(dropped);
    }

    fn pop_idle(&self) -> Option<Idle> {
        let mut state = self.lock();
        let idle = state.idle.pop();
        self.idle_count.store(state.idle.len(), Ordering::Relaxed);
        idle
    }

    /// Takes a clean connection back; the caller still holds its slot.
    pub(crate) fn put_back(&self, raw: Raw, lease: &Lease) {
        let mut state = self.lock();
        if self.is_closed() || lease.era != self.era.load(Ordering::Acquire) {
            drop(state);
            drop(raw);
            return;
        }
        state.idle.push(Idle {
            raw,
            since: Instant::now(),
            generation: lease.generation,
            era: lease.era,
            origin: Arc::clone(&lease.origin),
        });
        self.idle_count.store(state.idle.len(), Ordering::Relaxed);
    }

    async fn checkout(self: Arc<Self>, request: PodRequest) -> Result<PodConn, ConnectError> {
        self.refuse_early(&request)?;
        let fallback = if request.target == Target::Replicas && self.dialler.role == Role::Primary {
            Some(self.permit(&self.fallback_slots).await?)
        } else {
            None
        };
        let slot = self.permit(&self.slots).await?;
        if self.is_closed() {
            return Err(ConnectError::Closed {
                pod: self.pod().clone(),
            });
        }
        let mut conn = match self.reuse(slot).await? {
            Reused::Connection(conn) => *conn,
            Reused::None(slot) => self.connect(slot).await?,
        };
        conn.lease_mut().fallback = fallback;
        if request.target == Target::Primary {
            self.check_writable()?;
        }
        Ok(conn)
    }

    /// What can be said without waiting.
    fn refuse_early(&self, request: &PodRequest) -> Result<(), ConnectError> {
        let mut state = self.lock();
        if let Some((at, failure)) = state.unclaimed_failure.take()
            && at.elapsed() < UNCLAIMED_MEMORY
        {
            return Err(failure);
        }
        if request.target == Target::Primary {
            match state.read_only_at {
                Some(at) if at.elapsed() < ROLE_MEMORY => {
                    return Err(ConnectError::ReadOnly {
                        pod: self.pod().clone(),
                    });
                }
                // Ask again: the answer must come from a new handshake.
                Some(_) => {
                    let stale = std::mem::take(&mut state.idle);
                    self.idle_count.store(0, Ordering::Relaxed);
                    drop(state);
                    drop(stale);
                }
                None => {}
            }
        }
        Ok(())
    }

    fn check_writable(&self) -> Result<(), ConnectError> {
        match self.lock().read_only_at {
            Some(_) => Err(ConnectError::ReadOnly {
                pod: self.pod().clone(),
            }),
            None => Ok(()),
        }
    }

    /// Cancel safe: a place in the queue of a tokio semaphore is handed on when it is dropped.
    async fn permit(&self, slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ConnectError> {
        let permit = Arc::clone(slots).acquire_owned().await;
        permit.map_err(|_| ConnectError::Closed {
            pod: self.pod().clone(),
        })
    }

    /// An idle connection that is alive as far as can be known.
    async fn reuse(self: &Arc<Self>, slot: OwnedSemaphorePermit) -> Result<Reused, ConnectError> {
        while let Some(mut idle) = self.pop_idle() {
            let generation = self.generation.load(Ordering::Acquire);
            let age = idle.since.elapsed();
            if age > self.idle_timeout || idle.era != self.era.load(Ordering::Acquire) {
                continue;
            }
            if age > self.idle_ping_after || idle.generation != generation {
                let Ok(conn) = idle.raw.get() else { continue };
                match tokio::time::timeout(PING_TIMEOUT, conn.ping()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => {
                        self.broke(idle.generation);
                        continue;
                    }
                    // The others would take as long to find out.
                    Err(_) => {
                        self.broke(idle.generation);
                        return Err(ConnectError::Silent {
                            pod: self.pod().clone(),
                            after: PING_TIMEOUT,
                        });
                    }
                }
            }
            let lease = Lease::new(Arc::clone(self), slot, generation, idle.era, idle.origin);
            return Ok(Reused::Connection(Box::new(PodConn::new(idle.raw, lease))));
        }
        Ok(Reused::None(slot))
    }

    /// A new connection, made by a task of its own: a caller that gives up neither wastes it nor
    /// hides that it failed.
    async fn connect(
        self: &Arc<Self>,
        slot: OwnedSemaphorePermit,
    ) -> Result<PodConn, ConnectError> {
        let (give, take) = oneshot::channel();
        let pool = Arc::clone(self);
        self.handle.spawn(async move {
            let Ok(_turn) = pool.connecting.acquire().await else {
                return;
            };
            if give.is_closed() {
                return;
            }
            // One may have come back while this one waited for its turn.
            let result = match pool.reuse(slot).await {
                Ok(Reused::Connection(conn)) => Ok(*conn),
                Ok(Reused::None(slot)) => pool.dial(slot).await,
                Err(error) => Err(error),
            };
            if let Err(Err(unclaimed)) = give.send(result) {
                pool.lock().unclaimed_failure = Some((Instant::now(), unclaimed));
            }
        });
        match take.await {
            Ok(result) => result,
            // The runtime is going down.
            Err(_) => Err(ConnectError::Closed {
                pod: self.pod().clone(),
            }),
        }
    }

    async fn dial(self: &Arc<Self>, slot: OwnedSemaphorePermit) -> Result<PodConn, ConnectError> {
        // All read before the server is asked: what changes meanwhile makes this one old.
        let seen = self.history.seen();
        let generation = self.generation.load(Ordering::Acquire);
        let era = self.era.load(Ordering::Acquire);
        let (raw, facts) = self.dialler.connect().await?;
        let era = self.learn(&facts, era);
        if self.dialler.role == Role::Primary && facts.writable {
            let advanced = self.history.advance(seen.as_deref(), facts.position);
            advanced.map_err(|lost| {
                tracing::error!(
                    pod = %self.pod(), seen = lost.seen, found = lost.found,
                    "the primary has lost history; no write will run on it"
                );
                ConnectError::HistoryLost {
                    pod: self.pod().clone(),
                    seen: lost.seen,
                    found: lost.found,
                }
            })?;
        }
        (self.confirmed)(self);
        let lease = Lease::new(Arc::clone(self), slot, generation, era, facts.origin);
        Ok(PodConn::new(raw, lease))
    }

    /// Takes in what the server said of itself; returns the era the connection belongs to.
    fn learn(&self, facts: &Facts, era: u64) -> u64 {
        let mut state = self.lock();
        state.read_only_at = (!facts.writable).then(Instant::now);
        let changed = state
            .identity
            .as_ref()
            .is_some_and(|known| *known != facts.identity);
        state.identity = Some(facts.identity.clone());
        drop(state);
        if !changed {
            return era;
        }
        tracing::warn!(pod = %self.pod(), identity = facts.identity, "a new server has this address");
        let before = self.era.fetch_add(1, Ordering::AcqRel);
        self.drop_idle(|_| true);
        before + 1
    }
}

enum Reused {
    /// Boxed: it is much larger than a permit.
    Connection(Box<PodConn>),
    None(OwnedSemaphorePermit),
}

/// A pool as the balancer's endpoint: always ready, and everything happens in the future.
#[derive(Debug, Clone)]
pub(crate) struct PodPool(pub(crate) Arc<Pool>);

impl Service<PodRequest> for PodPool {
    type Response = PodConn;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<PodConn, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: PodRequest) -> Self::Future {
        Box::pin(Arc::clone(&self.0).checkout(request))
    }
}
