//! One endpoint: its service, its count of checkouts in flight, its health.
//!
//! Owns the counter and the only thing that may change it, [`Guard`]. It must never hold the
//! health lock across an await, and nothing but a dropped guard lowers the counter.

use super::error::{EndpointReport, EndpointState};
use super::health::{Availability, Health, HealthConfig, Probe};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// An endpoint of the snapshot.
pub(crate) struct Endpoint<S> {
    pub(crate) service: S,
    pub(crate) vitals: Arc<Vitals>,
}

impl<S> Endpoint<S> {
    pub(crate) fn new(key: String, service: S, config: HealthConfig, changed: Arc<Notify>) -> Self {
        Self {
            service,
            vitals: Arc::new(Vitals {
                key,
                in_flight: AtomicUsize::new(0),
                troubled: AtomicBool::new(false),
                health: Mutex::new(Record {
                    health: Health::new(config),
                    last_cause: None,
                }),
                changed,
            }),
        }
    }
}

/// What outlives the endpoint's place in the snapshot: guards report here.
pub(crate) struct Vitals {
    key: String,
    in_flight: AtomicUsize,
    /// False while nothing bad was reported since the last success, so that neither a pick nor a
    /// success has to lock.
    troubled: AtomicBool,
    health: Mutex<Record>,
    /// Waiters of the whole balancer.
    changed: Arc<Notify>,
}

struct Record {
    health: Health,
    last_cause: Option<String>,
}

impl Vitals {
    pub(crate) fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn availability(&self, now: impl FnOnce() -> Instant) -> Availability {
        if self.is_troubled() {
            self.record().health.availability(now())
        } else {
            Availability::Ready
        }
    }

    /// Counts one checkout from now until the guard is dropped.
    pub(crate) fn admit(self: &Arc<Self>) -> Guard {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Guard {
            vitals: Arc::clone(self),
        }
    }

    pub(crate) fn succeeded(&self) {
        if !self.is_troubled() {
            return;
        }
        let mut record = self.record();
        record.health.success();
        if record.health.availability(Instant::now()) == Availability::Ready {
            record.last_cause = None;
            self.troubled.store(false, Ordering::Release);
        }
    }

    /// Remembers why the endpoint did not serve, without a verdict on its health.
    pub(crate) fn note(&self, cause: String) {
        let mut record = self.record();
        self.troubled.store(true, Ordering::Release);
        record.last_cause = Some(cause);
    }

    pub(crate) fn failed(&self, cause: String) {
        let mut record = self.record();
        let ejected = record.health.failure(Instant::now(), rand::random());
        self.troubled.store(true, Ordering::Release);
        tracing::debug!(endpoint = %self.key, cause, "endpoint failed");
        if ejected {
            tracing::warn!(endpoint = %self.key, cause, "endpoint ejected");
        }
        record.last_cause = Some(cause);
    }

    pub(crate) fn condemn(&self, cause: String) {
        let mut record = self.record();
        record.health.condemn(Instant::now(), rand::random());
        self.troubled.store(true, Ordering::Release);
        tracing::warn!(endpoint = %self.key, cause, "endpoint taken out");
        record.last_cause = Some(cause);
    }

