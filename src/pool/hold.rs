//! The guards that count one checkout.

use crate::balance::Guard;
use crate::pool::growth::Slot;
use crate::pool::quota::Place;

/// The guards that count one checkout. Dropping it gives everything back.
#[derive(Default)]
pub(crate) struct Hold {
    /// Counts the connection in its pool.
    pub(crate) slot: Option<Slot>,
    /// Set for a read that fell back to the primary.
    pub(crate) fallback: Option<Place>,
    /// Counts the checkout in the balancer.
    pub(crate) guard: Option<Guard>,
}
