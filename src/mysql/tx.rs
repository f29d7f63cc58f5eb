//! Transactions.
//!
//! Owns the fence at the beginning and the outcome at the end. It must never report an
//! acknowledged COMMIT as an error, nor a lost one as either success or failure.

use super::fault::{is_read_only, may_roll_back, rolls_back};
use super::podconn::PodConn;
use super::queryable::BoxFuture;
use super::session::Deadline;
use super::text::SqlText;
use crate::error::{Error, PodId};
use mysql_async::consts::StatusFlags;
use mysql_async::prelude::{AsQuery, FromRow, Queryable, StatementLike};
use mysql_async::{
    BinaryProtocol, Conn, Params, QueryResult, ResultSetStream, Statement, TextProtocol,
};

/// Whether a transaction may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// An open transaction. It owns its connection, implements
/// [`Queryable`](mysql_async::prelude::Queryable), and is rolled back when dropped.
///
/// Begun with `START TRANSACTION READ WRITE`, which a read-only server refuses at once, where a
/// plain `BEGIN` would succeed and fail only at the first write.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Tx {
    conn: PodConn,
}

/// An acknowledged COMMIT.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// Where it was committed.
    pub pod: PodId,
}

impl Tx {
    pub(crate) async fn begin(mut conn: PodConn, access: Access) -> Result<Self, Error> {
        let statement = match access {
            Access::ReadWrite => "START TRANSACTION READ WRITE",
            Access::ReadOnly => "START TRANSACTION READ ONLY",
        };
        let pod = conn.pod().clone();
        let begun = conn.query_drop(statement).await;
        begun.map_err(|error| Error::at(&pod, error))?;
        conn.session_mut().begun();
        Ok(Self { conn })
    }

    /// The pod it runs on.
    pub fn pod(&self) -> &PodId {
        self.conn.pod()
    }

    /// Rows changed by the last statement.
    pub fn affected_rows(&self) -> u64 {
        self.conn.affected_rows()
    }

    /// The id the last statement generated, if it did.
    pub fn last_insert_id(&self) -> Option<u64> {
        self.conn.last_insert_id()
    }

    /// The driver's own connection; see [`PodConn::as_conn_mut`].
    ///
    /// # Errors
    ///
    /// As [`PodConn::as_conn_mut`].
    pub fn as_conn_mut(&mut self) -> Result<&mut Conn, Error> {
        self.conn.as_conn_mut()
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// * [`Error::RolledBack`]: the server rolled back; run the transaction again as a whole.
    /// * [`Error::CommitUnknown`]: COMMIT was sent and no answer came, or one that does not tell.
    /// * [`Error::Interrupted`], [`Error::Superseded`], [`Error::Closed`]: COMMIT was not sent; the
    ///   server rolls back.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: whether a commit whose future was dropped took place is unknown.
    pub async fn commit(mut self) -> Result<Committed, Error> {
        let pod = self.conn.pod().clone();
        self.conn.ready().await?;
        let deadline = self.conn.session_mut().deadline();
        self.still_open(deadline).await?;
        let (conn, session) = self.conn.split().map_err(Error::from)?;
        session.committing = true;
        match session.run(deadline, conn.query_drop("COMMIT")).await {
            Ok(()) => {
                session.committing = false;
                session.ended();
                session.saw_flags();
                Ok(Committed { pod })
            }
            // Measured: after 1290 for a read-only server the transaction is gone.
            Err(mysql_async::Error::Server(source))
                if is_read_only(&source) || rolls_back(&source) =>
            {
                Err(Error::RolledBack { pod, source })
            }
            Err(error) => {
                let source = Box::new(Error::at(&pod, error));
                Err(Error::CommitUnknown { pod, source })
            }
        }
    }

    /// After a statement failed, asks whether the transaction is still there: the server would
    /// answer OK to a COMMIT of nothing.
    async fn still_open(&mut self, deadline: Deadline) -> Result<(), Error> {
        let (conn, session) = self.conn.split().map_err(Error::from)?;
        let Some(source) = session.doubt() else {
            return Ok(());
        };
        let pod = session.lease.pool.pod().clone();
        // COMMIT has not been sent, so whatever goes wrong here is no unknown outcome.
        let asked = session.run(deadline, conn.ping()).await;
        asked.map_err(|error| Error::at(&pod, error))?;
        let flags = conn.last_ok_packet().map(|ok| ok.status_flags());
        if flags.is_some_and(|flags| flags.contains(StatusFlags::SERVER_STATUS_IN_TRANS)) {
            return Ok(());
        }
        if may_roll_back(&source) {
            return Err(Error::RolledBack { pod, source });
        }
        // Such as a failed DDL statement, which commits what came before it.
        let source = Box::new(Error::Server {
            pod: Some(pod.clone()),
            source,
        });
        Err(Error::CommitUnknown { pod, source })
    }

    /// Rolls back, and waits for it. Dropping the transaction does the same without waiting.
    ///
    /// # Errors
    ///
    /// As for any statement. Whatever the error, the server rolls back once it notices that the
    /// connection is closed.
    pub async fn rollback(mut self) -> Result<(), Error> {
        let pod = self.conn.pod().clone();
        // Also when the server has rolled back already.
        self.conn.session_mut().ended();
        let rolled_back = self.conn.query_drop("ROLLBACK").await;
        rolled_back.map_err(|error| Error::at(&pod, error))
    }
}

/// Statements whose text is known; see [`PodConn::exec`].
impl Tx {
    /// As [`PodConn::exec`].
    ///
    /// # Errors
    ///
    /// As [`PodConn::exec`].
    pub async fn exec<T, S, P>(&mut self, stmt: S, params: P) -> mysql_async::Result<Vec<T>>
    where
        S: SqlText,
        P: Into<Params> + Send,
        T: FromRow + Send + 'static,
    {
        self.conn.exec(stmt, params).await
    }

