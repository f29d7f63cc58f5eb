//! How many connections a pool has, may have and should have.
//!
//! Owns the numbers: the slots that are taken, those that are held or withheld because the server
//! has less room, the connections that are kept warm, and the ages at which one is closed. It must
//! never close a connection that is in use, and never open one faster than one at a time.

use super::connect::SessionKind;
use super::idle::Idle;
use super::pool::Pool;
use crate::observe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How often a closed pool is looked at for connections that are still in use.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// The longest pause (full jitter) before each connection that is opened to be kept warm: many
/// processes may have seen the same pod come back.
const WARM_PAUSE: Duration = Duration::from_millis(100);

/// The counts of a pool.
pub(super) struct Room {
    max: usize,
    min: usize,
    /// The most of the server's connections, in percent.
    share: usize,
    lifetime: Option<Duration>,
    idle_timeout: Duration,
    /// Connections that users have.
    lent: AtomicIsize,
    /// Slots without a connection: the server has no room for more, for the moment.
    held: AtomicUsize,
    /// Slots that are not handed out: the server has not room enough for all processes.
    withheld: AtomicUsize,
    /// A task opens connections to be kept warm.
    warming: AtomicBool,
}

impl Room {
    pub(super) fn new(config: &crate::config::Config) -> Self {
        Self {
            max: config.max_connections,
            min: config.min_connections,
            share: usize::from(config.max_share),
            lifetime: config.max_lifetime,
            idle_timeout: config.idle_timeout,
            lent: AtomicIsize::new(0),
            held: AtomicUsize::new(0),
            withheld: AtomicUsize::new(0),
            warming: AtomicBool::new(false),
        }
    }

    /// When a connection made now is to be closed: between 90 % and 110 % of the lifetime, so that
    /// those made together do not end together.
    pub(super) fn expiry(&self) -> Option<Instant> {
        let lifetime = self.lifetime?;
        Instant::now().checked_add(lifetime.mul_f64(0.9 + 0.2 * rand::random::<f64>()))
    }

    /// Whether an idle connection is too old, or was idle for too long.
    pub(super) fn is_stale(&self, idle: &Idle, now: Instant) -> bool {
        now.saturating_duration_since(idle.since) > self.idle_timeout || is_past(idle.expires, now)
    }
}

pub(super) fn is_past(expiry: Option<Instant>, now: Instant) -> bool {
    expiry.is_some_and(|expiry| now >= expiry)
}

/// How many slots are not handed out of `max`, where the server takes `most` connections of all.
fn surplus(max: usize, share: usize, most: usize) -> usize {
    let ours = (most.saturating_mul(share) / 100).max(1);
    max.saturating_sub(ours)
}

struct Warming<'a>(&'a AtomicBool);

impl Drop for Warming<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Pool {
    /// Connections handed out, being made, or being cleaned.
    pub(crate) fn in_use(&self) -> usize {
        let room = &self.room;
        let taken = room.max.saturating_sub(self.slots.available_permits());
        let empty = room.held.load(Ordering::Relaxed) + room.withheld.load(Ordering::Relaxed);
        taken.saturating_sub(empty)
    }

    pub(super) fn lent(&self, change: isize) {
        self.room.lent.fetch_add(change, Ordering::Relaxed);
    }

    /// Whether a connection is there that may come back.
    pub(super) fn has_connections(&self) -> bool {
        self.room.lent.load(Ordering::Relaxed) > 0 || self.idle_count() > 0
    }

