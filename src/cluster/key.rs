//! The key of an incarnation of a pod.

use crate::name::Ordinal;
use crate::topology::Pod;
use std::fmt;
use std::net::SocketAddr;

/// The key of an incarnation of a pod: a pod at one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PodKey {
    /// The ordinal; the largest value if it is unknown, so that such keys sort last.
    order: u64,
    address: SocketAddr,
    name: String,
}

impl PodKey {
    #[cfg(test)]
    pub(super) fn of(ordinal: u32, address: SocketAddr) -> Self {
        Self {
            order: u64::from(ordinal),
            address,
            name: format!("mysql-{ordinal}"),
        }
    }

    fn ordinal(&self) -> Option<Ordinal> {
        u32::try_from(self.order).ok().map(Ordinal::new)
    }

    /// Whether the key belongs to an incarnation of `pod`. A pod without an ordinal is identified
    /// by its address.
    pub(super) fn is_of(&self, pod: &Pod) -> bool {
        self.ordinal() == pod.ordinal()
            && (pod.ordinal().is_some()
                || pod.addresses().iter().any(|at| at.socket() == self.address))
    }

    pub(super) fn new(pod: &Pod, address: SocketAddr) -> Self {
        let label = pod.host().split('.').next().unwrap_or_default();
        Self {
            order: pod.ordinal().map_or(u64::MAX, |n| u64::from(n.get())),
            address,
            name: label.to_owned(),
        }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}
