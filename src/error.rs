//! The errors of this crate.
//!
//! [`Error`] is the one error type for all calls. Its variants differ by what the caller can do
//! next. It must never carry a password or the rows of a result.
//!
//! # `Display` and `source`
//!
//! `Display` (`{}`) prints the complete message of each error, including the text of its source, so
//! that a log line needs nothing else. `source` is for matching. A reporter that prints the whole
//! chain (such as `{:#}` of `anyhow`) therefore prints the end of the message twice.
//!
//! # Future fields
//!
//! A variant with fields may get more fields: match it with `..`. The exception is
//! [`ResolveError`], because your own [`Resolve`](crate::discovery::Resolve) has to build its
//! variants.

mod connect;
mod details;
mod ride;
mod secure;

pub use connect::{ConnectError, InUse, PodId};
pub use secure::{FileProblem, TlsProblem};

use crate::balance::EndpointReport;
use crate::config::ConfigError;
use crate::discovery::ResolveError;
use crate::name::NameError;
use std::time::Duration;

/// An error of a call on a cluster, a route, a connection or a transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option or the URL is wrong. Nothing was tried.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// The Service's name is not a valid name. Nothing was tried.
    #[error(transparent)]
    Name(#[from] NameError),

    /// Discovery found no pod in time.
    #[error(
        "no pod of `{service}` was found within {waited:.1?}: {source}{}",
        also(hints)
    )]
    #[non_exhaustive]
    Discovery {
        /// The Service that was looked up.
        service: String,
        /// How long was waited.
        waited: Duration,
        /// The last look-up's error.
        source: Box<ResolveError>,
        /// What to check in the set-up, in sentences.
        hints: Vec<String>,
    },

    /// No primary could be reached in time. Or the set-up has no primary: then the call fails
    /// without a wait, and `hints` say why. Nothing was executed.
    #[error(
        "no primary to write to within {waited:.1?}; {}{}",
        list(pods),
        also(hints)
    )]
    #[non_exhaustive]
    NoPrimary {
        /// How long was waited.
        waited: Duration,
        /// The pods that could have been the primary, with their state and last failure.
        pods: Vec<EndpointReport>,
        /// What to check in the set-up, in sentences.
        hints: Vec<String>,
    },

    /// No pod could serve the read in time. Nothing was executed.
    #[error(
        "no pod to read from within {waited:.1?}; {}{}",
        list(pods),
        also(hints)
    )]
    #[non_exhaustive]
    NoReplica {
        /// How long was waited.
        waited: Duration,
        /// The pods that could have served the read, with their state and last failure.
        pods: Vec<EndpointReport>,
        /// What to check in the set-up, in sentences.
        hints: Vec<String>,
    },

    /// Other calls used all connections until the deadline. Nothing was executed.
    #[error("no connection came free within {waited:.1?}: {}", pods_in_use(pods))]
    #[non_exhaustive]
    AllInUse {
        /// How long was waited.
        waited: Duration,
        /// The pods that could have served the call.
        pods: Vec<InUse>,
    },

    /// Too many calls already wait for a pod. Nothing was executed.
    #[error("{waiting} calls are waiting for a pod already, which is the limit")]
    #[non_exhaustive]
    QueueFull {
        /// The number of waiting calls.
        waiting: usize,
    },

    /// The primary cannot be used, for a reason that did not pass within the wait, such as
    /// [`ConnectError::HistoryLost`]. Or the login was refused. Nothing was executed.
    #[error(transparent)]
    Connect(#[from] ConnectError),

    /// The operation did not end before its deadline. **It may have been executed.** The
    /// connection is closed.
    #[error("no answer from {pod} within {after:.1?}; the statement may have been executed")]
    #[non_exhaustive]
    Timeout {
        /// The pod that it ran on.
        pod: PodId,
        /// The time that it was given.
        after: Duration,
    },

    /// The connection broke during the operation. **It may have been executed.**
    #[error("the connection to {pod} was lost; the statement may have been executed: {source}")]
    #[non_exhaustive]
    ConnectionLost {
        /// The pod that it ran on.
        pod: PodId,
        /// The driver's error.
        source: mysql_async::Error,
    },

    /// An earlier operation on this connection was cut off before its end. The rest of its answer
    /// could be mistaken for the answer to a new statement. Nothing was sent; take a new
    /// connection.
    #[error("an earlier operation on this connection to {pod} was cut off; take a new connection")]
    #[non_exhaustive]
    Interrupted {
        /// The pod.
        pod: PodId,
    },

    /// The connection was closed while it was not in use, for example by `KILL` or by the server's
    /// `wait_timeout`. The statement was not sent; take a new connection.
    #[error(
        "the connection to {pod} was closed while it was not in use; the statement was not sent: \
         {source}"
    )]
    #[non_exhaustive]
    Disconnected {
        /// The pod.
        pod: PodId,
        /// The driver's error.
        source: mysql_async::Error,
    },

    /// The pod has moved to another address while this connection was held. Nothing was sent; take
    /// a new connection.
    #[error("{pod} was replaced at another address; take a new connection")]
    #[non_exhaustive]
    Superseded {
        /// The old incarnation.
        pod: PodId,
    },

    /// Another pod, or another address of this pod, claims to be the primary as well. Nothing was
    /// sent. Take a new connection: its checkout waits until only one is left.
    #[error("nothing was sent on a connection to {pod}: {source}; take a new connection")]
    #[non_exhaustive]
    Disputed {
        /// The pod of the connection.
        pod: PodId,
        /// [`ConnectError::Contested`] or [`ConnectError::TwoPrimaries`].
        source: ConnectError,
    },

    /// The statement is no read, and a connection of
    /// [`Cluster::replicas`](crate::Cluster::replicas) only reads. Nothing was sent; run the
    /// statement on [`Cluster::primary`](crate::Cluster::primary).
    #[error(
        "{statement} is refused: connections of `replicas()`, this one to {pod}, only read; \
         run it on `primary()`"
    )]
    #[non_exhaustive]
    OnlyReads {
        /// The pod.
        pod: PodId,
        /// The verb, or another part of the statement that is no read.
        statement: &'static str,
    },

    /// The prepared statement was prepared on another connection, or is closed. Nothing was sent;
    /// prepare it on the connection that runs it.
    #[error("the statement is not prepared on this connection to {pod}: prepare it here")]
    #[non_exhaustive]
    ForeignStatement {
        /// The pod.
        pod: PodId,
    },

    /// The server answered the statement with an error.
    #[error("{}: {source}", place(pod))]
    #[non_exhaustive]
    Server {
        /// The pod that it ran on, if known.
        pod: Option<PodId>,
        /// The server's error.
        source: mysql_async::ServerError,
    },

    /// The statement with its parameters is longer than the server accepts. It was not sent. In a
    /// batch, earlier rows may have been executed. Raise the server's `max_allowed_packet`, or send
    /// less at a time.
    #[error(
        "a statement of {size} bytes was not sent to {pod}, which takes {limit} (max_allowed_packet)"
    )]
    #[non_exhaustive]
    TooLarge {
        /// The pod that it was meant for.
        pod: PodId,
        /// The statement's length in bytes.
        size: usize,
        /// The server's `max_allowed_packet` in bytes.
        limit: usize,
    },

    /// The server has rolled the transaction back. The whole transaction can be run again.
    #[error("the transaction on {pod} was rolled back: {source}")]
    #[non_exhaustive]
    RolledBack {
        /// The pod that it ran on.
        pod: PodId,
        /// The server's error.
        source: mysql_async::ServerError,
    },

    /// The transaction ended, or may have ended, before its COMMIT: by a statement that commits
    /// (such as DDL), or in a procedure. **Statements before that point may have been committed**;
    /// later ones were not. Only the data can show which.
    #[error(
        "the transaction on {pod} may have ended before its COMMIT; what ran in it before that \
             may have been committed{}",
        because(source)
    )]
    #[non_exhaustive]
    TransactionEnded {
        /// The pod that it ran on.
        pod: PodId,
        /// The server's last error in the transaction, or the reason why nothing more could be
        /// sent. `None` if it ended without an error.
        source: Option<Box<Error>>,
    },

    /// A single statement left a transaction open, and that transaction **is rolled back**.
    /// Whatever the statement committed before remains. Use
    /// [`Cluster::begin`](crate::Cluster::begin), or [`Route::conn`](crate::Route::conn) for
    /// several statements on one connection.
    #[error(
        "the statement left a transaction open on {pod}, which is rolled back; use `begin()`, or \
             `conn()` for several statements"
    )]
    #[non_exhaustive]
    TransactionLeftOpen {
        /// The pod that it ran on.
        pod: PodId,
    },

    /// COMMIT was sent, and its outcome is **unknown**: neither success nor failure. Only the data
    /// can show it: look for a row that the transaction would have written.
    #[error("whether the transaction on {pod} was committed is unknown: {source}")]
    #[non_exhaustive]
    CommitUnknown {
        /// The pod that it ran on.
        pod: PodId,
        /// What happened instead of an answer.
        source: Box<Error>,
    },

    /// A row cannot be converted to the wanted type (for example, NULL, or a text for a number).
    #[error("a row with the columns ({columns}) cannot be converted to `{wanted}`")]
    #[non_exhaustive]
    Conversion {
        /// The wanted Rust type.
        wanted: &'static str,
        /// The names and types of the row's columns, never their values.
        columns: String,
    },

    /// The parameters do not fit the statement, or the driver does not support the operation. The
    /// driver may have closed the connection. The pod is healthy.
    #[error("{}: {source}", place(pod))]
    #[non_exhaustive]
    Driver {
        /// The pod of the connection, if known.
        pod: Option<PodId>,
        /// The driver's error.
        source: mysql_async::Error,
    },

    /// The cluster was shut down.
    #[error("the cluster was shut down")]
    Closed,

    /// `shutdown` stopped waiting for checkouts to come back. They fail at their next statement.
    #[error("{in_use} connections were still in use when the shutdown's deadline passed")]
    #[non_exhaustive]
    ShutdownTimeout {
        /// The number of these checkouts.
        in_use: usize,
    },

    /// The cluster's tokio runtime has ended, or the call was made outside of a runtime.
    #[error("the cluster's tokio runtime is gone; a cluster lives in the runtime it was made in")]
    RuntimeGone,
}

