//! Decides whether a pool may open another connection.
//!
//! Health is about whether the pod answers; growth is about whether one more connection can be
//! opened. A dial that is refused for lack of room, or that fails while other connections of the
//! pool get answers, *blocks* growth: the pool keeps its size, and its calls wait for a connection
//! to come back. After a pause, which doubles with each refusal in a row, the pool tries one
//! connection.
//!
//! ```text
//!          a dial cannot be served            the pause is over, or
//!        ┌─────────────────────▶ Blocked ──── a connection was closed ───▶ Trial
//!      Free ◀──────────────────────────── a dial succeeded ────────────────┘ │
//!        (two dials at once)        ▲                          (one dial)    │
//!                                   └──── a dial cannot be served ───────────┘
//! ```
//!
//! Owns the count of connections ([`Slot`]) and the permission to open one. It must never dial, and
//! never judge the health of a pod.

use crate::error::ConnectError;
use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The most dials to one pod at a time, so that a pod that comes back is not flooded.
pub(crate) const AT_ONCE: usize = 2;

/// The longest pause after the first refusal. Half of each pause is random, so that processes that
/// share a server do not retry at the same moment.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after any number of refusals.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Blocked { until: Instant, refusals: u32 },
    Trial { refusals: u32 },
}

/// The counts of a pool's connections, and whether it may open more.
#[derive(Debug)]
pub(crate) struct Book {
    state: State,
    /// Existing connections, plus those being made.
    connections: usize,
    making: usize,
    /// The most connections, and the name of the limit in `limit`.
    most: usize,
    limit: &'static str,
    /// Why growth is blocked, or was blocked before the current trial.
    refusal: Option<ConnectError>,
}

impl Book {
    fn new(most: usize, limit: &'static str) -> Self {
        Self {
            state: State::Free,
            connections: 0,
            making: 0,
            most,
            limit,
            refusal: None,
        }
    }

    /// Existing connections, without those being made.
    pub(crate) fn made(&self) -> usize {
        self.connections - self.making
    }

    pub(crate) fn making(&self) -> usize {
        self.making
    }

    /// The number of connections that the pool can have at present.
    pub(crate) fn size(&self) -> usize {
        match self.state {
            State::Free => self.most,
            State::Blocked { .. } | State::Trial { .. } => self.made().min(self.most),
        }
    }

    pub(crate) fn refusal(&self) -> Option<&ConnectError> {
        self.refusal.as_ref()
    }

    /// If the pool has all connections that it can have at present: the reason why it has no more.
    pub(crate) fn is_complete(&self) -> Option<String> {
        let is_complete = self.made() > 0 && self.made() >= self.size();
        is_complete.then(|| match &self.refusal {
            Some(refusal) => refusal.to_string(),
            None => self.limit.to_owned(),
        })
    }

    fn is_open(&self) -> bool {
        let at_once = match self.state {
            State::Free => AT_ONCE,
            State::Blocked { .. } => 0,
            State::Trial { .. } => 1,
        };
        self.connections < self.most && self.making < at_once
    }

    /// Counts a connection as being made, if one more is allowed. Returns whether it is.
    fn begin(&mut self) -> bool {
        let open = self.is_open();
        if open {
            self.connections += 1;
            self.making += 1;
        }
        open
    }

    fn completed(&mut self) {
        self.making -= 1;
        self.state = State::Free;
        self.refusal = None;
    }

    fn given_up(&mut self) {
        self.making -= 1;
        self.connections -= 1;
    }

    /// Uncounts a closed connection. Its close also frees room on the server, so one dial is
    /// allowed.
    fn closed(&mut self) {
        self.connections -= 1;
        if let State::Blocked { refusals, .. } = self.state {
            self.state = State::Trial { refusals };
        }
    }

    /// Blocks growth, and returns until when. `None` if growth is already blocked by the same
    /// event.
    ///
    /// `jitter` is uniform in `[0, 1)`.
    pub(crate) fn block(
        &mut self,
        refusal: ConnectError,
        now: Instant,
        jitter: f64,
    ) -> Option<Instant> {
        let refusals = match self.state {
            State::Blocked { .. } => return None,
            State::Free => 0,
            State::Trial { refusals } => refusals,
        };
        let longest = FIRST_PAUSE
            .saturating_mul(1 << refusals.min(8))
            .min(LONGEST_PAUSE);
        let until = now + longest.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        let refusals = refusals + 1;
        self.state = State::Blocked { until, refusals };
        self.refusal = Some(refusal);
        Some(until)
    }

    /// Allows one attempt if the pause is over.
    pub(crate) fn retry(&mut self, now: Instant) -> bool {
        match self.state {
            State::Blocked { until, refusals } if until <= now => {
                self.state = State::Trial { refusals };
                true
            }
            _ => false,
        }
    }

