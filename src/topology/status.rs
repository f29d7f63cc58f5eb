//! How often discovery looks, and how it has fared.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::discovery::ResolveError;

/// How often to look up, and how long to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshConfig {
    /// Shortest time between two look-ups that nobody asked for, whatever the answer's TTL says.
    /// Default 1 s.
    pub min_interval: Duration,
    /// Longest time between two look-ups after a success; also what an answer without a TTL gets.
    /// Default 5 s.
    pub max_interval: Duration,
    /// How long an address stays known that good answers lack. Default 30 s: longer than the
    /// longest cache in front of cluster DNS usually is.
    pub grace: Duration,
    /// How long one look-up may take before it is given up as failed. Default 10 s; the resolver
    /// normally has a shorter deadline of its own.
    pub deadline: Duration,
}

/// How discovery has fared so far.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DiscoveryStatus {
    /// When the last good look-up ended.
    pub last_ok: Option<Instant>,
    /// Why the last failed look-up failed; kept after a recovery.
    pub last_error: Option<ResolveError>,
    /// Look-ups ended so far.
    pub look_ups: u64,
    /// How many of these failed, or answered without a pod.
    pub failures: u64,
    /// The same by [`ResolveError::kind`]; a kind that has not occurred is not in it. What the
    /// metric [`LOOK_UPS`](crate::observe::LOOK_UPS) counts, for programs without a recorder.
    pub failures_by_kind: BTreeMap<&'static str, u64>,
    /// How many failed since the last good one; 0 means that discovery works.
    pub failures_in_a_row: u64,
    /// Since when they fail; `None` while discovery works.
    pub failing_since: Option<Instant>,
}

// === impl RefreshConfig ===

impl Default for RefreshConfig {
    fn default() -> Self {
        Self {
            min_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(5),
            grace: Duration::from_secs(30),
            deadline: Duration::from_secs(10),
        }
    }
}

impl RefreshConfig {
    /// Sets [`min_interval`](Self::min_interval).
    #[must_use]
    pub fn with_min_interval(mut self, interval: Duration) -> Self {
        self.min_interval = interval;
        self
    }

    /// Sets [`max_interval`](Self::max_interval).
    #[must_use]
    pub fn with_max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = interval;
        self
    }

    /// Sets [`grace`](Self::grace).
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets [`deadline`](Self::deadline).
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}
