//! Conversions that carry an error of this crate through code that knows only the driver's error,
//! such as a function that is generic over `Queryable`.
//!
//! A server's error stays in the driver's own variant, so that its code can be matched, and its pod
//! is appended to the message. All other errors are boxed in `mysql_async::Error::Other`. `From`
//! restores both, so that `?` returns the original error.

use super::{Error, PodId};
use mysql_async::ServerError;

/// Separates a server's message from the pod that is appended to it.
const OPEN: &str = " [on ";

impl Error {
    /// Converts an error of the driver, and adds the pod. A boxed error of this crate is unboxed.
    pub(crate) fn at(pod: &PodId, error: mysql_async::Error) -> Self {
        match Self::from(error) {
            Self::Server { pod: None, source } => Self::Server {
                pod: Some(pod.clone()),
                source,
            },
            Self::Driver { pod: None, source } => Self::Driver {
                pod: Some(pod.clone()),
                source,
            },
            error => error,
        }
    }
}

impl From<mysql_async::Error> for Error {
    /// Unboxes an error of this crate, and restores the pod of a server's error.
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Other(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(other) => Self::Driver {
                    pod: None,
                    source: mysql_async::Error::Other(other),
                },
            },
            mysql_async::Error::Server(mut source) => Self::Server {
                pod: take_pod(&mut source),
                source,
            },
            source => Self::Driver { pod: None, source },
        }
    }
}

impl From<Error> for mysql_async::Error {
    /// Boxes the error in a driver's error, for code that is generic over `Queryable`.
    fn from(error: Error) -> Self {
        match error {
            Error::Server { pod, mut source } => {
                if let Some(pod) = pod {
                    put_pod(&pod, &mut source);
                }
                Self::Server(source)
            }
            Error::Driver { pod: None, source } => source,
            error => Self::Other(Box::new(error)),
        }
    }
}

fn put_pod(pod: &PodId, error: &mut ServerError) {
    error.message = format!("{}{OPEN}{pod}]", error.message);
}

fn take_pod(error: &mut ServerError) -> Option<PodId> {
    let (message, pod) = error.message.strip_suffix(")]")?.rsplit_once(OPEN)?;
    let (name, address) = pod.split_once(" (")?;
    let pod = PodId::new(name, address.parse().ok()?);
    error.message.truncate(message.len());
    Some(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(address: &str) -> PodId {
        PodId::new("mysql-0", address.parse().unwrap())
    }

    fn duplicate(message: &str) -> ServerError {
        ServerError {
            code: 1062,
            message: message.to_owned(),
            state: "23000".to_owned(),
        }
    }

    #[test]
    fn our_errors_survive_a_ride_inside_the_drivers() {
        let pod = pod("127.0.0.1:3306");
        let ours = Error::Interrupted { pod: pod.clone() };
        let back = Error::from(mysql_async::Error::from(ours));
        assert!(matches!(back, Error::Interrupted { pod: p } if p == pod));
        let source = mysql_async::Error::Other("no such thing".into());
        let ours = Error::Driver {
            pod: Some(pod.clone()),
            source,
        };
        let back = Error::from(mysql_async::Error::from(ours));
        assert_eq!(back.pod(), Some(&pod));
    }

    #[test]
    fn a_server_error_keeps_code_message_and_pod_through_code_that_knows_the_driver_only() {
        for address in ["127.0.0.1:3306", "[fd00::1]:3306"] {
            for message in ["Duplicate entry '1' [on purpose (x)]", "", "a [on b]"] {
                let ours = Error::Server {
                    pod: Some(pod(address)),
                    source: duplicate(message),
                };
                let theirs = mysql_async::Error::from(ours);
                let mysql_async::Error::Server(seen) = &theirs else {
                    panic!("{theirs}");
                };
                assert_eq!(seen.code, 1062);
                assert!(
                    seen.message.contains(&format!("mysql-0 ({address})")),
                    "{seen}"
                );
                let back = Error::from(theirs);
                assert_eq!(back.pod(), Some(&pod(address)));
                assert_eq!(back.code(), Some(1062));
                let Error::Server { source, .. } = back else {
                    panic!("{back}");
                };
                assert_eq!(source, duplicate(message));
            }
        }
    }

    #[test]
    fn a_message_that_names_no_pod_is_left_as_it_is() {
        for message in ["Duplicate entry", "x [on y]", "x [on y (z)]"] {
            let back = Error::from(mysql_async::Error::Server(duplicate(message)));
            assert_eq!(back.pod(), None);
            let Error::Server { source, .. } = back else {
                panic!("{back}");
            };
            assert_eq!(source.message, message);
        }
    }
}
