//! The counters and the health record of one endpoint, apart from its service.
//!
//! Owns the health record and the right to probe. It outlives the endpoint's place in the set,
//! because guards report here. It must never hold the health lock across an await, nor while it
//! wakes a task.

use super::chance::fraction;
use super::counts::Counts;
use super::error::{EndpointReport, EndpointState};
use super::health::{Availability, Health, HealthConfig, Probe};
use super::line::Line;
use super::sync::{
    Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError,
};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The state through which the endpoints of a balancer notify its calls.
pub(crate) struct Announcer {
    /// The calls that wait.
    pub(crate) line: Arc<Line<Arc<Vitals>>>,
    /// An endpoint is ejected and may have no prober: the next call that could use it starts one.
    unprobed: AtomicBool,
    /// Number of calls that hold a [`Place`].
    waiting: AtomicUsize,
}

impl Announcer {
    pub(crate) fn new() -> Self {
        Self {
            line: Arc::new(Line::new()),
            unprobed: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes one of `limit` places for waiting calls. `Err`: all are taken; the number of waiting
    /// calls.
    pub(crate) fn take_place(self: &Arc<Self>, limit: usize) -> Result<Place, usize> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        if waiting >= limit {
            return Err(waiting);
        }
        Ok(place)
    }

    pub(crate) fn needs_prober(&self) -> bool {
        self.unprobed.load(Ordering::Acquire)
    }

    pub(crate) fn set_needs_prober(&self, needs: bool) {
        self.unprobed.store(needs, Ordering::Release);
    }
}

/// A place from [`Announcer::take_place`]; dropping it gives the place back.
pub(crate) struct Place(Arc<Announcer>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module documentation.
pub(crate) struct Vitals {
    key: String,
    pub(crate) counts: Counts,
    /// False while no problem was reported since the last success. Then neither a pick nor a
    /// success takes a lock.
    troubled: AtomicBool,
    /// Copy of the health's term, for guards.
    term: AtomicU64,
    health: Mutex<Record>,
    /// Whether a task holds the right to probe.
    prober: AtomicBool,
    /// Number of calls that could use the endpoint and have no other.
    stranded: AtomicUsize,
    /// Tells the prober about a new stranded call.
    pub(crate) hurry: Notify,
    pub(crate) bell: Arc<Announcer>,
}

#[derive(Debug, Clone)]
struct Record {
    health: Health,
    last_cause: Option<String>,
}

/// The record of an endpoint that was removed while it failed, for its successor of the same name.
pub(crate) struct InheritedHealth(Record);

impl Vitals {
    pub(crate) fn new(
        key: String,
        config: HealthConfig,
        legacy: Option<InheritedHealth>,
        bell: Arc<Announcer>,
    ) -> Self {
        let troubled = legacy.is_some();
        if troubled {
            bell.set_needs_prober(true);
        }
        let record = legacy.map_or_else(
            || Record {
                health: Health::new(config),
                last_cause: None,
            },
            |InheritedHealth(record)| record,
        );
        Self {
            key,
            counts: Counts::new(),
            troubled: AtomicBool::new(troubled),
            term: AtomicU64::new(record.health.term()),
            health: Mutex::new(record),
            prober: AtomicBool::new(false),
            stranded: AtomicUsize::new(0),
            hurry: Notify::new(),
            bell,
        }
    }

    /// The record for a successor of the same name; `None`: there is no problem to remember.
    pub(crate) fn legacy(&self) -> Option<InheritedHealth> {
        let record = self.record();
        let health = record.health.legacy(Instant::now())?;
        let last_cause = record.last_cause.clone();
        Some(InheritedHealth(Record { health, last_cause }))
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    #[inline]
    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn availability(&self) -> Availability {
        if self.is_troubled() {
            self.availability_on_record()
        } else {
            Availability::Ready
        }
    }

    #[cold]
    fn availability_on_record(&self) -> Availability {
        self.record().health.availability(Instant::now())
    }

    /// Whether a problem was reported since the last success.
    #[inline]
    pub(crate) fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Acquire)
    }

    /// `term` is the term of the reporting guard, here and below.
    #[inline]
    pub(crate) fn succeeded(&self, term: u64) {
        if self.is_troubled() {
            self.put_success_on_record(term);
        }
    }

    #[cold]
    fn put_success_on_record(&self, term: u64) {
        let mut record = self.record();
        record.health.success(term);
        if record.health.is_spotless() {
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

    pub(crate) fn failed(self: &Arc<Self>, term: u64, cause: String) {
        tracing::debug!(endpoint = %self.key, cause, "endpoint failed");
        self.change(Some(cause), |health, now, jitter| {
            health.failure(term, now, jitter)
        });
    }

    pub(crate) fn condemn(self: &Arc<Self>, term: u64, cause: String) {
        self.change(Some(cause), |health, now, jitter| {
            health.condemn(term, now, jitter)
        });
    }

    /// Returns the term to which the suspicion belongs.
    pub(crate) fn suspect(self: &Arc<Self>) -> u64 {
        let mut record = self.record();
        let term = record.health.suspect();
        self.troubled.store(true, Ordering::Release);
        drop(record);
        // Calls that wait there may find another endpoint now.
        self.bell.line.ring();
        term
    }

    /// Ends a suspicion; with a `cause` it is confirmed.
    pub(crate) fn end_suspicion(self: &Arc<Self>, term: u64, cause: Option<String>) {
        let confirmed = cause.is_some();
        let ejected = self.change(cause, |health, now, jitter| {
            health.end_suspicion(term, confirmed, now, jitter)
        });
        if !ejected {
            // `troubled` stays set; the next success clears it.
            self.bell.line.ring();
        }
    }

    /// Applies a bad event; `event` returns whether it ejected the endpoint.
    fn change(
        &self,
        cause: Option<String>,
        event: impl FnOnce(&mut Health, Instant, f64) -> bool,
    ) -> bool {
        let mut record = self.record();
        let ejected = event(&mut record.health, Instant::now(), fraction());
        self.troubled.store(true, Ordering::Release);
        self.term.store(record.health.term(), Ordering::Release);
        if let Some(cause) = cause {
            if ejected {
                tracing::warn!(endpoint = %self.key, cause, "endpoint ejected");
            }
            record.last_cause = Some(cause);
        }
        drop(record);
        if ejected {
            self.bell.set_needs_prober(true);
            // Calls that wait for the endpoint may find another one.
            self.bell.line.ring();
        }
        ejected
    }

    /// Takes the single probe token if a probe is due. `Err`: when the ejection ends; `Err(None)`:
    /// the endpoint is not ejected, or a probe is running.
    pub(crate) fn begin_probe(self: &Arc<Self>) -> Result<ProbeToken, Option<Instant>> {
        let mut record = self.record();
        let now = Instant::now();
        match record.health.begin_probe(now) {
            Some(epoch) => Ok(ProbeToken {
                vitals: Arc::clone(self),
                epoch,
                verdict: Probe::Abandoned,
                cause: None,
            }),
            None => Err(match record.health.availability(now) {
                Availability::Ejected(until) => Some(until),
                _ => None,
            }),
        }
    }

    /// When to probe an endpoint whose ejection ends at `until`: sooner if a call has no other
    /// endpoint.
    pub(crate) fn next_probe(&self, until: Instant) -> Instant {
        if self.stranded.load(Ordering::SeqCst) == 0 {
            return until;
        }
        let soon = self.record().health.hurry(Instant::now(), fraction());
        soon.unwrap_or(until)
    }

    pub(crate) fn strand(&self) {
        self.stranded.fetch_add(1, Ordering::SeqCst);
        self.hurry.notify_one();
    }

    pub(crate) fn unstrand(&self) {
        self.stranded.fetch_sub(1, Ordering::SeqCst);
    }

    /// Takes the right to be the endpoint's prober, if it is ejected and the right is free.
    pub(crate) fn claim_prober(self: &Arc<Self>) -> Option<ProberClaim> {
        if !self.is_out() || self.prober.swap(true, Ordering::SeqCst) {
            return None;
        }
        Some(ProberClaim(Arc::clone(self)))
    }

    pub(crate) fn is_out(&self) -> bool {
        let availability = self.availability();
        !matches!(availability, Availability::Ready | Availability::Suspect)
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
            in_flight: self.counts.in_flight(),
            last_cause: record.last_cause.clone(),
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run one probe of an ejected endpoint. Dropping it without a verdict makes the probe
/// due again.
pub(crate) struct ProbeToken {
    vitals: Arc<Vitals>,
    epoch: u64,
    verdict: Probe,
    cause: Option<String>,
}

impl ProbeToken {
    pub(crate) fn succeeded(mut self) {
        self.verdict = Probe::Succeeded;
    }

    pub(crate) fn overloaded(mut self, cause: String) {
        self.verdict = Probe::Overloaded;
        self.cause = Some(cause);
    }

    pub(crate) fn failed(mut self, cause: String) {
        self.verdict = Probe::Failed;
        self.cause = Some(cause);
    }
}

impl Drop for ProbeToken {
    fn drop(&mut self) {
        // A retry at once would panic again, so a panic counts as a failure.
        if self.verdict == Probe::Abandoned && std::thread::panicking() {
            self.verdict = Probe::Failed;
            self.cause = Some("the probe panicked".to_owned());
        }
        let back = {
            let mut record = self.vitals.record();
            let now = Instant::now();
            let health = &mut record.health;
            let back = health.end_probe(self.epoch, self.verdict, now, fraction());
            self.vitals.term.store(health.term(), Ordering::Release);
            if let Some(cause) = self.cause.take() {
                record.last_cause = Some(cause);
            }
            if back {
                record.last_cause = None;
                self.vitals.troubled.store(false, Ordering::Release);
                tracing::info!(endpoint = %self.vitals.key, "endpoint is back");
            }
            back
        };
        // While the endpoint is still ejected no call can use it; its prober goes on.
        if back {
            self.vitals.bell.line.ring();
        }
    }
}

/// The right to be an endpoint's prober; see [`Vitals::claim_prober`].
pub(crate) struct ProberClaim(Arc<Vitals>);

impl Drop for ProberClaim {
    fn drop(&mut self) {
        let vitals = &self.0;
        vitals.prober.store(false, Ordering::SeqCst);
        if vitals.is_out() {
            vitals.bell.set_needs_prober(true);
            // A call that came while the right was still taken must start the next prober.
            if vitals.counts.is_wanted() {
                vitals.bell.line.ring();
            }
        }
    }
}
