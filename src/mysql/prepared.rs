//! Prepared statements of a checked-out connection.
//!
//! Owns their preparation and execution, each as one protected operation. It must never lose the
//! list of the statements that the connection keeps, unless the connection is lost too.

use super::podconn::PodConn;
use super::queryable::{fold, left_a_trace};
use super::session::Deadline;
use super::text::SqlText;
use futures_util::FutureExt;
use mysql_async::prelude::{FromRow, Queryable, StatementLike};
use mysql_async::{Params, Statement};
use std::pin::pin;
use std::sync::Arc;
use tokio::time::Instant;

impl PodConn {
    /// A prepared statement with all its rows.
    pub(crate) async fn known_fold<S, T, U>(
        &mut self,
        stmt: S,
        params: Params,
        init: U,
        f: impl FnMut(U, T) -> U,
    ) -> mysql_async::Result<U>
    where
        S: SqlText,
        T: FromRow,
    {
        let known = self.ready_for_prepared(&stmt).await?;
        let (conn, session) = self.split()?;
        let deadline = session.deadline();
        let known = known.ok_or_else(|| Arc::clone(&session.lease.pool));
        let mut kept = std::mem::take(&mut session.lease.statements);
        let done = {
            // Pinned here: it is large, and would be copied from call to call.
            let operation = pin!(async {
                let stmt = match known {
                    Ok(stmt) => stmt,
                    // Boxed: it is rare, and would make every other operation larger.
                    Err(pool) => {
                        let preparing = pool.prepare(conn, &mut kept, stmt.given());
                        preparing.boxed().await?
                    }
                };
                // Whether it had to be prepared first says nothing of the pod.
                let sent = Instant::now();
                let folded = fold(conn.exec_iter(stmt, params).await?, init, f).await?;
                Ok((folded, left_a_trace(conn), sent))
            });
            session.run(deadline, operation).await
        };
        session.lease.statements = kept;
        let (folded, left, sent) = done?;
        session.answered(sent);
        session.saw_flags();
        if left {
            session.left_diagnostics();
        }
        Ok(folded)
    }

    /// The same for a statement whose text the driver does not show.
    pub(super) async fn generic_fold<S, T, U>(
        &mut self,
        stmt: S,
        params: Params,
        init: U,
        f: impl FnMut(U, T) -> U,
    ) -> mysql_async::Result<U>
    where
        S: StatementLike,
        T: FromRow,
    {
        self.ready_for_unknown().await?;
        let (conn, session) = self.split()?;
        let deadline = session.deadline();
        let pool = Arc::clone(&session.lease.pool);
        let mut kept = std::mem::take(&mut session.lease.statements);
        let operation = async {
            let result = match conn.exec_iter(stmt, params).await {
                Ok(result) => result,
                Err(error) => {
                    pool.heed_exhaustion(conn, &mut kept, &error).await?;
                    return Err(error);
                }
            };
            let folded = fold(result, init, f).await?;
            Ok((folded, left_a_trace(conn)))
        };
        let done = session.run(deadline, operation).await;
        session.lease.statements = kept;
        let (folded, left) = done?;
        session.saw_flags();
        if left {
            session.left_diagnostics();
        }
        Ok(folded)
    }

    /// A batch of a statement whose text is known.
    pub(super) async fn known_batch<S, P, I>(
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
        self.ready_for_prepared(&stmt).await?;
        let (conn, session) = self.split()?;
        session.lost_flags();
        let deadline = session.deadline();
        let pool = Arc::clone(&session.lease.pool);
        let mut kept = std::mem::take(&mut session.lease.statements);
        let prepared = pool.prepare(conn, &mut kept, stmt.given());
        let prepared = session.run(deadline, prepared).await;
        session.lease.statements = kept;
        self.batch(prepared?, params_iter, deadline).await
    }

    pub(super) async fn batch<S, P, I>(
        &mut self,
        stmt: S,
        params_iter: I,
        deadline: Deadline,
    ) -> mysql_async::Result<()>
    where
        S: StatementLike,
        I: IntoIterator<Item = P> + Send,
        I::IntoIter: Send,
        P: Into<Params> + Send,
    {
        let (conn, session) = self.split()?;
        // Of an empty batch only the PREPARE is sent.
        session.lost_flags();
        session.left_diagnostics();
        session
            .run(deadline, conn.exec_batch(stmt, params_iter))
            .await
    }

    /// A statement that its user will hold.
    pub(super) async fn prepare_for_user(&mut self, text: &[u8]) -> mysql_async::Result<Statement> {
        self.ready().await?;
        let (conn, session) = self.split()?;
        session.lost_flags();
        let deadline = session.deadline();
        let pool = Arc::clone(&session.lease.pool);
        let mut kept = std::mem::take(&mut session.lease.statements);
        let prepared = pool.prepare_for_user(conn, &mut kept, text);
        let prepared = session.run(deadline, prepared).await;
        session.lease.statements = kept;
        prepared
    }
}
