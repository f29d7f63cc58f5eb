//! Routes: the target of a call and its deadlines.
//!
//! Owns [`Route`], and the checkout on it: of a connection, of a transaction, of a tower service.
//! It must never run a statement: `statements` does.

mod statements;

use super::handle::Cluster;
use crate::checkout::request::PodRequest;
use crate::config::ReplicaPolicy;
use crate::conn::deadline::Timeouts;
use crate::conn::podconn::Elsewhere;
use crate::conn::podconn::PodConn;
use crate::conn::tx::Tx;
use crate::conn::txstate::Access;
use crate::error::{Error, PodId};
use crate::routing::Target;
use crate::server::failure::is_elsewhere;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tower::Service;

impl Cluster {
    /// The route to the primary: for all writes, and for reads that must be current. The primary is
    /// ordinal 0, unless [`Config::with_primary`](crate::Config::with_primary) says otherwise.
    pub fn primary(&self) -> Route {
        Route::new(self.clone(), Target::Primary)
    }

    /// The route to the replicas, least busy first; to the primary only as the
    /// [`ReplicaPolicy`](crate::config::ReplicaPolicy) allows.
    ///
    /// Its connections only read. If the text of a statement shows anything else (a write, `ANALYZE
    /// TABLE`, `SET GLOBAL`, `GET_LOCK`, …), it is refused with [`Error::OnlyReads`] and never
    /// sent. If the text does not show it, as in a procedure, the server refuses writes. The error
    /// is 1290 for an ordinary account on a `read_only` server; otherwise it is 1792, because the
    /// session is read-only on every server and for every account.
    ///
    /// Temporary tables and locks are not available: the next statement may run on another pod.
    ///
    /// A read whose connection breaks is run once more on another pod.
    pub fn replicas(&self) -> Route {
        Route::new(self.clone(), Target::Replicas)
    }

    /// Begins a transaction on the primary.
    ///
    /// # Errors
    ///
    /// As [`Route::begin`].
    pub async fn begin(&self) -> Result<Tx, Error> {
        self.primary().begin().await
    }
}

/// The deadlines of a call on a route.
#[derive(Debug, Clone, Copy)]
enum Within {
    /// The configured timeouts: one for the checkout and one for each statement.
    Default,
    /// One deadline for checkout, statement and repetition together.
    All(Duration),
    /// The configured timeout for the checkout, none for the statements.
    Unlimited,
}

