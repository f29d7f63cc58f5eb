//! The snapshot of a Service's pods.
//!
//! Owns the shape of the snapshot. Only [`merge`](fn@super::merge) and [`expire`](super::expire)
//! make one snapshot from another. The snapshot must never read a clock.

use crate::name::Ordinal;
use std::net::SocketAddr;
use tokio::time::Instant;

/// An immutable snapshot of a Service's pods. The default snapshot is empty, has version 0, and has
/// ordinal 0 as its primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    pub(super) version: u64,
    /// The ordinal of the primary.
    pub(super) primary: Ordinal,
    pub(super) service: Option<String>,
    /// Sorted by ordinal; pods without an ordinal are last, sorted by host and address.
    pub(super) pods: Vec<Pod>,
}

/// A pod and its current or recent addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub(super) ordinal: Option<Ordinal>,
    pub(super) host: String,
    /// Never empty; sorted.
    pub(super) addresses: Vec<PodAddress>,
}

/// One address of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodAddress {
    pub(super) socket: SocketAddr,
    pub(super) absent_since: Option<Instant>,
}

impl Topology {
    /// An empty snapshot whose primary has this ordinal: the last address of the primary is never
    /// removed.
    pub fn with_primary(primary: Ordinal) -> Self {
        Self {
            primary,
            ..Self::default()
        }
    }

    /// The ordinal of the primary.
    pub fn primary(&self) -> Ordinal {
        self.primary
    }

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

    /// Whether the last good answer contained this address for this pod.
    pub(crate) fn lists(&self, ordinal: Option<Ordinal>, address: SocketAddr) -> bool {
        let mut pods = self.pods.iter().filter(|pod| pod.ordinal == ordinal);
        pods.any(|pod| pod.listed().any(|at| at.socket == address))
    }

    /// Grows by one with each change; the initial empty snapshot has version 0.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The absolute name of the Service that answered, without a trailing dot; `None` before the
    /// first good answer.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Whether there is no pod: true only before the first good answer.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
}

impl Pod {
    /// The pod's ordinal in its StatefulSet; `None` if discovery could not determine it.
    pub fn ordinal(&self) -> Option<Ordinal> {
        self.ordinal
    }

    /// The stable name of the pod, without a trailing dot.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The addresses of the pod, sorted, at least one. There are several while an old pod and its
    /// replacement overlap.
    pub fn addresses(&self) -> &[PodAddress] {
        &self.addresses
    }

    /// The addresses that the last good answer contained.
    pub fn listed(&self) -> impl Iterator<Item = &PodAddress> {
        self.addresses.iter().filter(|address| address.is_listed())
    }
}

impl PodAddress {
    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        self.socket
    }

    /// Whether the last good answer contained the address. An address that is not listed gets no
    /// new work.
    pub fn is_listed(&self) -> bool {
        self.absent_since.is_none()
    }

    /// Since when the address is missing from good answers; `None` while it is listed.
    pub fn absent_since(&self) -> Option<Instant> {
        self.absent_since
    }
}
