//! The known pods of a Service.
//!
//! This module owns the immutable snapshot ([`Topology`]), the pure step from one snapshot to the
//! next (`merge`, `expire`), the loop that feeds it from `discovery` ([`Discovery`]), and the
//! stream of changes for any user of tower ([`Endpoints`]). Snapshot and merge must never read a
//! clock or do I/O. The loop must never remove a pod because a look-up failed.

mod change;
mod endpoints;
mod findings;
mod merge;
mod refresh;
mod schedule;
mod snapshot;
mod status;

pub use endpoints::{EndpointAddress, EndpointKey, Endpoints};
pub use refresh::Discovery;
pub use snapshot::{Pod, PodAddress, Topology};
pub use status::{DiscoveryStatus, RefreshConfig};

// Hidden items are for the tests and benchmarks of this crate: they may change at any time.
#[doc(hidden)]
pub use change::Change;
#[doc(hidden)]
pub use merge::{expire, merge};
#[doc(hidden)]
pub use refresh::PrimaryWaiter;
