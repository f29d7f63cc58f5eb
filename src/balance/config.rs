//! The balancer's options.

use super::health::HealthConfig;
use std::time::Duration;

/// The balancer's options.
///
/// ```
/// use headless_mysql::balance::{BalanceConfig, HealthConfig};
///
/// // One failed connect ejects an endpoint, and at most one call waits.
/// let config = BalanceConfig::default()
///     .with_max_waiters(1)
///     .with_health(HealthConfig::default().with_threshold(1));
/// assert_eq!(config.health.threshold, 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct BalanceConfig {
    /// Time limit of a call whose request has no deadline. Default 5 s.
    pub checkout_timeout: Duration,
    /// Calls that may wait at once, over all endpoints. A further call is rejected with
    /// [`QueueFull`](super::BalanceError::QueueFull). Default 1024. Lower it to shed load early.
    pub max_waiters: usize,
    /// When an endpoint is ejected, and for how long.
    pub health: HealthConfig,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            checkout_timeout: Duration::from_secs(5),
            max_waiters: 1024,
            health: HealthConfig::default(),
        }
    }
}

impl BalanceConfig {
    /// Sets [`checkout_timeout`](Self::checkout_timeout).
    #[must_use]
    pub fn with_checkout_timeout(mut self, timeout: Duration) -> Self {
        self.checkout_timeout = timeout;
        self
    }

    /// Sets [`max_waiters`](Self::max_waiters).
    #[must_use]
    pub fn with_max_waiters(mut self, waiters: usize) -> Self {
        self.max_waiters = waiters;
        self
    }

    /// Sets [`health`](Self::health).
    #[must_use]
    pub fn with_health(mut self, health: HealthConfig) -> Self {
        self.health = health;
        self
    }
}
