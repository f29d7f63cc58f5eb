//! Prepared statements with a known text whose rows are mapped, folded or handed out one by one.
//!
//! These methods shadow the methods of `Queryable` with the same names, which cannot see the text.

use crate::conn::podconn::PodConn;
use crate::conn::rows::{More, folded, no_rows, push};
use crate::conn::size;
use crate::conn::tx::Tx;
use crate::sql::text::{Recalled, SqlText};
use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{BinaryProtocol, Params, QueryResult, ResultSetStream};

impl PodConn {
    async fn known_result<S: SqlText>(
        &mut self,
        stmt: S,
        params: Params,
    ) -> mysql_async::Result<QueryResult<'_, 'static, BinaryProtocol>> {
        self.ready().await?;
        let recalled = self.recall(stmt.given())?;
        if self.session_mut().must_precede(true) {
            self.precede(true).await?;
        }
        let deadline = self.session_mut().deadline();
        let stmt = match recalled {
            Recalled::Prepared(stmt) => stmt,
            Recalled::Text(text) => self.prepare(text, deadline).await?,
        };
        let (conn, session) = self.split()?;
        session.check_size(size::of_params(&params))?;
        session.will_stream();
        session.run(deadline, conn.exec_iter(stmt, params)).await
    }
}

/// Implements the methods for a type that has a [`PodConn`].
macro_rules! exec_rows {
    ($type:ty, $this:ident => $conn:expr) => {
        impl $type {
            /// As [`Queryable::exec_map`]; see [`PodConn::exec`].
            ///
            /// # Errors
            ///
            /// As [`PodConn::exec`].
            pub async fn exec_map<T, S, P, U, F>(
                &mut self,
                stmt: S,
                params: P,
                mut f: F,
            ) -> mysql_async::Result<Vec<U>>
            where
                S: SqlText,
                P: Into<Params> + Send,
                T: FromRow + Send + 'static,
                F: FnMut(T) -> U + Send,
                U: Send,
            {
                let $this = self;
                let mut rows = Vec::new();
                let each = |row| push(&mut rows, f(row));
                $conn.known(stmt, params.into(), each).await?;
                Ok(rows)
            }

            /// As [`Queryable::exec_fold`]; see [`PodConn::exec`].
            ///
            /// # Errors
            ///
            /// As [`PodConn::exec`].
            pub async fn exec_fold<T, S, P, U, F>(
                &mut self,
                stmt: S,
                params: P,
                init: U,
                mut f: F,
            ) -> mysql_async::Result<U>
            where
                S: SqlText,
                P: Into<Params> + Send,
                T: FromRow + Send + 'static,
                F: FnMut(U, T) -> U + Send,
                U: Send,
            {
                let $this = self;
                let mut result = Some(init);
                let each = |row| {
                    result = result.take().map(|sum| f(sum, row));
                    More::Wanted
                };
                $conn.known(stmt, params.into(), each).await?;
                folded(result)
            }

            /// As [`Queryable::exec_iter`]; see [`PodConn::exec`].
            ///
            /// # Errors
            ///
            /// As [`PodConn::exec`].
            pub async fn exec_iter<S, P>(
                &mut self,
                stmt: S,
                params: P,
            ) -> mysql_async::Result<QueryResult<'_, 'static, BinaryProtocol>>
            where
                S: SqlText,
                P: Into<Params> + Send,
            {
                let $this = self;
                $conn.known_result(stmt, params.into()).await
            }

            /// As [`Queryable::exec_stream`]; see [`PodConn::exec`].
            ///
            /// # Errors
            ///
            /// As [`PodConn::exec`].
            pub async fn exec_stream<T, S, P>(
                &mut self,
                stmt: S,
                params: P,
            ) -> mysql_async::Result<ResultSetStream<'_, '_, 'static, T, BinaryProtocol>>
            where
                S: SqlText,
                P: Into<Params> + Send,
                T: Unpin + FromRow + Send + 'static,
            {
                let $this = self;
                let result = $conn.known_result(stmt, params.into()).await?;
                result.stream_and_drop().await?.ok_or_else(no_rows)
            }
        }
    };
}

exec_rows!(PodConn, this => this);
exec_rows!(Tx, this => this.conn);
