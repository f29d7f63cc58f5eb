//! Which transactions the primary must hold.
//!
//! A re-created, empty `mysql-0` passes every other check of a primary and would take writes. So
//! [`History`] accepts a primary only if it holds what earlier primaries have reported, and what
//! the replicas hold.
//!
//! Owns the ledger of these reports. It must never call a primary checked that could not be
//! checked, and never judge an answer by a report that arrived after the question was sent.

use crate::gtid::position::Position;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A replica's report counts against the primary only after this time: a server may send a
/// transaction to its replicas shortly before it lists it in its own position.
const SETTLING: Duration = Duration::from_secs(1);

/// The transactions that a primary of this cluster must hold.
#[derive(Debug, Default)]
pub(crate) struct History {
    ledger: Mutex<Ledger>,
    /// Copies of the ledger's values, to be read without its lock.
    epoch: AtomicU64,
    is_settled: AtomicBool,
}

#[derive(Debug, Default)]
struct Ledger {
    required: Option<Arc<Position>>,
    /// Whether the replicas have not yet been asked for the first time what they hold.
    cold: bool,
    /// Whether each listed replica has reported what it holds.
    complete: bool,
    /// Whether an accepted primary has executed a write after `complete`. From then on the primary
    /// is known.
    settled: bool,
    /// Whether the operator said that the primary is right, whatever the replicas hold.
    trusts_primary: bool,
    /// The identity of the server that was accepted last.
    primary: Option<String>,
    /// The same, if that server does not count its transactions.
    uncounted: Option<String>,
    /// What a replica reported, and when. Used once a primary is known.
    reported: Option<(Instant, Position)>,
    /// The part of the report that other servers than the primary executed first.
    foreign: Option<Position>,
    /// The foreign transactions of the last warning.
    warned: Option<Position>,
    /// Grows when a primary that was judged before must be asked again.
    epoch: u64,
}

/// A snapshot from before a server is asked for its position. The answer must hold what the
/// snapshot requires, but not what was seen while the question was under way.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    required: Option<Arc<Position>>,
    epoch: u64,
}

impl Seen {
    /// See [`History::epoch`].
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether a server shares no transactions with the snapshot: it is empty, or belongs to
    /// another cluster.
    pub(crate) fn is_foreign(&self, claim: &Claim) -> bool {
        let required = self.required.as_deref();
        let required = required.filter(|required| claim.is_comparable(required));
        required.is_some_and(|required| {
            let found = claim.position.sources();
            !required.is_empty() && required.sources().is_disjoint(&found)
        })
    }
}

/// What a primary reports about itself.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) identity: String,
    pub(crate) position: Position,
    /// Whether `position` contains everything that the server holds.
    pub(crate) counted: bool,
    /// Whether the server is a Galera node, which counts differently from a MariaDB server that
    /// replicates from it.
    pub(crate) is_galera: bool,
}

impl Claim {
    fn is_comparable(&self, required: &Position) -> bool {
        !self.is_galera || required.is_comparable(&self.position)
    }
}

/// The verdict on a primary that holds what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Accepted,
    /// There was too little to compare it with, so the primary must be asked again.
    Provisional,
}

/// The primary lacks transactions that were seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) seen: String,
    pub(crate) found: String,
}

impl History {
    /// A history that accepts no primary before [`History::opened`].
    pub(crate) fn cold() -> Self {
        let history = Self::default();
        history.lock().cold = true;
        history
    }

    /// A history that compares a primary only with what primaries have shown this process.
    pub(crate) fn trusting() -> Self {
        let history = Self::default();
        history.lock().trusts_primary = true;
        history
    }

    /// The replicas have been asked what they hold, and have had time to answer.
    pub(crate) fn opened(&self) {
        let mut ledger = self.lock();
        if ledger.cold {
            ledger.cold = false;
            // A primary that was judged before was compared with too few reports.
            self.advance_epoch(&mut ledger);
        }
    }

    /// Records whether each listed replica has reported what it holds.
    pub(crate) fn heard_all(&self, complete: bool) {
        self.lock().complete = complete;
    }

    /// Records that the primary executed a write. After the first write with all replicas heard,
    /// the primary is known.
    pub(crate) fn wrote(&self) {
        if self.is_settled() {
            return;
        }
        let mut ledger = self.lock();
        if ledger.complete && ledger.primary.is_some() {
            ledger.settled = true;
            self.is_settled.store(true, Ordering::Release);
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire)
    }

    /// Grows when a primary that was judged before must be asked again before its next write.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// See [`Seen`].
    pub(crate) fn seen(&self) -> Seen {
        let mut ledger = self.lock();
        ledger.take_in_report();
        Seen {
            required: ledger.required.clone(),
            epoch: ledger.epoch,
        }
    }

