//! The account of one look-up: what was asked, what came back, and what was made of it.
//!
//! Owns the words for it and the recording. It must never change what a look-up does, and costs
//! nothing (no allocation, no clock) where nobody wants it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Record, RecordType};
use tokio::time::Instant;

use super::{Answer, ResolveError, hints};

/// What happened in one look-up, in order; see [`Resolve::explain`](super::Resolve::explain).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transcript {
    /// Queries, and conclusions from their answers.
    pub steps: Vec<Step>,
    /// What a person should know or check, as sentences; empty if all is as it should be.
    pub hints: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// One step of a [`Transcript`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A query to one name server, and what it said.
    Asked(Exchange),
    /// What was concluded from what was said before, and why; a sentence.
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
    /// How the query went there.
    pub protocol: Protocol,
    /// When it was sent, after the begin of the look-up.
    pub at: Duration,
    /// Until the answer, or until waiting for it ended.
    pub took: Duration,
    /// What came back: `NOERROR` with records, `NODATA` (no error, but no such records),
    /// `NXDOMAIN`, `SERVFAIL`, `REFUSED` or another response code, `timeout`, `truncated`, or why
    /// nothing came.
    pub said: String,
    /// The records of the answer section.
    pub answers: Vec<Entry>,
    /// The records of the additional section that have an address.
    pub additionals: Vec<Entry>,
}

/// How a query is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// In a datagram.
    Udp,
    /// Over a connection, where the answer did not fit into a datagram.
    Tcp,
}

/// One DNS record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The name that owns it.
    pub owner: String,
    /// Its type, such as `SRV`.
    pub kind: String,
    /// How long it may be kept, by its own account.
    pub ttl: Duration,
    /// Its data, as zone files write it.
    pub data: String,
}

// === impl Transcript ===

impl Transcript {
    /// How many queries were sent.
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

    /// Of a look-up whose source has nothing to tell but its result.
    pub(super) fn of_result(result: &Result<Answer, ResolveError>, took: Duration) -> Self {
        let text = match result {
            Ok(answer) => format!("{} pods of {}", answer.pods.len(), answer.service),
            Err(error) => error.to_string(),
        };
        Self {
            steps: vec![Step::Concluded(text)],
            hints: hints::of(result, &[]),
            took,
        }
    }
}

// === impl Protocol ===

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

// === impl Entry ===

impl Entry {
    fn of(record: &Record) -> Self {
        Self {
            owner: record.name.to_ascii(),
            kind: record.record_type().to_string(),
            ttl: Duration::from_secs(record.ttl.into()),
            data: printable(record.data.to_string()),
        }
    }
}

/// Without what a terminal would obey: TXT records and odd names have any bytes.
fn printable(text: String) -> String {
    match text.chars().any(char::is_control) {
        true => text.escape_debug().to_string(),
        false => text,
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ttl = self.ttl.as_secs();
        write!(f, "{} {ttl} {} {}", self.owner, self.kind, self.data)
    }
}

/// A transcript that is being written.
#[derive(Debug)]
pub(super) struct Book {
    began: Instant,
    steps: Mutex<Vec<Step>>,
}

/// Where to write, if anybody wants to read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notes<'a>(Option<&'a Book>);

/// A query that was sent.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    book: &'a Book,
    at: Instant,
}

// === impl Book ===

impl Book {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            steps: Mutex::default(),
        }
    }

    pub(super) fn notes(&self) -> Notes<'_> {
        Notes(Some(self))
    }

    pub(super) fn close(self, result: &Result<Answer, ResolveError>) -> Transcript {
        let steps = self.steps.into_inner();
        let steps = steps.unwrap_or_else(PoisonError::into_inner);
        Transcript {
            hints: hints::of(result, &steps),
            steps,
            took: self.began.elapsed(),
        }
    }

    fn write(&self, step: Step) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push(step);
    }
}

// === impl Notes ===

impl<'a> Notes<'a> {
    /// Nobody reads.
    pub(super) const NONE: Notes<'static> = Notes(None);

    pub(super) fn conclude(self, text: impl FnOnce() -> String) {
        if let Some(book) = self.0 {
            book.write(Step::Concluded(text()));
        }
    }

    pub(super) fn sent(self) -> Option<Sent<'a>> {
        self.0.map(|book| Sent {
            book,
            at: Instant::now(),
        })
    }
}

// === impl Sent ===

impl Sent<'_> {
    /// The query is over. `said` is for what is no message; that of a message is read from it.
    pub(super) fn answered(
        self,
        name: &str,
        kind: RecordType,
        (server, protocol): (SocketAddr, Protocol),
        result: Result<&Message, String>,
    ) {
        let mut exchange = Exchange {
            name: name.to_owned(),
            kind: kind.to_string(),
            server,
            protocol,
            at: self.at.saturating_duration_since(self.book.began),
            took: self.at.elapsed(),
            said: String::new(),
            answers: Vec::new(),
            additionals: Vec::new(),
        };
        match result {
            Ok(message) => {
                exchange.answers = message.answers.iter().map(Entry::of).collect();
                let glue = message.additionals.iter();
                let glue = glue.filter(|record| record.data.ip_addr().is_some());
                exchange.additionals = glue.map(Entry::of).collect();
                let code = message.metadata.response_code;
                exchange.said = match exchange.answers.is_empty() {
                    true => empty_code(code),
                    false => mnemonic(code),
                };
            }
            Err(said) => exchange.said = said,
        }
        self.book.write(Step::Asked(exchange));
    }
}

/// The response code of an answer without records.
pub(super) fn empty_code(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NODATA".to_owned(),
        code => mnemonic(code),
    }
}

/// A response code as `dig` prints it.
pub(super) fn mnemonic(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        code => format!("response code {}", u16::from(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_terminal_obeys_no_record() {
        assert_eq!(
            printable("0 33 3306 mysql-0.".to_owned()),
            "0 33 3306 mysql-0."
        );
        assert_eq!(printable("\u{1b}[2J".to_owned()), "\\u{1b}[2J");
    }
}
