//! The counters of one endpoint that change with every checkout.
//!
//! Owns the counters and the ordering between "there is room" and "a call wants room": at least one
//! side sees the other. It must never lock.
//!
//! Checkouts in flight and calls that want room share one word. A checkout that ends learns in the
//! same atomic step, at no extra cost, whether a call wants its room. Two steps on one word have an
//! order: if the call comes first, the ending checkout sees it; if the checkout comes first, the
//! call sees the room.

use super::sync::{AtomicU64, AtomicUsize, Ordering};

const WANTED: u64 = 1 << 32;
const IN_FLIGHT: u64 = WANTED - 1;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Counts {
    /// Low half: checkouts in flight. High half: calls that want room here.
    word: AtomicU64,
    /// Calls in the endpoint's own queue, which gets room first when a checkout ends.
    lined: AtomicUsize,
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            lined: AtomicUsize::new(0),
        }
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> usize {
        (self.word.load(Ordering::Relaxed) & IN_FLIGHT) as usize
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.word.load(Ordering::SeqCst) >= WANTED
    }

    #[inline]
    pub(crate) fn enter(&self) {
        self.word.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether the room must be announced to the waiting calls. It need not be while the
    /// endpoint's own queue is not empty: that queue takes the room.
    #[inline]
    pub(crate) fn leave(&self) -> bool {
        let before = self.word.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before & IN_FLIGHT > 0, "more guards dropped than made");
        before >= WANTED && self.lined.load(Ordering::SeqCst) == 0
    }

    /// Call before looking for room.
    pub(crate) fn want(&self) {
        self.word.fetch_add(WANTED, Ordering::SeqCst);
    }

    pub(crate) fn unwant(&self) {
        self.word.fetch_sub(WANTED, Ordering::SeqCst);
    }

    pub(crate) fn line_up(&self) {
        self.lined.fetch_add(1, Ordering::SeqCst);
    }

    /// As [`Counts::leave`]: the endpoint's own queue is empty now, and may not have used all room.
    pub(crate) fn step_out(&self) -> bool {
        self.lined.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_wanted()
    }
}