    pub(super) fn hold(&self) {
        self.room.held.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn release(&self) {
        self.room.held.fetch_sub(1, Ordering::Relaxed);
    }

    /// Ends when no connection is in use any more. Call [`Pool::retire`] first.
    pub(crate) async fn drained(&self) {
        while self.in_use() > 0 {
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }

    /// Takes in how many connections the server has room for. Slots that are in use now are
    /// withheld once the server was asked again after they came back.
    pub(super) fn fit_into(&self, server_connections: usize) {
        let room = &self.room;
        let wanted = surplus(room.max, room.share, server_connections);
        // Two at a time would each take what is missing.
        let _known = self.known();
        let withheld = room.withheld.load(Ordering::Relaxed);
        if wanted > withheld {
            let missing = self.slots.available_permits().min(wanted - withheld);
            let count = u32::try_from(missing).unwrap_or(u32::MAX);
            if let Ok(permits) = self.slots.try_acquire_many(count) {
                room.withheld.fetch_add(missing, Ordering::Relaxed);
                permits.forget();
            }
            if withheld == 0 {
                tracing::warn!(
                    pod = %self.pod(), server_connections, slots = room.max - wanted,
                    "the server has little room; fewer connections are made than configured"
                );
                let labels = [("pod", self.host()), ("reason", "share")];
                observe::count(observe::SLOTS_WITHHELD, &labels);
            }
        } else if wanted < withheld {
            room.withheld.store(wanted, Ordering::Relaxed);
            self.slots.add_permits(withheld - wanted);
            // Nobody had them checked out, so their return wakes nobody.
            self.freed();
        }
    }

    /// Closes connections that are too old, or were idle for too long.
    pub(crate) fn prune(&self) {
        let now = Instant::now();
        self.drop_idle(|idle| self.room.is_stale(idle, now));
        self.budget.recover();
    }

    /// Sees to it that the configured minimum of connections is there, in a task of its own. To be
    /// called again and again, while the pod is well.
    pub(crate) fn keep_warm(self: &Arc<Self>) {
        if self.room.min == 0 || !self.needs_warming() {
            return;
        }
        if self.room.warming.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::clone(self);
        self.handle.spawn(async move { pool.warm().await });
    }

    fn needs_warming(&self) -> bool {
        self.is_listed()
            && !self.is_retired()
            && (self.idle_count() + self.in_use() < self.room.min || self.has_cooling())
    }

    /// Whether an idle connection would be closed soon although it is one of the minimum.
    fn has_cooling(&self) -> bool {
        let cooling = self.count_idle(|idle| self.is_cooling(idle));
        cooling > 0 && self.idle_count() + self.in_use() < self.room.min + cooling
    }

    fn is_cooling(&self, idle: &Idle) -> bool {
        idle.since.elapsed() > self.room.idle_timeout.mul_f64(0.75)
    }

    async fn warm(self: Arc<Self>) {
        let _warming = Warming(&self.room.warming);
        let kind = match self.is_primary() {
            true => SessionKind::ReadWrite,
            false => SessionKind::ReadOnly,
        };
        while self.needs_warming() {
            tokio::time::sleep(WARM_PAUSE.mul_f64(rand::random())).await;
            // Before this task has a slot, which would count.
            let has_cooling = self.has_cooling();
            // Callers go first.
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                return;
            };
            let Ok(_turn) = self.connecting.try_acquire() else {
                return;
            };
            let cooling = match has_cooling {
                true => self.take_idle(|idle| self.is_cooling(idle)),
                false => None,
            };
            let made = match cooling {
                Some(idle) => match self.check(idle.kind, slot, Some(idle)).await {
                    Ok(Ok(conn)) => Ok(conn),
                    Ok(Err(_)) => continue,
                    Err(error) => Err(error),
                },
                None if self.idle_count() + self.in_use() <= self.room.min => {
                    self.dial(kind, slot).await
                }
                None => return,
            };
            // Back it goes, at once. After a failure the next call of `keep_warm` tries again.
            if made.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_takes_its_share_of_the_server_and_never_nothing() {
        for (max, share, most, surplus_of) in [
            (16, 50, 151, 0),
            (16, 50, 32, 0),
            (16, 50, 31, 1),
            (16, 50, 10, 11),
            (16, 100, 10, 6),
            (16, 1, 10, 15),
            (1, 1, 1, 0),
        ] {
            assert_eq!(
                surplus(max, share, most),
                surplus_of,
                "{max} {share} {most}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_made_together_do_not_end_together() {
        let config = crate::Config::new("mysql", "app");
        let room = Room::new(&config.with_max_lifetime(Some(Duration::from_secs(100))));
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
