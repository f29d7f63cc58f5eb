//! The health of one endpoint as a pure state machine.
//!
//! Owns the decision whether an endpoint may be picked, and when it may be tried again.
//! It must never read a clock or draw a random number: both are passed in, so that every
//! transition can be tested without a runtime.
//!
//! ```text
//!  Suspect
//!   │  ▲     the suspicion is confirmed
//!   │  │ ────────────────────────────────────┐
//!   ▼  │     `threshold` failures in a row,  ▼ or one that condemns
//!   Closed ───────────────────────────────────────────────▶ Ejected(until)
//!     ▲                                                        │ `until` has passed:
//!     │ the probe succeeds                                     │ exactly one probe starts
//!     └──────────────── Probing(epoch) ◀───────────────────────┘
//!                          │      │ dropped without a verdict: back to Ejected, due at once
//!                          └──────┴─▶ Ejected(until), longer than before
//! ```
//!
//! Only the connection counts: an SQL error, a deadlock or a caller's own deadline is neither a
//! success nor a failure of the endpoint.

use std::time::Duration;
use tokio::time::Instant;

/// When an endpoint is taken out, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct HealthConfig {
    /// Failures in a row that eject an endpoint. Default 3; lower it only where one failed
    /// connect is proof.
    pub threshold: u32,
    /// The first ejection lasts between zero and this long (full jitter). Default 100 ms.
    pub base: Duration,
    /// No ejection lasts longer than this (full jitter here too). Default 1 s: a probe a second
    /// is cheap, and a pod that is back is used within two seconds.
    pub cap: Duration,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            threshold: 3,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(1),
        }
    }
}

/// What an endpoint may be used for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Pick it.
    Ready,
    /// Pick it only if nobody who is ready is to be had: it may not answer any more.
    Suspect,
    /// Not before this instant.
    Ejected(Instant),
    /// The ejection is over: somebody has to probe it.
    ProbeDue,
    /// A probe is on its way; its end is announced.
    Probing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Ejected { until: Instant },
    Probing { epoch: u64 },
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Health {
    config: HealthConfig,
    state: State,
    /// Failures since the last success.
    failures: u32,
    /// Ejections since the last success: the exponent of the backoff.
    ejections: u32,
    /// Numbers probes, so that a verdict that arrives late cannot end a later probe.
    epoch: u64,
    /// Suspicions that stand. Only a closed endpoint has any.
    suspicions: u32,
    /// Grows whenever the endpoint goes out or comes back. A suspicion of an earlier term has
    /// nothing more to say: several that were raised by one event eject once.
    term: u64,
}

impl Health {
    pub(crate) fn new(config: HealthConfig) -> Self {
        Self {
            config,
            state: State::Closed,
            failures: 0,
            ejections: 0,
            epoch: 0,
            suspicions: 0,
            term: 0,
        }
    }

    pub(crate) fn availability(&self, now: Instant) -> Availability {
        match self.state {
            State::Closed if self.suspicions > 0 => Availability::Suspect,
            State::Closed => Availability::Ready,
            State::Ejected { until } if until <= now => Availability::ProbeDue,
            State::Ejected { until } => Availability::Ejected(until),
            State::Probing { .. } => Availability::Probing,
        }
    }

    /// A connection was obtained in normal operation.
    ///
    /// While the endpoint is ejected this says nothing: a connection made before the trouble must
    /// not vouch for the time after it.
    pub(crate) fn success(&mut self) {
        if self.state == State::Closed {
            self.failures = 0;
            self.ejections = 0;
        }
    }

