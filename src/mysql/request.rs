//! What a checkout asks for, and which pods may serve it.
//!
//! Owns the routing rule: writes go to ordinal 0, reads to the replicas, and to the primary only
//! as the policy allows. It must never look at a statement.

use super::connect::SessionKind;
use super::pool::PodPool;
use crate::balance::{Eligibility, Eligible};
use crate::config::ReplicaPolicy;
use crate::error::PodId;
use tokio::time::Instant;

/// Which side of the cluster a checkout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Primary,
    Replicas,
}

impl Target {
    pub(crate) fn session_kind(self) -> SessionKind {
        match self {
            Self::Primary => SessionKind::ReadWrite,
            Self::Replicas => SessionKind::ReadOnly,
        }
    }
}

/// One checkout.
#[derive(Debug, Clone)]
pub(crate) struct PodRequest {
    pub(crate) target: Target,
    pub(crate) policy: ReplicaPolicy,
    /// `None`: the balancer's own timeout, from when the call begins.
    pub(crate) deadline: Option<Instant>,
    /// A pod that broke this very call before: used only if no other can be had.
    pub(crate) avoid: Option<PodId>,
}

impl Eligible<PodPool> for PodRequest {
    fn eligible(&self, endpoint: &PodPool) -> Eligibility {
        let pool = &endpoint.0;
        let wanted = match (self.target, pool.is_primary()) {
            (Target::Primary, true) => Eligibility::Yes,
            (Target::Primary, false) => Eligibility::No,
            (Target::Replicas, false) => Eligibility::Yes,
            (Target::Replicas, true) => match self.policy {
                ReplicaPolicy::PreferReplica => Eligibility::Reserve,
                ReplicaPolicy::ReplicaOnly => Eligibility::No,
                ReplicaPolicy::Any => Eligibility::Yes,
            },
        };
        let broken = self.avoid.as_ref() == Some(pool.pod());
        let wanted = match wanted {
            Eligibility::Yes if broken => Eligibility::Reserve,
            wanted => wanted,
        };
        if !pool.is_listed() || pool.is_retired() {
            return Eligibility::No;
        }
        let fallback = self.target == Target::Replicas && pool.is_primary();
        let full = match fallback {
            true => pool.is_full_for_fallback(),
            false => pool.is_full(),
        };
        match wanted {
            Eligibility::Yes if full => Eligibility::Full,
            Eligibility::Reserve if full => Eligibility::FullReserve,
            wanted => wanted,
        }
    }

    fn weight(&self, endpoint: &PodPool) -> u32 {
        match self.target {
            Target::Primary => 1,
            Target::Replicas => endpoint.0.weight(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