    /// As [`PodConn::exec_first`].
    ///
    /// # Errors
    ///
    /// As [`PodConn::exec`].
    pub async fn exec_first<T, S, P>(
        &mut self,
        stmt: S,
        params: P,
    ) -> mysql_async::Result<Option<T>>
    where
        S: SqlText,
        P: Into<Params> + Send,
        T: FromRow + Send + 'static,
    {
        self.conn.exec_first(stmt, params).await
    }

    /// As [`PodConn::exec_drop`].
    ///
    /// # Errors
    ///
    /// As [`PodConn::exec`].
    pub async fn exec_drop<S, P>(&mut self, stmt: S, params: P) -> mysql_async::Result<()>
    where
        S: SqlText,
        P: Into<Params> + Send,
    {
        self.conn.exec_drop(stmt, params).await
    }

    /// As [`PodConn::exec_batch`].
    ///
    /// # Errors
    ///
    /// As [`PodConn::exec`].
    pub async fn exec_batch<S, P, I>(&mut self, stmt: S, params_iter: I) -> mysql_async::Result<()>
    where
        S: SqlText,
        I: IntoIterator<Item = P> + Send,
        I::IntoIter: Send,
        P: Into<Params> + Send,
    {
        self.conn.exec_batch(stmt, params_iter).await
    }
}

impl Queryable for Tx {
    fn ping(&mut self) -> BoxFuture<'_, ()> {
        self.conn.ping()
    }