    /// Accepts a primary if it holds what was `seen`. Remembers its position if that is the newest
    /// one.
    ///
    /// Where transactions are not counted, only the server that was accepted before is accepted.
    pub(crate) fn advance(&self, seen: &Seen, claim: Claim) -> Result<Standing, Lost> {
        let found = &claim.position;
        let required = seen.required.as_deref();
        let required = required.filter(|required| claim.is_comparable(required));
        if let Some(required) = required.filter(|required| !found.contains(required)) {
            return Err(Lost {
                seen: required.to_string(),
                found: found.to_string(),
            });
        }
        let mut ledger = self.lock();
        if ledger.cold || ledger.epoch != seen.epoch {
            return Ok(Standing::Provisional);
        }
        let before = ledger.uncounted.as_ref();
        if let Some(before) = before.filter(|before| !claim.counted && **before != claim.identity) {
            return Err(Lost {
                seen: format!("server {before}, without GTIDs"),
                found: format!("server {}, without GTIDs", claim.identity),
            });
        }
        ledger.uncounted = (!claim.counted).then(|| claim.identity.clone());
        ledger.primary = Some(claim.identity.clone());
        ledger.warn_of_foreign(found);
        let required = &mut ledger.required;
        if required
            .as_ref()
            .is_none_or(|required| found.contains(required) || !claim.is_comparable(required))
        {
            *required = Some(Arc::new(claim.position.tips()));
        }
        Ok(Standing::Accepted)
    }

    /// Takes in what a replica holds. The caller leaves out the replica's own transactions.
    ///
    /// Until a primary is known, it must hold all of `held`. Afterwards it must hold only the part
    /// that it executed itself, because the replica can have that part only from the primary.
    /// Transactions of other servers cause a warning.
    pub(crate) fn expect(&self, held: Position) {
        let mut ledger = self.lock();
        if ledger.trusts_primary || held.is_empty() {
            return;
        }
        if ledger.settled {
            match ledger.knows(&held) {
                true => {
                    let reported = &mut ledger.reported;
                    reported.get_or_insert_with(|| (Instant::now(), held));
                }
                false => ledger.foreign = Some(held.tips()),
            }
            return;
        }
        let held = held.tips();
        if (ledger.required.as_ref()).is_some_and(|required| !required.is_comparable(&held)) {
            return;
        }
        let required = match &ledger.required {
            Some(required) if required.contains(&held) => return,
            Some(required) => Position::clone(required).union(&held),
            None => held,
        };
        ledger.required = Some(Arc::new(required));
        self.advance_epoch(&mut ledger);
    }

    /// Forgets what was seen, because the operator says that the primary's history is the right
    /// one.
    pub(crate) fn forget(&self) {
        let mut ledger = self.lock();
        ledger.required = None;
        ledger.uncounted = None;
        ledger.reported = None;
        ledger.foreign = None;
        ledger.trusts_primary = true;
        // An answer of the previous server that is still under way must not count either.
        self.advance_epoch(&mut ledger);
    }

    fn advance_epoch(&self, ledger: &mut Ledger) {
        ledger.epoch += 1;
        self.epoch.store(ledger.epoch, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }
}

impl Ledger {
    /// Whether a pod that holds this may belong to the primary's cluster. A server of another
    /// cluster may be at a replica's address, and the primary of that cluster may have the same
    /// server id as ours.
    fn knows(&self, held: &Position) -> bool {
        let known = self.required.as_deref();
        known.is_none_or(|known| known.is_empty() || known.shares_a_stream(held))
    }

    /// Takes in the replica's report once it is older than [`SETTLING`].
    fn take_in_report(&mut self) {
        let is_due = |(at, _): &mut (Instant, Position)| at.elapsed() >= SETTLING;
        let (Some(primary), Some((_, held))) = (&self.primary, self.reported.take_if(is_due))
        else {
            return;
        };
        let own = held.clone().only_own(primary);
        self.foreign = Some(held.without_own(primary).tips()).filter(|foreign| !foreign.is_empty());
        // A primary that does not count its transactions shows none of them. Those with its server
        // id are from earlier, or another cluster's.
        if !own.is_empty() && self.uncounted.is_none() {
            let required = self.required.as_deref().cloned();
            let required = required.map_or(own.clone(), |required| required.union(&own));
            self.required = Some(Arc::new(required));
        }
    }

    fn warn_of_foreign(&mut self, found: &Position) {
        let foreign = self
            .foreign
            .take()
            .filter(|foreign| !found.contains(foreign));
        if foreign.is_none() || foreign == self.warned {
            return;
        }
        if let (Some(foreign), Some(primary)) = (&foreign, &self.primary) {
            tracing::warn!(
                primary, %foreign, %found,
                "a replica holds transactions of another server that the primary does not hold; \
                 they will be missing where the primary is read"
            );
        }
        self.warned = foreign;
    }
}

#[cfg(test)]
mod tests;
