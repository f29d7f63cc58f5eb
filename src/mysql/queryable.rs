//! `mysql_async::prelude::Queryable` for [`PodConn`].
//!
//! Owns the translation of every method of the trait, also the provided ones, into one protected
//! operation that spans its rows: a flag around `query_iter` alone would let a future that is
//! dropped in the second result set pass as complete. It must never call a provided method of the
//! driver, whose conversions panic.

use super::podconn::PodConn;
use super::rows::{More, convert, folded, keep_first, keep_none, left_a_trace, push, read};
use super::text::SqlText;
use futures_util::FutureExt;
use mysql_async::prelude::{AsQuery, FromRow, Queryable, StatementLike};
use mysql_async::{BinaryProtocol, Params, QueryResult, ResultSetStream, Statement, TextProtocol};
use std::pin::pin;

/// What the methods of `Queryable` return.
pub(super) type BoxFuture<'a, T> = futures_util::future::BoxFuture<'a, mysql_async::Result<T>>;

fn no_rows() -> mysql_async::Error {
    mysql_async::Error::Other("the statement returns no rows to stream".into())
}

impl PodConn {
    /// A text statement with all its rows.
    pub(crate) async fn text<Q, T>(
        &mut self,
        query: Q,
        each: impl FnMut(T) -> More + Send,
    ) -> mysql_async::Result<()>
    where
        Q: AsQuery,
        T: FromRow,
    {
        if !self.is_ready() {
            self.make_ready().await?;
        }
        self.judge(&query.as_query());
        let (conn, session) = self.split()?;
        let deadline = session.deadline();
        // Pinned here: it is large, and would be copied from call to call.
        let operation = pin!(async {
            read(conn.query_iter(query).await?, each).await?;
            Ok(left_a_trace(conn))
        });
        let left = session.run(deadline, operation).await?;
        session.answered(deadline.sent);
        session.saw_flags();
        if left {
            session.left_diagnostics();
        }
        Ok(())
    }

    async fn text_result<'a, Q: AsQuery + 'a>(
        &'a mut self,
        query: Q,
    ) -> mysql_async::Result<QueryResult<'a, 'static, TextProtocol>> {
        self.ready().await?;
        self.judge(&query.as_query());
        let (conn, session) = self.split()?;
        session.will_stream();
        let deadline = session.deadline();
        session.run(deadline, conn.query_iter(query)).await
    }

    async fn prepared_result<'a: 's, 's, S: StatementLike + 's>(
        &'a mut self,
        stmt: S,
        params: Params,
    ) -> mysql_async::Result<QueryResult<'a, 'static, BinaryProtocol>> {
        self.ready_for_unknown().await?;
        let (conn, session) = self.split()?;
        session.will_stream();
        let deadline = session.deadline();
        session.run(deadline, conn.exec_iter(stmt, params)).await
    }

    /// As [`Queryable::exec`], for statements whose text is known: a session that stays clean is
    /// not reset on return.
    ///
    /// # Errors
    ///
    /// Those of the server, and ours inside `Error::Other`.
    pub async fn exec<T, S, P>(&mut self, stmt: S, params: P) -> mysql_async::Result<Vec<T>>
    where
        S: SqlText,
        P: Into<Params> + Send,
        T: FromRow + Send + 'static,
    {
        let mut rows = Vec::new();
        self.known(stmt, params.into(), |row| push(&mut rows, row))
            .await?;
        Ok(rows)
    }

    /// As [`Queryable::exec_first`]; see [`PodConn::exec`].
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
        let mut first = None;
        self.known(stmt, params.into(), |row| keep_first(&mut first, row))
            .await?;
        Ok(first.map(convert).transpose()?)
    }

    /// As [`Queryable::exec_drop`]; see [`PodConn::exec`].
    ///
    /// # Errors
    ///
    /// As [`PodConn::exec`].
    pub async fn exec_drop<S, P>(&mut self, stmt: S, params: P) -> mysql_async::Result<()>
    where
        S: SqlText,
        P: Into<Params> + Send,
    {
        self.known(stmt, params.into(), |row| keep_none(&mut (), row))
            .await
    }

    /// As [`Queryable::exec_batch`]; see [`PodConn::exec`].
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
        self.known_batch(stmt, params_iter).await
    }
}

