//! The health of one endpoint as a pure state machine.
//!
//! Owns the decision whether an endpoint may be picked, and when it may be tried again.
//! It must never read a clock or draw a random number: both are passed in, so that every
//! transition can be tested without a runtime.
//!
//! ```text
//!             suspicions, none confirmed
//!             ┌────────────────────────┐
//!             ▼                        │
//!   ┌──────────────────┐  suspect ┌────┴────┐
//!   │      Closed      │─────────▶│ Suspect │
//!   └──────────────────┘          └─────────┘
//!     ▲              │ `threshold` failures  │ the suspicion is confirmed;
//!     │              │ in a row; condemned   │ failures and condemnation, too
//!     │              ▼                       ▼
//!     │       ┌──────────────────────────────────┐
//!     │       │ Ejected(until)                   │◀───────────────┐
//!     │       └──────────────────────────────────┘                │
//!     │              │ `until` has passed: exactly one probe       │
//!     │              ▼                                             │
//!     │       ┌──────────────────────────────────┐ failed: longer  │
//!     └───────│ Probing(epoch)                   │─────────────────┘
//!   succeeded └──────────────────────────────────┘ no verdict: due at once
//! ```
//!
//! * *Closed*: picked. *Suspect*: picked only if nobody closed is to be had. *Ejected* and
//!   *Probing*: not picked.
//! * An overloaded endpoint (it said that it has no room) is ejected in the same way, without being
//!   counted as failed.
//! * An ejection lasts a random time up to `base * 2^n`, n being the ejections since the last
//!   success, and up to `cap` at most: full jitter, so that many clients do not come back at once.
//! * While a call waits that nobody can serve, an ejection is cut to `urgent_cap` (jittered, too).
//! * Each ejection and each return begins a new *term*. What began in an earlier term says nothing
//!   about this one: ten connections that one event cuts eject once, and an old connection that
//!   still works does not vouch for a dead endpoint.
//! * A verdict on a probe carries its *epoch*; a late one changes nothing.
//! * An endpoint that is removed while it fails, and comes back under its name within `memory`, comes
//!   back as it went.
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
    /// An endpoint that was removed while it failed and is inserted again under the same key
    /// within this time keeps its health: a stale answer of discovery does not resurrect it
    /// without a probe. Default 60 s.
    pub memory: Duration,
    /// As `cap`, for an endpoint that passes its probes and then fails in use. Default 5 s: each
    /// time it is let in again costs a call, but it may be the only one that can serve.
    pub relapse_cap: Duration,
    /// As `cap`, while a call waits that no endpoint can serve. Default 200 ms: a lone endpoint that
    /// has restarted is used a quarter of a second after it accepts connections. One that relapses
    /// has `cap` then; one that said that it has no room is not hurried.
    pub urgent_cap: Duration,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            threshold: 3,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(1),
            memory: Duration::from_secs(60),
            relapse_cap: Duration::from_secs(5),
            urgent_cap: Duration::from_millis(200),
        }
    }
}

impl HealthConfig {
    /// Sets [`threshold`](Self::threshold).
    #[must_use]
    pub fn with_threshold(mut self, failures: u32) -> Self {
        self.threshold = failures;
        self
    }

    /// Sets [`base`](Self::base).
    #[must_use]
    pub fn with_base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets [`cap`](Self::cap).
    #[must_use]
    pub fn with_cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets [`memory`](Self::memory).
    #[must_use]
    pub fn with_memory(mut self, memory: Duration) -> Self {
        self.memory = memory;
        self
    }

    /// Sets [`relapse_cap`](Self::relapse_cap).
    #[must_use]
    pub fn with_relapse_cap(mut self, cap: Duration) -> Self {
        self.relapse_cap = cap;
        self
    }