    fn query_iter<'a, Q>(
        &'a mut self,
        query: Q,
    ) -> BoxFuture<'a, QueryResult<'a, 'static, TextProtocol>>
    where
        Q: AsQuery + 'a,
    {
        self.conn.query_iter(query)
    }

    fn prep<'a, Q>(&'a mut self, query: Q) -> BoxFuture<'a, Statement>
    where
        Q: AsQuery + 'a,
    {
        self.conn.prep(query)
    }

    fn close(&mut self, stmt: Statement) -> BoxFuture<'_, ()> {
        self.conn.close(stmt)
    }

    fn exec_iter<'a: 's, 's, Q, P>(
        &'a mut self,
        stmt: Q,
        params: P,
    ) -> BoxFuture<'s, QueryResult<'a, 'static, BinaryProtocol>>
    where
        Q: StatementLike + 's,
        P: Into<Params>,
    {
        self.conn.exec_iter(stmt, params)
    }

    fn query<'a, T, Q>(&'a mut self, query: Q) -> BoxFuture<'a, Vec<T>>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
    {
        self.conn.query(query)
    }

    fn query_first<'a, T, Q>(&'a mut self, query: Q) -> BoxFuture<'a, Option<T>>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
    {
        self.conn.query_first(query)
    }

    fn query_map<'a, T, F, Q, U>(&'a mut self, query: Q, f: F) -> BoxFuture<'a, Vec<U>>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
        F: FnMut(T) -> U + Send + 'a,
        U: Send,
    {
        self.conn.query_map(query, f)
    }

    fn query_fold<'a, T, F, Q, U>(&'a mut self, query: Q, init: U, f: F) -> BoxFuture<'a, U>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
        F: FnMut(U, T) -> U + Send + 'a,
        U: Send + 'a,
    {
        self.conn.query_fold(query, init, f)
    }

    fn query_drop<'a, Q>(&'a mut self, query: Q) -> BoxFuture<'a, ()>
    where
        Q: AsQuery + 'a,
    {
        self.conn.query_drop(query)
    }

    fn exec_batch<'a: 'b, 'b, S, P, I>(&'a mut self, stmt: S, params_iter: I) -> BoxFuture<'b, ()>
    where
        S: StatementLike + 'b,
        I: IntoIterator<Item = P> + Send + 'b,
        I::IntoIter: Send,
        P: Into<Params> + Send,
    {
        Queryable::exec_batch(&mut self.conn, stmt, params_iter)
    }

    fn exec<'a: 'b, 'b, T, S, P>(&'a mut self, stmt: S, params: P) -> BoxFuture<'b, Vec<T>>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
    {
        Queryable::exec(&mut self.conn, stmt, params)
    }

    fn exec_first<'a: 'b, 'b, T, S, P>(&'a mut self, stmt: S, params: P) -> BoxFuture<'b, Option<T>>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
    {
        Queryable::exec_first(&mut self.conn, stmt, params)
    }

    fn exec_map<'a: 'b, 'b, T, S, P, U, F>(
        &'a mut self,
        stmt: S,
        params: P,
        f: F,
    ) -> BoxFuture<'b, Vec<U>>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
        F: FnMut(T) -> U + Send + 'a,
        U: Send + 'a,
    {
        self.conn.exec_map(stmt, params, f)
    }

    fn exec_fold<'a: 'b, 'b, T, S, P, U, F>(
        &'a mut self,
        stmt: S,
        params: P,
        init: U,
        f: F,
    ) -> BoxFuture<'b, U>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
        F: FnMut(U, T) -> U + Send + 'a,
        U: Send + 'a,
    {
        self.conn.exec_fold(stmt, params, init, f)
    }

    fn exec_drop<'a: 'b, 'b, S, P>(&'a mut self, stmt: S, params: P) -> BoxFuture<'b, ()>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
    {
        Queryable::exec_drop(&mut self.conn, stmt, params)
    }

    fn query_stream<'a, T, Q>(
        &'a mut self,
        query: Q,
    ) -> BoxFuture<'a, ResultSetStream<'a, 'a, 'static, T, TextProtocol>>
    where
        T: Unpin + FromRow + Send + 'static,
        Q: AsQuery + 'a,
    {
        self.conn.query_stream(query)
    }

    fn exec_stream<'a: 's, 's, T, Q, P>(
        &'a mut self,
        stmt: Q,
        params: P,
    ) -> BoxFuture<'s, ResultSetStream<'a, 'a, 'static, T, BinaryProtocol>>
    where
        T: Unpin + FromRow + Send + 'static,
        Q: StatementLike + 's,
        P: Into<Params> + Send + 's,
    {
        self.conn.exec_stream(stmt, params)
    }
}
