//! `mysql_async::prelude::Queryable` for [`PodConn`].
//!
//! Owns the translation of every method of the trait, also the provided ones, into one protected
//! operation that spans its rows: a flag around `query_iter` alone would let a future that is
//! dropped in the second result set pass as complete. It must never call a provided method of the
//! driver, whose conversions panic.

use super::podconn::PodConn;
use super::text::SqlText;
use crate::error::Error;
use futures_util::FutureExt;
use mysql_async::prelude::{AsQuery, FromRow, Protocol, Queryable, StatementLike};
use mysql_async::{
    BinaryProtocol, Conn, Params, QueryResult, ResultSetStream, Row, Statement, TextProtocol,
};
use std::pin::pin;

/// What the methods of `Queryable` return.
pub(super) type BoxFuture<'a, T> = futures_util::future::BoxFuture<'a, mysql_async::Result<T>>;

/// A row as `T`, or an error that tells the columns but not their values.
pub(crate) fn convert<T: FromRow>(row: Row) -> Result<T, Error> {
    mysql_async::from_row_opt(row).map_err(|error| {
        let columns = error.0.columns_ref().iter();
        let columns: Vec<String> = columns
            .map(|column| format!("{} {:?}", column.name_str(), column.column_type()))
            .collect();
        Error::Conversion {
            wanted: std::any::type_name::<T>(),
            columns: columns.join(", "),
        }
    })
}

/// Reads every result set to its end; folds the rows of the first one.
///
/// A conversion that fails does not stop the reading: what was not read would be the next
/// statement's answer.
pub(super) async fn fold<T, U, P>(
    mut result: QueryResult<'_, 'static, P>,
    init: U,
    mut f: impl FnMut(U, T) -> U,
) -> mysql_async::Result<U>
where
    T: FromRow,
    P: Protocol,
{
    let mut folded: Result<U, Error> = Ok(init);
    while let Some(row) = result.next().await? {
        folded = match folded {
            Ok(folded) => convert(row).map(|row| f(folded, row)),
            failed => failed,
        };
    }
    result.drop_result().await?;
    Ok(folded?)
}

pub(crate) fn push<T>(mut rows: Vec<T>, row: T) -> Vec<T> {
    rows.push(row);
    rows
}

pub(crate) fn keep_first(first: Option<Row>, row: Row) -> Option<Row> {
    first.or(Some(row))
}

fn no_rows() -> mysql_async::Error {
    mysql_async::Error::Other("the statement returns no rows to stream".into())
}

/// Whether the last statement left what the next user could ask for.
pub(super) fn left_a_trace(conn: &Conn) -> bool {
    conn.last_insert_id().is_some() || conn.get_warnings() > 0
}

impl PodConn {
    /// A text statement with all its rows.
    pub(crate) async fn text_fold<Q, T, U>(
        &mut self,
        query: Q,
        init: U,
        f: impl FnMut(U, T) -> U,
    ) -> mysql_async::Result<U>
    where
        Q: AsQuery,
        T: FromRow,
    {
        self.ready_for(&query.as_query()).await?;
        let (conn, session) = self.split()?;
        let deadline = session.deadline();
        // Pinned here: it is large, and would be copied from call to call.
        let operation = pin!(async {
            let folded = fold(conn.query_iter(query).await?, init, f).await?;
            Ok((folded, left_a_trace(conn)))
        });
        let (folded, left) = session.run(deadline, operation).await?;
        session.answered(session.lease.alive);
        session.saw_flags();
        if left {
            session.left_diagnostics();
        }
        Ok(folded)
    }

    async fn text_result<'a, Q: AsQuery + 'a>(
        &'a mut self,
        query: Q,
    ) -> mysql_async::Result<QueryResult<'a, 'static, TextProtocol>> {
        self.ready_for(&query.as_query()).await?;
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
        self.known_fold(stmt, params.into(), Vec::new(), push).await
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
        let row = self.known_fold(stmt, params.into(), None, keep_first);
        Ok(row.await?.map(convert).transpose()?)
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
        self.known_fold(stmt, params.into(), (), |(), _: Row| ())
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
        self.text_fold(query, Vec::new(), push).boxed()
    }

    fn query_first<'a, T, Q>(&'a mut self, query: Q) -> BoxFuture<'a, Option<T>>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
    {
        async move {
            let row = self.text_fold(query, None, keep_first).await?;
            Ok(row.map(convert).transpose()?)
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
            self.text_fold(query, Vec::new(), |rows, row| push(rows, f(row)))
                .await
        }
        .boxed()
    }

    fn query_fold<'a, T, F, Q, U>(&'a mut self, query: Q, init: U, f: F) -> BoxFuture<'a, U>
    where
        Q: AsQuery + 'a,
        T: FromRow + Send + 'static,
        F: FnMut(U, T) -> U + Send + 'a,
        U: Send + 'a,
    {
        self.text_fold(query, init, f).boxed()
    }

    fn query_drop<'a, Q>(&'a mut self, query: Q) -> BoxFuture<'a, ()>
    where
        Q: AsQuery + 'a,
    {
        self.text_fold(query, (), |(), _: Row| ()).boxed()
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
        async move { self.generic_fold(stmt, params, Vec::new(), push).await }.boxed()
    }

    fn exec_first<'a: 'b, 'b, T, S, P>(&'a mut self, stmt: S, params: P) -> BoxFuture<'b, Option<T>>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
        T: FromRow + Send + 'static,
    {
        let params = params.into();
        async move {
            let row = self.generic_fold(stmt, params, None, keep_first).await?;
            Ok(row.map(convert).transpose()?)
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
            let push_mapped = move |rows, row| push(rows, f(row));
            self.generic_fold(stmt, params, Vec::new(), push_mapped)
                .await
        }
        .boxed()
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
        let params = params.into();
        async move { self.generic_fold(stmt, params, init, f).await }.boxed()
    }

    fn exec_drop<'a: 'b, 'b, S, P>(&'a mut self, stmt: S, params: P) -> BoxFuture<'b, ()>
    where
        S: StatementLike + 'b,
        P: Into<Params> + Send + 'b,
    {
        let params = params.into();
        async move { self.generic_fold(stmt, params, (), |(), _: Row| ()).await }.boxed()
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
