//! How a connection is had from a pool.
//!
//! Owns the way from a request to a checked connection: the slot, an idle connection that is alive,
//! or a new one. It must never let a caller wait for something that nobody will wake it for: every
//! wait is on a fair semaphore or on a task that always ends; and it must never hand out a
//! connection for writing that was not checked *after* the waiting.

use super::connect::SessionKind;
use super::idle::Idle;
use super::lease::Lease;
use super::podconn::PodConn;
use super::pool::Pool;
use super::request::{PodRequest, Target};
use crate::error::ConnectError;
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

/// A ping that takes longer means that the pod does not answer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// A primary is asked again who it is when its last word is older than this.
const RECONFIRM_AFTER: Duration = Duration::from_secs(3);

/// An unclaimed failure older than this says nothing about now.
const UNCLAIMED_MEMORY: Duration = Duration::from_secs(5);

/// The longest pause (full jitter) before a server that had no room is asked again.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(200);

type Checked = Result<PodConn, ConnectError>;

/// The way to a connection.
pub(crate) type Checkout = BoxFuture<'static, Checked>;

/// A slot, and an idle connection that has to be asked first whether it is alive.
type Begun = (OwnedSemaphorePermit, Option<Idle>);

impl Pool {
    /// A connection that is there and needs no check; else everything is as it was.
    pub(crate) fn at_once(self: &Arc<Self>, target: Target) -> Option<PodConn> {
        // Idle ones first: a slot taken in vain would make the pool look full for a moment.
        if self.idle_count() == 0 || self.knowledge.has_news() {
            return None;
        }
        // Such a read needs a place among those that fall back.
        if target == Target::Replicas && self.is_primary() {
            return None;
        }
        self.check_fit(target).ok()?;
        let kind = target.session_kind();
        if kind == SessionKind::ReadWrite && self.must_reconfirm() {
            return None;
        }
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        let now = Instant::now();
        let is_fresh = |idle: &Idle| !self.is_outdated(idle, now) && !self.is_doubtful(idle, now);
        let idle = self.take_latest(kind, is_fresh)?;
        Some(self.lend(idle, slot))
    }

    pub(super) fn checkout(self: &Arc<Self>, request: PodRequest) -> Checkout {
        Box::pin(Arc::clone(self).wait(request))
    }

