//! The limits of a pool: how many connections it may have, and how old they may become.
//!
//! Owns the configured numbers: the most and the fewest connections, and the ages at which they are
//! closed. It must never count connections; `growth` does.

use crate::pool::idle::{Idle, is_past};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::Instant;

/// The interval at which a draining pool checks for connections in use.
pub(crate) const DRAIN_STEP: Duration = Duration::from_millis(10);

/// The longest pause (full jitter) before opening each connection that is kept warm. Many processes
/// may see the same pod come back at the same moment.
pub(crate) const WARM_PAUSE: Duration = Duration::from_millis(100);

/// The limits of a pool.
pub(crate) struct PoolLimits {
    pub(crate) max: usize,
    pub(crate) min: usize,
    /// The largest share of the server's connections, in percent.
    pub(crate) share: usize,
    lifetime: Option<Duration>,
    pub(crate) idle_timeout: Duration,
    /// A task is opening connections to keep warm.
    pub(crate) warming: AtomicBool,
}

impl PoolLimits {
    pub(crate) fn new(config: &crate::config::Config) -> Self {
        Self {
            max: config.max_connections,
            min: config.min_connections,
            share: usize::from(config.max_share),
            lifetime: config.max_lifetime,
            idle_timeout: config.idle_timeout,
            warming: AtomicBool::new(false),
        }
    }

    /// The expiry of a connection made now: after 90 % to 110 % of the lifetime, so that
    /// connections made together do not expire together. `None` without a lifetime.
    pub(crate) fn expiry(&self) -> Option<Instant> {
        let lifetime = self.lifetime?;
        Instant::now().checked_add(lifetime.mul_f64(0.9 + 0.2 * rand::random::<f64>()))
    }

    /// Whether an idle connection is too old, or was idle for too long.
    pub(crate) fn is_stale(&self, idle: &Idle, now: Instant) -> bool {
        now.saturating_duration_since(idle.since) > self.idle_timeout
            || is_past(idle.kept.expires, now)
    }
}

/// How many connections a pool may have, and the name of the limit. `max` is the configured limit,
/// `server` is the server's limit for all clients, and `share` is the pool's share of it in
/// percent.
pub(crate) fn allowed(max: usize, share: usize, server: usize) -> (usize, &'static str) {
    let ours = (server.saturating_mul(share) / 100).max(1);
    match ours < max {
        true => (ours, "max_share of the server's max_connections"),
        false => (max, CONFIGURED),
    }
}

/// The name of the limit if the server does not lower it.
pub(crate) const CONFIGURED: &str = "max_connections";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_takes_its_share_of_the_server_and_never_nothing() {
        for (max, share, server, most) in [
            (16, 50, 151, 16),
            (16, 50, 32, 16),
            (16, 50, 31, 15),
            (16, 50, 10, 5),
            (16, 100, 10, 10),
            (16, 1, 10, 1),
            (1, 1, 1, 1),
        ] {
            let (allowed, _) = allowed(max, share, server);
            assert_eq!(allowed, most, "{max} {share} {server}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_made_together_do_not_end_together() {
        let config = crate::Config::new("mysql", "app");
        let room = PoolLimits::new(&config.with_max_lifetime(Some(Duration::from_secs(100))));
        let now = Instant::now();
        let ages: Vec<_> = (0..200).map(|_| room.expiry().unwrap() - now).collect();
        let (least, most) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
        let (low, high) = (Duration::from_secs(90), Duration::from_secs(110));
        assert!(low <= *least && *most <= high, "{least:?} {most:?}");
        assert!(
            *most - *least > Duration::from_secs(15),
            "{least:?} {most:?}"
        );
    }
}
