//! A snapshot of the cluster's state, for people and programs.
//!
//! Plain data only. It must never contain a secret, nor a handle to a live object.

use crate::balance::EndpointState;
use crate::discovery::ResolveError;
use crate::error::PodId;
use crate::name::Ordinal;
use std::time::Duration;

/// A pod that has been silent for longer than this may have died.
const RECENT: Duration = Duration::from_secs(10);

/// The known state of a cluster; see [`Cluster::status`](super::Cluster::status).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Status {
    /// The full name of the Service that answered; `None` before the first good answer.
    pub service: Option<String>,
    /// The pods by ordinal; pods without an ordinal come last. A pod that has just moved is listed
    /// twice.
    pub pods: Vec<PodStatus>,
    /// Time since the last good answer of discovery.
    pub last_answer: Option<Duration>,
    /// The last failure of discovery, even if it has succeeded since.
    pub last_discovery_error: Option<ResolveError>,
    /// Problems in the set-up that the last look-up found, as sentences; empty if there are none.
    /// Errors of calls that found no pod contain the same hints.
    pub hints: Vec<String>,
}

impl Status {
    /// The pod that writes go to; `None` while there is none, or more than one.
    pub fn primary(&self) -> Option<&PodStatus> {
        let mut primaries = self.pods.iter().filter(|pod| pod.primary);
        primaries.next().filter(|_| primaries.next().is_none())
    }
}

/// One incarnation of a pod.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PodStatus {
    /// Name and address of the pod.
    pub pod: PodId,
    /// Its ordinal, if known.
    pub ordinal: Option<Ordinal>,
    /// Whether the pod takes writes: because of its ordinal, or because it was found to be
    /// writable. If several pods are writable, this is true for all of them. If the primary has
    /// several addresses, it is true for the listed ones, or for the one that was listed last.
    pub primary: bool,
    /// Whether the last answer of DNS lists the pod. A pod that is not listed gets no new work.
    /// Exceptions are the last known primary, and all pods while DNS lists none.
    pub listed: bool,
    /// Why the pod gets no reads as a replica, or only after the primary: it is not proven to be a
    /// replica of the primary. `None` for the primary, for a replica, and before the first answer.
    /// A server in the primary's place that is empty or belongs to another cluster serves no reads
    /// at all.
    pub not_read_from: Option<String>,
    /// Whether the server reported that it is read-only; `None` before the first connection.
    pub read_only: Option<bool>,
    /// Time since the last answer of its server, according to connections that are not in use;
    /// `None` if it has never answered.
    pub heard: Option<Duration>,
    /// Checkouts in flight: waiting, connecting or held.
    pub in_flight: usize,
    /// Connections that are handed out, being made or being cleaned.
    pub connections_in_use: usize,
    /// Sessions whose statement was abandoned (it timed out, or its call was dropped) but not ended
    /// by the server, such as a COMMIT that waits for semi-synchronous replication. They count as
    /// in use until they end.
    pub stuck_sessions: usize,
    /// Connections that are idle.
    pub connections_idle: usize,
    /// Health of the pod. `None`: unknown, because the pod has not answered for 10 s and nothing
    /// has failed. No query is sent to learn the state; [`Cluster::check`](super::Cluster::check)
    /// sends one.
    pub state: Option<EndpointState>,
    /// Cause of the last failure, if the pod has failed since its last success.
    pub last_failure: Option<String>,
}

/// The state to report: the balancer assumes that a pod is ready until something fails.
pub(super) fn known_state(state: &EndpointState, heard: Option<Duration>) -> Option<EndpointState> {
    let recent = heard.is_some_and(|ago| ago <= RECENT);
    match state {
        EndpointState::Ready if !recent => None,
        state => Some(state.clone()),
    }
}
