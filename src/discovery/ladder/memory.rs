//! What was learnt from earlier look-ups. It saves questions, and is never an answer by itself.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::discovery::FoundPod;

/// How long the rungs above the one that answered are left alone. A Service rarely gets a port, and
/// an answer too large for TCP costs 64 KiB to find out.
const CLIMB_AGAIN: Duration = Duration::from_secs(60);
/// Every how many look-ups all pods are asked for by name again, although the set of addresses is
/// the same: two pods may have swapped theirs. (A connection to the wrong one is refused by the
/// server's host name and makes look-ups frequent.)
const ATTRIBUTE_AGAIN: usize = 5;
/// In large sets more rarely, so that this costs at most so many queries per look-up.
const QUERIES_PER_LOOK_UP: usize = 8;

/// A kind of question; the first is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    /// SRV of the named port.
    Port,
    /// SRV at the Service's name.
    Service,
    /// Addresses at the Service's name, and each pod by name.
    Addresses,
}

// === impl Rung ===

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
    /// Since when those above were left alone.
    since: Instant,
    /// Not if a better one had answered before: one answer from an old cache does not decide, and
    /// those above are asked again at the next look-up.
    settled: bool,
}

/// Whose the addresses were when all pods were asked for.
#[derive(Clone, Debug)]
struct Attributed {
    /// The name that had them.
    name: String,
    listed: BTreeSet<IpAddr>,
    pods: Vec<FoundPod>,
    /// Look-ups since.
    used: usize,
}

// === impl Memory ===

impl Memory {
    pub(super) fn winner(&self) -> Option<usize> {
        self.learnt().winner
    }

    /// Where to begin with this candidate.
    pub(super) fn start(&self, candidate: usize) -> Rung {
        let learnt = self.learnt();
        let reached = learnt.reached.filter(|_| learnt.winner == Some(candidate));
        let fresh = |reached: &Reached| reached.settled && reached.since.elapsed() < CLIMB_AGAIN;
        reached
            .filter(fresh)
            .map_or(Rung::TOP, |reached| reached.rung)
    }

    /// The candidate answered on this rung, after a climb from `start`.
    pub(super) fn won(&self, candidate: usize, rung: Rung, start: Rung) {
        let mut learnt = self.learnt();
        let known = learnt.reached.filter(|_| learnt.winner == Some(candidate));
        let (since, settled) = match known {
            // Nothing above was asked.
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

    /// The pods behind these addresses, if they are the same as when all pods were asked for, and
    /// that was not too many look-ups ago.
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

    /// The pods that were known at this name, whatever its addresses are now.
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.learnt().clone()))
    }
}
