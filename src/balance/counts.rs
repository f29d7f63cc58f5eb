//! The counters of one endpoint that change with every checkout.
//!
//! Owns them, and the order in which "there is room" and "I want room" see each other. It must
//! never lock.
//!
//! Checkouts in flight and calls that wait for room share one word. So whoever gives room back
//! learns in that very step whether anybody wants it, for nothing; and of two steps on one word one
//! is first. If the wish is, the giver sees it. If the giver is, the wisher sees the room.

use super::sync::{AtomicU64, AtomicUsize, Ordering};

const WANTED: u64 = 1 << 32;
const IN_FLIGHT: u64 = WANTED - 1;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Counts {
    /// Low half: checkouts in flight. High half: calls that would use room here.
    word: AtomicU64,
    /// Calls that wait in the endpoint's own line, which comes first when room appears here.
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

    /// Returns whether somebody else has to be told of the room.
    #[inline]
    pub(crate) fn leave(&self) -> bool {
        let before = self.word.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before & IN_FLIGHT > 0, "more guards dropped than made");
        before >= WANTED && self.lined.load(Ordering::SeqCst) == 0
    }

    /// To be called before looking for room.
    pub(crate) fn want(&self) {
        self.word.fetch_add(WANTED, Ordering::SeqCst);
    }

    pub(crate) fn unwant(&self) {
        self.word.fetch_sub(WANTED, Ordering::SeqCst);
    }

    pub(crate) fn line_up(&self) {
        self.lined.fetch_add(1, Ordering::SeqCst);
    }

    /// As [`Counts::leave`]: room that was left to the endpoint's own line may be left over.
    pub(crate) fn step_out(&self) -> bool {
        self.lined.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_wanted()
    }
}
