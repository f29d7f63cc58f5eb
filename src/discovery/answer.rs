//! The result of one look-up.
//!
//! Owns the form of an answer, whatever its source. It must never decide what the answer means for
//! the pods known so far.

use crate::name::Ordinal;
use std::net::IpAddr;
use std::time::Duration;

/// The pods that one look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The absolute name of the Service that answered, without a trailing dot.
    pub service: String,
    /// The pods, in no particular order. Two entries with the same ordinal count as one pod with
    /// the addresses of both.
    pub pods: Vec<FoundPod>,
    /// How long the answer is valid, according to its source. Only a hint.
    pub ttl: Option<Duration>,
    /// Whether these are all pods. If not (for example, one of several sources did not answer), a
    /// known pod that is missing here is unknown, not absent.
    pub complete: bool,
    /// The host names of pods that the Service lists but that are not used, because they do not
    /// belong to the wanted StatefulSet.
    pub others: Vec<String>,
}

impl Answer {
    /// An answer with these pods under this Service name.
    pub fn new(
        service: impl Into<String>,
        pods: impl IntoIterator<Item = FoundPod>,
        ttl: Option<Duration>,
    ) -> Self {
        Self {
            service: service.into(),
            pods: pods.into_iter().collect(),
            ttl,
            complete: true,
            others: Vec::new(),
        }
    }

    pub(crate) fn with_others(mut self, others: Vec<String>) -> Self {
        self.others = others;
        self
    }

    /// Marks the answer as partial: there may be pods that it does not list.
    #[must_use]
    pub fn partial(mut self) -> Self {
        self.complete = false;
        self
    }

    /// Whether the answer has no address.
    pub fn is_empty(&self) -> bool {
        self.pods.iter().all(|pod| pod.addresses.is_empty())
    }
}

/// One pod of an [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundPod {
    /// The pod's ordinal in its StatefulSet; `None` if the source does not say. A pod without an
    /// ordinal is identified by its address.
    pub ordinal: Option<Ordinal>,
    /// The stable name of the pod, without a trailing dot. The pod's TLS certificate may contain
    /// it.
    pub host: String,
    /// The pod's addresses, in no particular order. More than one address of a family means that an
    /// old pod and its replacement are both listed.
    pub addresses: Vec<IpAddr>,
    /// The port of the MySQL server.
    pub port: u16,
}

impl FoundPod {
    /// A pod with this name and these addresses.
    pub fn new(
        ordinal: Option<Ordinal>,
        host: impl Into<String>,
        addresses: impl IntoIterator<Item = IpAddr>,
        port: u16,
    ) -> Self {
        let addresses = addresses.into_iter().collect();
        Self {
            ordinal,
            host: host.into(),
            addresses,
            port,
        }
    }
}
