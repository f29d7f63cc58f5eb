//! Positions: which transactions a server holds (GTID sets).
//!
//! [`Position`] parses the text of both kinds of servers, and compares and combines positions.
//!
//! Owns this parsing and the algebra of sets. It must never guess: a text that it cannot read is an
//! error, not an empty position.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A set of transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Position {
    /// MariaDB: the newest sequence number per domain and server id. The position includes all
    /// earlier transactions that this server wrote into this domain.
    MariaDb(BTreeMap<(u32, u32), u64>),
    /// MySQL: the intervals per source, with tags (`gtid_executed`).
    MySql(BTreeMap<String, Vec<(u64, u64)>>),
}

/// The server, and on MariaDB the domain, that first executed a transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    MariaDb {
        domain: u32,
        server_id: u32,
    },
    /// The server's UUID, without a tag.
    MySql(String),
}

/// A text that is not a position.
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
    /// Parses `0-1-42,0-2-50,1-7-3`; empty text is the empty position.
    pub(crate) fn parse_mariadb(text: &str) -> Result<Self, BadPosition> {
        let mut newest = BTreeMap::new();
        for gtid in text.split(',').map(str::trim).filter(|g| !g.is_empty()) {
            let mut parts = gtid.splitn(3, '-');
            let mut next = || parts.next().ok_or_else(|| bad(gtid));
            let domain: u32 = next()?.parse().map_err(|_| bad(gtid))?;
            let server: u32 = next()?.parse().map_err(|_| bad(gtid))?;
            let sequence: u64 = next()?.parse().map_err(|_| bad(gtid))?;
            let held = newest.entry((domain, server)).or_insert(sequence);
            *held = sequence.max(*held);
        }
        Ok(Self::MariaDb(newest))
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
                // An interval starts with a digit; a tag cannot.
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
            Self::MariaDb(newest) => newest.is_empty(),
            Self::MySql(sources) => sources.is_empty(),
        }
    }

    /// Whether `self` includes everything in `other`. Positions of different kinds of servers
    /// contain each other only if the contained one is empty.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => theirs
                .iter()
                .all(|(source, sequence)| ours.get(source).is_some_and(|held| held >= sequence)),
            (Self::MySql(ours), Self::MySql(theirs)) => theirs.iter().all(|(source, intervals)| {
                let ours = ours.get(source).map_or(&[][..], Vec::as_slice);
                intervals
                    .iter()
                    .all(|(from, to)| ours.iter().any(|(start, end)| start <= from && to <= end))
            }),
            (_, other) => other.is_empty(),
        }
    }

    /// Whether a server at `other` may have reached `self` by executing more.
    ///
    /// A MariaDB server that does not log what it replicates remembers only the last transaction of
    /// each domain, whichever server executed it first.
    pub(crate) fn reaches(&self, other: &Self) -> bool {
        let last = |newest: &BTreeMap<(u32, u32), u64>, domain: u32| {
            let of_domain = newest.iter().filter(|((of, _), _)| *of == domain);
            of_domain.map(|(_, sequence)| *sequence).max()
        };
        match (self, other) {
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => theirs
                .keys()
                .all(|(domain, _)| last(ours, *domain) >= last(theirs, *domain)),
            _ => self.contains(other),
        }
    }

    /// Whether both hold transactions of one sequence: of one domain on MariaDB, where servers may
    /// remember only the last transaction, or of one source on MySQL.
    pub(crate) fn shares_a_stream(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => {
                let domains: BTreeSet<u32> = ours.keys().map(|(domain, _)| *domain).collect();
                theirs.keys().any(|(domain, _)| domains.contains(domain))
            }
            _ => !self.sources().is_disjoint(&other.sources()),
        }
    }

    /// Whether both count in the same way.
    pub(crate) fn is_comparable(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Everything that is in either position. For different kinds of servers, only `self`.
    pub(crate) fn union(mut self, other: &Self) -> Self {
        match (&mut self, other) {
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => {
                for (source, sequence) in theirs {
                    let held = ours.entry(*source).or_insert(*sequence);
                    *held = (*sequence).max(*held);
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

    /// Removes the transactions that the server with this identity executed first. A replica's own
    /// transactions exist nowhere else, so they say nothing about the primary.
    pub(crate) fn without_own(mut self, identity: &str) -> Self {
        match &mut self {
            Self::MariaDb(newest) => {
                let own = identity.rsplit('/').next().and_then(|id| id.parse().ok());
                newest.retain(|(_, server), _| Some(*server) != own);
            }
            Self::MySql(sources) => {
                let own = identity.to_ascii_lowercase();
                sources.retain(|source, _| source.split(':').next() != Some(&own));
            }
        }
        self
    }

    /// Keeps only the transactions that the server with this identity executed first.
    pub(crate) fn only_own(mut self, identity: &str) -> Self {
        match &mut self {
            Self::MariaDb(newest) => {
                let own = identity.rsplit('/').next().and_then(|id| id.parse().ok());
                newest.retain(|(_, server), _| Some(*server) == own);
            }
            Self::MySql(sources) => {
                let own = identity.to_ascii_lowercase();
                sources.retain(|source, _| source.split(':').next() == Some(&own));
            }
        }
        self
    }

    /// The newest transaction of each source, or on MariaDB of each domain.
    pub(crate) fn last(self) -> Self {
        match self.tips() {
            Self::MySql(mut sources) => {
                for intervals in sources.values_mut() {
                    *intervals = intervals
                        .last()
                        .map(|&(_, to)| (to, to))
                        .into_iter()
                        .collect();
                }
                Self::MySql(sources)
            }
            tips @ Self::MariaDb(_) => tips,
        }
    }

    /// Whether `self` holds transactions that `other` lacks, of a source that both know.
    pub(crate) fn is_ahead_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => ours
                .iter()
                .any(|(source, ours)| theirs.get(source).is_some_and(|theirs| ours > theirs)),
            (Self::MySql(ours), Self::MySql(_)) => ours.iter().any(|(source, intervals)| {
                let one = BTreeMap::from([(source.clone(), intervals.clone())]);
                let knows = matches!(other, Self::MySql(theirs) if theirs.contains_key(source));
                knows && !other.contains(&Self::MySql(one))
            }),
            _ => false,
        }
    }

    /// The part of this position that a server must report if it holds all of it.
    ///
    /// MariaDB applies each domain in one order, and a server that does not log what it replicates
    /// remembers only the last transaction of each domain. So only the newest transaction of a
    /// domain counts.
    pub(crate) fn tips(mut self) -> Self {
        if let Self::MariaDb(newest) = &mut self {
            let mut last = BTreeMap::new();
            for ((domain, _), sequence) in newest.iter() {
                let of_domain = last.entry(*domain).or_insert(*sequence);
                *of_domain = (*sequence).max(*of_domain);
            }
            newest.retain(|(domain, _), sequence| last.get(domain) == Some(sequence));
        }
        self
    }

    /// The sources of all transactions in this position.
    pub(crate) fn sources(&self) -> BTreeSet<Source> {
        match self {
            Self::MariaDb(newest) => newest
                .keys()
                .map(|&(domain, server_id)| Source::MariaDb { domain, server_id })
                .collect(),
            Self::MySql(sources) => sources
                .keys()
                .map(|source| source.split(':').next().unwrap_or_default())
                .map(|uuid| Source::MySql(uuid.to_owned()))
                .collect(),
        }
    }
}

/// Sorts intervals and joins adjacent ones, so that one interval can answer whether a range is
/// contained.
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
            Self::MariaDb(newest) => {
                for ((domain, server), sequence) in newest {
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

#[cfg(test)]
mod tests;
