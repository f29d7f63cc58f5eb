//! Positions in a server's history (GTID sets), and which history the primary must hold.
//!
//! Owns parsing and comparison of positions and the ledger of the newest one seen. It must never
//! guess: a text it cannot read is an error, not an empty position.
//!
//! Why: a re-created, empty `mysql-0` passes every other check of a primary and would take
//! writes. So a primary must contain everything that a primary has shown us before.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A position in history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Position {
    /// MariaDB: the newest sequence number per domain (`gtid_binlog_pos`).
    MariaDb(BTreeMap<u32, (u32, u64)>),
    /// MySQL: intervals per source, tags kept (`gtid_executed`).
    MySql(BTreeMap<String, Vec<(u64, u64)>>),
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` is not a GTID position")]
pub(crate) struct BadPosition {
    part: String,
}

fn bad(part: &str) -> BadPosition {
    BadPosition {
        part: part.chars().take(80).collect(),
    }
}

impl Position {
    /// Parses `0-1-42,1-7-3`; empty text is the empty position. Of several entries of a domain the
    /// newest counts.
    pub(crate) fn parse_mariadb(text: &str) -> Result<Self, BadPosition> {
        let mut domains = BTreeMap::new();
        for gtid in text.split(',').map(str::trim).filter(|g| !g.is_empty()) {
            let mut parts = gtid.splitn(3, '-');
            let mut next = || parts.next().ok_or_else(|| bad(gtid));
            let domain: u32 = next()?.parse().map_err(|_| bad(gtid))?;
            let server: u32 = next()?.parse().map_err(|_| bad(gtid))?;
            let sequence: u64 = next()?.parse().map_err(|_| bad(gtid))?;
            let newest = domains.entry(domain).or_insert((server, sequence));
            if newest.1 < sequence {
                *newest = (server, sequence);
            }
        }
        Ok(Self::MariaDb(domains))
    }

    /// Parses `uuid:1-5:7,uuid:tag:1-3`; empty text is the empty position.
    pub(crate) fn parse_mysql(text: &str) -> Result<Self, BadPosition> {
        let mut sources: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        for set in text.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            let mut parts = set.split(':').map(str::trim);
            let uuid = parts.next().unwrap_or_default().to_ascii_lowercase();
            if uuid.len() != 36 {
                return Err(bad(set));
            }
            let mut source = uuid.clone();
            for part in parts {
                // An interval starts with a digit, a tag cannot.
                if part.starts_with(|c: char| c.is_ascii_digit()) {
                    let (from, to) = part.split_once('-').unwrap_or((part, part));
                    let from: u64 = from.parse().map_err(|_| bad(set))?;
                    let to: u64 = to.parse().map_err(|_| bad(set))?;
                    sources.entry(source.clone()).or_default().push((from, to));
                } else if part.is_empty() {
                    return Err(bad(set));
                } else {
                    source = format!("{uuid}:{}", part.to_ascii_lowercase());
                }
            }
        }
        for intervals in sources.values_mut() {
            *intervals = joined(std::mem::take(intervals));
        }
        Ok(Self::MySql(sources))
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::MariaDb(domains) => domains.is_empty(),
            Self::MySql(sources) => sources.is_empty(),
        }
    }

    /// Whether everything in `other` is in `self` too. Positions of different servers' kinds
    /// contain each other only when empty.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => {
                theirs.iter().all(|(domain, (_, sequence))| {
                    ours.get(domain)
                        .is_some_and(|(_, newest)| newest >= sequence)
                })
            }
            (Self::MySql(ours), Self::MySql(theirs)) => theirs.iter().all(|(source, intervals)| {
                let ours = ours.get(source).map_or(&[][..], Vec::as_slice);
                intervals
                    .iter()
                    .all(|(from, to)| ours.iter().any(|(start, end)| start <= from && to <= end))
            }),
            (_, other) => other.is_empty(),
        }
    }
}

impl Position {
    /// Without what the server with this identity executed by itself: a replica's own transactions
    /// are nowhere else, and say nothing about the primary.
    pub(crate) fn without_own(mut self, identity: &str) -> Self {
        match &mut self {
            Self::MariaDb(domains) => {
                let own = identity.rsplit('/').next().and_then(|id| id.parse().ok());
                domains.retain(|_, (server, _)| Some(*server) != own);
            }
            Self::MySql(sources) => {
                let own = identity.to_ascii_lowercase();
                sources.retain(|source, _| source.split(':').next() != Some(&own));
            }
        }
        self
    }

    /// Everything that is in one of the two. Of positions of different servers' kinds, `self`.
    fn union(mut self, other: &Self) -> Self {
        match (&mut self, other) {
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => {
                for (domain, (server, sequence)) in theirs {
                    let newest = ours.entry(*domain).or_insert((*server, *sequence));
                    if newest.1 < *sequence {
                        *newest = (*server, *sequence);
                    }
                }
            }
            (Self::MySql(ours), Self::MySql(theirs)) => {
                for (source, intervals) in theirs {
                    let all = ours.entry(source.clone()).or_default();
                    all.extend(intervals);
                    *all = joined(std::mem::take(all));
                }
            }
            _ => {}
        }
        self
    }
}

/// Sorts intervals and joins those that touch, so that containment is a search for one interval.
fn joined(mut intervals: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    intervals.sort_unstable();
    let mut result: Vec<(u64, u64)> = Vec::with_capacity(intervals.len());
    for (from, to) in intervals {
        match result.last_mut() {
            Some((_, end)) if from <= end.saturating_add(1) => *end = (*end).max(to),
            _ => result.push((from, to)),
        }
    }
    result
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("(empty)");
        }
        let mut parts = Vec::new();
        match self {
            Self::MariaDb(domains) => {
                for (domain, (server, sequence)) in domains {
                    parts.push(format!("{domain}-{server}-{sequence}"));
                }
            }
            Self::MySql(sources) => {
                for (source, intervals) in sources {
                    let mut text = source.clone();
                    for (from, to) in intervals {
                        text.push_str(&format!(":{from}-{to}"));
                    }
                    parts.push(text);
                }
            }
        }
        f.write_str(&parts.join(","))
    }
}

/// What a primary of this cluster has to hold: the newest position that a confirmed one has shown
/// us; before there was one, what the replicas hold.
#[derive(Debug, Default)]
pub(crate) struct History {
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    newest: Option<Arc<Position>>,
    /// A primary has been accepted.
    from_primary: bool,
    /// The replicas are still to be asked what they hold.
    cold: bool,
    /// Grows when what was seen before says nothing any more.
    epoch: u64,
}

/// What was seen before a server is asked for its position: the answer must hold it, and not what
/// was seen while the question was under way.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    newest: Option<Arc<Position>>,
    epoch: u64,
}

/// What is known of a primary that holds what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Accepted,
    /// There was too little to compare it with, so it has to be asked again.
    Provisional,
}

/// A primary lacks history that we have seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) seen: String,
    pub(crate) found: String,
}

impl History {
    /// One that accepts no primary before [`History::opened`].
    pub(crate) fn cold() -> Self {
        Self {
            ledger: Mutex::new(Ledger {
                cold: true,
                ..Ledger::default()
            }),
        }
    }

    /// The replicas have been asked what they hold.
    pub(crate) fn opened(&self) {
        let mut ledger = self.lock();
        if ledger.cold {
            ledger.cold = false;
            // A primary that was asked before was compared with too little.
            ledger.epoch += 1;
        }
    }

    /// See [`Seen`].
    pub(crate) fn seen(&self) -> Seen {
        let ledger = self.lock();
        Seen {
            newest: ledger.newest.clone(),
            epoch: ledger.epoch,
        }
    }

    /// Accepts `found` as a primary's position if it holds what was `seen`, and remembers it if it
    /// is the newest.
    ///
    /// A server without a binary log has an empty position: it can be accepted only while nothing
    /// was seen.
    pub(crate) fn advance(&self, seen: &Seen, found: Position) -> Result<Standing, Lost> {
        if let Some(newest) = seen.newest.as_deref().filter(|seen| !found.contains(seen)) {
            return Err(Lost {
                seen: newest.to_string(),
                found: found.to_string(),
            });
        }
        let mut ledger = self.lock();
        if ledger.cold || ledger.epoch != seen.epoch {
            return Ok(Standing::Provisional);
        }
        ledger.from_primary = true;
        let newest = &mut ledger.newest;
        if newest.as_ref().is_none_or(|newest| found.contains(newest)) {
            *newest = Some(Arc::new(found));
        }
        Ok(Standing::Accepted)
    }

    /// Takes in what a replica holds, so that the first primary must hold it too. Nothing once a
    /// primary has been seen: what replicas have since then comes from it.
    pub(crate) fn expect(&self, held: Position) {
        let mut ledger = self.lock();
        if ledger.from_primary || held.is_empty() {
            return;
        }
        let newest = match ledger.newest.take() {
            Some(before) => Arc::unwrap_or_clone(before).union(&held),
            None => held,
        };
        ledger.newest = Some(Arc::new(newest));
    }

    /// Forgets what was seen: the operator says that the primary's history is the right one.
    pub(crate) fn forget(&self) {
        let mut ledger = self.lock();
        ledger.newest = None;
        // What the replicas hold is no objection any more.
        ledger.from_primary = true;
        // Nor what the server of before may be saying at this moment.
        ledger.epoch += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
