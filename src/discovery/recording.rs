//! Writes a [`Transcript`] while its look-up runs.
//!
//! Owns what is recorded about a query and its answer. It must never change what a look-up does,
//! and must cost nothing (no allocation, no clock) if no transcript is wanted.

use super::answer::Answer;
use super::error::ResolveError;
use super::hints;
use super::transcript::{Entry, Exchange, Protocol, Step, Transcript};
use crate::name::Ordinal;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Record, RecordType};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

impl Transcript {
    /// The transcript of a look-up whose source reports only its result.
    pub(super) fn of_result(result: &Result<Answer, ResolveError>, took: Duration) -> Self {
        let text = match result {
            Ok(answer) => format!("{} pods of {}", answer.pods.len(), answer.service),
            Err(error) => error.to_string(),
        };
        Self {
            steps: vec![Step::Concluded(text)],
            hints: hints::of(result, &[], Ordinal::PRIMARY),
            took,
        }
    }
}

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

/// Escapes control characters, because a terminal would obey them. TXT records and odd names may
/// contain any bytes.
fn printable(text: String) -> String {
    match text.chars().any(char::is_control) {
        true => text.escape_debug().to_string(),
        false => text,
    }
}

/// A transcript that is being written.
#[derive(Debug)]
pub(super) struct Recorder {
    began: Instant,
    steps: Mutex<Vec<Step>>,
}

/// Where to record, if a transcript is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecorderRef<'a>(Option<&'a Recorder>);

/// A query that was sent.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    book: &'a Recorder,
    at: Instant,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            steps: Mutex::default(),
        }
    }

    pub(super) fn notes(&self) -> RecorderRef<'_> {
        RecorderRef(Some(self))
    }

    /// Ends the transcript. `first` is the ordinal of the primary.
    pub(super) fn close(self, result: &Result<Answer, ResolveError>, first: Ordinal) -> Transcript {
        let steps = self.steps.into_inner();
        Transcript {
            hints: hints::of(result, &steps, first),
            steps,
            took: self.began.elapsed(),
        }
    }

    fn write(&self, step: Step) {
        let mut steps = self.steps.lock();
        steps.push(step);
    }
}

impl<'a> RecorderRef<'a> {
    /// No transcript is wanted.
    pub(super) const NONE: RecorderRef<'static> = RecorderRef(None);

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

impl Sent<'_> {
    /// Records the end of the query. An error of `result` is the text to record; for a message, the
    /// text is taken from the message.
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
