//! The account of one look-up: its queries, their answers, and the conclusions.
//!
//! Owns the types of the account. [`recording`](super::recording) fills them.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// The steps of one look-up, in order; see [`Resolve::explain`](super::Resolve::explain).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transcript {
    /// Queries, and the conclusions from their answers.
    pub steps: Vec<Step>,
    /// What a person should know or check, as sentences; empty if nothing is unusual.
    pub hints: Vec<String>,
    /// How long the look-up took.
    pub took: Duration,
}

/// One step of a [`Transcript`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A query to one name server, and the answer.
    Asked(Exchange),
    /// A conclusion from the earlier steps, and the reason; a sentence.
    Concluded(String),
}

/// One query to one name server over one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchange {
    /// The absolute name asked, with its trailing dot.
    pub name: String,
    /// The type of records asked for: `SRV`, `A` or `AAAA`.
    pub kind: String,
    /// The name server.
    pub server: SocketAddr,
    /// How the query was sent.
    pub protocol: Protocol,
    /// When the query was sent, counted from the start of the look-up.
    pub at: Duration,
    /// The time until the answer, or until the wait for it ended.
    pub took: Duration,
    /// The result: `NOERROR` with records, `NODATA` (no error, but no such records), `NXDOMAIN`,
    /// `SERVFAIL`, `REFUSED` or another response code, `timeout`, `truncated`, or the reason why no
    /// answer came.
    pub said: String,
    /// The records of the answer section.
    pub answers: Vec<Entry>,
    /// The records of the additional section that contain an address.
    pub additionals: Vec<Entry>,
}

/// How a query is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// In a datagram.
    Udp,
    /// Over a connection, if the answer did not fit into a datagram.
    Tcp,
}

/// One DNS record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The name that owns the record.
    pub owner: String,
    /// Its type, such as `SRV`.
    pub kind: String,
    /// The record's TTL: how long it may be kept.
    pub ttl: Duration,
    /// Its data, in the format of zone files.
    pub data: String,
}

impl Transcript {
    /// The number of queries that were sent.
    pub fn queries(&self) -> usize {
        self.exchanges().count()
    }

    /// The queries, without the conclusions.
    pub fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.steps.iter().filter_map(|step| match step {
            Step::Asked(exchange) => Some(exchange),
            Step::Concluded(_) => None,
        })
    }
}

impl Protocol {
    /// `UDP` or `TCP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ttl = self.ttl.as_secs();
        write!(f, "{} {ttl} {} {}", self.owner, self.kind, self.data)
    }
}