impl Queryable for PodConn {
    fn ping(&mut self) -> BoxFuture<'_, ()> {
        async move {
            self.ready().await?;
            let (conn, session) = self.split()?;
            let deadline = session.deadline();
            session.run(deadline, conn.ping()).await?;
            session.saw_flags();
            Ok(())
        }
        .boxed()
    }

    fn query_iter<'a, Q>(
        &'a mut self,
        query: Q,
    ) -> BoxFuture<'a, QueryResult<'a, 'static, TextProtocol>>
    where
        Q: AsQuery + 'a,
    {
        self.text_result(query).boxed()
    }

    fn prep<'a, Q>(&'a mut self, query: Q) -> BoxFuture<'a, Statement>
    where
        Q: AsQuery + 'a,
    {
        async move { self.prepare_for_user(&query.as_query()).await }.boxed()
    }

    fn close(&mut self, stmt: Statement) -> BoxFuture<'_, ()> {
        async move {
            self.ready().await?;
            let (conn, session) = self.split()?;
            let deadline = session.deadline();
            session.run(deadline, conn.close(stmt)).await
        }
        .boxed()
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
        let params = params.into();
        self.prepared_result(stmt, params).boxed()
    }

    fn query<'a, T, Q>(&'a mut self, query: Q) -> BoxFuture<'a, Vec<T>>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
    {
        async move {
            let mut rows = Vec::new();
            self.text(query, |row| push(&mut rows, row)).await?;
            Ok(rows)
        }
        .boxed()
    }

    fn query_first<'a, T, Q>(&'a mut self, query: Q) -> BoxFuture<'a, Option<T>>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
    {
        async move {
            let mut first = None;
            self.text(query, |row| keep_first(&mut first, row)).await?;
            Ok(first.map(convert).transpose()?)
        }
        .boxed()
    }

    fn query_map<'a, T, F, Q, U>(&'a mut self, query: Q, mut f: F) -> BoxFuture<'a, Vec<U>>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
        F: FnMut(T) -> U + Send + 'a,
        U: Send,
    {
        async move {
            let mut rows = Vec::new();
            self.text(query, |row| push(&mut rows, f(row))).await?;
            Ok(rows)
        }
        .boxed()
    }

    fn query_fold<'a, T, F, Q, U>(&'a mut self, query: Q, init: U, mut f: F) -> BoxFuture<'a, U>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
        F: FnMut(U, T) -> U + Send + 'a,
        U: Send + 'a,
    {
        async move {
            let mut result = Some(init);
            let each = |row| {
                result = result.take().map(|sum| f(sum, row));
                More::Wanted
            };
            self.text(query, each).await?;
            folded(result)
        }
        .boxed()
    }

    fn query_drop<'a, Q>(&'a mut self, query: Q) -> BoxFuture<'a, ()>
    where
        Q: AsQuery + 'a,
    {
        self.text(query, |row| keep_none(&mut (), row)).boxed()
    }

    fn exec_batch<'a: 'b, 'b, S, P, I>(&'a mut self, stmt: S, params_iter: I) -> BoxFuture<'b, ()>
    where
        S: StatementLike + 'b,
        I: IntoIterator<Item = P> + Send + 'b,
        I::IntoIter: Send,
        P: Into<Params> + Send,
    {
        async move {
            self.ready_for_unknown().await?;
            let deadline = self.session_mut().deadline();
            self.batch(stmt, params_iter, deadline).await
        }
        .boxed()
    }

    fn exec<'a: 'b, 'b, T, S, P>(&'a mut self, stmt: S, params: P) -> BoxFuture<'b, Vec<T>>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
    {
        let params = params.into();
        async move {
            let mut rows = Vec::new();
            self.generic(stmt, params, |row| push(&mut rows, row))
                .await?;
            Ok(rows)
        }
        .boxed()
    }

    fn exec_first<'a: 'b, 'b, T, S, P>(&'a mut self, stmt: S, params: P) -> BoxFuture<'b, Option<T>>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
    {
        let params = params.into();
        async move {
            let mut first = None;
            self.generic(stmt, params, |row| keep_first(&mut first, row))
                .await?;
            Ok(first.map(convert).transpose()?)
        }
        .boxed()
    }

    fn exec_map<'a: 'b, 'b, T, S, P, U, F>(
        &'a mut self,
        stmt: S,
        params: P,
        mut f: F,
    ) -> BoxFuture<'b, Vec<U>>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
        F: FnMut(T) -> U + Send + 'a,
        U: Send + 'a,
    {
        let params = params.into();
        async move {
            let mut rows = Vec::new();
            self.generic(stmt, params, |row| push(&mut rows, f(row)))
                .await?;
            Ok(rows)
        }
        .boxed()
    }

    fn exec_fold<'a: 'b, 'b, T, S, P, U, F>(
        &'a mut self,
        stmt: S,
        params: P,
        init: U,
        mut f: F,
    ) -> BoxFuture<'b, U>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
        F: FnMut(U, T) -> U + Send + 'a,
        U: Send + 'a,
    {
        let params = params.into();
        async move {
            let mut result = Some(init);
            let each = |row| {
                result = result.take().map(|sum| f(sum, row));
                More::Wanted
            };
            self.generic(stmt, params, each).await?;
            folded(result)
        }
        .boxed()
    }

    fn exec_drop<'a: 'b, 'b, S, P>(&'a mut self, stmt: S, params: P) -> BoxFuture<'b, ()>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
    {
        let params = params.into();
        async move {
            self.generic(stmt, params, |row| keep_none(&mut (), row))
                .await
        }
        .boxed()
    }

    fn query_stream<'a, T, Q>(
        &'a mut self,
        query: Q,
    ) -> BoxFuture<'a, ResultSetStream<'a, 'a, 'static, T, TextProtocol>>
    where
        T: Unpin + FromRow + Send + 'static,
        Q: AsQuery + 'a,
    {
        async move {
            let stream = self.text_result(query).await?.stream_and_drop().await?;
            stream.ok_or_else(no_rows)
        }
        .boxed()
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
        let params = params.into();
        async move {
            let result = self.prepared_result(stmt, params).await?;
            result.stream_and_drop().await?.ok_or_else(no_rows)
        }
        .boxed()
    }
}
