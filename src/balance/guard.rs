//! The handles of a checkout: its user reports failures through them.
//!
//! Owns [`Guard`], the only type that may change an endpoint's count of checkouts, and
//! [`Suspicion`]. This module must never judge a report: the `health` module does.

use super::sync::{Arc, AtomicBool, Ordering};
use super::vitals::Vitals;
use std::fmt;

/// One checkout in flight. A guard is made when an endpoint is picked, before any wait, and moves
/// into the response. The count of checkouts goes down only when the guard is dropped; a guard
/// given to `mem::forget` counts forever.
///
/// Drop the guard last. When the count goes down, the first waiting call that could use the
/// endpoint looks for room, so the resources of the checkout must be free by then.
///
/// A guard that is dropped after the call was served, and without a report, counts as a success.
/// The served call alone does not: an endpoint may hand out connections and break each of them at
/// its first use.
///
/// A report counts only if the endpoint was not ejected since the guard was made: a checkout from
/// before an ejection says nothing about the time after it. If one event cuts many connections, the
/// endpoint is therefore ejected once.
#[must_use = "the checkout counts as over when the guard is dropped"]
pub struct Guard {
    vitals: Arc<Vitals>,
    term: u64,
    /// The call was served, and no failure or suspicion was reported since.
    sound: AtomicBool,
}

impl Guard {
    /// Counts one checkout until the guard is dropped.
    #[inline]
    pub(crate) fn new(vitals: &Arc<Vitals>) -> Self {
        vitals.counts.enter();
        Self {
            term: vitals.term(),
            vitals: Arc::clone(vitals),
            sound: AtomicBool::new(false),
        }
    }

    pub(crate) fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    #[inline]
    pub(crate) fn served(&self) {
        self.sound.store(true, Ordering::Relaxed);
    }

    /// Reports that the connection broke. Call it once per event, not once per connection that the
    /// event cut.
    pub fn failed(&self, cause: impl fmt::Display) {
        self.sound.store(false, Ordering::Relaxed);
        self.vitals.failed(self.term, cause.to_string());
    }

    /// Ejects the endpoint at once: it is proven dead.
    pub fn condemn(&self, cause: impl fmt::Display) {
        self.sound.store(false, Ordering::Relaxed);
        self.vitals.condemn(self.term, cause.to_string());
    }

    /// Marks the endpoint as suspect until the returned token has its verdict: it may have stopped
    /// answering (for example, an operation timed out). Meanwhile the endpoint is picked only if no
    /// ready endpoint is available, and calls that wait for it go elsewhere if they can. The guard
    /// may be dropped before the token.
    pub fn suspect(&self) -> Suspicion {
        self.sound.store(false, Ordering::Relaxed);
        Suspicion {
            vitals: Arc::clone(&self.vitals),
            term: self.vitals.suspect(),
            confirmed: None,
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("endpoint", &self.vitals.key())
            .finish()
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        if self.sound.load(Ordering::Relaxed) {
            self.vitals.succeeded(self.term);
        }
        if self.vitals.counts.leave() {
            self.vitals.bell.line.room(&self.vitals);
        }
    }
}

/// A pending suspicion; see [`Guard::suspect`].
///
/// Dropping it without a verdict clears the suspicion. If several suspicions were raised before the
/// endpoint was ejected, the first confirmed one ejects it; the others change nothing, however late
/// they end.
#[must_use = "a suspicion is cleared when it is dropped"]
pub struct Suspicion {
    vitals: Arc<Vitals>,
    term: u64,
    confirmed: Option<String>,
}

impl Suspicion {
    /// The endpoint answers.
    pub fn cleared(self) {}

    /// The endpoint is proven dead: it is ejected at once.
    pub fn confirmed(mut self, cause: impl fmt::Display) {
        self.confirmed = Some(cause.to_string());
    }
}

impl fmt::Debug for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspicion")
            .field("endpoint", &self.vitals.key())
            .finish()
    }
}

impl Drop for Suspicion {
    fn drop(&mut self) {
        self.vitals.end_suspicion(self.term, self.confirmed.take());
    }
}

/// A place in the endpoint's own queue, until it is dropped.
pub(crate) struct InLine(Arc<Vitals>);

impl InLine {
    pub(crate) fn new(vitals: &Arc<Vitals>) -> Self {
        vitals.counts.line_up();
        Self(Arc::clone(vitals))
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        if self.0.counts.step_out() {
            self.0.bell.line.room(&self.0);
        }
    }
}

/// Marks a call that no endpoint can serve, at each ejected endpoint that could serve it. Dropping
/// it removes the marks.
pub(crate) struct Stranded(Vec<Arc<Vitals>>);

impl Stranded {
    pub(crate) fn new(endpoints: Vec<Arc<Vitals>>) -> Self {
        for vitals in &endpoints {
            vitals.strand();
        }
        Self(endpoints)
    }
}

impl Drop for Stranded {
    fn drop(&mut self) {
        for vitals in &self.0 {
            vitals.unstrand();
        }
    }
}

/// Registers that a call wants room at some endpoints, until it is dropped; see
/// [`Counts::want`](super::counts::Counts::want).
pub(crate) struct Wishes(Vec<Arc<Vitals>>);

impl Wishes {
    pub(crate) fn new(endpoints: Vec<Arc<Vitals>>) -> Self {
        for vitals in &endpoints {
            vitals.counts.want();
        }
        Self(endpoints)
    }
}

impl Drop for Wishes {
    fn drop(&mut self) {
        for vitals in &self.0 {
            vitals.counts.unwant();
        }
    }
}
