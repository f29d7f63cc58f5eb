//! What an error of the driver means: is the connection gone, did the server refuse, did the
//! caller ask wrongly.
//!
//! Owns the classification of `mysql_async::Error`. It must never trust `Error::is_fatal()`,
//! which calls every server error harmless (also "server shutdown in progress") and every error
//! of the caller's parameters fatal.

use mysql_async::{DriverError, Error, ServerError};

/// What happened to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is cut, or can no longer be understood.
    Lost,
    /// The server answered with an error; the connection is fine.
    Refused,
    /// The caller's statement and parameters do not fit, or the answer could not be converted. The
    /// server is fine; the driver may have closed the connection all the same.
    Usage,
}

pub(crate) fn fault(error: &Error) -> Fault {
    match error {
        Error::Io(_) => Fault::Lost,
        Error::Server(error) if ends_connection(error.code) => Fault::Lost,
        Error::Server(_) => Fault::Refused,
        Error::Driver(error) => driver_fault(error),
        Error::Other(_) | Error::Url(_) => Fault::Usage,
    }
}

// A new variant must be looked at, so no wildcard.
#[deny(clippy::wildcard_enum_match_arm)]
fn driver_fault(error: &DriverError) -> Fault {
    match error {
        DriverError::FromValue { .. }
        | DriverError::FromRow { .. }
        | DriverError::Params(_)
        | DriverError::MixedParams
        | DriverError::NestedTransaction
        | DriverError::ReadOnlyTransNotSupported
        | DriverError::StmtParamsMismatch { .. }
        | DriverError::StmtParamsNumberExceedsLimit { .. }
        | DriverError::BulkExecute(_) => Fault::Usage,
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
        | DriverError::LocalInfile(_)
        | DriverError::NoKeyFound
        | DriverError::NoClientSslFlagFromServer
        | DriverError::CleartextPluginDisabled
        | DriverError::InvalidParsecSalt => Fault::Lost,
    }
}

/// Server errors after which the server closes the connection.
fn ends_connection(code: u16) -> bool {
    matches!(
        code,
        1053        // server shutdown in progress
        | 1077..=1080 // normal shutdown, forcing close of thread
        | 1152      // aborted connection
        | 1159..=1161 // network read and write trouble on the server's side
        | 1184      // new aborted connection
        | 1927      // MariaDB: connection was killed
        | 3169      // session was killed
        | 3032      // MySQL: offline mode
        | 4031 // MySQL: disconnected after inactivity
    )
}

/// No room for one more connection, or for this account's: leave the pod alone for a while.
pub(crate) fn is_overload(code: u16) -> bool {
    matches!(code, 1040 | 1129 | 1135 | 1203 | 1226)
}

/// The server takes no connections without encryption.
pub(super) fn demands_tls(code: u16) -> bool {
    code == 3159
}

/// The server is read-only. 1290 stands for many options, so the text decides; 1836 is the
/// engine's own read-only mode.
pub(crate) fn is_read_only(error: &ServerError) -> bool {
    match error.code {
        1290 => error.message.contains("read-only") || error.message.contains("read_only"),
        1836 => true,
        _ => false,
    }
}

/// The server has rolled the whole transaction back, not only the statement.
pub(crate) fn rolls_back(error: &ServerError) -> bool {
    matches!(error.code, 1213 | 3101)
}

/// The server may have done so, depending on its options (such as `innodb_rollback_on_timeout`) or
/// its state (the lock table is full).
pub(crate) fn may_roll_back(error: &ServerError) -> bool {
    rolls_back(error) || matches!(error.code, 1020 | 1205 | 1206)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, message: &str) -> ServerError {
        ServerError {
            code,
            message: message.to_owned(),
            state: "HY000".to_owned(),
        }
    }

    #[test]
    fn a_server_error_leaves_the_connection_alone_unless_the_server_closes_it() {
        for code in [1062, 1213, 1205, 1290, 1064] {
            assert_eq!(fault(&Error::Server(server(code, ""))), Fault::Refused);
        }
        for code in [1053, 1927, 4031] {
            assert_eq!(fault(&Error::Server(server(code, ""))), Fault::Lost);
        }
    }

    #[test]
    fn wrong_parameters_are_the_callers_doing() {
        let error = Error::Driver(DriverError::StmtParamsMismatch {
            required: 1,
            supplied: 2,
        });
        assert_eq!(fault(&error), Fault::Usage);
    }

    #[test]
    fn error_1290_means_read_only_only_when_its_text_says_so() {
        let read_only = "The MariaDB server is running with the --read-only option so it \
                         cannot execute this statement";
        assert!(is_read_only(&server(1290, read_only)));
        let outfile = "The MySQL server is running with the --secure-file-priv option";
        assert!(!is_read_only(&server(1290, outfile)));
        // The engine's own mode has a code of its own.
        assert!(is_read_only(&server(1836, "Running in read-only mode")));
    }
}
