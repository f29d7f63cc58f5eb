//! The connections of a pool that nobody uses.
//!
//! Owns their list, which is used from its end: the connections used last are the warmest, and the
//! others may grow old. It must never hold its lock while a connection is closed, and never take one
//! back that its pool has let go of.

use super::connect::{Origin, Raw, SessionKind};
use super::lease::Lease;
use super::pool::Pool;
use super::room::is_past;
use super::statements::Statements;
use super::timer::Timer;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use tokio::time::Instant;

/// A connection that nobody uses.
pub(super) struct Idle {
    pub(super) raw: Raw,
    pub(super) since: Instant,
    pub(super) generation: u64,
    pub(super) era: u64,
    pub(super) kind: SessionKind,
    pub(super) origin: Arc<Origin>,
    pub(super) alive: Instant,
    pub(super) expires: Option<Instant>,
    pub(super) statements: Statements,
    pub(super) timer: Timer,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn drop_idle(&self, which: impl Fn(&Idle) -> bool) {
        let dropped: Vec<Idle> = {
            let mut idle = self.idle();
            let dropped = idle.extract_if(.., |idle| which(idle)).collect();
            self.idle_count.store(idle.len(), Ordering::Relaxed);
            dropped
        };
        // Closing writes to sockets: not under the lock.
        drop(dropped);
    }

    pub(super) fn count_idle(&self, which: impl Fn(&Idle) -> bool) -> usize {
        self.idle().iter().filter(|idle| which(idle)).count()
    }

    /// The most recently used of those.
    pub(super) fn take_idle(&self, which: impl Fn(&Idle) -> bool) -> Option<Idle> {
        let mut idle = self.idle();
        let index = idle.iter().rposition(which)?;
        let found = idle.remove(index);
        self.idle_count.store(idle.len(), Ordering::Relaxed);
        Some(found)
    }

    /// The most recently used idle connection with a session of this kind, if it is `good`.
    pub(super) fn take_latest(
        &self,
        kind: SessionKind,
        good: impl FnOnce(&Idle) -> bool,
    ) -> Option<Idle> {
        let mut idle = self.idle();
        let index = idle.iter().rposition(|idle| idle.kind == kind)?;
        if !idle.get(index).is_some_and(good) {
            return None;
        }
        let found = match index + 1 == idle.len() {
            // Cheaper, and hardly ever is it another.
            true => idle.pop()?,
            false => idle.remove(index),
        };
        self.idle_count.store(idle.len(), Ordering::Relaxed);
        Some(found)
    }

    /// The most recently used idle connection, if possible with a session of this kind.
    pub(super) fn pop_idle(&self, kind: SessionKind) -> Option<Idle> {
        let mut idle = self.idle();
        let fitting = idle.iter().rposition(|idle| idle.kind == kind);
        let found = match fitting {
            Some(index) => Some(idle.remove(index)),
            None => idle.pop(),
        };
        self.idle_count.store(idle.len(), Ordering::Relaxed);
        found
    }

    /// Takes a clean connection back to the pool of its lease, which still holds its slot.
    pub(crate) fn put_back(lease: &mut Lease, raw: Raw) {
        let now = Instant::now();
        let pool = &lease.pool;
        let back = Idle {
            raw,
            since: now,
            generation: lease.generation,
            era: lease.era,
            kind: lease.kind,
            origin: Arc::clone(&lease.origin),
            alive: lease.alive,
            expires: lease.expires,
            statements: std::mem::take(&mut lease.statements),
            timer: std::mem::take(&mut lease.timer),
        };
        if is_past(back.expires, now) {
            return;
        }
        let mut idle = pool.idle();
        // Looked at under the lock: whoever retires the pool or ends the era empties the list after.
        if pool.is_retired() || lease.era != pool.era.load(Ordering::Acquire) {
            drop(idle);
            drop(back);
            return;
        }
        idle.push(back);
        pool.idle_count.store(idle.len(), Ordering::Relaxed);
    }
}
