//! Options and status of discovery.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::discovery::ResolveError;
use crate::name::Ordinal;

/// How often to look up, and how long addresses are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshConfig {
    /// Shortest time between two look-ups without a demand, whatever the answer's TTL is. Default 1
    /// s.
    pub min_interval: Duration,
    /// Longest time between two look-ups after a success. Used as well for an answer without a TTL.
    /// Default 5 s.
    pub max_interval: Duration,
    /// How long an address stays known after it is missing from good answers. Default 40 s: an
    /// answer may be 35 s old (a cache of 30 s in front of cluster DNS, plus the longest interval
    /// between look-ups).
    pub grace: Duration,
    /// The ordinal of the primary: its last address is never removed. Default 0.
    pub primary: Ordinal,
    /// Time limit of one look-up; then it counts as failed. Default 10 s; the resolver normally has
    /// a shorter deadline of its own.
    pub deadline: Duration,
}

/// The success and failure counts of discovery.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DiscoveryStatus {
    /// When the last good look-up ended.
    pub last_ok: Option<Instant>,
    /// The error of the last failed look-up; kept after a recovery.
    pub last_error: Option<ResolveError>,
    /// Look-ups that have ended so far.
    pub look_ups: u64,
    /// How many of them failed, or were answered without a pod.
    pub failures: u64,
    /// `failures` by [`ResolveError::kind`]; a kind that has not occurred is not in the map. The
    /// same counts as in the metric [`LOOK_UPS`](crate::observe::LOOK_UPS), for programs without a
    /// recorder.
    pub failures_by_kind: BTreeMap<&'static str, u64>,
    /// Failures since the last good look-up; 0 means that discovery works.
    pub failures_in_a_row: u64,
    /// Time of the first failure in a row; `None` while discovery works.
    pub failing_since: Option<Instant>,
}

impl Default for RefreshConfig {
    fn default() -> Self {
        Self {
            min_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(5),
            grace: Duration::from_secs(40),
            primary: Ordinal::PRIMARY,
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

    /// Sets [`primary`](Self::primary).
    #[must_use]
    pub fn with_primary(mut self, primary: Ordinal) -> Self {
        self.primary = primary;
        self
    }

    /// Sets [`deadline`](Self::deadline).
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}
