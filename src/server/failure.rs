//! What a failure means for health, retries, the caller and the docs.
//!
//! [`of_driver_error`] judges what happened to a statement, and [`of_connect_error`] why a connect
//! failed. Both return a [`Meaning`]: the cause, whether the statement was executed, the state of
//! the connection and of the transaction, and whether repeating helps.
//!
//! Owns the only such judgement in this crate. The rows are in [`table`], and `docs/errors.md`
//! lists them. It must never do I/O, keep state, or trust the driver's `Error::is_fatal()`, which
//! calls every server error harmless (including "server shutdown in progress") and every wrong
//! parameter fatal.

mod table;

use crate::balance::{Class, Classify};
use crate::error::{ConnectError, Error, TlsProblem};
use mysql_async::{DriverError, IoError, LocalInfileError, ServerError};
use std::time::Duration;

/// How long a call does not ask a pod again that is healthy but unfit for its request.
const UNFIT_PAUSE: Duration = Duration::from_millis(100);

/// How long a pod with a wrong account or configuration is not asked again. For a refused login,
/// `server::login` decides instead.
pub(crate) const SETUP_PAUSE: Duration = Duration::from_secs(3);

/// What one failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) cause: Cause,
    pub(crate) executed: Executed,
    pub(crate) connection: Connection,
    pub(crate) transaction: Transaction,
    pub(crate) repeat: Repeat,
    /// A description of the failure, for the docs.
    pub(crate) words: &'static str,
}

/// The cause of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The statement, its parameters, or the caller's use of the connection. The pod is healthy.
    Statement,
    /// The user or the password. Further attempts can lock the account.
    Login,
    /// Another part of the account or of the configuration, on the client or on the server.
    Setup,
    /// This server takes no writes, but may serve reads.
    ReadOnly,
    /// This server refuses to work for now, but another server may work.
    Server,
    /// The pod does not answer, or the network on the way to it does not work.
    Network,
    /// The pod answers but takes no further connections from us. Existing connections work.
    CannotGrow,
    /// Our own machine lacks a resource. This says nothing about any pod.
    OwnMachine,
}

impl Cause {
    /// Whether the cause counts as a failure of the pod.
    pub(crate) fn is_of_the_pod(self) -> bool {
        match self {
            Self::Server | Self::Network => true,
            Self::Statement
            | Self::Login
            | Self::Setup
            | Self::ReadOnly
            | Self::CannotGrow
            | Self::OwnMachine => false,
        }
    }
}

/// Whether the statement was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Executed {
    No,
    Perhaps,
}

/// The state of the connection after the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    Usable,
    Closed,
}

/// The state of an open transaction, as far as the error shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transaction {
    /// Still open, unless its connection is closed.
    Open,
    /// The server may have rolled it back, depending on its options or its state.
    InDoubt,
    /// The server has rolled it back.
    RolledBack,
}

/// Whether repeating helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Once, on another pod. A write waits until a pod takes it.
    Elsewhere,
    /// After a wait, including on the same pod.
    Later,
    /// Only after something else has changed. If the statement may have been executed, repeating it
    /// may do harm.
    Never,
}

/// The meaning of an error that ended a statement.
pub(crate) fn of_driver_error(error: &mysql_async::Error) -> Meaning {
    use mysql_async::Error as Driver;
    match error {
        Driver::Server(error) => of_server_error(error),
        Driver::Io(error) => of_io_error(error),
        Driver::Driver(error) => of_usage(error),
        Driver::Other(_) | Driver::Url(_) => table::UNFIT_ANSWER,
    }
}

/// The meaning of a server's error. The error's text decides if one code stands for several things.
pub(crate) fn of_server_error(error: &ServerError) -> Meaning {
    let mut rows = table::SERVER.iter();
    let row = rows.find(|row| row.is_for(error.code, &error.message));
    row.map_or(table::STATEMENT, |row| row.meaning)
}

#[allow(
    unreachable_patterns,
    reason = "without TLS the driver knows one I/O error only"
)]
fn of_io_error(error: &IoError) -> Meaning {
    match error {
        IoError::Io(error) if is_of_own_machine(error) => table::OWN_MACHINE_MIDWAY,
        _ => table::CONNECTION_BROKEN,
    }
}

/// Whether the operating system refused because this process or machine lacks a resource.
pub(crate) fn is_of_own_machine(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrNotAvailable
        || (error.raw_os_error()).is_some_and(|code| table::OWN_MACHINE_CODES.contains(&code))
}

