//! Where a call goes, and how long it may take.
//!
//! Owns a side of the cluster with its deadlines, and the checkout on it: of a connection, of a
//! transaction, of a tower service. It must never run a statement: `statements` does.

mod statements;

use super::Cluster;
use crate::config::ReplicaPolicy;
use crate::error::{Error, PodId};
use crate::mysql::{Access, Limit, PodConn, PodRequest, Target, Tx, is_read_only};
use futures_util::FutureExt;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tower::Service;

/// How long a call on a route may take.
#[derive(Debug, Clone, Copy)]
enum Within {
    /// The configured timeouts: one for the checkout, one for each statement.
    Default,
    /// Checkout, statement and repetition together.
    All(Duration),
    /// The checkout as configured, the statements as long as they take.
    Unlimited,
}

/// A side of the cluster: [`Cluster::primary`] or [`Cluster::replicas`].
///
/// An owned, cheap value. Its methods take it by value and return futures that own everything, so
/// they can be joined, spawned and stored. Each call takes a connection, runs one statement, and
/// gives the connection back; for several statements on one connection take [`Route::conn`] or
/// [`Route::begin`].
///
/// Rows are converted with errors, not panics: a NULL where none fits is
/// [`Error::Conversion`].
///
/// # Deadlines
///
/// 5 s for the checkout and 30 s for the statement unless configured otherwise;
/// [`Route::deadline`] sets one for both together.
///
/// # Cancel safety
///
/// A future that is dropped leaves nothing behind: its connection is closed if a statement was
/// under way, and the server is told to stop the statement
/// ([`Config::with_kill_query`](crate::Config::with_kill_query)). Whether it was executed is then
/// unknown.
#[derive(Clone)]
#[must_use = "a route does nothing until a statement is run on it"]
pub struct Route {
    cluster: Cluster,
    target: Target,
    policy: ReplicaPolicy,
    within: Within,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("target", &self.target)
            .field("policy", &self.policy)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

impl Route {
    pub(super) fn new(cluster: Cluster, target: Target) -> Self {
        let policy = cluster.config().replica_policy;
        Self {
            cluster,
            target,
            policy,
            within: Within::Default,
        }
    }

    /// Gives each call this long for everything: checkout, statement and repetition. For a
    /// connection from [`Route::conn`] or a transaction it covers all of their life.
    pub fn deadline(mut self, within: Duration) -> Self {
        self.within = Within::All(within);
        self
    }

    /// Lets statements take as long as they take. The checkout keeps its timeout.
    pub fn no_deadline(mut self) -> Self {
        self.within = Within::Unlimited;
        self
    }

    /// Uses another [`ReplicaPolicy`] than the configured one. No effect on the primary's route.
    pub fn policy(mut self, policy: ReplicaPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Takes a connection. It goes back when it is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::NoPrimary`] or [`Error::NoReplica`] at the deadline, [`Error::QueueFull`],
    /// [`Error::Connect`] when the login is refused, [`Error::Discovery`] when no pod was ever
    /// found, [`Error::Closed`], [`Error::RuntimeGone`].
    ///
    /// # Cancel safety
    ///
    /// Safe: a connection being made is kept for others.
    pub async fn conn(self) -> Result<PodConn, Error> {
        let overall = self.overall();
        self.checkout_by(self.until(overall), overall, None).await
    }

    /// Begins a transaction: read-write on the primary's route, read-only on the replicas'.
    ///
    /// A primary that turns out to be read-only or gone has executed nothing, so another is waited
    /// for until the checkout's deadline.
    ///
    /// # Errors
    ///
    /// As [`Route::conn`], and those of any statement.
    pub async fn begin(self) -> Result<Tx, Error> {
        let overall = self.overall();
        let access = match self.target {
            Target::Primary => Access::ReadWrite,
            Target::Replicas => Access::ReadOnly,
        };
        let give_up = self.checkout_deadline(overall);
        loop {
            let conn = self.checkout_by(Some(give_up), overall, None).await?;
            let again = match Tx::begin(conn, access).await {
                Ok(tx) => return Ok(tx),
                Err(error) => match &error {
                    Error::Server { source, .. } if is_read_only(source) => error,
                    // A transaction that may have begun is gone with its connection.
                    Error::ConnectionLost { .. } | Error::Superseded { .. } => error,
                    _ => return Err(error),
                },
            };
            if access == Access::ReadOnly || Instant::now() >= give_up {
                return Err(again);
            }
        }
    }

    /// The instant at which a call that begins now must have ended, if there is one.
    fn overall(&self) -> Option<Instant> {
        match self.within {
            // A deadline beyond what the clock can hold is none.
            Within::All(within) => Instant::now().checked_add(within),
            Within::Default | Within::Unlimited => None,
        }
    }

    fn checkout_deadline(&self, overall: Option<Instant>) -> Instant {
        let checkout = Instant::now() + self.cluster.config().checkout_timeout;
        overall.unwrap_or(checkout)
    }

    /// `None`: the balancer gives the call the checkout's timeout from when it begins. A read that
    /// is served at once needs no clock for that.
    fn until(&self, overall: Option<Instant>) -> Option<Instant> {
        match self.target {
            Target::Primary => Some(self.checkout_deadline(overall)),
            Target::Replicas => overall,
        }
    }

    async fn checkout_by(
        &self,
        deadline: Option<Instant>,
        overall: Option<Instant>,
        avoid: Option<PodId>,
    ) -> Result<PodConn, Error> {
        let request = PodRequest {
            target: self.target,
            policy: self.policy,
            deadline,
            avoid,
        };
        let limit = match self.within {
            Within::Unlimited => Limit {
                each: None,
                all: None,
            },
            Within::Default | Within::All(_) => Limit {
                each: self.cluster.config().statement_timeout,
                all: overall,
            },
        };
        let running = self.cluster.running()?;
        match running.at_once(&request, limit) {
            Some(conn) => Ok(conn),
            // In a box: most calls are served at once, and need not be as large.
            None => running.checkout(request, limit).boxed().await,
        }
    }
}

/// A request for a connection, for [`Route`] as a [`tower::Service`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkout {
    _private: (),
}

impl Checkout {
    /// A request with the route's own deadlines.
    pub fn new() -> Self {
        Self::default()
    }
}

/// A route is a service that hands out connections. Layers around it, such as a timeout or a
/// concurrency limit, cover the checkout only: they see the connection leave, not what is done
/// with it.
impl Service<Checkout> for Route {
    type Response = PodConn;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<PodConn, Error>> + Send>>;

    /// Always ready until the cluster is shut down; see [`Balance`](crate::balance::Balance).
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(self.cluster.running().map(|_| ()))
    }

    fn call(&mut self, _: Checkout) -> Self::Future {
        Box::pin(self.clone().conn())
    }
}
