//! Which pod, and why no connection to it could be had.
//!
//! Owns the reasons and what each means for the balancer. It must never carry a password.

use super::account::{is_access_denied, is_wrong_login};
use super::secure::{FileProblem, TlsProblem};
use crate::balance::{Class, Classify};
use crate::brief::Brief;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a caller leaves a pod alone that is well but not fit for its request.
const UNFIT_PAUSE: Duration = Duration::from_millis(100);

/// Which pod at which address: for errors, events and reports. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PodId(Arc<Identity>);

#[derive(PartialEq, Eq, Hash)]
struct Identity {
    name: Box<str>,
    address: SocketAddr,
}

impl PodId {
    pub(crate) fn new(name: &str, address: SocketAddr) -> Self {
        let name = name.into();
        Self(Arc::new(Identity { name, address }))
    }

    /// The pod's name, such as `mysql-0`; the host's first label where no ordinal is known.
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

/// Why no usable connection to a pod could be had.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address refused the connection, is unreachable, or cut it.
    #[error("cannot connect to {pod}: {cause}")]
    #[non_exhaustive]
    Unreachable {
        /// Where.
        pod: PodId,
        /// What the operating system or the driver said.
        cause: String,
    },
    /// Nothing, or not enough, was said before the connect timeout.
    #[error(
        "{pod} did not complete a MySQL login within {} (unreachable, frozen, or what \
         listens there does not speak MySQL)",
        Brief(*after)
    )]
    #[non_exhaustive]
    Silent {
        /// Where.
        pod: PodId,
        /// The connect timeout.
        after: Duration,
    },
    /// The connection was accepted and closed before the login was complete.
    #[error("{pod} accepted the connection and closed it before the MySQL login was complete")]
    #[non_exhaustive]
    ClosedEarly {
        /// Where.
        pod: PodId,
    },
    /// What listens there does not speak the MySQL protocol.
    #[error("{pod} does not speak the MySQL protocol: {cause}")]
    #[non_exhaustive]
    NotMysql {
        /// Where.
        pod: PodId,
        /// What could not be understood.
        cause: String,
    },
    /// The server refused the login: wrong user or password, or no access to the database.
    #[error("{pod} refused the login of `{user}`: {message} (error {code})")]
    #[non_exhaustive]
    AccessDenied {
        /// Where.
        pod: PodId,
        /// The account.
        user: String,
        /// The server's error code.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// No encrypted connection could be had, or the server did not prove who it is. The password
    /// was not sent.
    #[error("no TLS with {pod}: {problem}{}", because(cause))]
    #[non_exhaustive]
    Tls {
        /// Where.
        pod: PodId,
        /// What is wrong.
        problem: TlsProblem,
        /// The words of the TLS library; may be empty.
        cause: String,
    },
    /// A file that the options name cannot be used: the password, the authorities, the client's
    /// certificate or its key. Nothing was dialled.
    #[error("`{option}` ({}) {problem}{}", path.display(), because(cause))]
    #[non_exhaustive]
    File {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: Box<PathBuf>,
        /// What is wrong.
        problem: FileProblem,
        /// The words of the operating system or the TLS library; may be empty. Never the content.
        cause: String,
    },
    /// The server has no room for another connection.
    #[error("{pod} has no room for another connection: {message} (error {code})")]
    #[non_exhaustive]
    Overloaded {
        /// Where.
        pod: PodId,
        /// The server's error code.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The server answered the login or our questions about it with another error.
    #[error("{pod} refused the connection: {message} (error {code})")]
    #[non_exhaustive]
    Rejected {
        /// Where.
        pod: PodId,
        /// The server's error code.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The server that answered says that it is another pod: a stale or recycled address.
    #[error("the server at {pod} says that it is `{hostname}`")]
    #[non_exhaustive]
    WrongPod {
        /// The pod we meant.
        pod: PodId,
        /// The server's `@@hostname`.
        hostname: String,
    },
    /// The pod is the primary by its ordinal, but is read-only now.
    #[error("{pod} is read-only and takes no writes")]
    #[non_exhaustive]
    ReadOnly {
        /// Where.
        pod: PodId,
    },
    /// DNS gives ordinal 0 two addresses: which of them is the primary cannot be told, so neither
    /// is written to until DNS has settled.
    #[error("{pod} is one of several addresses that DNS gives the primary")]
    #[non_exhaustive]
    Contested {
        /// One of them.
        pod: PodId,
    },
    /// Several pods are writable: which of them is the primary cannot be told, so none is written
    /// to until one is left.
    #[error("{pod} takes writes, and so does {other}: none is written to until one is left")]
    #[non_exhaustive]
    TwoPrimaries {
        /// One of them.
        pod: PodId,
        /// Another one.
        other: PodId,
    },
    /// The primary lacks history that a primary has shown before: it was re-created empty, or
    /// restored from an old backup.
    #[error("{pod} has lost history: a primary was at {seen}, this one is at {found}")]
    #[non_exhaustive]
    HistoryLost {
        /// Where.
        pod: PodId,
        /// The newest position seen.
        seen: String,
        /// The position it has.
        found: String,
    },
    /// The pod was removed, replaced, or the cluster shut down.
    #[error("the connections to {pod} are closed: the pod was replaced or the cluster shut down")]
    #[non_exhaustive]
    Closed {
        /// Where.
        pod: PodId,
    },
}

impl Classify for ConnectError {
    // What a new variant means for the balancer must be decided, so no wildcard.
    #[deny(clippy::wildcard_enum_match_arm)]
    fn class(&self) -> Class {
        match self {
            // The account has worked before: connections that exist are well, and the password is
            // being changed, or this server's accounts are not there yet.
            Self::Rejected { code, .. } if is_access_denied(*code) => Class::Unfit(UNFIT_PAUSE),
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::ClosedEarly { .. }
            | Self::NotMysql { .. }
            | Self::Rejected { .. }
            // This pod's certificate says nothing about the others'.
            | Self::Tls { .. }
            | Self::WrongPod { .. } => Class::Failure,
            // The account and the files are the same for all pods.
            Self::AccessDenied { .. } | Self::File { .. } => Class::Fatal,
            Self::Overloaded { .. } => Class::Overloaded,
            Self::ReadOnly { .. }
            | Self::Contested { .. }
            | Self::TwoPrimaries { .. }
            | Self::HistoryLost { .. }
            | Self::Closed { .. } => Class::Unfit(UNFIT_PAUSE),
        }
    }
}

impl ConnectError {
    /// One word for the kind of failure, for metrics and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Silent { .. } => "silent",
            Self::ClosedEarly { .. } => "closed_early",
            Self::NotMysql { .. } => "not_mysql",
            Self::AccessDenied { .. } => "access_denied",
            Self::Tls { .. } => "tls",
            Self::File { .. } => "file",
            Self::Overloaded { .. } => "overloaded",
            Self::Rejected { .. } => "rejected",
            Self::WrongPod { .. } => "wrong_pod",
            Self::ReadOnly { .. } => "read_only",
            Self::Contested { .. } => "contested",
            Self::TwoPrimaries { .. } => "two_primaries",
            Self::HistoryLost { .. } => "history_lost",
            Self::Closed { .. } => "closed",
        }
    }

    /// For how long asking the server again would only repeat it.
    ///
    /// What concerns the account alone is remembered for all pods together, see `mysql::login`.
    pub(crate) fn remembered_for(&self) -> Duration {
        match self {
            Self::AccessDenied { code, .. } if !is_wrong_login(*code) => Duration::from_secs(1),
            Self::ReadOnly { .. } | Self::HistoryLost { .. } => UNFIT_PAUSE,
            _ => Duration::ZERO,
        }
    }

    /// Whether it keeps only writers away.
    pub(crate) fn is_about_writing(&self) -> bool {
        matches!(
            self,
            Self::ReadOnly { .. }
                | Self::HistoryLost { .. }
                | Self::Contested { .. }
                | Self::TwoPrimaries { .. }
        )
    }
}

fn because(cause: &str) -> String {
    match cause {
        "" => String::new(),
        cause => format!(": {cause}"),
    }
}
