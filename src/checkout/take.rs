//! How a checkout gets a connection from a pool.
//!
//! Owns the steps from a request to a checked connection: an idle connection that is alive, or a
//! place in the queue for one. A call must never wait for something that no event ends: each wait
//! is in a fair queue, or for a task that always ends. A connection for writing must never be
//! handed out unless it was checked *after* the wait.

use crate::checkout::request::PodRequest;
use crate::conn::lease::Lease;
use crate::conn::patience::{BOUNDS, Silence};
use crate::conn::podconn::PodConn;
use crate::error::{ConnectError, InUse};
use crate::pool::idle::Idle;
use crate::pool::inquiry::Found;
use crate::pool::state::Pool;
use crate::routing::{Duty, Target};
use crate::server::failure::{Cause, of_connect_error};
use crate::server::session_kind::SessionKind;
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A primary whose last identity check is older than this is checked again.
const RECONFIRM_AFTER: Duration = Duration::from_secs(3);

/// An unclaimed failure older than this says nothing about the present.
const UNCLAIMED_MEMORY: Duration = Duration::from_secs(5);

type Checked = Result<PodConn, ConnectError>;

/// The future of a checkout.
pub(crate) type Checkout = BoxFuture<'static, Checked>;

impl Pool {
    /// Lends an idle connection that needs no check. If there is none, nothing changes.
    pub(crate) fn at_once(self: &Arc<Self>, request: &PodRequest) -> Option<PodConn> {
        if self.idle_count() == 0 || self.knowledge.has_news() {
            return None;
        }
        // A fallback read needs a fallback slot as well.
        if request.duty_of(self) != Some(Duty::Regular) {
            return None;
        }
        self.check_fit(request.target).ok()?;
        let kind = request.target.session_kind();
        if kind == SessionKind::ReadWrite && self.must_reconfirm() {
            return None;
        }
        let now = Instant::now();
        let is_fresh = |idle: &Idle| !self.is_outdated(idle, now) && !self.is_doubtful(idle, now);
        let idle = self.idle.take_latest(kind, is_fresh)?;
        Some(self.lend(idle))
    }

    pub(crate) fn checkout(self: &Arc<Self>, request: PodRequest) -> Checkout {
        Box::pin(Arc::clone(self).wait(request))
    }

    async fn wait(self: Arc<Self>, request: PodRequest) -> Checked {
        self.refuse_early(&request)?;
        let kind = request.target.session_kind();
        let duty = request.duty_of(&self);
        let fallback = match duty {
            Some(Duty::Fallback) if !request.probe => {
                let place = self.fallback.place().await;
                Some(place.ok_or_else(|| self.closed())?)
            }
            _ => None,
        };
        let had_room = !self.is_full();
        loop {
            self.check_request(&request)?;
            let idle = self.idle_or_new(kind, had_room).await?;
            let now = Instant::now();
            if self.is_outdated(&idle, now) {
                continue;
            }
            let mut conn = match self.needs_check(&idle, kind, now) {
                false => self.lend(idle),
                true => match self.checked(kind, idle).await? {
                    Some(conn) => conn,
                    None => continue,
                },
            };
            // The pod's state may have changed while this call waited.
            self.check_request(&request)?;
            self.check_duty(&request, duty)?;
            // The server may have changed as well, and with it the era of its connections.
            if conn.lease_mut().kept.era != self.era.load(Ordering::Acquire) {
                continue;
            }
            conn.lease_mut().hold.fallback = fallback;
            return Ok(conn);
        }
    }

    /// The connection that was used last, or the next one that is returned to or made for the
    /// queue.
    ///
    /// `had_room`: the call came because the pool had room. If the pool turns out to be full, the
    /// call ends with an error and tries a pool with room.
    async fn idle_or_new(
        self: &Arc<Self>,
        kind: SessionKind,
        had_room: bool,
    ) -> Result<Idle, ConnectError> {
        let mut turn = match self.idle.pop_or_wait(kind) {
            Some(Ok(idle)) => return Ok(idle),
            Some(Err(turn)) => turn,
            None => return Err(self.closed()),
        };
        self.grow();
        let mut given = pin!(turn.given());
        loop {
            let mut not_made = pin!(self.not_made.notified());
            // Enable before the checks, or an event between the checks and the wait would be
            // missed.
            not_made.as_mut().enable();
            if had_room && self.growth.is_blocked() {
                return Err(self.cannot_grow());
            }
            tokio::select! {
                biased;
                idle = &mut given => return idle.ok_or_else(|| self.closed()),
                () = not_made => {}
            }
            if let Some((_, failure)) = self.known().unclaimed.take() {
                return Err(failure);
            }
            // Another call took the failure and ended in place of this one: try to make a
            // connection again.
            self.grow();
        }
    }

