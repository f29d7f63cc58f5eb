//! Accessors of errors that need no `match`: the kind, the server's code, the pod.

use super::{ConnectError, Error, PodId};

impl Error {
    /// One word for the kind of error, for metrics and logs. For [`Error::Connect`] it is
    /// [`ConnectError::kind`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Name(_) => "name",
            Self::Discovery { .. } => "discovery",
            Self::NoPrimary { .. } => "no_primary",
            Self::NoReplica { .. } => "no_replica",
            Self::AllInUse { .. } => "all_in_use",
            Self::QueueFull { .. } => "queue_full",
            Self::Connect(error) => error.kind(),
            Self::Timeout { .. } => "timeout",
            Self::ConnectionLost { .. } => "connection_lost",
            Self::Interrupted { .. } => "interrupted",
            Self::Disconnected { .. } => "disconnected",
            Self::Superseded { .. } => "superseded",
            Self::Disputed { .. } => "disputed",
            Self::OnlyReads { .. } => "only_reads",
            Self::ForeignStatement { .. } => "foreign_statement",
            Self::Server { .. } => "server",
            Self::TooLarge { .. } => "too_large",
            Self::RolledBack { .. } => "rolled_back",
            Self::TransactionEnded { .. } => "transaction_ended",
            Self::TransactionLeftOpen { .. } => "transaction_left_open",
            Self::CommitUnknown { .. } => "commit_unknown",
            Self::Conversion { .. } => "conversion",
            Self::Driver { .. } => "driver",
            Self::Closed => "closed",
            Self::ShutdownTimeout { .. } => "shutdown_timeout",
            Self::RuntimeGone => "runtime_gone",
        }
    }

    /// The server's error code, such as 1062 for a duplicate key, if a server answered with one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Server { source, .. } | Self::RolledBack { source, .. } => Some(source.code),
            Self::ConnectionLost { source, .. }
            | Self::Disconnected { source, .. }
            | Self::Driver { source, .. } => match source {
                mysql_async::Error::Server(error) => Some(error.code),
                _ => None,
            },
            Self::CommitUnknown { source, .. } => source.code(),
            Self::TransactionEnded { source, .. } => source.as_ref()?.code(),
            Self::Connect(error) => error.code(),
            _ => None,
        }
    }

    /// The pod that the error is about, if any.
    ///
    /// Errors of a [`PodConn`](crate::PodConn) or a [`Tx`](crate::Tx) have a pod, even after a
    /// conversion by `?`. Errors of rows that are pulled one by one (`*_iter`, `*_stream`) come
    /// from the driver itself and have none.
    pub fn pod(&self) -> Option<&PodId> {
        match self {
            Self::Timeout { pod, .. }
            | Self::ConnectionLost { pod, .. }
            | Self::Interrupted { pod }
            | Self::Disconnected { pod, .. }
            | Self::Superseded { pod }
            | Self::Disputed { pod, .. }
            | Self::OnlyReads { pod, .. }
            | Self::ForeignStatement { pod }
            | Self::TooLarge { pod, .. }
            | Self::RolledBack { pod, .. }
            | Self::TransactionEnded { pod, .. }
            | Self::TransactionLeftOpen { pod }
            | Self::CommitUnknown { pod, .. } => Some(pod),
            Self::Server { pod, .. } | Self::Driver { pod, .. } => pod.as_ref(),
            Self::Connect(error) => error.pod(),
            _ => None,
        }
    }
}

impl ConnectError {
    /// The server's error code, if a server answered with one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::AccessDenied { code, .. }
            | Self::Overloaded { code, .. }
            | Self::Rejected { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The pod that was dialled; `None` if nothing was dialled.
    pub fn pod(&self) -> Option<&PodId> {
        match self {
            Self::Unreachable { pod, .. }
            | Self::LocalLimit { pod, .. }
            | Self::Silent { pod, .. }
            | Self::ClosedEarly { pod }
            | Self::NotMysql { pod, .. }
            | Self::AccessDenied { pod, .. }
            | Self::Method { pod, .. }
            | Self::Panicked { pod, .. }
            | Self::Tls { pod, .. }
            | Self::Overloaded { pod, .. }
            | Self::Rejected { pod, .. }
            | Self::NotReady { pod, .. }
            | Self::WrongPod { pod, .. }
            | Self::ReadOnly { pod }
            | Self::Contested { pod }
            | Self::TwoPrimaries { pod, .. }
            | Self::NotReplica { pod, .. }
            | Self::HistoryLost { pod, .. }
            | Self::Closed { pod } => Some(pod),
            Self::AllInUse(in_use) => Some(&in_use.pod),
            Self::File { .. } => None,
        }
    }
}
