//! Compares single answers of two servers.
//!
//! [`relate`] compares a pod with the primary. [`presume`] judges a pod while there is no primary.
//! A verdict that needs a sequence of answers belongs to the [parent](super).

use super::words::{Reason, Recognition};
use crate::server::facts::{Facts, Galera, Group};
use crate::server::kind::ServerKind;
use std::sync::Arc;

/// The result of comparing one answer of a pod with one of the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    None(Reason),
    /// The pod shares history with the primary, so it may be a replica.
    Possible,
    /// The pod is a replica of the primary, as far as the answers can show.
    Shown,
}

pub(super) const NOTHING_IN_COMMON: Relation = Relation::None(Reason::NothingInCommon);

pub(super) fn relate(pod: &Facts, primary: &Facts) -> Relation {
    if pod.kind != primary.kind {
        return Relation::None(Reason::OtherKind);
    }
    if let (Some(pod), Some(primary)) = (&pod.galera, &primary.galera) {
        return match pod.cluster == primary.cluster {
            false => Relation::None(Reason::OtherGalera),
            true if !is_synced(pod) => Relation::None(Reason::NotSynced),
            true => Relation::Shown,
        };
    }
    if is_absent(pod) {
        return Relation::None(Reason::NotOnline);
    }
    if let (Some(pod), Some(primary)) = (&pod.group, &primary.group) {
        if pod.name != primary.name {
            return Relation::None(Reason::OtherGroup);
        }
        // An online member holds what its group holds. If the state is unknown, GTIDs decide.
        let is_online = |group: &Group| group.state.as_deref() == Some(Group::ONLINE);
        if is_online(pod) && is_online(primary) {
            return Relation::Shown;
        }
    }
    if let (Some(id), true) = (pod.server_id, pod.server_id == primary.server_id) {
        return Relation::None(Reason::SameServerId(id));
    }
    if primary.log_bin == Some(false) {
        return Relation::None(Reason::NoBinaryLog);
    }
    let counts = |facts: &Facts| facts.kind == ServerKind::MariaDb || facts.gtid_mode == Some(true);
    // Galera counts transactions differently from replication.
    let is_comparable =
        counts(pod) && counts(primary) && pod.galera.is_some() == primary.galera.is_some();
    if is_comparable && !shares_history(pod, primary) {
        let replicated = pod.position.clone().without_own(&pod.identity);
        // If both positions are empty, there is nothing to compare yet.
        if !primary.position.is_empty() || !replicated.is_empty() {
            return NOTHING_IN_COMMON;
        }
    } else if is_comparable {
        return Relation::Possible;
    }
    match pod.writable {
        true => Relation::None(Reason::Writable),
        false => Relation::Shown,
    }
}

/// Judges a pod without a primary: by its own report, and by its common history with other pods.
/// The pod must share history with the last primary, because what that primary executed stays
/// executed.
pub(super) fn presume(pod: &Facts, others: &[Arc<Facts>], before: Option<&Facts>) -> Recognition {
    if let Some(before) = before.filter(|before| before.identity != pod.identity)
        && let Relation::None(
            reason @ (Reason::NothingInCommon
            | Reason::OtherKind
            | Reason::OtherGalera
            | Reason::OtherGroup),
        ) = relate(pod, before)
    {
        return Recognition::Unrelated(reason);
    }
    if is_absent(pod) {
        return Recognition::Unrelated(Reason::NotOnline);
    }
    let mut others = others.iter().filter(|other| other.identity != pod.identity);
    let is_a_replica = match &pod.galera {
        Some(galera) => is_synced(galera),
        None => !pod.writable || others.any(|other| shares_history(pod, other)),
    };
    match is_a_replica {
        true => Recognition::Presumed,
        false => Recognition::Unrelated(Reason::WritableAlone),
    }
}

/// Whether the server has left its group of Group Replication.
fn is_absent(facts: &Facts) -> bool {
    facts
        .group
        .as_ref()
        .is_some_and(|group| group.absence().is_some())
}

fn is_synced(galera: &Galera) -> bool {
    galera.ready && galera.has_quorum && galera.state == Some(Galera::SYNCED)
}

fn shares_history(one: &Facts, other: &Facts) -> bool {
    let theirs = other.position.sources();
    (one.position.sources().iter()).any(|source| theirs.contains(source))
}
