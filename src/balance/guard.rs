//! What a checkout holds of the balancer, and through which its user reports.
//!
//! Owns the only thing that may change an endpoint's count, [`Guard`], and [`Suspicion`]. It must
//! never judge: verdicts are the health's.

use super::sync::{Arc, AtomicBool, Ordering};
use super::vitals::Vitals;
use std::fmt;

/// One checkout in flight: made when an endpoint is picked, before anything is waited for, and
/// moved into the response. Dropping it is the only way the count goes down; a guard given to
/// `mem::forget` counts for ever.
///
/// Drop it last: when the count goes down, the first waiting call that could use the endpoint looks
/// whether there is room, so what the checkout held has to be free by then.
///
/// Dropped after the call was served, and without a report, it counts as a success: that a
/// connection was to be had says little of an endpoint that breaks each at its first use.
///
/// A report counts only if the endpoint was not ejected since the guard was made: what began before
/// says nothing about the time after. So many connections that one event cuts eject once.
#[must_use = "the checkout counts as over when the guard is dropped"]
pub struct Guard {
    vitals: Arc<Vitals>,
    term: u64,
    /// The call was served, and nothing bad was reported since.
    sound: AtomicBool,
}

impl Guard {
    /// Counts one checkout from now until the guard is dropped.
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

    /// Reports that what was checked out broke. Call it once per event, not once per connection
    /// that the event cut.
    pub fn failed(&self, cause: impl fmt::Display) {
        self.sound.store(false, Ordering::Relaxed);
        self.vitals.failed(self.term, cause.to_string());
    }

    /// Takes the endpoint out at once: it is proven dead.
    pub fn condemn(&self, cause: impl fmt::Display) {
        self.sound.store(false, Ordering::Relaxed);
        self.vitals.condemn(self.term, cause.to_string());
    }

    /// Suspects that the endpoint does not answer any more (an operation timed out, say), until
    /// the token has its verdict. Meanwhile the endpoint is picked only if no endpoint that is
    /// ready is to be had, and calls that wait for it go elsewhere if they can. The guard may be
    /// dropped before the token.
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

/// A suspicion that stands; see [`Guard::suspect`].
///
/// Dropped without a verdict it is cleared. Of several that were raised before the endpoint was
/// ejected the first one to be confirmed ejects it, and the others change nothing, however late
/// they come.
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

/// A place in the line that the endpoint keeps itself.
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

/// A call that no endpoint can serve, at those that could if they were well.
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

/// The wish for room at some endpoints; see [`Counts::want`](super::counts::Counts::want).
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
