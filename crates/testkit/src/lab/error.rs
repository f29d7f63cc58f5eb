//! The errors of a lab, worded for the reader of a failed test.
//!
//! Owns [`LabError`] and the shortening of a server's log to its end. It must never hide a cause:
//! every error carries the last observation.

use std::path::Path;
use std::time::Duration;

/// The number of lines of a server's error log in an error.
const LOG_LINES: usize = 25;

/// Why a lab could not do what it was asked to do.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A program the lab needs is not on this machine.
    #[error("the lab needs `{program}`, which was not found on this machine; get it: {install}")]
    #[non_exhaustive]
    Missing {
        /// The program that was looked for.
        program: &'static str,
        /// How to install it.
        install: &'static str,
    },
    /// The settings of the builder are invalid.
    #[error("this lab cannot be built: {0}")]
    Config(String),
    /// An operation on a file, a directory or a process failed.
    #[error("{what}: {source}")]
    #[non_exhaustive]
    Io {
        /// The operation.
        what: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A helper program failed.
    #[error("{what} ended with {status}; it said:\n{output}")]
    #[non_exhaustive]
    Command {
        /// The purpose of the program.
        what: String,
        /// Its exit status.
        status: String,
        /// The end of its output.
        output: String,
    },
    /// No free block of loopback addresses was found.
    #[error(
        "no free loopback addresses after {attempts} attempts (last: {source}); \
         if a server listens on port 3306 of every address of this machine, stop it"
    )]
    #[non_exhaustive]
    Addresses {
        /// How many blocks were tried.
        attempts: u32,
        /// Why the last block was refused.
        source: std::io::Error,
    },
    /// A server ended although the lab did not end it.
    #[error("{pod} ended by itself; the end of its error log:\n{log}")]
    #[non_exhaustive]
    Exited {
        /// The pod name of the server.
        pod: String,
        /// The last lines of its error log.
        log: String,
    },
    /// Something did not happen within its deadline.
    #[error("{what} did not happen within {after:.1?}; last seen:\n{last}")]
    #[non_exhaustive]
    Timeout {
        /// The awaited event.
        what: String,
        /// The deadline.
        after: Duration,
        /// The last lines of an error log, or the last status.
        last: String,
    },
    /// A server refused a connection or a statement that the lab sent.
    #[error("{what} on {pod}: {source}")]
    #[non_exhaustive]
    Query {
        /// The pod name of the server.
        pod: String,
        /// The operation.
        what: String,
        /// The driver's error.
        source: Box<mysql_async::Error>,
    },
    /// The lab has no such server.
    #[error("this lab has no server with the ordinal {ordinal}")]
    #[non_exhaustive]
    UnknownOrdinal {
        /// The ordinal that was asked for.
        ordinal: u32,
    },
    /// The server does not run, so the operation is impossible.
    #[error("{pod} is not running: restart it first")]
    #[non_exhaustive]
    NotRunning {
        /// The pod name of the server.
        pod: String,
    },
}

impl LabError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(super) fn query(
        pod: impl Into<String>,
        what: impl Into<String>,
    ) -> impl FnOnce(mysql_async::Error) -> Self {
        let (pod, what) = (pod.into(), what.into());
        move |source| Self::Query {
            pod,
            what,
            source: Box::new(source),
        }
    }
}

/// The last lines of a server's error log, or the reason why it cannot be read.
pub(super) fn log_tail(log: &Path) -> String {
    match std::fs::read(log) {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes)),
        Err(error) => format!("(no error log: {error})"),
    }
}

/// The last lines of `text`.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_log_is_kept() {
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let tail = last_lines(&text);
        assert_eq!(tail.lines().count(), LOG_LINES);
        assert!(tail.ends_with("line 99"));
        assert_eq!(last_lines(""), "");
    }
}
