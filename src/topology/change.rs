//! The differences between two snapshots.

use std::fmt;
use std::net::SocketAddr;

use crate::name::Ordinal;

/// One difference between a [`Topology`](super::Topology) and the next. Displays as a phrase for
/// operators: `mysql-1.mysql.default.svc.cluster.local at 10.244.2.6:3306 added`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A new address.
    Added {
        /// The pod's ordinal, if known.
        ordinal: Option<Ordinal>,
        /// The pod's stable name.
        host: String,
        /// The address.
        address: SocketAddr,
    },
    /// A known address that was absent is listed again.
    Returned {
        /// The pod's ordinal, if known.
        ordinal: Option<Ordinal>,
        /// The pod's stable name.
        host: String,
        /// The address.
        address: SocketAddr,
    },
    /// A listed address is missing from a good answer; it gets no new work.
    Absent {
        /// The pod's ordinal, if known.
        ordinal: Option<Ordinal>,
        /// The pod's stable name.
        host: String,
        /// The address.
        address: SocketAddr,
    },
    /// An address was absent for the whole grace period, or now belongs to another pod.
    Removed {
        /// The pod's ordinal, if known.
        ordinal: Option<Ordinal>,
        /// The pod's stable name.
        host: String,
        /// The address.
        address: SocketAddr,
    },
    /// The stable name of a pod changed.
    Renamed {
        /// The pod's ordinal, if known.
        ordinal: Option<Ordinal>,
        /// The previous name.
        from: String,
        /// The new name.
        to: String,
    },
    /// A different name of the Service answered than before.
    Service {
        /// The name that answered before.
        from: String,
        /// The name that answers now.
        to: String,
    },
}

impl Change {
    /// The kind of the change as one word, for metrics: `added`, `returned`, `absent`, `removed`,
    /// `renamed`, `service`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Added { .. } => "added",
            Self::Returned { .. } => "returned",
            Self::Absent { .. } => "absent",
            Self::Removed { .. } => "removed",
            Self::Renamed { .. } => "renamed",
            Self::Service { .. } => "service",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { host, address, .. } => write!(f, "{host} at {address} added"),
            Self::Returned { host, address, .. } => write!(f, "{host} at {address} returned"),
            Self::Absent { host, address, .. } => write!(f, "{host} at {address} absent"),
            Self::Removed { host, address, .. } => write!(f, "{host} at {address} removed"),
            Self::Renamed { from, to, .. } => write!(f, "{from} is called {to} now"),
            Self::Service { from, to } => write!(f, "{to} answers in place of {from}"),
        }
    }
}