fn list(pods: &[EndpointReport]) -> String {
    if pods.is_empty() {
        return "no such pod is known".to_owned();
    }
    let lines: Vec<String> = pods.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

fn because(source: &Option<Box<Error>>) -> String {
    match source {
        Some(source) => format!(": {source}"),
        None => String::new(),
    }
}

fn pods_in_use(pods: &[InUse]) -> String {
    let lines: Vec<String> = pods.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// Formats the hints that follow the message.
fn also(hints: &[String]) -> String {
    hints.iter().map(|hint| format!("; {hint}")).collect()
}

fn place(pod: &Option<PodId>) -> String {
    match pod {
        Some(pod) => pod.to_string(),
        None => "the server".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_was_measured_is_told_without_its_nanoseconds() {
        let error = Error::NoPrimary {
            waited: Duration::from_nanos(5_002_346_426),
            pods: Vec::new(),
            hints: vec!["no ordinals".to_owned()],
        };
        let expected = "no primary to write to within 5.0s; no such pod is known; no ordinals";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn an_error_tells_the_whole_story_with_the_words_of_its_sources() {
        let pod = || PodId::new("mysql-0", "127.0.0.1:3306".parse().unwrap());
        let broken = || mysql_async::Error::from(std::io::Error::other("cable cut"));
        let refused = || mysql_async::ServerError {
            code: 1213,
            message: "Deadlock found".to_owned(),
            state: "40001".to_owned(),
        };
        let lost = || Error::ConnectionLost {
            pod: pod(),
            source: broken(),
        };
        let errors = [
            Error::Discovery {
                service: "mysql".to_owned(),
                waited: Duration::from_secs(1),
                source: Box::new(ResolveError::NoData {
                    name: "mysql.".to_owned(),
                }),
                hints: Vec::new(),
            },
            lost(),
            Error::CommitUnknown {
                pod: pod(),
                source: Box::new(lost()),
            },
            Error::TransactionEnded {
                pod: pod(),
                source: Some(Box::new(lost())),
            },
            Error::Driver {
                pod: None,
                source: broken(),
            },
            Error::at(&pod(), mysql_async::Error::Server(refused())),
            Error::RolledBack {
                pod: pod(),
                source: refused(),
            },
            Error::Config(ConfigError::MissingUser),
            Error::Name(NameError::Localhost),
            Error::Connect(ConnectError::ReadOnly { pod: pod() }),
        ];
        for error in &errors {
            let told = error.to_string();
            let mut next = std::error::Error::source(error);
            while let Some(source) = next {
                assert!(told.contains(&source.to_string()), "{told}: {source}");
                next = source.source();
            }
        }
    }

    #[test]
    fn an_error_names_the_pod_and_its_address() {
        let pod = PodId::new("mysql-0", "127.0.0.1:3306".parse().unwrap());
        let text = Error::Interrupted { pod }.to_string();
        assert!(text.contains("mysql-0 (127.0.0.1:3306)"), "{text}");
    }
}
