//! The result of a served call.

use super::guard::Guard;

/// The result of a served call: the endpoint's response, and the guard that counts the checkout.
#[derive(Debug)]
pub struct Balanced<T> {
    pub(super) response: T,
    pub(super) guard: Guard,
}

impl<T> Balanced<T> {
    /// Splits the result; the checkout ends when the guard is dropped.
    ///
    /// The guard comes first, so that `let (guard, response) = ...` drops it last, as required:
    /// variables are dropped in reverse order of declaration. (The fields of a tuple that is kept
    /// whole are not.)
    pub fn into_parts(self) -> (Guard, T) {
        (self.guard, self.response)
    }
}
