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
        self.troubled.store(true, Ordering::Release);
        self.record().last_cause = Some(cause);
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
