//! Owns the options that say which part of the reads each pod takes.

use super::Config;

/// What a pod's weight may be at most.
pub(super) const HEAVIEST: u32 = 100;

impl Config {
    /// Whether a pod that answers reads more slowly than the others gets fewer of them; default
    /// true. Compared are the times of single statements in read-only sessions, as a mean of the
    /// logarithm over the last 16 or so, and no longer than about 15 s; nothing happens below a factor
    /// of two, nor below a millisecond. A pod that is n times slower is taken for n times as loaded,
    /// but for one in n² reads: so it is measured, and has its share again once it is as fast.
    ///
    /// Turn it off if pods are to get equal shares although some are slower for this process: because
    /// they are farther away, say, and it alone would leave them idle.
    #[must_use]
    pub fn with_pace(mut self, pace: bool) -> Self {
        self.pace = pace;
        self
    }

    /// How much of the reads pods take compared with the others, by ordinal; 1 for each that is
    /// not named, 100 at most. Of two idle pods with the weights 1 and 2 the second is used; under
    /// load it has twice as many checkouts in flight. Set it where pods differ in size; a pod that
    /// is merely slow is found out by [`Config::with_pace`], with whose weight this one is
    /// multiplied. 0: no reads at all, also while no other pod is left. Writes do not ask for it.
    #[must_use]
    pub fn with_weights(mut self, weights: impl IntoIterator<Item = (u32, u32)>) -> Self {
        self.weights = weights.into_iter().collect();
        self
    }
}