    /// No usable connection could be had, or one broke. Returns whether this ejected the endpoint.
    ///
    /// `jitter` is uniform in `[0, 1)`.
    pub(crate) fn failure(&mut self, now: Instant, jitter: f64) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.state == State::Closed && self.failures >= self.config.threshold {
            self.eject(now, jitter);
            return true;
        }
        false
    }

    /// Backs off as after an ejection, whatever the count of failures: the endpoint said that it
    /// has no room, or is proven dead.
    pub(crate) fn condemn(&mut self, now: Instant, jitter: f64) {
        if self.state == State::Closed {
            self.eject(now, jitter);
        }
    }

    /// Raises a suspicion; the number goes to [`Health::end_suspicion`].
    pub(crate) fn suspect(&mut self) -> u64 {
        // Who is out already cannot become more suspect; the term tells such a token from those
        // of the time after the return.
        if self.state == State::Closed {
            self.suspicions += 1;
        }
        self.term
    }

    /// Ends one suspicion of `term`. Returns whether this ejected the endpoint.
    pub(crate) fn end_suspicion(
        &mut self,
        term: u64,
        confirmed: bool,
        now: Instant,
        jitter: f64,
    ) -> bool {
        if term != self.term || self.state != State::Closed {
            return false;
        }
        self.suspicions = self.suspicions.saturating_sub(1);
        if confirmed {
            self.eject(now, jitter);
        }
        confirmed
    }

    /// Starts the one probe, if it is due. The number goes to [`Health::end_probe`].
    pub(crate) fn begin_probe(&mut self, now: Instant) -> Option<u64> {
        if self.availability(now) != Availability::ProbeDue {
            return None;
        }
        self.epoch += 1;
        self.state = State::Probing { epoch: self.epoch };
        Some(self.epoch)
    }

    /// Ends probe `epoch`; a verdict for any other epoch is ignored.
    pub(crate) fn end_probe(&mut self, epoch: u64, verdict: Probe, now: Instant, jitter: f64) {
        if self.state != (State::Probing { epoch }) {
            return;
        }
        match verdict {
            Probe::Succeeded => {
                self.state = State::Closed;
                self.term += 1;
                self.failures = 0;
                self.ejections = 0;
            }
            Probe::Failed => self.eject(now, jitter),
            Probe::Inconclusive(pause) => {
                self.state = State::Ejected { until: now + pause };
            }
            Probe::Abandoned => self.state = State::Ejected { until: now },
        }
    }

    /// Full jitter, also at the cap: `uniform(0, min(cap, base * 2^n))`.
    fn eject(&mut self, now: Instant, jitter: f64) {
        let factor = 2u32.saturating_pow(self.ejections.min(16));
        let longest = self.config.base.saturating_mul(factor).min(self.config.cap);
        self.ejections = self.ejections.saturating_add(1);
        self.suspicions = 0;
        self.term += 1;
        self.state = State::Ejected {
            until: now + longest.mul_f64(jitter.clamp(0.0, 1.0)),
        };
    }
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    Succeeded,
    Failed,
    /// Nobody was asked, or the answer says nothing about health: to be tried again after this
    /// time.
    Inconclusive(Duration),
    /// Dropped without a verdict.
    Abandoned,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn machine() -> (Health, Instant) {
        (Health::new(HealthConfig::default()), Instant::now())
    }

    fn ejected() -> (Health, Instant) {
        let (mut health, now) = machine();
        for _ in 0..3 {
            health.failure(now, 0.5);
        }
        (health, now)
    }

    #[test]
    fn two_failures_and_a_success_eject_nobody() {
        let (mut health, now) = machine();
        for _ in 0..10 {
            assert!(!health.failure(now, 0.5));
            assert!(!health.failure(now, 0.5));
            health.success();
        }
        assert_eq!(health.availability(now), Availability::Ready);
    }

    #[test]
    fn three_failures_in_a_row_eject_until_a_jittered_instant() {
        let (health, now) = ejected();
        let until = now + Duration::from_millis(50);
        assert_eq!(health.availability(now), Availability::Ejected(until));
        assert_eq!(health.availability(until), Availability::ProbeDue);
    }

    #[test]
    fn exactly_one_probe_starts_when_the_ejection_is_over() {
        let (mut health, now) = ejected();
        assert_eq!(health.begin_probe(now), None);
        let later = now + Duration::from_secs(1);
        assert_eq!(health.begin_probe(later), Some(1));
        assert_eq!(health.begin_probe(later), None);
        assert_eq!(health.availability(later), Availability::Probing);
    }

    #[test]
    fn a_failed_probe_doubles_the_longest_ejection_up_to_the_cap() {
        let (mut health, mut now) = ejected();
        for expected in [200, 400, 800, 1000, 1000] {
            now += Duration::from_secs(2);
            let epoch = health.begin_probe(now).unwrap();
            health.end_probe(epoch, Probe::Failed, now, 1.0);
            let until = now + Duration::from_millis(expected);
            assert_eq!(health.availability(now), Availability::Ejected(until));
        }
    }

    #[test]
    fn an_abandoned_probe_is_due_again_at_once() {
        let (mut health, now) = ejected();
        let later = now + Duration::from_secs(1);
        let epoch = health.begin_probe(later).unwrap();
        health.end_probe(epoch, Probe::Abandoned, later, 0.5);
        assert_eq!(health.begin_probe(later), Some(epoch + 1));
    }

    #[test]
    fn an_inconclusive_probe_is_repeated_after_a_pause_and_lengthens_nothing() {
        let (mut health, now) = ejected();
        let later = now + Duration::from_secs(1);
        let epoch = health.begin_probe(later).unwrap();
        let pause = Duration::from_millis(100);
        health.end_probe(epoch, Probe::Inconclusive(pause), later, 1.0);
        let until = later + pause;
        assert_eq!(health.availability(later), Availability::Ejected(until));
        let epoch = health.begin_probe(until).unwrap();
        health.end_probe(epoch, Probe::Failed, until, 1.0);
        let until = until + Duration::from_millis(200);
        assert_eq!(health.availability(later), Availability::Ejected(until));
    }

    #[test]
    fn a_late_verdict_of_an_earlier_probe_changes_nothing() {
        let (mut health, now) = ejected();
        let later = now + Duration::from_secs(1);
        let first = health.begin_probe(later).unwrap();
        health.end_probe(first, Probe::Abandoned, later, 0.5);
        health.begin_probe(later).unwrap();
        health.end_probe(first, Probe::Succeeded, later, 0.5);
        assert_eq!(health.availability(later), Availability::Probing);
    }

    #[test]
    fn a_success_of_an_old_connection_does_not_end_an_ejection() {
        let (mut health, now) = ejected();
        health.success();
        assert!(matches!(health.availability(now), Availability::Ejected(_)));
    }

    #[test]
    fn a_suspicion_stands_until_it_is_cleared() {
        let (mut health, now) = machine();
        let first = health.suspect();
        let second = health.suspect();
        assert_eq!(health.availability(now), Availability::Suspect);
        assert!(!health.end_suspicion(first, false, now, 0.5));
        assert_eq!(health.availability(now), Availability::Suspect);
        health.success();
        assert_eq!(health.availability(now), Availability::Suspect);
        assert!(!health.end_suspicion(second, false, now, 0.5));
        assert_eq!(health.availability(now), Availability::Ready);
    }

    #[test]
    fn suspicions_of_one_event_eject_once() {
        let (mut health, now) = machine();
        let tokens = [health.suspect(), health.suspect(), health.suspect()];
        assert!(health.end_suspicion(tokens[0], true, now, 0.5));
        let until = now + Duration::from_millis(50);
        assert_eq!(health.availability(now), Availability::Ejected(until));
        assert!(!health.end_suspicion(tokens[1], true, now, 0.9));
        assert_eq!(health.availability(now), Availability::Ejected(until));
        // Back before the last of them is confirmed.
        let epoch = health.begin_probe(until).unwrap();
        let late = health.suspect();
        health.end_probe(epoch, Probe::Succeeded, until, 0.5);
        assert!(!health.end_suspicion(tokens[2], true, until, 0.5));
        assert!(!health.end_suspicion(late, true, until, 0.5));
        assert_eq!(health.availability(until), Availability::Ready);
    }

    #[test]
    fn a_late_clearance_does_not_clear_a_newer_suspicion() {
        let (mut health, now) = machine();
        let old = health.suspect();
        health.condemn(now, 0.5);
        let later = now + Duration::from_secs(1);
        let epoch = health.begin_probe(later).unwrap();
        health.end_probe(epoch, Probe::Succeeded, later, 0.5);
        assert_eq!(health.availability(later), Availability::Ready);
        let new = health.suspect();
        health.end_suspicion(old, false, later, 0.5);
        assert_eq!(health.availability(later), Availability::Suspect);
        assert!(health.end_suspicion(new, true, later, 0.5));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Success,
        Failure,
        Condemn,
        Wait(u16),
        Probe(Probe),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Success),
            Just(Step::Failure),
            Just(Step::Condemn),
            (0u16..2000).prop_map(Step::Wait),
            Just(Step::Probe(Probe::Succeeded)),
            Just(Step::Probe(Probe::Failed)),
            Just(Step::Probe(Probe::Abandoned)),
            Just(Step::Probe(Probe::Inconclusive(Duration::from_millis(100)))),
        ]
    }

    proptest! {
        /// Whatever happens, an endpoint can be used or probed again within the cap.
        #[test]
        fn no_sequence_of_events_keeps_an_endpoint_out_beyond_the_cap(
            steps in proptest::collection::vec((step(), 0.0f64..1.0), 0..60)
        ) {
            let (mut health, mut now) = machine();
            for (step, jitter) in steps {
                match step {
                    Step::Success => health.success(),
                    Step::Failure => { health.failure(now, jitter); }
                    Step::Condemn => health.condemn(now, jitter),
                    Step::Wait(ms) => now += Duration::from_millis(ms.into()),
                    Step::Probe(verdict) => {
                        if let Some(epoch) = health.begin_probe(now) {
                            health.end_probe(epoch, verdict, now, jitter);
                        }
                    }
                }
            }
            let later = now + HealthConfig::default().cap;
            prop_assert!(matches!(
                health.availability(later),
                Availability::Ready | Availability::ProbeDue
            ));
        }
    }
}
