//! The identity of a pod in errors, and the reasons why no connection to it could be opened.
//!
//! Owns the reasons. `server::failure` decides what each means for health and retries. The reasons
//! must never carry a password.

use super::secure::{FileProblem, TlsProblem};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A pod at an address, for errors, events and reports. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PodId(Arc<Identity>);

#[derive(PartialEq, Eq, Hash)]
struct Identity {
    name: Box<str>,
    address: SocketAddr,
}

impl PodId {
    /// The id of a pod, such as `mysql-0`, at an address. For tests of code that handles errors.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        let name = name.into();
        Self(Arc::new(Identity { name, address }))
    }

    /// The pod's name, such as `mysql-0`, or the first label of the host if no ordinal is known.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The address that was dialled.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.address())
    }
}

impl fmt::Debug for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A pod whose connections are all in use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InUse {
    /// The pod.
    pub pod: PodId,
    /// The number of connections. This call has none of them.
    pub connections: usize,
    /// Why there are no more: the option that limits them, or the server's answer to the attempt to
    /// open another.
    pub limit: String,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pod,
            connections,
            limit,
        } = self;
        match connections {
            1 => write!(f, "the only connection to {pod} is in use ({limit})"),
            n => write!(f, "all {n} connections to {pod} are in use ({limit})"),
        }
    }
}

