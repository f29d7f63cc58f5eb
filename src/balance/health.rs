//! The health of one endpoint as a pure state machine.
//!
//! Owns the decisions whether an endpoint may be picked and when it may be tried again. It must
//! never read a clock or draw a random number: both are passed in, so that every transition can be
//! tested without a runtime.
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
//! * *Closed*: picked. *Suspect*: picked only if no closed endpoint is available. *Ejected* and
//!   *Probing*: not picked.
//! * An overloaded endpoint (it reported that it has no room) is ejected in the same way, without
//!   being counted as failed.
//! * An ejection lasts a random time between zero and `min(cap, base * 2^n)`, where n is the number
//!   of ejections since the last success. This is full jitter: it keeps many clients from returning
//!   at once.
//! * While a call waits that no endpoint can serve, an ejection is cut to `urgent_cap` (jittered as
//!   well).
//! * Each ejection and each return starts a new *term*. Events of an earlier term are ignored: when
//!   one event cuts ten connections, the endpoint is ejected once, and an old connection that still
//!   works does not vouch for a dead endpoint.
//! * A verdict on a probe carries the *epoch* of the probe; a verdict of an older epoch is ignored.
//! * An endpoint that is removed while it fails, and added again under the same name within
//!   `memory`, keeps its health.
//!
//! Only the connection counts: an SQL error, a deadlock, or an expired deadline of the caller is
//! neither a success nor a failure of the endpoint.

use super::clock::{after, part};
use std::time::Duration;
use tokio::time::Instant;

/// When an endpoint is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct HealthConfig {
    /// Failures in a row that eject an endpoint. Default 3; lower it only where one failed
    /// connect is proof.
    pub threshold: u32,
    /// The first ejection lasts between zero and this long (full jitter). Default 100 ms.
    pub base: Duration,
    /// Longest ejection (full jitter here too). Default 1 s: one probe per second is cheap, and a
    /// pod that is back is used within two seconds.
    pub cap: Duration,
    /// An endpoint that was removed while it failed keeps its health if it is inserted again under
    /// the same key within this time: a stale discovery answer does not restore it without a probe.
    /// Default 60 s.
    pub memory: Duration,
    /// As `cap`, for an endpoint that passes its probes and then fails in use. Default 5 s: each
    /// return to use costs a failed call, but the endpoint may be the only one that can serve.
    pub relapse_cap: Duration,
    /// As `cap`, while a call waits that no endpoint can serve. Default 200 ms: a single endpoint
    /// that has restarted is used within a quarter of a second after it accepts connections. A
    /// relapsing endpoint gets `cap` instead; the ejection of an overloaded endpoint is not
    /// shortened.
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

/// How an endpoint may be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Pick it.
    Ready,
    /// Pick it only if no ready endpoint is available: it may have stopped answering.
    Suspect,
    /// Do not use it before this instant.
    Ejected(Instant),
    /// The ejection is over: a probe must run.
    ProbeDue,
    /// A probe is running; its end is announced.
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
    /// Successful probes since the last success in use.
    relapses: u32,
    /// Number of the last probe, so that a late verdict cannot end a later probe.
    epoch: u64,
    /// Pending suspicions. Only a closed endpoint has any.
    suspicions: u32,
    /// Grows with every ejection and return. A suspicion of an earlier term is ignored: several
    /// suspicions raised by one event eject the endpoint once.
    term: u64,
    /// Ejected because it has no room: more attempts would not create any.
    overloaded: bool,
    /// This ejection was shortened already.
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

    /// Whether the endpoint has no failure, suspicion or ejection on record.
    pub(crate) fn is_spotless(&self) -> bool {
        self.state == State::Closed && self.failures == 0 && self.suspicions == 0
    }

    /// The initial health for an endpoint that is added again under the same name; `None`: clean
    /// health.
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

    /// A checkout that began in `term` ended well.
    pub(crate) fn success(&mut self, term: u64) {
        if self.state == State::Closed && term == self.term {
            self.failures = 0;
            self.ejections = 0;
            self.relapses = 0;
        }
    }

    /// No usable connection was obtained, or a connection of `term` broke. Returns whether this
    /// ejected the endpoint.
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

    /// Ejects the endpoint regardless of its failure count: it reported that it has no room, or it
    /// is proven dead. Returns whether this ejected the endpoint.
    pub(crate) fn condemn(&mut self, term: u64, now: Instant, jitter: f64) -> bool {
        let ejected = self.state == State::Closed && term == self.term;
        if ejected {
            self.overloaded = true;
            self.eject(now, jitter);
        }
        ejected
    }

    /// Shortens the ejection, once: a call waits that no endpoint can serve. Returns the end of the
    /// ejection.
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
        let until = until.min(after(now, part(cap, jitter)));
        self.hurried = true;
        self.state = State::Ejected { until };
        Some(until)
    }

    /// Raises a suspicion; pass the returned term to [`Health::end_suspicion`].
    pub(crate) fn suspect(&mut self) -> u64 {
        // An ejected endpoint cannot become more suspect. The term distinguishes such a token from
        // the tokens raised after the endpoint's return.
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

    /// Starts the single probe, if it is due. Pass the returned number to [`Health::end_probe`].
    pub(crate) fn begin_probe(&mut self, now: Instant) -> Option<u64> {
        if self.availability(now) != Availability::ProbeDue {
            return None;
        }
        self.epoch += 1;
        self.state = State::Probing { epoch: self.epoch };
        Some(self.epoch)
    }

    /// Ends probe `epoch`; a verdict for any other epoch is ignored. Returns whether the endpoint
    /// is back.
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
                // A successful probe does not prove that the endpoint serves. Until a checkout has
                // ended well, the next failure ejects it again, for longer.
                self.failures = self.config.threshold.saturating_sub(1);
                self.relapses = self.relapses.saturating_add(1);
            }
            Probe::Failed | Probe::Overloaded => {
                self.overloaded = verdict == Probe::Overloaded;
                self.eject(now, jitter);
            }
            Probe::Abandoned => self.state = State::Ejected { until: now },
        }
        verdict == Probe::Succeeded
    }

    /// Full jitter, at the cap too: `uniform(0, min(cap, base * 2^n))`.
    fn eject(&mut self, now: Instant, jitter: f64) {
        let factor = 2u32.saturating_pow(self.ejections.min(16));
        // An endpoint that passes its probes and then fails costs a call each time.
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
            until: after(now, part(longest, jitter)),
        };
    }
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    Succeeded,
    Failed,
    /// The endpoint has no room.
    Overloaded,
    /// Dropped without a verdict.
    Abandoned,
}