    /// Whether anything bad was reported since the last success.
    pub(crate) fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Acquire)
    }

    /// Takes the one probe token, if a probe is due.
    pub(crate) fn begin_probe(self: &Arc<Self>) -> Option<ProbeToken> {
        let epoch = self.record().health.begin_probe(Instant::now())?;
        Some(ProbeToken {
            vitals: Arc::clone(self),
            epoch,
            verdict: Probe::Abandoned,
        })
    }

    pub(crate) fn report(&self, now: Instant) -> EndpointReport {
        let record = self.record();
        let state = match record.health.availability(now) {
            Availability::Ready => EndpointState::Ready,
            Availability::Suspect => EndpointState::Suspect,
            Availability::Ejected(until) => EndpointState::Ejected(until - now),
            Availability::ProbeDue | Availability::Probing => EndpointState::Probing,
        };
        EndpointReport {
            key: self.key.clone(),
            state,
            in_flight: self.load(),
            last_cause: record.last_cause.clone(),
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One checkout in flight: made when an endpoint is picked, before anything is waited for, and
/// moved into the response. Dropping it is the only way the count goes down; a guard given to
/// `mem::forget` counts for ever.
#[must_use = "the checkout counts as over when the guard is dropped"]
pub struct Guard {
    vitals: Arc<Vitals>,
}

impl Guard {
    /// Reports that what was checked out broke. Call it once per event, not once per connection
    /// that the event cut.
    pub fn failed(&self, cause: impl fmt::Display) {
        self.vitals.failed(cause.to_string());
    }

    /// Takes the endpoint out at once: it is proven dead.
    pub fn condemn(&self, cause: impl fmt::Display) {
        self.vitals.condemn(cause.to_string());
    }

    /// Suspects that the endpoint does not answer any more (an operation timed out, say), until
    /// the token has its verdict. Meanwhile the endpoint is picked only if no endpoint that is
    /// ready is to be had. The guard may be dropped before the token.
    pub fn suspect(&self) -> Suspicion {
        let mut record = self.vitals.record();
        let term = record.health.suspect();
        self.vitals.troubled.store(true, Ordering::Release);
        drop(record);
        // Who waits there may find another endpoint now.
        self.vitals.changed.notify_waiters();
        Suspicion {
            vitals: Arc::clone(&self.vitals),
            term,
            confirmed: None,
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("endpoint", &self.vitals.key)
            .finish()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let before = self.vitals.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "more guards dropped than made");
    }
}

/// A suspicion that stands; see [`Guard::suspect`].
///
/// Dropped without a verdict it is cleared. Of several that were raised before the endpoint was
/// ejected the first one to be confirmed ejects it, and the others change nothing, however late
/// they come.
#[must_use = "a suspicion is cleared when it is dropped"]
pub struct Suspicion {
    vitals: Arc<Vitals>,
    term: u64,
    confirmed: Option<String>,
}

impl Suspicion {
    /// The endpoint answers.
    pub fn cleared(self) {}

    /// The endpoint is proven dead: it is ejected at once.
    pub fn confirmed(mut self, cause: impl fmt::Display) {
        self.confirmed = Some(cause.to_string());
    }
}

impl fmt::Debug for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspicion")
            .field("endpoint", &self.vitals.key)
            .finish()
    }
}

impl Drop for Suspicion {
    fn drop(&mut self) {
        let cause = self.confirmed.take();
        {
            // The record stays troubled; the next success puts that right.
            let mut record = self.vitals.record();
            let (now, jitter) = (Instant::now(), rand::random());
            let confirmed = cause.is_some();
            let ejected = record
                .health
                .end_suspicion(self.term, confirmed, now, jitter);
            if let (true, Some(cause)) = (ejected, cause) {
                tracing::warn!(endpoint = %self.vitals.key, cause, "endpoint ejected");
                record.last_cause = Some(cause);
            }
        }
        self.vitals.changed.notify_waiters();
    }
}

/// The right to probe an ejected endpoint. Dropped without a verdict it goes back.
pub(crate) struct ProbeToken {
    vitals: Arc<Vitals>,
    epoch: u64,
    verdict: Probe,
}

impl ProbeToken {
    pub(crate) fn succeeded(mut self) {
        self.verdict = Probe::Succeeded;
    }

    pub(crate) fn learnt_nothing(mut self, pause: Duration) {
        self.verdict = Probe::Inconclusive(pause);
    }

    pub(crate) fn failed(mut self, cause: String) {
        self.verdict = Probe::Failed;
        self.vitals.record().last_cause = Some(cause);
    }
}

impl Drop for ProbeToken {
    fn drop(&mut self) {
        {
            let mut record = self.vitals.record();
            let now = Instant::now();
            record
                .health
                .end_probe(self.epoch, self.verdict, now, rand::random());
            let back = record.health.availability(now) == Availability::Ready;
            if back {
                record.last_cause = None;
                tracing::info!(endpoint = %self.vitals.key, "endpoint is back");
            }
            self.vitals.troubled.store(!back, Ordering::Release);
        }
        self.vitals.changed.notify_waiters();
    }
}
