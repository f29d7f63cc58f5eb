//! `mysql_async::prelude::Queryable` for [`PodConn`] and [`Tx`](super::tx::Tx).
//!
//! Owns the translation of every method of the trait, including the provided ones, into one
//! protected operation that includes its rows. With a flag around `query_iter` alone, a future that
//! is dropped in the second result set would count as complete. It must never call a provided
//! method of the driver, because their conversions panic.

use crate::conn::podconn::PodConn;
use crate::conn::rows::{Answer, More, convert, folded, keep_first, keep_none, no_rows, push};
use crate::conn::tx::Tx;
use crate::sql::text::SqlText;
use futures_util::FutureExt;
use mysql_async::prelude::{AsQuery, FromRow, Queryable, StatementLike};
use mysql_async::{BinaryProtocol, Params, QueryResult, ResultSetStream, Statement, TextProtocol};

/// The return type of the methods of `Queryable`.
pub(crate) type BoxFuture<'a, T> = futures_util::future::BoxFuture<'a, mysql_async::Result<T>>;

/// Implements `Queryable`, and the inherent `exec*` methods for statements whose text is known, for
/// a type that has a [`PodConn`]: `$conn` borrows it.
macro_rules! queryable {
    ($type:ty, $conn:expr) => {
        impl $type {
            /// As [`Queryable::exec`], for statements whose text is known: if they leave the
            /// session clean, it is not reset when the connection comes back.
            ///
            /// # Errors
            ///
            /// The server's errors, and errors of this crate, boxed in `Error::Other`.
            pub async fn exec<T, S, P>(&mut self, stmt: S, params: P) -> mysql_async::Result<Vec<T>>
            where
                S: SqlText,
                P: Into<Params> + Send,
                T: FromRow + Send + 'static,
            {
                let mut rows = Vec::new();
                $conn(self)
                    .known(stmt, params.into(), |row| push(&mut rows, row))
                    .await?;
                Ok(rows)
            }

            /// As [`Queryable::exec_first`]; see [`PodConn::exec`](crate::PodConn::exec).
            ///
            /// # Errors
            ///
            /// As [`PodConn::exec`](crate::PodConn::exec).
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
                $conn(self)
                    .known(stmt, params.into(), |row| keep_first(&mut first, row))
                    .await?;
                Ok(first.map(convert).transpose()?)
            }

            /// As [`Queryable::exec_drop`]; see [`PodConn::exec`](crate::PodConn::exec).
            ///
            /// # Errors
            ///
            /// As [`PodConn::exec`](crate::PodConn::exec).
            pub async fn exec_drop<S, P>(&mut self, stmt: S, params: P) -> mysql_async::Result<()>
            where
                S: SqlText,
                P: Into<Params> + Send,
            {
                $conn(self)
                    .known(stmt, params.into(), |row| keep_none(&mut (), row))
                    .await
            }

            /// As [`Queryable::exec_batch`]; see [`PodConn::exec`](crate::PodConn::exec).
            ///
            /// # Errors
            ///
            /// As [`PodConn::exec`](crate::PodConn::exec).
            pub async fn exec_batch<S, P, I>(
                &mut self,
                stmt: S,
                params_iter: I,
            ) -> mysql_async::Result<()>
            where
                S: SqlText,
                I: IntoIterator<Item = P> + Send,
                I::IntoIter: Send,
                P: Into<Params> + Send,
            {
                $conn(self).known_batch(stmt, params_iter).await
            }
        }

        impl Queryable for $type {
            fn ping(&mut self) -> BoxFuture<'_, ()> {
                async move {
                    let this = $conn(self);
                    this.ready().await?;
                    let (conn, session) = this.split()?;
                    let deadline = session.deadline();
                    session.run(deadline, conn.ping()).await?;
                    session.took(Answer::of_ping(conn));
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
                $conn(self).text_result(query).boxed()
            }

            fn prep<'a, Q>(&'a mut self, query: Q) -> BoxFuture<'a, Statement>
            where
                Q: AsQuery + 'a,
            {
                async move { $conn(self).prepare_for_user(&query.as_query()).await }.boxed()
            }

            fn close(&mut self, stmt: Statement) -> BoxFuture<'_, ()> {
                $conn(self).close_for_user(stmt).boxed()
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
                $conn(self).prepared_result(stmt, params).boxed()
            }

            fn query<'a, T, Q>(&'a mut self, query: Q) -> BoxFuture<'a, Vec<T>>
            where
                Q: AsQuery + 'a,
                T: FromRow + Send + 'static,
            {
                async move {
                    let mut rows = Vec::new();
                    $conn(self).text(query, |row| push(&mut rows, row)).await?;
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
                    $conn(self)
                        .text(query, |row| keep_first(&mut first, row))
                        .await?;
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
                    $conn(self)
                        .text(query, |row| push(&mut rows, f(row)))
                        .await?;
                    Ok(rows)
                }
                .boxed()
            }

            fn query_fold<'a, T, F, Q, U>(
                &'a mut self,
                query: Q,
                init: U,
                mut f: F,
            ) -> BoxFuture<'a, U>
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
                    $conn(self).text(query, each).await?;
                    folded(result)
                }
                .boxed()
            }

            fn query_drop<'a, Q>(&'a mut self, query: Q) -> BoxFuture<'a, ()>
            where
                Q: AsQuery + 'a,
            {
                $conn(self)
                    .text(query, |row| keep_none(&mut (), row))
                    .boxed()
            }

            fn exec_batch<'a: 'b, 'b, S, P, I>(
                &'a mut self,
                stmt: S,
                params_iter: I,
            ) -> BoxFuture<'b, ()>
            where
                S: StatementLike + 'b,
                I: IntoIterator<Item = P> + Send + 'b,
                I::IntoIter: Send,
                P: Into<Params> + Send,
            {
                let rows = params_iter.into_iter().map(Into::into).collect();
                $conn(self).generic_batch(stmt, rows).boxed()
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
                    $conn(self)
                        .generic(stmt, params, |row| push(&mut rows, row))
                        .await?;
                    Ok(rows)
                }
                .boxed()
            }

            fn exec_first<'a: 'b, 'b, T, S, P>(
                &'a mut self,
                stmt: S,
                params: P,
            ) -> BoxFuture<'b, Option<T>>
            where
                S: StatementLike + 'b,
                P: Into<Params> + Send + 'b,
                T: FromRow + Send + 'static,
            {
                let params = params.into();
                async move {
                    let mut first = None;
                    $conn(self)
                        .generic(stmt, params, |row| keep_first(&mut first, row))
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
                    $conn(self)
                        .generic(stmt, params, |row| push(&mut rows, f(row)))
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
                    $conn(self).generic(stmt, params, each).await?;
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
                    $conn(self)
                        .generic(stmt, params, |row| keep_none(&mut (), row))
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
                    let stream = $conn(self)
                        .text_result(query)
                        .await?
                        .stream_and_drop()
                        .await?;
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
                    let result = $conn(self).prepared_result(stmt, params).await?;
                    result.stream_and_drop().await?.ok_or_else(no_rows)
                }
                .boxed()
            }
        }
    };
}

queryable!(PodConn, std::convert::identity::<&mut PodConn>);
queryable!(Tx, Tx::conn_mut);
