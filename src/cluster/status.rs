//! A picture of the cluster, for people and machines.
//!
//! Owns plain data. It must never carry a secret, nor a handle to anything that lives.

use crate::balance::EndpointState;
use crate::discovery::ResolveError;
use crate::error::PodId;
use crate::name::Ordinal;
use std::time::Duration;

/// What is known of a cluster; see [`Cluster::status`](super::Cluster::status).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Status {
    /// The full name of the Service that answered; `None` before the first good answer.
    pub service: Option<String>,
    /// The pods by ordinal, those without one last. A pod that just moved is there twice.
    pub pods: Vec<PodStatus>,
    /// How long ago discovery last had a good answer.
    pub last_answer: Option<Duration>,
    /// The last failure of discovery, also if it has succeeded since.
    pub last_discovery_error: Option<ResolveError>,
}

/// One incarnation of a pod.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PodStatus {
    /// Its name and address.
    pub pod: PodId,
    /// Its ordinal, if known.
    pub ordinal: Option<Ordinal>,
    /// Whether it takes the writes: by its ordinal, or because it was found to be the one that
    /// does. Of several writable pods all are.
    pub primary: bool,
    /// Whether discovery lists it (or it is the last known primary): only then it gets checkouts.
    pub listed: bool,
    /// Whether the server said that it is read-only; `None` before the first connection.
    pub read_only: Option<bool>,
    /// Checkouts in flight: waiting, connecting and held.
    pub in_flight: usize,
    /// Connections handed out, being made or being cleaned.
    pub connections_in_use: usize,
    /// Connections that wait for a user.
    pub connections_idle: usize,
    /// Its health; `None` while the balancer has not taken it in yet.
    pub state: Option<EndpointState>,
    /// Why it failed last, if it has failed since it last worked.
    pub last_failure: Option<String>,
}
