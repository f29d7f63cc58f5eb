//! The request of a checkout.

use crate::config::ReplicaPolicy;
use crate::error::PodId;
use crate::pool::state::Pool;
use crate::routing::{Duty, Target};
use crate::server::session_kind::SessionKind;
use tokio::time::Instant;

impl Target {
    pub(crate) fn session_kind(self) -> SessionKind {
        match self {
            Self::Primary => SessionKind::ReadWrite,
            Self::Replicas => SessionKind::ReadOnly,
        }
    }
}

/// The request of one checkout.
#[derive(Debug, Clone)]
pub(crate) struct PodRequest {
    pub(crate) target: Target,
    pub(crate) policy: ReplicaPolicy,
    /// `None`: the balancer's own timeout, counted from the begin of the call.
    pub(crate) deadline: Option<Instant>,
    /// A pod whose connection broke under the same statement: used only if no other pod is
    /// available.
    pub(crate) tried: Option<PodId>,
    /// Whether this is a probe: it only asks whether the pod is alive.
    pub(crate) probe: bool,
}

impl PodRequest {
    /// In which duty `pool` serves the request; `None`: it must not serve it.
    #[inline]
    pub(crate) fn duty_of(&self, pool: &Pool) -> Option<Duty> {
        Duty::of(self.target, self.policy, pool.role())
    }
}
