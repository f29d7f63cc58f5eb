//! The result of each call, and what the result says about its statement.
//!
//! Owns the meaning of errors. It must never accept an error that no fault of the plan explains.

use crate::limits::SMALL_PACKET;
use headless_mysql::Error;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How far a call may exceed its deadline.
const MARGIN: Duration = Duration::from_millis(100);

/// The outcome of one write, as its caller knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Acknowledged: the row exists, once.
    Done,
    /// Refused without being executed: the row does not exist.
    Nothing,
    /// Unknown: the row exists once, or not at all.
    Unknown,
}

/// The results of all tasks.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) fates: BTreeMap<u64, Fate>,
    /// Rows of one transaction: both exist, or neither does.
    pub(crate) pairs: Vec<(u64, u64)>,
    pub(crate) reads: u64,
    failures: BTreeMap<&'static str, u64>,
    /// The most by which a call exceeded its deadline.
    pub(crate) overdue: Duration,
    /// The most by which a timer of this process was late.
    pub(crate) late: Duration,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |fate| self.fates.values().filter(|f| **f == fate).count();
        write!(
            f,
            "{} writes acknowledged, {} refused, {} unknown; {} reads; failed calls: {:?}; \
             at most {:?} after a deadline (timers were {:?} late)",
            count(Fate::Done),
            count(Fate::Nothing),
            count(Fate::Unknown),
            self.reads,
            self.failures,
            self.overdue,
            self.late,
        )
    }
}

impl Record {
    pub(crate) fn join(&mut self, other: Self) {
        self.fates.extend(other.fates);
        self.pairs.extend(other.pairs);
        self.reads += other.reads;
        for (kind, count) in other.failures {
            *self.failures.entry(kind).or_default() += count;
        }
        self.overdue = self.overdue.max(other.overdue);
    }

    pub(crate) fn failed(&mut self, error: &Error) {
        *self.failures.entry(kind(error)).or_default() += 1;
    }

    pub(crate) fn check_deadlines(&self) {
        assert!(self.overdue <= MARGIN + self.late, "{self}");
    }
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Discovery { .. } => "Discovery",
        Error::NoPrimary { .. } => "NoPrimary",
        Error::NoReplica { .. } => "NoReplica",
        Error::AllInUse { .. } => "AllInUse",
        Error::QueueFull { .. } => "QueueFull",
        Error::Connect(_) => "Connect",
        Error::Timeout { .. } => "Timeout",
        Error::ConnectionLost { .. } => "ConnectionLost",
        Error::Interrupted { .. } => "Interrupted",
        Error::Disconnected { .. } => "Disconnected",
        Error::Superseded { .. } => "Superseded",
        Error::Disputed { .. } => "Disputed",
        Error::TooLarge { .. } => "TooLarge",
        Error::Server { .. } => "Server",
        Error::RolledBack { .. } => "RolledBack",
        Error::CommitUnknown { .. } => "CommitUnknown",
        // No fault explains these errors: no statement commits inside a transaction or leaves one
        // open, only SELECTs run on `replicas()`, and all rows convert.
        error => panic!("{error}"),
    }
}

/// The error codes of a read-only server for a write.
const READ_ONLY: [u16; 2] = [1290, 1836];

/// The fate of a single statement that ended in this error.
pub(crate) fn fate(error: &Error) -> Fate {
    match error {
        Error::Timeout { .. } | Error::ConnectionLost { .. } => Fate::Unknown,
        // These errors occur only in transactions.
        Error::RolledBack { .. } | Error::CommitUnknown { .. } => panic!("{error}"),
        Error::TooLarge { size, limit, .. } => {
            assert!((SMALL_PACKET..*size).contains(limit), "{error}");
            Fate::Nothing
        }
        Error::Server { source, .. } => {
            assert!(READ_ONLY.contains(&source.code), "{error}");
            Fate::Nothing
        }
        // For each of these errors, nothing was executed or nothing was sent.
        Error::Discovery { .. }
        | Error::NoPrimary { .. }
        | Error::AllInUse { .. }
        | Error::QueueFull { .. }
        | Error::Connect(_)
        | Error::Interrupted { .. }
        | Error::Disconnected { .. }
        | Error::Superseded { .. }
        | Error::Disputed { .. } => Fate::Nothing,
        error => panic!("{error}"),
    }
}

/// The fate of a transaction that only inserts rows and ended in this error.
pub(crate) fn fate_of_transaction(error: &Error) -> Fate {
    match error {
        Error::CommitUnknown { .. } => Fate::Unknown,
        Error::Server { source, .. } => {
            assert!(READ_ONLY.contains(&source.code), "{error}");
            Fate::Nothing
        }
        // The rows are too short for this error.
        Error::TooLarge { .. } => panic!("{error}"),
        // COMMIT did not run, so no row remains.
        _ => Fate::Nothing,
    }
}