    /// Sets [`urgent_cap`](Self::urgent_cap).
    #[must_use]
    pub fn with_urgent_cap(mut self, cap: Duration) -> Self {
        self.urgent_cap = cap;
        self
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
#[derive(Debug, Clone)]
pub(crate) struct Health {
    config: HealthConfig,
    state: State,
    /// Failures since the last success.
    failures: u32,
    /// Ejections since the last success: the exponent of the backoff.
    ejections: u32,
    /// Probes that succeeded since the last success in use.
    relapses: u32,
    /// Numbers probes, so that a verdict that arrives late cannot end a later probe.
    epoch: u64,
    /// Suspicions that stand. Only a closed endpoint has any.
    suspicions: u32,
    /// Grows whenever the endpoint goes out or comes back. A suspicion of an earlier term has
    /// nothing more to say: several that were raised by one event eject once.
    term: u64,
    /// It is out because it has no room: more attempts would not make any.
    overloaded: bool,
    /// This ejection was cut short already.
    hurried: bool,
}

impl Health {
    pub(crate) fn new(config: HealthConfig) -> Self {
        Self {
            config,
            state: State::Closed,
            failures: 0,
            ejections: 0,
            relapses: 0,
            epoch: 0,
            suspicions: 0,
            term: 0,
            overloaded: false,
            hurried: false,
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

    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// Whether there is nothing bad to remember.
    pub(crate) fn is_spotless(&self) -> bool {
        self.state == State::Closed && self.failures == 0 && self.suspicions == 0
    }

    /// What an endpoint of the same name starts with; `None`: afresh.
    pub(crate) fn legacy(&self, now: Instant) -> Option<Self> {
        if self.state == State::Closed && self.failures == 0 {
            return None;
        }
        let state = match self.state {
            State::Probing { .. } => State::Ejected { until: now },
            state => state,
        };
        Some(Self {
            state,
            suspicions: 0,
            ..self.clone()
        })
    }

    /// A connection was obtained in normal operation, begun in `term`.
    pub(crate) fn success(&mut self, term: u64) {
        if self.state == State::Closed && term == self.term {
            self.failures = 0;
            self.ejections = 0;
            self.relapses = 0;
        }
    }

    /// No usable connection could be had, or one of `term` broke. Returns whether this ejected the
    /// endpoint.
    ///
    /// `jitter` is uniform in `[0, 1)`, here and below.
    pub(crate) fn failure(&mut self, term: u64, now: Instant, jitter: f64) -> bool {
        if self.state != State::Closed || term != self.term {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let ejected = self.failures >= self.config.threshold;
        if ejected {
            self.eject(now, jitter);
        }
        ejected
    }

    /// Backs off as after an ejection, whatever the count of failures: the endpoint said that it
    /// has no room, or is proven dead. Returns whether this ejected the endpoint.
    pub(crate) fn condemn(&mut self, term: u64, now: Instant, jitter: f64) -> bool {
        let ejected = self.state == State::Closed && term == self.term;
        if ejected {
            self.overloaded = true;
            self.eject(now, jitter);
        }
        ejected
    }

    /// Somebody waits whom no endpoint can serve: the ejection is cut short, once. Returns its end.
    pub(crate) fn hurry(&mut self, now: Instant, jitter: f64) -> Option<Instant> {
        let State::Ejected { until } = self.state else {
            return None;
        };
        if self.overloaded || self.hurried {
            return Some(until);
        }
        let cap = if self.relapses > 0 {
            self.config.cap
        } else {
            self.config.urgent_cap
        };
        let until = until.min(now + cap.mul_f64(jitter.clamp(0.0, 1.0)));
        self.hurried = true;
        self.state = State::Ejected { until };
        Some(until)
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

    /// Ends probe `epoch`; a verdict for any other epoch is ignored. Returns whether the endpoint is
    /// back.
    pub(crate) fn end_probe(
        &mut self,
        epoch: u64,
        verdict: Probe,
        now: Instant,
        jitter: f64,
    ) -> bool {
        if self.state != (State::Probing { epoch }) {
            return false;
        }
        match verdict {
            Probe::Succeeded => {
                self.state = State::Closed;
                self.term += 1;
                self.overloaded = false;
                // The next failure ejects again, for longer, until a checkout has ended well: that
                // an endpoint lets a probe in does not mean that it serves.
                self.failures = self.config.threshold.saturating_sub(1);
                self.relapses = self.relapses.saturating_add(1);
            }
            Probe::Failed | Probe::Overloaded => {
                self.overloaded = verdict == Probe::Overloaded;
                self.eject(now, jitter);
            }
            Probe::Inconclusive(pause) => {
                // The endpoint named the time.
                self.hurried = true;
                self.state = State::Ejected { until: now + pause };
            }
            Probe::Abandoned => self.state = State::Ejected { until: now },
        }
        verdict == Probe::Succeeded
    }

    /// Full jitter, also at the cap: `uniform(0, min(cap, base * 2^n))`.
    fn eject(&mut self, now: Instant, jitter: f64) {
        let factor = 2u32.saturating_pow(self.ejections.min(16));
        // Probing who lets probes in and then fails costs a call each time.
        let cap = if self.relapses > 0 {
            self.config.relapse_cap
        } else {
            self.config.cap
        };
        let longest = self.config.base.saturating_mul(factor).min(cap);
        self.ejections = self.ejections.saturating_add(1);
        self.suspicions = 0;
        self.hurried = false;
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
    /// It has no room.
    Overloaded,
    /// Nobody was asked, or the answer says nothing about health: to be tried again after this
    /// time.
    Inconclusive(Duration),
    /// Dropped without a verdict.
    Abandoned,
}
