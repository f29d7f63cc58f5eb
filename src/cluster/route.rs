//! Where a statement goes, and the statements themselves.
//!
//! Owns the checkout–run–return of single statements, and the one repetition that is safe. It must
//! never send a statement twice unless the session it runs in cannot write.

use super::work::Work;
use super::{Cluster, Outcome};
use crate::config::ReplicaPolicy;
use crate::error::{Error, PodId};
use crate::mysql::{
    Access, Limit, More, PodConn, PodRequest, Target, Tx, convert, is_read_only, keep_first,
    keep_none, push,
};
use futures_util::FutureExt;
use mysql_async::prelude::{AsQuery, FromRow};
use mysql_async::{Params, Row};
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

    /// Runs a text statement; the rows of its first result set.
    ///
    /// # Errors
    ///
    /// As [`Route::conn`]; [`Error::Server`], [`Error::Timeout`], [`Error::ConnectionLost`],
    /// [`Error::Conversion`].
    pub fn query<T>(
        self,
        sql: impl AsQuery,
    ) -> impl Future<Output = Result<Vec<T>, Error>> + Send + 'static
    where
        T: FromRow + Send + 'static,
    {
        self.all(Work::text(sql))
    }

    /// Runs a text statement; the first row, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Route::query`].
    pub fn query_first<T>(
        self,
        sql: impl AsQuery,
    ) -> impl Future<Output = Result<Option<T>, Error>> + Send + 'static
    where
        T: FromRow + Send + 'static,
    {
        self.first(Work::text(sql))
    }

    /// Runs a text statement; each row of its first result set through `f`.
    ///
    /// # Errors
    ///
    /// As [`Route::query`].
    pub fn query_map<T, U, F>(
        self,
        sql: impl AsQuery,
        f: F,
    ) -> impl Future<Output = Result<Vec<U>, Error>> + Send + 'static
    where
        T: FromRow + Send + 'static,
        U: Send + 'static,
        F: FnMut(T) -> U + Send + 'static,
    {
        self.map(Work::text(sql), f)
    }

    /// Runs a text statement; its rows are read and dropped.
    ///
    /// # Errors
    ///
    /// As [`Route::query`].
    pub fn query_drop(
        self,
        sql: impl AsQuery,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        self.done(Work::text(sql))
    }

    /// Runs a prepared statement; the rows of its first result set.
    ///
    /// # Errors
    ///
    /// As [`Route::query`].
    pub fn exec<T>(
        self,
        sql: impl AsQuery,
        params: impl Into<Params>,
    ) -> impl Future<Output = Result<Vec<T>, Error>> + Send + 'static
    where
        T: FromRow + Send + 'static,
    {
        self.all(Work::prepared(sql, params))
    }

    /// Runs a prepared statement; the first row, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Route::query`].
    pub fn exec_first<T>(
        self,
        sql: impl AsQuery,
        params: impl Into<Params>,
    ) -> impl Future<Output = Result<Option<T>, Error>> + Send + 'static
    where
        T: FromRow + Send + 'static,
    {
        self.first(Work::prepared(sql, params))
    }

    /// Runs a prepared statement; each row of its first result set through `f`.
    ///
    /// # Errors
    ///
    /// As [`Route::query`].
    pub fn exec_map<T, U, F>(
        self,
        sql: impl AsQuery,
        params: impl Into<Params>,
        f: F,
    ) -> impl Future<Output = Result<Vec<U>, Error>> + Send + 'static
    where
        T: FromRow + Send + 'static,
        U: Send + 'static,
        F: FnMut(T) -> U + Send + 'static,
    {
        self.map(Work::prepared(sql, params), f)
    }

    /// Runs a prepared statement; its rows are read and dropped.
    ///
    /// # Errors
    ///
    /// As [`Route::query`].
    pub fn exec_drop(
        self,
        sql: impl AsQuery,
        params: impl Into<Params>,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        self.done(Work::prepared(sql, params))
    }

    /// Runs a prepared statement once for each set of parameters, on one connection.
    ///
    /// Not a transaction: when it fails, those before are executed.
    ///
    /// # Errors
    ///
    /// As [`Route::query`].
    pub fn exec_batch<I, P>(
        self,
        sql: impl AsQuery,
        params: I,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static
    where
        I: IntoIterator<Item = P>,
        P: Into<Params>,
    {
        let sql = sql.as_query().into_owned();
        self.done(Work::Batch(
            sql,
            params.into_iter().map(Into::into).collect(),
        ))
    }

    /// Runs a statement for what it changes. Without parameters (`()`) it is sent as text.
    ///
    /// # Errors
    ///
    /// As [`Route::query`].
    pub fn run(
        self,
        sql: impl AsQuery,
        params: impl Into<Params>,
    ) -> impl Future<Output = Result<Outcome, Error>> + Send + 'static {
        let work = match params.into() {
            Params::Empty => Work::text(sql),
            params => Work::prepared(sql, params),
        };
        self.outcome(work)
    }

    async fn all<T: FromRow + Send>(self, work: Work) -> Result<Vec<T>, Error> {
        let (rows, _conn) = self.execute(work, push).await?;
        Ok(rows)
    }

    async fn first<T: FromRow>(self, work: Work) -> Result<Option<T>, Error> {
        let (row, conn): (Option<Row>, _) = self.execute(work, keep_first).await?;
        drop(conn);
        row.map(convert).transpose()
    }

    /// Each row goes through `f` once, even if the statement is run twice.
    async fn map<T, U, F>(self, work: Work, f: F) -> Result<Vec<U>, Error>
    where
        T: FromRow + Send,
        F: FnMut(T) -> U,
    {
        let rows = self.all(work).await?;
        Ok(rows.into_iter().map(f).collect())
    }

    async fn done(self, work: Work) -> Result<(), Error> {
        self.outcome(work).await.map(|_| ())
    }

    async fn outcome(self, work: Work) -> Result<Outcome, Error> {
        let ((), conn) = self.execute(work, keep_none).await?;
        Ok(Outcome {
            affected_rows: conn.affected_rows(),
            last_insert_id: conn.last_insert_id(),
            warnings: conn.warnings(),
        })
    }

    /// Checkout, run, return; once more on another connection if that is safe. Gathers the rows of
    /// the first result set of the run that counts, and returns the connection of that run.
    async fn execute<T: FromRow, U: Default + Send>(
        self,
        work: Work,
        gather: fn(&mut U, T) -> More,
    ) -> Result<(U, PodConn), Error> {
        let overall = self.overall();
        let mut repeated = false;
        let mut broken = None;
        loop {
            let checkout = self.checkout_by(self.until(overall), overall, broken.take());
            let mut conn = checkout.await?;
            let mut rows = U::default();
            let done = work.run(&mut conn, |row| gather(&mut rows, row)).await;
            let error = match done {
                Ok(()) => return Ok((rows, conn)),
                Err(error) => Error::at(conn.pod(), error),
            };
            let again = match error {
                // Nothing was sent.
                Error::Superseded { .. } => true,
                Error::ConnectionLost { .. } => {
                    self.cluster.config().read_retry
                        && conn.is_read_only_session()
                        && work.is_plain()
                }
                // Executed nothing; the next checkout waits for a primary that takes writes.
                Error::Server { ref source, .. } => {
                    self.target == Target::Primary && is_read_only(source) && work.is_plain()
                }
                _ => false,
            };
            if !again || repeated {
                return Err(error);
            }
            tracing::debug!(pod = %conn.pod(), %error, "a statement is run once more");
            // A server that is shutting down lets connections in and breaks them.
            broken = matches!(error, Error::ConnectionLost { .. }).then(|| conn.pod().clone());
            repeated = true;
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