    fn cannot_grow(&self) -> ConnectError {
        let book = self.growth.book();
        ConnectError::AllInUse(InUse {
            pod: self.pod().clone(),
            connections: book.made(),
            limit: book.refusal().map(ToString::to_string).unwrap_or_default(),
        })
    }

    /// Reports that no connection is available because others use all of them. Fallback reads may
    /// use fewer connections.
    pub(crate) fn all_in_use(&self, duty: Duty) -> Option<InUse> {
        let in_use = |connections, limit| InUse {
            pod: self.pod().clone(),
            connections,
            limit,
        };
        if duty == Duty::Fallback && self.fallback.is_full() {
            let limit = "half of the primary's, for reads without a replica";
            return Some(in_use(self.fallback.size(), limit.to_owned()));
        }
        if self.idle_count() > 0 {
            return None;
        }
        let book = self.growth.book();
        book.is_complete().map(|limit| in_use(book.made(), limit))
    }

    /// Refuses a request whose failure is known without waiting.
    fn refuse_early(&self, request: &PodRequest) -> Result<(), ConnectError> {
        let mut known = self.known();
        let unclaimed = known.unclaimed.take();
        if request.probe {
            return Ok(());
        }
        // Only network failures count: a server may answer differently now, but a pod that does not
        // answer must be noticed.
        if let Some((at, failure)) = unclaimed
            && at.elapsed() < UNCLAIMED_MEMORY
            && of_connect_error(&failure).cause == Cause::Network
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

    /// As [`Pool::check_fit`], except for probes: they must reach the pod whatever it may serve.
    fn check_request(&self, request: &PodRequest) -> Result<(), ConnectError> {
        match request.probe {
            true => Ok(()),
            false => self.check_fit(request.target),
        }
    }

    /// Whether the pod may serve requests for `target`, as far as is known now.
    fn check_fit(&self, target: Target) -> Result<(), ConnectError> {
        if !self.takes_calls() {
            return Err(self.closed());
        }
        if target == Target::Primary && self.disputes.is_contested() {
            return Err(ConnectError::Contested {
                pod: self.pod().clone(),
            });
        }
        if target == Target::Primary {
            return self.check_is_primary();
        }
        Ok(())
    }

    /// Refuses a read if the pod has become less fit for it since the pick: the handshake may have
    /// shown that the pod is no replica.
    fn check_duty(&self, request: &PodRequest, picked: Option<Duty>) -> Result<(), ConnectError> {
        let now = request.duty_of(self);
        let is_worse = now.is_none() || now > picked;
        if !is_worse || request.probe || request.target == Target::Primary {
            return Ok(());
        }
        match self.objection() {
            None => Ok(()),
            Some(reason) => Err(ConnectError::NotReplica {
                pod: self.pod().clone(),
                reason,
            }),
        }
    }

    /// Whether this pod is still the primary, and the only one.
    fn check_is_primary(&self) -> Result<(), ConnectError> {
        let pod = || self.pod().clone();
        if !self.is_primary() {
            return Err(ConnectError::ReadOnly { pod: pod() });
        }
        match self.disputes.rival() {
            Some(other) => Err(ConnectError::TwoPrimaries { pod: pod(), other }),
            None => Ok(()),
        }
    }

    fn is_outdated(&self, idle: &Idle, now: Instant) -> bool {
        self.limits.is_stale(idle, now) || idle.kept.era != self.era.load(Ordering::Acquire)
    }

    fn needs_check(&self, idle: &Idle, kind: SessionKind, now: Instant) -> bool {
        idle.kept.kind != kind
            || self.is_doubtful(idle, now)
            || (kind == SessionKind::ReadWrite && self.must_reconfirm())
    }

    /// Whether the connection may be dead.
    fn is_doubtful(&self, idle: &Idle, now: Instant) -> bool {
        now.saturating_duration_since(idle.since) > self.idle_ping_after
            || idle.kept.generation != self.generation.load(Ordering::Acquire)
    }

    fn must_reconfirm(&self) -> bool {
        let known = self.known();
        let epoch = self.history.epoch();
        known.unfit.is_some()
            || known
                .judged
                .is_none_or(|(at, judged_in)| at.elapsed() > RECONFIRM_AFTER || judged_in != epoch)
    }

    pub(crate) fn lend(self: &Arc<Self>, idle: Idle) -> PodConn {
        let (lease, raw) = Lease::of(idle, Arc::clone(self));
        PodConn::new(raw, lease)
    }

    /// As [`Pool::check`], in a task of its own: if the caller gives up, the connection is not
    /// wasted, and a pod that does not answer is still noticed.
    async fn checked(
        self: &Arc<Self>,
        kind: SessionKind,
        idle: Idle,
    ) -> Result<Option<PodConn>, ConnectError> {
        let (give, take) = oneshot::channel();
        let pool = Arc::clone(self);
        self.handle.spawn(async move {
            let result = pool.check(kind, idle).await;
            if let Err(Err(unclaimed)) = give.send(result)
                && !unclaimed.is_about_writing()
            {
                pool.known().unclaimed = Some((Instant::now(), unclaimed));
            }
        });
        // An error means that the runtime is shutting down.
        take.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Checks idle connections, beginning with `first`, until one is alive; `None`: none is.
    pub(crate) async fn check(
        self: &Arc<Self>,
        kind: SessionKind,
        first: Idle,
    ) -> Result<Option<PodConn>, ConnectError> {
        let mut next = Some(first);
        while let Some(mut idle) = next.take() {
            let generation = self.generation.load(Ordering::Acquire);
            let asked = Instant::now();
            match self.ask_in_time(&mut idle, kind).await {
                Ok(Ok(verdict)) => {
                    idle.kept.generation = generation;
                    idle.kept.alive = asked;
                    self.growth.heard();
                    let conn = self.lend(idle);
                    // If the verdict is a refusal, the connection returns to its pool here.
                    return verdict.map(|()| Some(conn));
                }
                Ok(Err(_)) => {
                    self.broke(idle.kept.generation);
                }
                Err(silence) => {
                    self.broke(idle.kept.generation);
                    if silence == Silence::Pod {
                        self.idle.drop_those(|other| other.kept.alive < asked);
                        return Err(ConnectError::Silent {
                            pod: self.pod().clone(),
                            after: asked.elapsed(),
                        });
                    }
                    self.distrust_flows(asked);
                    self.bury(idle);
                    return Ok(None);
                }
            }
            drop(idle);
            let now = Instant::now();
            let idle = self.idle.pop(kind);
            next = idle.filter(|idle| !self.is_outdated(idle, now));
        }
        Ok(None)
    }

    /// As [`Pool::ask`], with a time limit. If a connection stays silent while its pod answers on
    /// another one, its network flow is lost.
    async fn ask_in_time(
        self: &Arc<Self>,
        idle: &mut Idle,
        kind: SessionKind,
    ) -> Result<mysql_async::Result<Result<(), ConnectError>>, Silence> {
        let [soon, latest] = BOUNDS;
        let silent = async {
            tokio::time::sleep(self.dialler.sign_of_life(soon)).await;
            match self.inquire(soon).await {
                Found::Threads(_) => Silence::Flow,
                Found::Nothing => Silence::Pod,
                Found::NotAsked => {
                    tokio::time::sleep(latest).await;
                    Silence::Pod
                }
            }
        };
        tokio::select! {
            biased;
            answer = self.ask(idle, kind) => Ok(answer),
            silence = silent => Err(silence),
        }
    }

    /// Checks that an idle connection is alive and that its server has not changed, and sets its
    /// session to `kind`. The outer error is about the connection, the inner one about the pod.
    async fn ask(
        self: &Arc<Self>,
        idle: &mut Idle,
        kind: SessionKind,
    ) -> mysql_async::Result<Result<(), ConnectError>> {
        if idle.kept.kind == kind && !(kind == SessionKind::ReadWrite && self.must_reconfirm()) {
            idle.raw.get()?.ping().await?;
            return Ok(Ok(()));
        }
        self.examine(idle, kind).await
    }
}