    /// Sets the most connections. Returns the number of surplus connections.
    pub(crate) fn limit(&mut self, most: usize, limit: &'static str) -> usize {
        self.most = most;
        self.limit = limit;
        self.made().saturating_sub(most)
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    fn is_blocked(&self) -> bool {
        matches!(self.state, State::Blocked { .. })
    }

    fn exceeds(&self) -> bool {
        self.connections > self.most
    }
}

/// See the module documentation.
pub(crate) struct Growth {
    book: Mutex<Book>,
    /// Copies of values in the book, for readers that must not lock.
    open: AtomicBool,
    blocked: AtomicBool,
    exceeds: AtomicBool,
    connections: AtomicUsize,
    making: AtomicBool,
    /// The number of answers on connections of the pool while other connections were being made.
    answers: AtomicU64,
    /// Notified of each such answer, and of each closed connection.
    news: Notify,
    /// Called when a connection is no longer counted.
    resized: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Growth")
            .field("book", &self.book)
            .finish_non_exhaustive()
    }
}

impl Growth {
    /// Allows `most` connections; `limit` is the name of that limit. `resized` is called when a
    /// connection is no longer counted.
    pub(crate) fn new(
        most: usize,
        limit: &'static str,
        resized: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            book: Mutex::new(Book::new(most, limit)),
            open: AtomicBool::new(most > 0),
            blocked: AtomicBool::new(false),
            exceeds: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            making: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            news: Notify::new(),
            resized: Box::new(resized),
        }
    }

    pub(crate) fn book(&self) -> BookGuard<'_> {
        BookGuard {
            book: self.book.lock(),
            growth: self,
        }
    }

    /// Whether one more dial is allowed now.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Acquire)
    }

    /// Existing connections, plus those being made.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Notes an answer on a connection of the pool. Costs one load unless another connection is
    /// being made.
    #[inline]
    pub(crate) fn heard(&self) {
        if self.making.load(Ordering::Relaxed) {
            self.answers.fetch_add(1, Ordering::Relaxed);
            self.news.notify_waiters();
        }
    }

    /// Ends when an answer has come on a connection since [`Growth::answers`] was `answers`, or
    /// when no connection exists. Call while a connection is being made.
    pub(crate) async fn heard_since(&self, answers: u64) {
        loop {
            let mut news = pin!(self.news.notified());
            // Enabled before the check, or an event between the check and the wait would be missed.
            news.as_mut().enable();
            if self.answers() != answers || self.book().made() == 0 {
                return;
            }
            news.await;
        }
    }

    /// A counter to compare with a later value: the values differ if an answer came in between. It
    /// counts only while a connection is being made.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

/// The locked book. The lock-free copies for pickers are updated when the guard is dropped.
pub(crate) struct BookGuard<'a> {
    book: MutexGuard<'a, Book>,
    growth: &'a Growth,
}

impl Deref for BookGuard<'_> {
    type Target = Book;

    fn deref(&self) -> &Book {
        &self.book
    }
}

impl DerefMut for BookGuard<'_> {
    fn deref_mut(&mut self) -> &mut Book {
        &mut self.book
    }
}

impl Drop for BookGuard<'_> {
    fn drop(&mut self) {
        let (book, growth) = (&self.book, self.growth);
        growth.open.store(book.is_open(), Ordering::Relaxed);
        growth.blocked.store(book.is_blocked(), Ordering::Release);
        growth.exceeds.store(book.exceeds(), Ordering::Relaxed);
        (growth.connections).store(book.connections, Ordering::Relaxed);
        growth.making.store(book.making > 0, Ordering::Relaxed);
    }
}

/// One connection in the count of its pool, from before it is dialled until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    growth: Arc<Growth>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Making,
    Made,
    /// No longer counted.
    Shed,
}

impl Slot {
    /// Counts a connection that is about to be dialled. `None` if no more are allowed.
    pub(crate) fn begin(growth: &Arc<Growth>) -> Option<Self> {
        growth.book().begin().then(|| Self {
            growth: Arc::clone(growth),
            phase: Phase::Making,
        })
    }

    /// Marks the connection as made.
    pub(crate) fn completed(&mut self) {
        if self.phase == Phase::Making {
            self.phase = Phase::Made;
            self.growth.book().completed();
        }
    }

    /// Whether the connection is a surplus one. If so, it is no longer counted, and the caller must
    /// close it.
    #[inline]
    pub(crate) fn sheds(&mut self) -> bool {
        self.growth.exceeds.load(Ordering::Relaxed) && self.is_surplus()
    }

    #[cold]
    fn is_surplus(&mut self) -> bool {
        let mut book = self.growth.book();
        let surplus = self.phase == Phase::Made && book.exceeds();
        if surplus {
            book.closed();
            self.phase = Phase::Shed;
        }
        surplus
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        match self.phase {
            Phase::Making => self.growth.book().given_up(),
            Phase::Made => self.growth.book().closed(),
            Phase::Shed => {}
        }
        self.growth.news.notify_waiters();
        // In the phase `Making`, the dialling task was dropped because its runtime has ended. A new
        // task would end in the same way.
        if self.phase != Phase::Making {
            (self.growth.resized)();
        }
    }
}

#[cfg(test)]
mod tests;
