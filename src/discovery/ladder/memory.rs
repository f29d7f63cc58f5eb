//! What earlier look-ups have learnt. It saves queries, and is never an answer by itself.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::discovery::FoundPod;

/// How long the rungs above the one that answered are not asked again. A Service rarely gets a new
/// port, and to find that an answer is too large for TCP costs 64 KiB.
const CLIMB_AGAIN: Duration = Duration::from_secs(60);
/// After this number of look-ups, all pods are asked for by name again, even if the set of
/// addresses is the same: two pods may have swapped their addresses. (After a swap, the check of
/// the server's host name refuses the connection, and look-ups become frequent.)
const ATTRIBUTE_AGAIN: usize = 5;
/// In large sets this happens more rarely, so that it costs at most this many queries per look-up
/// on average.
const QUERIES_PER_LOOK_UP: usize = 8;

/// A kind of query; the first is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    /// SRV records of the named port.
    Port,
    /// SRV records at the Service's name.
    Service,
    /// Addresses at the Service's name, then a query for each pod's name.
    Addresses,
}

impl Rung {
    pub(super) const TOP: Self = Self::Port;
}

#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Learnt>);

#[derive(Clone, Debug, Default)]
struct Learnt {
    /// The index of the candidate that answered last.
    winner: Option<usize>,
    reached: Option<Reached>,
    attributed: Option<Attributed>,
}

/// The rung that the winner answered on.
#[derive(Clone, Copy, Debug)]
struct Reached {
    rung: Rung,
    /// The time since which the rungs above were not asked.
    since: Instant,
    /// False if a better rung had answered before: one answer from an old cache does not decide,
    /// and the rungs above are asked again at the next look-up.
    settled: bool,
}

/// Which pod each address belonged to when all pods were asked for.
#[derive(Clone, Debug)]
struct Attributed {
    /// The name that had the addresses.
    name: String,
    listed: BTreeSet<IpAddr>,
    pods: Vec<FoundPod>,
    /// The number of look-ups since then.
    used: usize,
}

impl Memory {
    pub(super) fn winner(&self) -> Option<usize> {
        self.learnt().winner
    }

    /// The rung to begin with for this candidate.
    pub(super) fn start(&self, candidate: usize) -> Rung {
        let learnt = self.learnt();
        let reached = learnt.reached.filter(|_| learnt.winner == Some(candidate));
        let fresh = |reached: &Reached| reached.settled && reached.since.elapsed() < CLIMB_AGAIN;
        reached
            .filter(fresh)
            .map_or(Rung::TOP, |reached| reached.rung)
    }

    /// Records that the candidate answered on this rung, after a climb from `start`.
    pub(super) fn won(&self, candidate: usize, rung: Rung, start: Rung) {
        let mut learnt = self.learnt();
        let known = learnt.reached.filter(|_| learnt.winner == Some(candidate));
        let (since, settled) = match known {
            // No rung above was asked.
            Some(known) if known.rung == rung && start == rung => (known.since, known.settled),
            known => (Instant::now(), known.is_none_or(|known| known.rung >= rung)),
        };
        learnt.winner = Some(candidate);
        learnt.reached = Some(Reached {
            rung,
            since,
            settled,
        });
    }

    /// The pods behind these addresses, if the addresses are the same as when all pods were asked
    /// for, and if that was not too many look-ups ago.
    pub(super) fn recall(&self, name: &str, listed: &BTreeSet<IpAddr>) -> Option<Vec<FoundPod>> {
        let mut learnt = self.learnt();
        let known = learnt.attributed.as_mut()?;
        let every = ATTRIBUTE_AGAIN.max(listed.len() / QUERIES_PER_LOOK_UP);
        if known.name != name || known.listed != *listed || known.used + 1 >= every {
            return None;
        }
        known.used += 1;
        Some(known.pods.clone())
    }

    /// The pods last known at this name, whatever its addresses are now.
    pub(super) fn last_known(&self, name: &str) -> Vec<FoundPod> {
        let learnt = self.learnt();
        let known = learnt
            .attributed
            .as_ref()
            .filter(|known| known.name == name);
        known.map_or_else(Vec::new, |known| known.pods.clone())
    }

    pub(super) fn learn(&self, name: &str, listed: BTreeSet<IpAddr>, pods: Vec<FoundPod>) {
        self.learnt().attributed = Some(Attributed {
            name: name.to_owned(),
            listed,
            pods,
            used: 0,
        });
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.0.lock()
    }
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.learnt().clone()))
    }
}