// No wildcard, so that each new variant needs a decision.
#[deny(clippy::wildcard_enum_match_arm)]
fn of_usage(error: &DriverError) -> Meaning {
    match error {
        DriverError::FromValue { .. } | DriverError::FromRow { .. } => table::UNFIT_ANSWER,
        DriverError::Params(_)
        | DriverError::MixedParams
        | DriverError::NestedTransaction
        | DriverError::ReadOnlyTransNotSupported
        | DriverError::StmtParamsMismatch { .. }
        | DriverError::StmtParamsNumberExceedsLimit { .. }
        | DriverError::BulkExecute(_) => table::UNFIT_PARAMETERS,
        // The data before the error was sent, and the server was told that it is complete.
        DriverError::LocalInfile(LocalInfileError::ReadError(_)) => table::LOCAL_INFILE_MIDWAY,
        DriverError::LocalInfile(_) => table::LOCAL_INFILE,
        DriverError::CantParseServerVersion { .. }
        | DriverError::ConnectionClosed
        | DriverError::PacketOutOfOrder
        | DriverError::PoolDisconnected
        | DriverError::UnexpectedPacket { .. }
        | DriverError::UnknownAuthPlugin { .. }
        | DriverError::PacketTooLarge
        | DriverError::BadCompressedPacketHeader
        | DriverError::NamedPipesDisabled
        | DriverError::MysqlOldPasswordDisabled
        | DriverError::NoKeyFound
        | DriverError::NoClientSslFlagFromServer
        | DriverError::CleartextPluginDisabled
        | DriverError::InvalidParsecSalt => table::CONNECTION_BROKEN,
    }
}

/// The meaning of a failed connect. Nothing was executed.
// No wildcard, so that each new variant needs a decision.
#[deny(clippy::wildcard_enum_match_arm)]
pub(crate) fn of_connect_error(error: &ConnectError) -> Meaning {
    match error {
        ConnectError::Unreachable { .. }
        | ConnectError::Silent { .. }
        | ConnectError::ClosedEarly { .. }
        | ConnectError::NotMysql { .. } => table::NO_CONNECTION,
        ConnectError::LocalLimit { .. } => table::OWN_MACHINE,
        ConnectError::WrongPod { .. } | ConnectError::Rejected { .. } => table::NOT_ACCEPTED,
        // A broken handshake need not be caused by its content.
        ConnectError::Tls {
            problem: TlsProblem::Handshake,
            ..
        } => table::NOT_ACCEPTED,
        ConnectError::Tls { .. } => table::SETUP,
        ConnectError::NotReady { .. } => table::NOT_READY,
        ConnectError::Overloaded { .. } | ConnectError::AllInUse(_) => table::CANNOT_GROW,
        ConnectError::AccessDenied { code, .. } => of_code(*code),
        ConnectError::File { .. } | ConnectError::Method { .. } | ConnectError::Panicked { .. } => {
            table::SETUP
        }
        ConnectError::ReadOnly { .. } | ConnectError::HistoryLost { .. } => table::NO_WRITES,
        ConnectError::Contested { .. }
        | ConnectError::TwoPrimaries { .. }
        | ConnectError::NotReplica { .. }
        | ConnectError::Closed { .. } => table::NOT_IN_USE,
    }
}

/// The meaning of an error code, for codes whose text does not matter.
pub(crate) fn of_code(code: u16) -> Meaning {
    let mut rows = table::SERVER.iter();
    let row = rows.find(|row| row.is_for(code, ""));
    row.map_or(table::STATEMENT, |row| row.meaning)
}

/// Whether the server refuses unencrypted connections.
pub(crate) fn demands_tls(code: u16) -> bool {
    code == table::TLS_DEMANDED
}

/// Whether the server takes no writes, because of its role or its storage engine.
pub(crate) fn is_read_only(error: &ServerError) -> bool {
    of_server_error(error).cause == Cause::ReadOnly
}

/// Whether the server executed no part of the statement, and another server, or this one later, may
/// execute it.
pub(crate) fn is_elsewhere(error: &ServerError) -> bool {
    let meaning = of_server_error(error);
    meaning.repeat == Repeat::Elsewhere && meaning.executed == Executed::No
}

/// Whether the server has rolled back the whole transaction, not only the statement.
pub(crate) fn rolls_back(error: &ServerError) -> bool {
    of_server_error(error).transaction == Transaction::RolledBack
}

/// Whether the server has rolled back the whole transaction, or may have.
pub(crate) fn may_roll_back(error: &ServerError) -> bool {
    of_server_error(error).transaction != Transaction::Open
}

