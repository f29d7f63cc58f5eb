//! The errors of a call through the balancer, and the endpoint reports they contain.

use std::fmt;
use std::time::Duration;

/// The state of one endpoint, for people and for errors.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointState {
    /// In use.
    Ready,
    /// It may have stopped answering; the check has not finished. Picked only if no ready endpoint
    /// is available. See [`Guard::suspect`](super::Guard::suspect).
    Suspect,
    /// Ejected after failures; probed when this much time has passed.
    Ejected(Duration),
    /// A probe is running or due.
    Probing,
}

/// One endpoint as the balancer sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EndpointReport {
    /// The endpoint's key.
    pub key: String,
    /// Its state.
    pub state: EndpointState,
    /// Checkouts in flight: waiting, connecting or held.
    pub in_flight: usize,
    /// The cause of its last failure, if it has failed since its last success.
    pub last_cause: Option<String>,
}

impl fmt::Display for EndpointReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        match &self.state {
            EndpointState::Ready => write!(f, "ready")?,
            EndpointState::Suspect => write!(f, "suspect")?,
            EndpointState::Ejected(left) => write!(f, "ejected for {left:.1?}")?,
            EndpointState::Probing => write!(f, "being probed")?,
        }
        write!(f, ", {} in flight", self.in_flight)?;
        match &self.last_cause {
            Some(cause) => write!(f, ", last failure: {cause}"),
            None => Ok(()),
        }
    }
}

/// Why a call was not served. `E` is the endpoint service's own error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BalanceError<E> {
    /// No endpoint could serve the request before the deadline.
    #[error(
        "no endpoint could serve the request within {waited:.1?}; {}",
        list(endpoints)
    )]
    #[non_exhaustive]
    Timeout {
        /// Time since the call began to wait.
        waited: Duration,
        /// Every endpoint that the request could have used.
        endpoints: Vec<EndpointReport>,
        /// The last error that an endpoint returned to this call.
        last: Option<E>,
    },
    /// Too many calls are waiting already; this call was rejected at once.
    #[error("{waiting} calls are waiting for an endpoint already, which is the limit")]
    #[non_exhaustive]
    QueueFull {
        /// Number of waiting calls.
        waiting: usize,
    },
    /// An endpoint returned an error that every endpoint would return.
    #[error(transparent)]
    Endpoint(E),
    /// The balancer was closed.
    #[error("the balancer is closed")]
    Closed,
}

fn list(endpoints: &[EndpointReport]) -> String {
    if endpoints.is_empty() {
        return "no endpoint is known that may serve it".to_owned();
    }
    let lines: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_the_rest_of_an_ejection_without_its_nanoseconds() {
        let report = EndpointReport {
            key: "mysql-1".to_owned(),
            state: EndpointState::Ejected(Duration::from_nanos(83_427_311)),
            in_flight: 0,
            last_cause: Some("refused".to_owned()),
        };
        let error = BalanceError::<std::io::Error>::Timeout {
            waited: Duration::from_nanos(5_002_346_426),
            endpoints: vec![report],
            last: None,
        };
        assert_eq!(
            error.to_string(),
            "no endpoint could serve the request within 5.0s; \
             mysql-1: ejected for 83.4ms, 0 in flight, last failure: refused"
        );
    }
}
