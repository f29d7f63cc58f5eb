//! What can go wrong in a lab, worded for the person who reads a failed test.
//!
//! Owns [`LabError`] and the cutting of a server's log to its end. It must never hide a cause:
//! whoever builds an error gives the last thing that was seen.

use std::path::Path;
use std::time::Duration;

/// How many lines of a server's error log an error carries.
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
        /// What to do to get it.
        install: &'static str,
    },
    /// The builder was given something no lab can be made of.
    #[error("this lab cannot be built: {0}")]
    Config(String),
    /// A file, a directory or a process could not be handled.
    #[error("{what}: {source}")]
    #[non_exhaustive]
    Io {
        /// What was being done.
        what: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A helper program ended badly.
    #[error("{what} ended with {status}; it said:\n{output}")]
    #[non_exhaustive]
    Command {
        /// What the program was run for.
        what: String,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
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
        /// Why the last one was refused.
        source: std::io::Error,
    },
    /// A server ended by itself.
    #[error("{pod} ended by itself; the end of its error log:\n{log}")]
    #[non_exhaustive]
    Exited {
        /// The pod name of the server.
        pod: String,
        /// The last lines of its error log.
        log: String,
    },
    /// Something did not happen within its deadline.
    #[error("{what} did not happen within {}; last seen:\n{last}", crate::brief::Brief(*after))]
    #[non_exhaustive]
    Timeout {
        /// What was waited for.
        what: String,
        /// The deadline.
        after: Duration,
        /// The last lines of an error log, or the last status.
        last: String,
    },
    /// A server refused a connection or a statement of the lab.
    #[error("{what} on {pod}: {source}")]
    #[non_exhaustive]
    Query {
        /// The pod name of the server.
        pod: String,
        /// What was being done.
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
    /// The server was killed or stopped, so it cannot do this.
    #[error("{pod} is not running: restart it first")]
    #[non_exhaustive]
    NotRunning {
        /// The pod name of the server.
        pod: String,
    },
}

// === impl LabError ===

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

/// The last lines of a server's error log, or a word about why there are none.
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
