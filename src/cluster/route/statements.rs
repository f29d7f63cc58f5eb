//! The statements of a route.
//!
//! Owns the checkout, run and return of single statements, and the one repetition that is safe. It
//! must never send a statement twice unless the session it runs in cannot write, or nothing of the
//! first was executed.

use super::Route;
use crate::cluster::Outcome;
use crate::cluster::work::Work;
use crate::error::Error;
use crate::mysql::{More, PodConn, Target, convert, is_read_only, keep_first, keep_none, push};
use mysql_async::prelude::{AsQuery, FromRow};
use mysql_async::{Params, Row};
use std::future::Future;

impl Route {
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
}