/// Why no usable connection to a pod could be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is unreachable, refused the connection, or cut it off.
    #[error("cannot connect to {pod}: {cause}")]
    #[non_exhaustive]
    Unreachable {
        /// The pod.
        pod: PodId,
        /// The message of the operating system or the driver.
        cause: String,
    },
    /// This process or machine cannot open any further connection: it has no file descriptors,
    /// ports or buffers left. The error says nothing about the pod.
    #[error("this machine cannot open another connection, which {pod} needs: {cause}")]
    #[non_exhaustive]
    LocalLimit {
        /// The pod that was dialled.
        pod: PodId,
        /// The message of the operating system.
        cause: String,
    },
    /// The server did not complete the login before the connect timeout.
    #[error(
        "{pod} did not complete a MySQL login within {after:.1?} (unreachable, frozen, or what \
         listens there does not speak MySQL)"
    )]
    #[non_exhaustive]
    Silent {
        /// The pod.
        pod: PodId,
        /// The connect timeout.
        after: Duration,
    },
    /// The connection was accepted and closed before the login was complete.
    #[error("{pod} accepted the connection and closed it before the MySQL login was complete")]
    #[non_exhaustive]
    ClosedEarly {
        /// The pod.
        pod: PodId,
    },
    /// The server at the address does not speak the MySQL protocol.
    #[error("{pod} does not speak the MySQL protocol: {cause}")]
    #[non_exhaustive]
    NotMysql {
        /// The pod.
        pod: PodId,
        /// The part of the answer that could not be parsed.
        cause: String,
    },
    /// The server refused the login: wrong user or password, or no access to the database.
    #[error("{pod} refused the login of `{user}`: {message} (error {code})")]
    #[non_exhaustive]
    AccessDenied {
        /// The pod.
        pod: PodId,
        /// The account.
        user: String,
        /// The server's error code.
        code: u16,
        /// The server's message.
        message: String,
    },
    /// The account's login method is not supported by this client, or not with this configuration.
    #[error("{pod} wants `{user}` to log in by {method}, which {problem}")]
    #[non_exhaustive]
    Method {
        /// The pod.
        pod: PodId,
        /// The account.
        user: String,
        /// The server's name of the method.
        method: String,
        /// Why the method cannot be used, and what would help.
        problem: &'static str,
    },
    /// The driver panicked during the login. This is a bug in the driver or in this crate: it
    /// cannot handle something that the account or the server does.
    #[error("the driver panicked during the login at {pod}: {message}")]
    #[non_exhaustive]
    Panicked {
        /// The pod.
        pod: PodId,
        /// The panic's message.
        message: String,
    },
    /// No encrypted connection could be opened, or the server did not prove its identity. The
    /// password was not sent.
    #[error("no TLS with {pod}: {problem}{}", because(cause))]
    #[non_exhaustive]
    Tls {
        /// The pod.
        pod: PodId,
        /// The problem.
        problem: TlsProblem,
        /// The message of the TLS library; may be empty.
        cause: String,
    },
    /// A file that an option names cannot be used: the password, the authorities, the client's
    /// certificate or its key. Nothing was dialled.
    #[error("`{option}` ({}) {problem}{}", path.display(), because(cause))]
    #[non_exhaustive]
    File {
        /// The option that names the file.
        option: &'static str,
        /// The file.
        path: Box<PathBuf>,
        /// The problem.
        problem: FileProblem,
        /// The message of the operating system or the TLS library; may be empty. Never the content.
        cause: String,
    },
    /// The server has no room for another connection.
    #[error("{pod} has no room for another connection: {message} (error {code})")]
    #[non_exhaustive]
    Overloaded {
        /// The pod.
        pod: PodId,
        /// The server's error code.
        code: u16,
        /// The server's message.
        message: String,
    },
    /// The server accepts no further connection, and other calls use all existing ones. A call
    /// waits for one of these, or another pod serves it.
    #[error("{0}")]
    AllInUse(InUse),
    /// The server answered the login, or the first questions after it, with another error.
    #[error("{pod} refused the connection: {message} (error {code})")]
    #[non_exhaustive]
    Rejected {
        /// The pod.
        pod: PodId,
        /// The server's error code.
        code: u16,
        /// The server's message.
        message: String,
    },
    /// The server answers, but reports that it cannot work for now: a node of a Galera cluster that
    /// has left its group, is a donor for another node, or is configured to reject queries.
    #[error("{pod} is not ready to work: {state}")]
    #[non_exhaustive]
    NotReady {
        /// The pod.
        pod: PodId,
        /// The state that the server reports.
        state: String,
    },
    /// The server reports the host name of another pod: the address is stale or recycled.
    #[error("the server at {pod} says that it is `{hostname}`")]
    #[non_exhaustive]
    WrongPod {
        /// The pod that was dialled.
        pod: PodId,
        /// The server's `@@hostname`.
        hostname: String,
    },
    /// The pod is the primary by its ordinal, but is read-only now.
    #[error("{pod} is read-only and takes no writes")]
    #[non_exhaustive]
    ReadOnly {
        /// The pod.
        pod: PodId,
    },
    /// DNS lists several addresses for the primary's ordinal. It is unknown which of them is the
    /// primary, so none takes writes until DNS lists only one.
    #[error("{pod} is one of several addresses that DNS gives the primary")]
    #[non_exhaustive]
    Contested {
        /// One of the addresses.
        pod: PodId,
    },
    /// Several pods are writable. It is unknown which of them is the primary, so none takes writes
    /// until only one is writable.
    #[error("{pod} takes writes, and so does {other}: none is written to until one is left")]
    #[non_exhaustive]
    TwoPrimaries {
        /// One of the writable pods.
        pod: PodId,
        /// Another of the writable pods.
        other: PodId,
    },
    /// Reads do not use the pod: it has not been proven to be a replica of the primary.
    #[error("{pod} is not read from: {reason}")]
    #[non_exhaustive]
    NotReplica {
        /// The pod.
        pod: PodId,
        /// Why it is not proven.
        reason: String,
    },
    /// The primary lacks transactions that an earlier answer of a primary included: it was
    /// re-created empty, or restored from an old backup.
    #[error("{pod} has lost history: a primary was at {seen}, this one is at {found}")]
    #[non_exhaustive]
    HistoryLost {
        /// The pod.
        pod: PodId,
        /// The newest position that was seen.
        seen: String,
        /// The position of this pod.
        found: String,
    },
    /// The pod was removed or replaced, or the cluster was shut down.
    #[error("the connections to {pod} are closed: the pod was replaced or the cluster shut down")]
    #[non_exhaustive]
    Closed {
        /// The pod.
        pod: PodId,
    },
}

impl ConnectError {
    /// One word for the kind of failure, for metrics and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::LocalLimit { .. } => "local_limit",
            Self::Silent { .. } => "silent",
            Self::ClosedEarly { .. } => "closed_early",
            Self::NotMysql { .. } => "not_mysql",
            Self::AccessDenied { .. } => "access_denied",
            Self::Method { .. } => "login_method",
            Self::Panicked { .. } => "panicked",
            Self::Tls { .. } => "tls",
            Self::File { .. } => "file",
            Self::Overloaded { .. } => "overloaded",
            Self::AllInUse(_) => "all_in_use",
            Self::Rejected { .. } => "rejected",
            Self::NotReady { .. } => "not_ready",
            Self::WrongPod { .. } => "wrong_pod",
            Self::ReadOnly { .. } => "read_only",
            Self::Contested { .. } => "contested",
            Self::TwoPrimaries { .. } => "two_primaries",
            Self::NotReplica { .. } => "not_replica",
            Self::HistoryLost { .. } => "history_lost",
            Self::Closed { .. } => "closed",
        }
    }
}

fn because(cause: &str) -> String {
    match cause {
        "" => String::new(),
        cause => format!(": {cause}"),
    }
}
