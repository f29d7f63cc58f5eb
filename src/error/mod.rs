//! What a call can end in.
//!
//! Owns one error type for the whole crate, by what the caller can do next. It must never carry a
//! password, and never the rows of a result.
//!
//! # `Display` and `source`
//!
//! Every error of this crate tells the whole story with `{}`, the text of its source included, so
//! that a log line that has only that is useful. `source` is there to be matched on. A reporter that
//! prints the chain (`{:#}` of `anyhow`, say) therefore repeats the end of the story.
//!
//! # Fields to come
//!
//! Variants with fields may get more of them: match with `..`. A [`ResolveError`] is the
//! exception, as a [`Resolve`](crate::discovery::Resolve) of your own has to build them.

mod account;
mod connect;
mod secure;

pub(crate) use account::{is_access_denied, is_wrong_login};
pub use connect::{ConnectError, PodId};
pub use secure::{FileProblem, TlsProblem};

use crate::balance::EndpointReport;
use crate::brief::Brief;
use crate::config::ConfigError;
use crate::discovery::ResolveError;
use crate::name::NameError;
use std::time::Duration;

/// Everything that a call on a cluster, a route, a connection or a transaction can end in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option or the URL is wrong; nothing was tried.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// The Service's name is not one; nothing was tried.
    #[error(transparent)]
    Name(#[from] NameError),

    /// Discovery found no pod in time.
    #[error("no pod of `{service}` was found within {}: {source}", Brief(*waited))]
    #[non_exhaustive]
    Discovery {
        /// The Service asked for.
        service: String,
        /// How long was waited.
        waited: Duration,
        /// The last look-up's error.
        source: Box<ResolveError>,
    },

    /// No primary could be reached in time; nothing was executed.
    #[error("no primary to write to within {}; {}", Brief(*waited), list(pods))]
    #[non_exhaustive]
    NoPrimary {
        /// How long was waited.
        waited: Duration,
        /// The pods that could have been it, with their state and last failure.
        pods: Vec<EndpointReport>,
    },

    /// No pod could serve a read in time; nothing was executed.
    #[error("no pod to read from within {}; {}", Brief(*waited), list(pods))]
    #[non_exhaustive]
    NoReplica {
        /// How long was waited.
        waited: Duration,
        /// The pods that could have served it, with their state and last failure.
        pods: Vec<EndpointReport>,
    },

    /// Too many calls wait for a pod already; nothing was executed.
    #[error("{waiting} calls are waiting for a pod already, which is the limit")]
    #[non_exhaustive]
    QueueFull {
        /// How many wait.
        waiting: usize,
    },

    /// The primary cannot be used for a reason that waiting did not cure, such as
    /// [`ConnectError::HistoryLost`], or the login is refused; nothing was executed.
    #[error(transparent)]
    Connect(#[from] ConnectError),

    /// The operation did not end before its deadline. **It may have been executed.** The
    /// connection is closed.
    #[error("no answer from {pod} within {}; the statement may have been executed", Brief(*after))]
    #[non_exhaustive]
    Timeout {
        /// Where it ran.
        pod: PodId,
        /// How long it was given.
        after: Duration,
    },

    /// The connection broke during the operation. **It may have been executed.**
    #[error("the connection to {pod} was lost; the statement may have been executed: {source}")]
    #[non_exhaustive]
    ConnectionLost {
        /// Where it ran.
        pod: PodId,
        /// What the driver saw.
        source: mysql_async::Error,
    },

    /// An earlier operation on this connection was cut off before its end, so that what the server
    /// still has to say can no longer be told apart. Nothing was sent; take a new connection.
    #[error("an earlier operation on this connection to {pod} was cut off; take a new connection")]
    #[non_exhaustive]
    Interrupted {
        /// The pod.
        pod: PodId,
    },

    /// The pod has moved to another address while this connection was held. Nothing was sent; take
    /// a new connection.
    #[error("{pod} was replaced at another address; take a new connection")]
    #[non_exhaustive]
    Superseded {
        /// The old incarnation.
        pod: PodId,
    },

    /// The server answered the statement with an error.
    #[error("{}: {source}", place(pod))]
    #[non_exhaustive]
    Server {
        /// Where it ran, if known.
        pod: Option<PodId>,
        /// The server's error.
        source: mysql_async::ServerError,
    },

    /// The transaction was rolled back by the server; it can be run again as a whole.
    #[error("the transaction on {pod} was rolled back: {source}")]
    #[non_exhaustive]
    RolledBack {
        /// Where it ran.
        pod: PodId,
        /// The server's error.
        source: mysql_async::ServerError,
    },

    /// COMMIT was sent, and its outcome is **unknown**: neither success nor failure. Only the data
    /// can tell (look for a row the transaction would have written).
    #[error("whether the transaction on {pod} was committed is unknown: {source}")]
    #[non_exhaustive]
    CommitUnknown {
        /// Where it ran.
        pod: PodId,
        /// What happened instead of an answer.
        source: Box<Error>,
    },

    /// A row does not fit the type asked for (a NULL where none fits, a text for a number).
    #[error("a row with the columns ({columns}) cannot be converted to `{wanted}`")]
    #[non_exhaustive]
    Conversion {
        /// The Rust type.
        wanted: &'static str,
        /// The names and types of the row's columns; never their values.
        columns: String,
    },

    /// The statement and its parameters do not fit each other, or the driver cannot do it.
    #[error(transparent)]
    Driver(mysql_async::Error),

    /// The cluster was shut down.
    #[error("the cluster was shut down")]
    Closed,

    /// `shutdown` gave up waiting for checkouts to come back; they end with their next statement.
    #[error("{in_use} connections were still in use when the shutdown's deadline passed")]
    #[non_exhaustive]
    ShutdownTimeout {
        /// How many.
        in_use: usize,
    },

    /// The tokio runtime that the cluster belongs to is gone, or there is none here.
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

fn place(pod: &Option<PodId>) -> String {
    match pod {
        Some(pod) => pod.to_string(),
        None => "the server".to_owned(),
    }
}

impl Error {
    /// Whether the same call may be made again, on a new connection, because nothing of it was
    /// executed.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Discovery { .. }
                | Self::NoPrimary { .. }
                | Self::NoReplica { .. }
                | Self::QueueFull { .. }
                | Self::Interrupted { .. }
                | Self::Superseded { .. }
                | Self::RolledBack { .. }
        )
    }

    /// What the driver reported, with the pod it came from. Our own errors ride inside the
    /// driver's and are taken out again.
    pub(crate) fn at(pod: &PodId, error: mysql_async::Error) -> Self {
        match Self::from(error) {
            Self::Server { pod: None, source } => Self::Server {
                pod: Some(pod.clone()),
                source,
            },
            error => error,
        }
    }
}

