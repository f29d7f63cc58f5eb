//! The methods of a route that run statements.
//!
//! Owns the checkout, run and return of single statements, and the one repetition that is safe. It
//! must never send a statement twice unless its session cannot write, or the first attempt executed
//! nothing.

use super::Route;
use crate::cluster::Outcome;
use crate::cluster::owned_statement::OwnedStatement;
use crate::conn::podconn::PodConn;
use crate::conn::rows::{More, convert, keep_first, keep_none, push};
use crate::error::Error;
use crate::routing::Target;
use crate::server::failure::{is_elsewhere, is_read_only};
use crate::sql::reading::Reading;
use mysql_async::prelude::{AsQuery, FromRow};
use mysql_async::{Params, Row};
use std::future::Future;

/// How often a read moves to another connection when no answer arrives.
const MOST_MOVES: usize = 3;

impl Route {
    /// Runs a text statement and returns the rows of its first result set.
    ///
    /// # Errors
    ///
    /// As [`Route::conn`]; [`Error::Server`], [`Error::Timeout`], [`Error::ConnectionLost`],
    /// [`Error::Conversion`]; on [`Cluster::replicas`](crate::Cluster::replicas)
    /// [`Error::OnlyReads`].
    pub fn query<T>(
        self,
        sql: impl AsQuery,
    ) -> impl Future<Output = Result<Vec<T>, Error>> + Send + 'static
    where
        T: FromRow + Send + 'static,
    {
        self.all(OwnedStatement::text(sql))
    }

    /// Runs a text statement and returns the first row, if there is one.
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
        self.first(OwnedStatement::text(sql))
    }

    /// Runs a text statement and maps each row of its first result set through `f`.
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
        self.map(OwnedStatement::text(sql), f)
    }

    /// Runs a text statement; its rows are read and discarded.
    ///
    /// # Errors
    ///
    /// As [`Route::query`].
    pub fn query_drop(
        self,
        sql: impl AsQuery,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        self.done(OwnedStatement::text(sql))
    }

    /// Runs a prepared statement and returns the rows of its first result set.
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
        self.all(OwnedStatement::prepared(sql, params))
    }

    /// Runs a prepared statement and returns the first row, if there is one.
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
        self.first(OwnedStatement::prepared(sql, params))
    }

    /// Runs a prepared statement and maps each row of its first result set through `f`.
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
        self.map(OwnedStatement::prepared(sql, params), f)
    }

    /// Runs a prepared statement; its rows are read and discarded.
    ///
    /// # Errors
    ///
    /// As [`Route::query`].
    pub fn exec_drop(
        self,
        sql: impl AsQuery,
        params: impl Into<Params>,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        self.done(OwnedStatement::prepared(sql, params))
    }

    /// Runs a prepared statement once for each set of parameters, on one connection.
    ///
    /// This is not a transaction: if one execution fails, the earlier ones stay executed.
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
        self.done(OwnedStatement::Batch(
            sql,
            params.into_iter().map(Into::into).collect(),
        ))
    }

    /// Runs a statement and returns its effects. Without parameters (`()`) it is sent as text.
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
            Params::Empty => OwnedStatement::text(sql),
            params => OwnedStatement::prepared(sql, params),
        };
        self.outcome(work)
    }

    async fn all<T: FromRow + Send>(self, work: OwnedStatement) -> Result<Vec<T>, Error> {
        let (rows, _conn) = self.execute(work, push).await?;
        Ok(rows)
    }

    async fn first<T: FromRow>(self, work: OwnedStatement) -> Result<Option<T>, Error> {
        let (row, conn): (Option<Row>, _) = self.execute(work, keep_first).await?;
        drop(conn);
        row.map(convert).transpose()
    }

    /// Passes each row to `f` once, even if the statement is run twice.
    async fn map<T, U, F>(self, work: OwnedStatement, f: F) -> Result<Vec<U>, Error>
    where
        T: FromRow + Send,
        F: FnMut(T) -> U,
    {
        let rows = self.all(work).await?;
        Ok(rows.into_iter().map(f).collect())
    }

    async fn done(self, work: OwnedStatement) -> Result<(), Error> {
        self.outcome(work).await.map(|_| ())
    }

    async fn outcome(self, work: OwnedStatement) -> Result<Outcome, Error> {
        let ((), conn) = self.execute(work, keep_none).await?;
        Ok(Outcome {
            affected_rows: conn.affected_rows(),
            last_insert_id: conn.last_insert_id(),
            warnings: conn.warnings(),
        })
    }

    /// Checks out a connection, runs the statement, and repeats it once on another connection if
    /// that is safe. Returns the gathered rows of the first result set, and the connection, both
    /// from the last run.
    async fn execute<T: FromRow, U: Default + Send>(
        self,
        work: OwnedStatement,
        gather: fn(&mut U, T) -> More,
    ) -> Result<(U, PodConn), Error> {
        let overall = self.overall();
        let mut repeated = false;
        let mut moves = 0;
        let mut broken = None;
        loop {
            let checkout = self.checkout_by(self.until(overall), overall, broken.take());
            let mut conn = checkout.await?;
            let read_retry = self.cluster.config().read_retry;
            let session = conn.session_mut();
            session.single = true;
            session.may_move = moves < MOST_MOVES && read_retry;
            let mut rows = U::default();
            let done = work.run(&mut conn, |row| gather(&mut rows, row)).await;
            let error = match done {
                // The open transaction would be rolled back before the next use, so this is no
                // success.
                Ok(()) if conn.is_in_transaction() => {
                    let pod = conn.pod().clone();
                    return Err(Error::TransactionLeftOpen { pod });
                }
                Ok(()) => return Ok((rows, conn)),
                Err(error) => Error::at(conn.pod(), error),
            };
            let is_plain_read = || {
                read_retry
                    && conn.is_read_only_session()
                    && work.reading().is_some_and(Reading::is_plain)
            };
            // The missing answer says nothing about the statement, so it may move more than once.
            let moves_on = conn.was_abandoned() && moves < MOST_MOVES && is_plain_read();
            let again = match error {
                // Nothing was sent.
                Error::Superseded { .. } | Error::Disputed { .. } => true,
                Error::ConnectionLost { .. } => is_plain_read(),
                // Nothing was executed. The next checkout takes another replica, or waits for a
                // writable primary. (A session of the replicas' route is read-only on every pod.)
                Error::Server { ref source, .. } => {
                    (self.target == Target::Primary || !is_read_only(source))
                        && is_elsewhere(source)
                        && work.reading().is_some_and(Reading::refused_as_a_whole)
                }
                _ => false,
            };
            if !moves_on && (!again || repeated) {
                return Err(error);
            }
            tracing::debug!(pod = %conn.pod(), %error, "a statement is run once more");
            // Avoid this pod: a server that is shutting down, or that refuses to work, still
            // accepts connections.
            let is_broken = matches!(error, Error::ConnectionLost { .. } | Error::Server { .. });
            broken = (moves_on || is_broken).then(|| conn.pod().clone());
            repeated |= !moves_on;
            moves += usize::from(moves_on);
        }
    }
}
