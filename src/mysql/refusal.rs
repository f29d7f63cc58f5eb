//! Why a server could not be connected to, from what the driver saw.
//!
//! Owns the way from a driver's error to a typed reason. It must never put a password into one.

use super::fault::{demands_tls, is_overload};
use super::tls;
use crate::error::{ConnectError, PodId, TlsProblem, is_access_denied};
use mysql_async::{DriverError, Error, IoError};

/// What the error of a connect or of the first questions means.
#[allow(
    unreachable_patterns,
    reason = "without TLS the driver knows one I/O error only"
)]
pub(super) fn refusal(pod: &PodId, user: &str, error: Error) -> ConnectError {
    let pod = pod.clone();
    if let Some((problem, cause)) = tls::problem(&error) {
        return ConnectError::Tls {
            pod,
            problem,
            cause,
        };
    }
    match error {
        Error::Server(error) if demands_tls(error.code) => ConnectError::Tls {
            pod,
            problem: TlsProblem::Demanded,
            cause: error.message,
        },
        Error::Server(error) if is_overload(error.code) => ConnectError::Overloaded {
            pod,
            code: error.code,
            message: error.message,
        },
        Error::Server(error) if is_access_denied(error.code) => ConnectError::AccessDenied {
            pod,
            user: user.to_owned(),
            code: error.code,
            message: error.message,
        },
        Error::Server(error) => ConnectError::Rejected {
            pod,
            code: error.code,
            message: error.message,
        },
        Error::Io(IoError::Io(error)) => match error.kind() {
            // A close with unread bytes arrives as a reset.
            std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::BrokenPipe => ConnectError::ClosedEarly { pod },
            // What the driver's decoder makes of foreign bytes.
            std::io::ErrorKind::Other | std::io::ErrorKind::InvalidData => ConnectError::NotMysql {
                pod,
                cause: error.to_string(),
            },
            _ => ConnectError::Unreachable {
                pod,
                cause: error.to_string(),
            },
        },
        Error::Driver(
            error @ (DriverError::UnexpectedPacket { .. }
            | DriverError::PacketOutOfOrder
            | DriverError::UnknownAuthPlugin { .. }
            | DriverError::CantParseServerVersion { .. }),
        ) => ConnectError::NotMysql {
            pod,
            cause: error.to_string(),
        },
        error => ConnectError::Unreachable {
            pod,
            cause: error.to_string(),
        },
    }
}
