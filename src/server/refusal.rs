//! Why a connect failed: turns a driver's error into a typed reason.
//!
//! Owns this conversion. It must never put a password into a reason.

use crate::error::{ConnectError, PodId, TlsProblem};
use crate::server::failure::{Cause, demands_tls, is_of_own_machine, of_server_error};
use crate::server::tls;
use mysql_async::{DriverError, Error, IoError, ServerError};

/// The meaning of an error from a connect or from the first questions.
#[allow(
    unreachable_patterns,
    reason = "without TLS the driver knows one I/O error only"
)]
pub(crate) fn refusal(pod: &PodId, user: &str, error: Error) -> ConnectError {
    let pod = pod.clone();
    if let Some((problem, cause)) = tls::problem(&error) {
        return ConnectError::Tls {
            pod,
            problem,
            cause,
        };
    }
    match error {
        Error::Server(error) => by_code(pod, user, error),
        Error::Io(IoError::Io(error)) if is_of_own_machine(&error) => ConnectError::LocalLimit {
            pod,
            cause: error.to_string(),
        },
        Error::Io(IoError::Io(error)) => match error.kind() {
            // If bytes are unread, a close arrives as a reset.
            std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::BrokenPipe => ConnectError::ClosedEarly { pod },
            // The driver's decoder reports foreign bytes this way.
            std::io::ErrorKind::Other | std::io::ErrorKind::InvalidData => ConnectError::NotMysql {
                pod,
                cause: error.to_string(),
            },
            _ => ConnectError::Unreachable {
                pod,
                cause: error.to_string(),
            },
        },
        Error::Driver(DriverError::UnknownAuthPlugin { name }) => method(pod, user, name),
        Error::Driver(DriverError::CleartextPluginDisabled) => {
            method(pod, user, CLEAR_TEXT.to_owned())
        }
        Error::Driver(DriverError::MysqlOldPasswordDisabled) => {
            method(pod, user, "mysql_old_password".to_owned())
        }
        Error::Driver(
            error @ (DriverError::UnexpectedPacket { .. }
            | DriverError::PacketOutOfOrder
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

/// The meaning of the error that the server sent instead of accepting the login.
fn by_code(pod: PodId, user: &str, error: ServerError) -> ConnectError {
    let cause = of_server_error(&error).cause;
    let ServerError { code, message, .. } = error;
    match cause {
        _ if demands_tls(code) => ConnectError::Tls {
            pod,
            problem: TlsProblem::Demanded,
            cause: message,
        },
        Cause::CannotGrow => ConnectError::Overloaded { pod, code, message },
        Cause::Login | Cause::Setup => ConnectError::AccessDenied {
            pod,
            user: user.to_owned(),
            code,
            message,
        },
        Cause::Statement | Cause::ReadOnly | Cause::Server | Cause::Network | Cause::OwnMachine => {
            ConnectError::Rejected { pod, code, message }
        }
    }
}

/// A login method that sends the password as it is.
const CLEAR_TEXT: &str = "mysql_clear_password";

fn method(pod: PodId, user: &str, method: String) -> ConnectError {
    let problem = match method.as_str() {
        CLEAR_TEXT => {
            "sends the password as it is: allow it with the option `cleartext_password`, which needs \
             a verified TLS connection, or change the account"
        }
        "sha256_password" => "this client does not offer: use caching_sha2_password",
        "dialog" => {
            "this client does not offer: let MariaDB's PAM use clear text \
             (pam_use_cleartext_plugin) and allow it with the option `cleartext_password`"
        }
        _ => "this client does not offer: change the account",
    };
    ConnectError::Method {
        pod,
        user: user.to_owned(),
        method,
        problem,
    }
}
