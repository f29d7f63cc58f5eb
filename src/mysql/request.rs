//! What a checkout asks for, and which pods may serve it.
//!
//! Owns the routing rule: writes go to ordinal 0, reads to the replicas, and to the primary only
//! as the policy allows. It must never look at a statement.

use super::pool::PodPool;
use crate::balance::{Eligibility, Eligible};
use crate::config::ReplicaPolicy;
use crate::name::Ordinal;
use tokio::time::Instant;

/// Which side of the cluster a checkout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Primary,
    Replicas,
}

/// One checkout.
#[derive(Debug, Clone)]
pub(crate) struct PodRequest {
    pub(crate) target: Target,
    pub(crate) policy: ReplicaPolicy,
    pub(crate) deadline: Instant,
}

impl Eligible<PodPool> for PodRequest {
    fn eligible(&self, endpoint: &PodPool) -> Eligibility {
        let pool = &endpoint.0;
        let primary = pool.ordinal() == Some(Ordinal::PRIMARY);
        let wanted = match (self.target, primary) {
            (Target::Primary, true) if !pool.is_contested() => Eligibility::Yes,
            (Target::Primary, _) => Eligibility::No,
            (Target::Replicas, false) => Eligibility::Yes,
            (Target::Replicas, true) => match self.policy {
                ReplicaPolicy::PreferReplica => Eligibility::Reserve,
                ReplicaPolicy::ReplicaOnly => Eligibility::No,
                ReplicaPolicy::Any => Eligibility::Yes,
            },
        };
        if !pool.is_listed() || pool.is_closed() {
            return Eligibility::No;
        }
        match wanted {
            Eligibility::Yes if pool.is_full() => Eligibility::Full,
            wanted => wanted,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.deadline)
    }
}