    async fn wait(self: Arc<Self>, request: PodRequest) -> Checked {
        self.refuse_early(&request)?;
        let kind = request.target.session_kind();
        let fallback = match (request.target, self.is_primary()) {
            (Target::Replicas, true) => Some(self.permit(&self.fallback_slots).await?),
            _ => None,
        };
        loop {
            let slot = self.permit(&self.slots).await?;
            self.check_fit(request.target)?;
            let obtained = match self.fresh_idle(kind, slot) {
                Ok(conn) => Ok(conn),
                Err((slot, stale)) => self.obtain(kind, slot, stale).await,
            };
            match obtained {
                Ok(mut conn) => {
                    // What is true of the pod may have changed while this call waited.
                    self.check_fit(request.target)?;
                    // So may what its server said of itself.
                    if conn.lease_mut().era != self.era.load(Ordering::Acquire) {
                        continue;
                    }
                    conn.lease_mut().hold.fallback = fallback;
                    return Ok(conn);
                }
                // The server is full, but there are connections of ours: one will come back. A read
                // may find another pod instead.
                Err(ConnectError::Overloaded { .. })
                    if request.target == Target::Primary && self.has_connections() =>
                {
                    tokio::time::sleep(OVERLOAD_PAUSE.mul_f64(rand::random())).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What can be said without waiting.
    fn refuse_early(&self, request: &PodRequest) -> Result<(), ConnectError> {
        let mut known = self.known();
        if let Some((at, failure)) = known.unclaimed.take()
            && at.elapsed() < UNCLAIMED_MEMORY
        {
            return Err(failure);
        }
        if let Some((at, refusal)) = &known.refused {
            let concerns = request.target == Target::Primary && refusal.is_about_writing();
            if concerns && at.elapsed() < refusal.remembered_for() {
                return Err(refusal.clone());
            }
        }
        Ok(())
    }

    /// Whether the pod may serve the request as far as is known at this moment.
    fn check_fit(&self, target: Target) -> Result<(), ConnectError> {
        if self.is_retired() || !self.is_listed() {
            return Err(self.closed());
        }
        if target == Target::Primary && self.is_contested() {
            return Err(ConnectError::Contested {
                pod: self.pod().clone(),
            });
        }
        if target == Target::Primary {
            return self.check_office();
        }
        Ok(())
    }

    /// Whether this pod takes the writes still, and is the only one.
    fn check_office(&self) -> Result<(), ConnectError> {
        let pod = || self.pod().clone();
        if !self.is_primary() {
            return Err(ConnectError::ReadOnly { pod: pod() });
        }
        match self.rival() {
            Some(other) => Err(ConnectError::TwoPrimaries { pod: pod(), other }),
            None => Ok(()),
        }
    }

    /// Cancel safe: a place in the queue of a tokio semaphore is handed on when it is dropped.
    async fn permit(&self, slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ConnectError> {
        let permit = Arc::clone(slots).acquire_owned().await;
        permit.map_err(|_| self.closed())
    }

    /// An idle connection that needs no check, or the slot and an idle connection that does.
    #[allow(
        clippy::result_large_err,
        reason = "nothing fails here: the connection is moved on"
    )]
    fn fresh_idle(
        self: &Arc<Self>,
        kind: SessionKind,
        slot: OwnedSemaphorePermit,
    ) -> Result<PodConn, Begun> {
        let now = Instant::now();
        while let Some(idle) = self.pop_idle(kind) {
            if self.is_outdated(&idle, now) {
                continue;
            }
            if self.needs_check(&idle, kind, now) {
                return Err((slot, Some(idle)));
            }
            return Ok(self.lend(idle, slot));
        }
        Err((slot, None))
    }

    fn is_outdated(&self, idle: &Idle, now: Instant) -> bool {
        self.room.is_stale(idle, now) || idle.era != self.era.load(Ordering::Acquire)
    }

    fn needs_check(&self, idle: &Idle, kind: SessionKind, now: Instant) -> bool {
        idle.kind != kind
            || self.is_doubtful(idle, now)
            || (kind == SessionKind::ReadWrite && self.must_reconfirm())
    }

    /// Whether it may be dead.
    fn is_doubtful(&self, idle: &Idle, now: Instant) -> bool {
        now.saturating_duration_since(idle.since) > self.idle_ping_after
            || idle.generation != self.generation.load(Ordering::Acquire)
    }

    fn must_reconfirm(&self) -> bool {
        let known = self.known();
        known.unfit.is_some() || known.judged.is_none_or(|at| at.elapsed() > RECONFIRM_AFTER)
    }

    fn lend(self: &Arc<Self>, idle: Idle, slot: OwnedSemaphorePermit) -> PodConn {
        let (lease, raw) = Lease::of(idle, Arc::clone(self), slot);
        PodConn::new(raw, lease)
    }

    /// A checked or new connection, had by a task of its own: a caller that gives up neither wastes
    /// it nor hides that it failed.
    async fn obtain(
        self: &Arc<Self>,
        kind: SessionKind,
        slot: OwnedSemaphorePermit,
        stale: Option<Idle>,
    ) -> Result<PodConn, ConnectError> {
        let (give, take) = oneshot::channel();
        let pool = Arc::clone(self);
        self.handle.spawn(async move {
            let result = pool
                .check_or_dial(kind, slot, stale, || give.is_closed())
                .await;
            let Some(result) = result else { return };
            if let Err(Err(unclaimed)) = give.send(result)
                && !unclaimed.is_about_writing()
            {
                pool.known().unclaimed = Some((Instant::now(), unclaimed));
            }
        });
        // An error: the runtime is going down.
        take.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// `None`: nobody wants it any more, and nothing was begun.
    async fn check_or_dial(
        self: &Arc<Self>,
        kind: SessionKind,
        slot: OwnedSemaphorePermit,
        stale: Option<Idle>,
        unwanted: impl Fn() -> bool,
    ) -> Option<Result<PodConn, ConnectError>> {
        let slot = match self.check(kind, slot, stale).await {
            Ok(Ok(conn)) => return Some(Ok(conn)),
            Ok(Err(slot)) => slot,
            Err(error) => return Some(Err(error)),
        };
        let Ok(_turn) = self.connecting.acquire().await else {
            return None;
        };
        if unwanted() {
            return None;
        }
        // One may have come back while this one waited for its turn.
        let slot = match self.fresh_idle(kind, slot) {
            Ok(conn) => return Some(Ok(conn)),
            Err((slot, Some(stale))) => match self.check(kind, slot, Some(stale)).await {
                Ok(Ok(conn)) => return Some(Ok(conn)),
                Ok(Err(slot)) => slot,
                Err(error) => return Some(Err(error)),
            },
            Err((slot, None)) => slot,
        };
        Some(self.dial(kind, slot).await)
    }

    /// Asks idle connections, beginning with `stale`, until one is alive; gives the slot back if
    /// none is.
    pub(super) async fn check(
        self: &Arc<Self>,
        kind: SessionKind,
        slot: OwnedSemaphorePermit,
        stale: Option<Idle>,
    ) -> Result<Result<PodConn, OwnedSemaphorePermit>, ConnectError> {
        let mut next = stale;
        while let Some(mut idle) = next.take() {
            let generation = self.generation.load(Ordering::Acquire);
            let asked = Instant::now();
            match tokio::time::timeout(PING_TIMEOUT, self.ask(&mut idle, kind)).await {
                Ok(Ok(verdict)) => {
                    idle.generation = generation;
                    idle.alive = asked;
                    let conn = self.lend(idle, slot);
                    // Refused for this use, the connection goes back to its pool here.
                    return verdict.map(|()| Ok(conn));
                }
                Ok(Err(_)) => {
                    self.broke(idle.generation);
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
            drop(idle);
            let now = Instant::now();
            let idle = self.pop_idle(kind);
            next = idle.filter(|idle| !self.is_outdated(idle, now));
        }
        Ok(Err(slot))
    }

    /// Whether an idle connection is alive, and the server behind it still what it was; brings its
    /// session to `kind`. The outer error is the connection's, the inner one the pod's.
    async fn ask(
        &self,
        idle: &mut Idle,
        kind: SessionKind,
    ) -> mysql_async::Result<Result<(), ConnectError>> {
        if idle.kind == kind && !(kind == SessionKind::ReadWrite && self.must_reconfirm()) {
            idle.raw.get()?.ping().await?;
            return Ok(Ok(()));
        }
        let seen = self.history.seen();
        let (_, facts) = self.dialler.introduce(&mut idle.raw, kind).await?;
        idle.kind = kind;
        let era = self.era.load(Ordering::Acquire);
        if self.learn(&facts, era) != idle.era {
            // Another server, though the socket is the same: not for anybody.
            return Err(mysql_async::Error::Driver(
                mysql_async::DriverError::ConnectionClosed,
            ));
        }
        Ok(self.judge(facts, &seen, kind))
    }
}
