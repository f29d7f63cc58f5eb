//! The routing rule: which pods may serve a request, and in which order of preference.
//!
//! [`Duty::of`] answers both for one pod. Writes go to the primary. Reads go to replicas of the
//! primary, and to the primary itself only as the policy allows.
//!
//! It must never look at a statement, nor at health and load: those belong to `balance`.

use crate::config::ReplicaPolicy;

/// The side of the cluster that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Primary,
    Replicas,
}

/// The role of a pod, as far as routing needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Role {
    Primary,
    /// The pod that should be the primary, but holds none of the newest transactions that the
    /// primary has held: its server was re-created empty, or belongs to another cluster.
    Foreign,
    Replica,
    /// It may be a replica of the primary, but this is not proven.
    Unproven,
    /// It is not a replica of the primary.
    Stranger,
}

/// The capacity in which a pod serves a request, the most preferred first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Duty {
    /// A write on the primary, a read on a replica.
    Regular,
    /// A read on the primary because no replica can serve it. Such reads share half of the
    /// primary's connections, so that writes keep the rest.
    Fallback,
    /// A read on a pod that is not proven to be a replica, because the primary cannot serve it
    /// either.
    LastResort,
}

impl Duty {
    /// `None` if the pod must not serve the request.
    #[inline]
    pub(crate) fn of(target: Target, policy: ReplicaPolicy, role: Role) -> Option<Self> {
        match (target, role) {
            // Routing does not check whether the pod takes writes: the handshake does, and its
            // error names the reason.
            (Target::Primary, Role::Primary | Role::Foreign) => Some(Self::Regular),
            (Target::Primary, _) | (Target::Replicas, Role::Foreign | Role::Stranger) => None,
            (Target::Replicas, Role::Primary) => match policy {
                ReplicaPolicy::PreferReplica => Some(Self::Fallback),
                ReplicaPolicy::ReplicaOnly => None,
                ReplicaPolicy::Any | ReplicaPolicy::PrimaryOnly => Some(Self::Regular),
            },
            (Target::Replicas, _) if policy == ReplicaPolicy::PrimaryOnly => None,
            (Target::Replicas, Role::Replica) => Some(Self::Regular),
            (Target::Replicas, Role::Unproven) => Some(Self::LastResort),
        }
    }

    /// See [`Eligibility::Yes`](crate::balance::Eligibility::Yes).
    #[inline]
    pub(crate) fn tier(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::ReplicaPolicy::{Any, PreferReplica, PrimaryOnly, ReplicaOnly};
    use super::*;

    #[test]
    fn a_pod_serves_what_its_role_and_the_policy_allow() {
        use Duty::{Fallback, LastResort, Regular};
        use Target::{Primary, Replicas};
        const ROLES: [Role; 5] = [
            Role::Primary,
            Role::Foreign,
            Role::Replica,
            Role::Unproven,
            Role::Stranger,
        ];
        let (regular, last) = (Some(Regular), Some(LastResort));
        let table = [
            (Primary, PreferReplica, [regular, regular, None, None, None]),
            (Primary, ReplicaOnly, [regular, regular, None, None, None]),
            (Primary, Any, [regular, regular, None, None, None]),
            (Primary, PrimaryOnly, [regular, regular, None, None, None]),
            (
                Replicas,
                PreferReplica,
                [Some(Fallback), None, regular, last, None],
            ),
            (Replicas, ReplicaOnly, [None, None, regular, last, None]),
            (Replicas, Any, [regular, None, regular, last, None]),
            (Replicas, PrimaryOnly, [regular, None, None, None, None]),
        ];
        for (target, policy, expected) in table {
            let found = ROLES.map(|role| Duty::of(target, policy, role));
            assert_eq!(found, expected, "{target:?} {policy:?}");
        }
    }

    #[test]
    fn a_read_prefers_replicas_to_the_primary_and_the_primary_to_pods_that_are_not_proven() {
        let tiers = [Duty::Regular, Duty::Fallback, Duty::LastResort].map(Duty::tier);
        assert_eq!(tiers, [0, 1, 2]);
    }
}
