//! Which pods there are, as far as we know.
//!
//! This module owns the immutable snapshot ([`Topology`]), the pure step from one to the next
//! ([`merge`], [`expire`]), the loop that feeds it from `discovery` ([`Discovery`]), and the
//! snapshots as changes for any user of tower ([`Endpoints`]). Snapshot and merge must never read a
//! clock or do I/O; the loop must never take a pod away because a look-up failed.

mod change;
mod endpoints;
mod merge;
mod pace;
mod refresh;
mod status;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::name::Ordinal;

pub use change::Change;
pub use endpoints::{EndpointAddress, EndpointKey, Endpoints};
pub use merge::{expire, merge};
pub use refresh::{Discovery, PrimaryWaiter};
pub use status::{DiscoveryStatus, RefreshConfig};

/// An immutable snapshot of a Service's pods. The default one is empty, with version 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    version: u64,
    service: Option<String>,
    /// Sorted by ordinal; those without one last, by host and address.
    pods: Vec<Pod>,
}

/// A pod and where it is, or was until recently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    ordinal: Option<Ordinal>,
    host: String,
    /// Never empty; sorted.
    addresses: Vec<PodAddress>,
}

/// One address of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodAddress {
    socket: SocketAddr,
    absent_since: Option<Instant>,
}

// === impl Topology ===

impl Topology {
    /// The pods, sorted by ordinal; those without an ordinal come last, one per address.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// The pod with this ordinal.
    pub fn pod(&self, ordinal: Ordinal) -> Option<&Pod> {
        let at = self
            .pods
            .partition_point(|pod| pod.ordinal.is_some_and(|o| o < ordinal));
        self.pods.get(at).filter(|pod| pod.ordinal == Some(ordinal))
    }

    /// Grows by one with each change; the empty one we begin with has 0.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The absolute name of the Service that answered, without a trailing dot; `None` before the
    /// first good answer.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Whether there is no pod; only before the first good answer.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// When [`expire`] has something to remove next; `None` if nothing is absent that will be.
    pub fn next_expiry(&self, grace: Duration) -> Option<Instant> {
        let due = |pod: &Pod| merge::next_expiry(pod, grace);
        self.pods.iter().filter_map(due).min()
    }
}

// === impl Pod ===

impl Pod {
    /// Which pod of its StatefulSet it is; `None` if discovery could not tell.
    pub fn ordinal(&self) -> Option<Ordinal> {
        self.ordinal
    }

    /// The stable name of the pod, without a trailing dot.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its addresses, at least one, sorted: more than one while an old pod and its replacement
    /// overlap.
    pub fn addresses(&self) -> &[PodAddress] {
        &self.addresses
    }

    /// Those of its addresses that the last good answer held.
    pub fn listed(&self) -> impl Iterator<Item = &PodAddress> {
        self.addresses.iter().filter(|address| address.is_listed())
    }
}

// === impl PodAddress ===

impl PodAddress {
    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        self.socket
    }

    /// Whether the last good answer held it. An address that is not listed gets no new work.
    pub fn is_listed(&self) -> bool {
        self.absent_since.is_none()
    }

    /// Since when good answers lack it; `None` while it is listed.
    pub fn absent_since(&self) -> Option<Instant> {
        self.absent_since
    }
}