impl From<mysql_async::Error> for Error {
    /// Takes out our own error if it rides inside the driver's.
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Other(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(other) => Self::Driver(mysql_async::Error::Other(other)),
            },
            mysql_async::Error::Server(source) => Self::Server { pod: None, source },
            error => Self::Driver(error),
        }
    }
}

impl From<Error> for mysql_async::Error {
    /// Lets our error ride inside the driver's, for code that is generic over `Queryable`.
    fn from(error: Error) -> Self {
        match error {
            Error::Server { source, .. } => Self::Server(source),
            Error::Driver(error) => error,
            error => Self::Other(Box::new(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_errors_survive_a_ride_inside_the_drivers() {
        let pod = PodId::new("mysql-0", "127.0.0.1:3306".parse().unwrap());
        let ours = Error::Interrupted { pod: pod.clone() };
        let back = Error::from(mysql_async::Error::from(ours));
        assert!(matches!(back, Error::Interrupted { pod: p } if p == pod));
    }

    #[test]
    fn a_time_that_was_measured_is_told_without_its_nanoseconds() {
        let error = Error::NoPrimary {
            waited: Duration::from_nanos(5_002_346_426),
            pods: Vec::new(),
        };
        let expected = "no primary to write to within 5s; no such pod is known";
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
            },
            lost(),
            Error::CommitUnknown {
                pod: pod(),
                source: Box::new(lost()),
            },
            Error::Driver(broken()),
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