impl Classify for ConnectError {
    fn class(&self) -> Class {
        let meaning = of_connect_error(self);
        match meaning.cause {
            Cause::Network | Cause::Server if self.is_refused_account() => {
                Class::Unfit(UNFIT_PAUSE)
            }
            Cause::Network | Cause::Server => Class::Failure,
            Cause::CannotGrow if matches!(self, Self::AllInUse(_)) => Class::Full,
            Cause::CannotGrow => Class::Overloaded,
            // All pods use the same files.
            Cause::Setup if matches!(self, Self::File { .. }) => Class::Fatal,
            // Another server may know the account, or accept this password.
            Cause::Login | Cause::Setup => Class::Declined,
            Cause::Statement | Cause::ReadOnly | Cause::OwnMachine => Class::Unfit(UNFIT_PAUSE),
        }
    }
}

impl ConnectError {
    /// Whether this server refuses an account that worked before. Existing connections work. The
    /// password is being changed, or this server does not have its accounts yet.
    fn is_refused_account(&self) -> bool {
        match self {
            Self::Rejected { code, .. } => {
                matches!(of_code(*code).cause, Cause::Login | Cause::Setup)
            }
            _ => false,
        }
    }

    /// How long to wait before the server is asked again, because an earlier try would only repeat
    /// the error.
    ///
    /// `server::login` remembers a refused login for each pod. `server::dialler` remembers the
    /// errors for which [`is_of_setup`] is true.
    ///
    /// [`is_of_setup`]: Self::is_of_setup
    pub(crate) fn remembered_for(&self) -> Duration {
        match self {
            Self::AccessDenied { code, .. } if of_code(*code).cause == Cause::Setup => SETUP_PAUSE,
            Self::ReadOnly { .. } | Self::HistoryLost { .. } => UNFIT_PAUSE,
            _ => Duration::ZERO,
        }
    }

    /// Whether only other credentials, or a change on the server, can cure the error.
    pub(crate) fn is_of_setup(&self) -> bool {
        matches!(
            self,
            Self::Method { .. } | Self::Panicked { .. } | Self::Tls { .. }
        )
    }

    /// Whether the error affects only writers.
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

/// The meaning of an error of this crate for the call that it ended.
// No wildcard, so that each new variant needs a decision.
#[deny(clippy::wildcard_enum_match_arm)]
pub(crate) fn of_error(error: &Error) -> Meaning {
    match error {
        Error::Discovery { .. }
        | Error::NoPrimary { .. }
        | Error::NoReplica { .. }
        | Error::AllInUse { .. }
        | Error::QueueFull { .. } => table::NOT_SERVED,
        Error::Interrupted { .. } | Error::Disconnected { .. } | Error::Superseded { .. } => {
            table::NOT_SENT
        }
        Error::Disputed { .. } => table::DISPUTED,
        Error::RolledBack { .. } => table::ROLLED_BACK,
        Error::OnlyReads { .. } | Error::ForeignStatement { .. } => table::STATEMENT,
        Error::Server { source, .. } => of_server_error(source),
        Error::Driver { source, .. } => of_driver_error(source),
        Error::Connect(error) => of_connect_error(error),
        Error::Timeout { .. } | Error::ConnectionLost { .. } | Error::CommitUnknown { .. } => {
            table::CONNECTION_BROKEN
        }
        Error::TooLarge { .. } => table::TOO_LARGE,
        Error::Conversion { .. } => table::UNFIT_ANSWER,
        Error::TransactionEnded { .. } => table::ENDED_EARLY,
        Error::TransactionLeftOpen { .. } => table::LEFT_OPEN,
        Error::Config(_)
        | Error::Name(_)
        | Error::Closed
        | Error::RuntimeGone
        | Error::ShutdownTimeout { .. } => table::SETUP,
    }
}

impl Error {
    /// Whether the same call may be made again, on a new connection, because no part of it was
    /// executed.
    ///
    /// An error of the server is not retryable: a `CALL` that ended with it may have run in part.
    /// For the meaning of each code, see `docs/errors.md`.
    pub fn is_retryable(&self) -> bool {
        let meaning = of_error(self);
        // If an error ends a wait for a pod, the caller gets `NoPrimary` or `NoReplica`. A server
        // or connect error that the caller gets directly needs the caller's decision.
        let is_told_by_itself = matches!(self, Self::Server { .. } | Self::Connect(_));
        !is_told_by_itself && meaning.executed == Executed::No && meaning.repeat != Repeat::Never
    }
}

#[cfg(test)]
mod tests;
