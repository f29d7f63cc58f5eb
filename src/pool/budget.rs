//! The number of prepared statements that each connection of a pool keeps, and how it shrinks when
//! the server is at its limit (error 1461).
//!
//! Owns the numbers and the turns: one call at a time closes statements to make room, and other
//! calls that met the limit wait for it instead. A call must never hold its turn while it prepares
//! a statement.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// How long the number stays low before it doubles.
const FEWER_FOR: Duration = Duration::from_secs(60);

/// The number of prepared statements that each connection of a pool keeps.
pub(crate) struct Budget {
    configured: usize,
    now: AtomicUsize,
    /// How often room was made.
    rounds: AtomicU64,
    turn: Mutex<()>,
    shrunk: parking_lot::Mutex<Option<Instant>>,
}

impl Budget {
    /// Divides `per_pod` statements among `connections`.
    pub(crate) fn new(per_pod: usize, connections: usize) -> Self {
        let each = (per_pod / connections.max(1)).max(1);
        Self {
            configured: each,
            now: each.into(),
            rounds: AtomicU64::new(0),
            turn: Mutex::default(),
            shrunk: parking_lot::Mutex::default(),
        }
    }

    pub(crate) fn each(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// How often room was made. Read it before preparing a statement.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Acquire)
    }

    /// Waits for the turn to make room for a statement that met the limit after `rounds`. `None` if
    /// another call has made room since.
    pub(crate) async fn turn(&self, rounds: u64) -> Option<Turn<'_>> {
        let guard = self.turn.lock().await;
        let turn = Turn {
            budget: self,
            _guard: guard,
        };
        (self.rounds() == rounds).then_some(turn)
    }

    /// Returns whether the number is lower than before.
    fn halve(&self) -> bool {
        let half = |now: usize| Some((now / 2).max(1));
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let before = self.now.fetch_update(set, fetch, half);
        *self.lock() = Some(Instant::now());
        before.is_ok_and(|before| self.each() < before)
    }

    /// Doubles the number, up to the configured one, if it has stayed low long enough. Call it
    /// periodically.
    pub(crate) fn recover(&self) {
        let mut shrunk = self.lock();
        let Some(since) = *shrunk else { return };
        if since.elapsed() < FEWER_FOR {
            return;
        }
        let more = (self.each() * 2).min(self.configured);
        self.now.store(more, Ordering::Relaxed);
        *shrunk = (more < self.configured).then(Instant::now);
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Option<Instant>> {
        self.shrunk.lock()
    }
}

/// See [`Budget::turn`].
pub(crate) struct Turn<'a> {
    budget: &'a Budget,
    _guard: MutexGuard<'a, ()>,
}

impl Turn<'_> {
    /// Each connection keeps half as many from now on. Returns whether the number is lower now.
    pub(crate) fn halve(&self) -> bool {
        self.budget.halve()
    }

    /// Ends the turn after room was made. The calls that waited for the turn try again.
    pub(crate) fn done(self) {
        self.budget.rounds.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_that_meet_the_limit_together_make_room_once() {
        let budget = Budget::new(512, 16);
        let seen = budget.rounds();
        let calls = (0..10).map(|_| async {
            let Some(turn) = budget.turn(seen).await else {
                return 0;
            };
            assert!(turn.halve());
            tokio::time::sleep(Duration::from_millis(20)).await;
            turn.done();
            1
        });
        let made: u32 = futures_util::future::join_all(calls)
            .await
            .into_iter()
            .sum();
        assert_eq!(made, 1);
        assert_eq!(budget.each(), 16);
        assert!(
            budget.turn(budget.rounds()).await.is_some(),
            "a later event"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn each_connection_has_its_part_and_gets_back_what_it_gave_up() {
        assert_eq!(Budget::new(512, 16).each(), 32);
        assert_eq!(Budget::new(3, 16).each(), 1);
        let budget = Budget::new(40, 4);
        for left in [5, 2, 1, 1] {
            budget.halve();
            assert_eq!(budget.each(), left);
        }
        budget.recover();
        assert_eq!(budget.each(), 1, "not so soon");
        for more in [2, 4, 8, 10, 10] {
            tokio::time::advance(FEWER_FOR).await;
            budget.recover();
            assert_eq!(budget.each(), more);
        }
    }
}