/// The route to the primary ([`Cluster::primary`]) or to the replicas ([`Cluster::replicas`]).
///
/// An owned value that is cheap to clone. Its methods consume it and return futures that own all
/// their data, so the futures can be joined, spawned and stored. Each call checks out a connection,
/// runs one statement, and returns the connection. For several statements on one connection use
/// [`Route::conn`] or [`Route::begin`].
///
/// A failed conversion of a row is an error, not a panic: an unexpected NULL is
/// [`Error::Conversion`].
///
/// # Deadlines
///
/// Defaults: 30 s for a checkout of the primary, 5 s for a checkout of a replica, and 30 s for the
/// statement. [`Route::deadline`] sets one deadline for checkout and statement together.
///
/// # Cancel safety
///
/// Dropping a future releases everything it holds. If a statement was running, its connection is
/// closed and the server is told to stop the statement
/// ([`Config::with_kill_query`](crate::Config::with_kill_query)). Whether the statement was
/// executed is then unknown.
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

    /// Sets one deadline for each call: checkout, statement and repetition. For a connection from
    /// [`Route::conn`] or a transaction, it covers the whole lifetime.
    pub fn deadline(mut self, within: Duration) -> Self {
        self.within = Within::All(within);
        self
    }

    /// Removes the time limit of statements. The checkout keeps its timeout.
    pub fn no_deadline(mut self) -> Self {
        self.within = Within::Unlimited;
        self
    }

    /// Replaces the configured [`ReplicaPolicy`]. Has no effect on the primary's route.
    pub fn policy(mut self, policy: ReplicaPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Checks out a connection. Dropping the connection returns it.
    ///
    /// # Errors
    ///
    /// [`Error::NoPrimary`], [`Error::NoReplica`] or [`Error::AllInUse`] at the deadline,
    /// [`Error::QueueFull`],
    /// [`Error::Connect`] when the login is refused, [`Error::Discovery`] when no pod was ever
    /// found, [`Error::Closed`], [`Error::RuntimeGone`].
    ///
    /// # Cancel safety
    ///
    /// Safe: a connection that is being made is kept for other calls.
    pub async fn conn(self) -> Result<PodConn, Error> {
        let overall = self.overall();
        self.checkout_by(self.until(overall), overall, None).await
    }

    /// Begins a transaction: read-write on the primary's route, read-only on the replicas'.
    ///
    /// The server hears of it with the first statement. A primary that then turns out to be
    /// read-only, not ready or gone has executed nothing, so the first statement waits for another
    /// primary, as long as a checkout may take. On the replicas' route, another pod is tried once.
    ///
    /// # Errors
    ///
    /// As [`Route::conn`]. The first statement of the transaction has these errors, too.
    pub async fn begin(self) -> Result<Tx, Error> {
        let overall = self.overall();
        let give_up = self.checkout_deadline(overall);
        let mut conn = self.checkout_by(Some(give_up), overall, None).await?;
        let access = match self.target {
            Target::Primary => Access::ReadWrite,
            Target::Replicas => Access::ReadOnly,
        };
        let begin = Begin {
            route: self,
            overall,
            give_up: None,
        };
        conn.will_begin(access, Box::new(begin));
        Ok(Tx { conn })
    }

    /// The deadline of a call that begins now, if there is one.
    fn overall(&self) -> Option<Instant> {
        match self.within {
            // A deadline that the clock cannot represent is no deadline.
            Within::All(within) => Instant::now().checked_add(within),
            Within::Default | Within::Unlimited => None,
        }
    }

    fn checkout_deadline(&self, overall: Option<Instant>) -> Instant {
        let config = self.cluster.config();
        let checkout = match self.target {
            Target::Primary => config.checkout_timeout,
            Target::Replicas => config.longest_read_checkout(),
        };
        overall.unwrap_or_else(|| Instant::now() + checkout)
    }

    /// The deadline of the checkout. `None`: the balancer applies its own timeout, so a read that
    /// is served at once reads no clock.
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
        tried: Option<PodId>,
    ) -> Result<PodConn, Error> {
        let request = PodRequest {
            target: self.target,
            policy: self.policy,
            deadline,
            tried,
            probe: false,
        };
        let limit = match self.within {
            Within::Unlimited => Timeouts {
                each: None,
                all: None,
            },
            Within::Default | Within::All(_) => Timeouts {
                each: self.cluster.config().statement_timeout,
                all: overall,
            },
        };
        let running = self.cluster.running()?;
        match running.at_once(&request, limit) {
            Some(conn) => Ok(conn),
            // Boxed, because most calls are served at once and their future should stay small.
            None => running.checkout(request, limit).boxed().await,
        }
    }
}

/// Where a transaction begins if its connection cannot begin it.
struct Begin {
    route: Route,
    overall: Option<Instant>,
    /// Set at the first attempt on another connection.
    give_up: Option<Instant>,
}

impl Elsewhere for Begin {
    fn another(&mut self, error: Error, avoid: PodId) -> BoxFuture<'_, Result<PodConn, Error>> {
        let helps = match &error {
            Error::Server { source, .. } => is_elsewhere(source),
            // If the transaction had begun, it ended with its connection.
            Error::ConnectionLost { .. }
            | Error::Disconnected { .. }
            | Error::Interrupted { .. }
            | Error::Superseded { .. }
            | Error::Disputed { .. } => true,
            _ => false,
        };
        // A read-only transaction is tried on one other pod; a read-write one waits for a primary.
        let is_second = self.give_up.is_some();
        let is_over = is_second && self.route.target == Target::Replicas;
        let overall = self.overall;
        let latest = || self.route.checkout_deadline(overall);
        let give_up = *self.give_up.get_or_insert_with(latest);
        async move {
            if !helps || is_over || Instant::now() >= give_up {
                return Err(error);
            }
            self.route
                .checkout_by(Some(give_up), overall, Some(avoid))
                .await
        }
        .boxed()
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

/// A route is a tower service that hands out connections. Layers around it, such as a timeout or a
/// concurrency limit, cover only the checkout, not the later use of the connection.
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
