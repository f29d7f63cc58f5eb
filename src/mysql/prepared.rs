//! Prepared statements of a checked-out connection.
//!
//! Owns their preparation and execution, each as one protected operation. It must never lose the
//! list of the statements that the connection keeps, unless the connection is lost too.

use super::podconn::PodConn;
use super::rows::{More, left_a_trace, read};
use super::session::Deadline;
use super::statements::{Given, is_exhausted};
use super::text::SqlText;
use futures_util::FutureExt;
use mysql_async::prelude::{FromRow, Queryable, StatementLike};
use mysql_async::{Params, Statement};
use std::pin::pin;
use std::sync::Arc;
use tokio::time::Instant;

impl PodConn {
    /// A prepared statement with all its rows.
    pub(crate) async fn known<S, T>(
        &mut self,
        stmt: S,
        params: Params,
        each: impl FnMut(T) -> More + Send,
    ) -> mysql_async::Result<()>
    where
        S: SqlText,
        T: FromRow,
    {
        if !self.is_ready() {
            self.make_ready().await?;
        }
        let known = self.recall(&stmt);
        let mut deadline = self.session_mut().deadline();
        let stmt = match known {
            Some(stmt) => stmt,
            None => {
                // Boxed: it is rare, and would make every other operation larger.
                let stmt = self.prepare(stmt.given(), deadline).boxed().await?;
                // Whether it had to be prepared first says nothing of the pod.
                deadline.sent = Instant::now();
                stmt
            }
        };
        self.execute(stmt, params, each, deadline).await
    }

    /// The same for a statement whose text the driver does not show.
    pub(super) async fn generic<S, T>(
        &mut self,
        stmt: S,
        params: Params,
        each: impl FnMut(T) -> More + Send,
    ) -> mysql_async::Result<()>
    where
        S: StatementLike,
        T: FromRow,
    {
        self.ready_for_unknown().await?;
        let deadline = self.session_mut().deadline();
        let done = self.execute(stmt, params, each, deadline).await;
        if let Err(error) = &done
            && is_exhausted(error)
        {
            // It cannot be run again here: the next try finds room.
            let (conn, session) = self.split()?;
            let pool = Arc::clone(&session.lease.pool);
            let mut kept = std::mem::take(&mut session.lease.statements);
            let room = pool.make_room(conn, &mut kept);
            let made = session.run(deadline, room).await;
            session.lease.statements = kept;
            made?;
        }
        done
    }

    async fn execute<S, T>(
        &mut self,
        stmt: S,
        params: Params,
        each: impl FnMut(T) -> More + Send,
        deadline: Deadline,
    ) -> mysql_async::Result<()>
    where
        S: StatementLike,
        T: FromRow,
    {
        let (conn, session) = self.split()?;
        // Pinned here: it is large, and would be copied from call to call.
        let operation = pin!(async {
            read(conn.exec_iter(stmt, params).await?, each).await?;
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

    /// The statement for `given`, which the pool keeps from now on.
    async fn prepare(
        &mut self,
        given: Given<'_>,
        deadline: Deadline,
    ) -> mysql_async::Result<Statement> {
        let (conn, session) = self.split()?;
        session.lost_flags();
        let pool = Arc::clone(&session.lease.pool);
        let mut kept = std::mem::take(&mut session.lease.statements);
        let prepared = pool.prepare(conn, &mut kept, given);
        let prepared = session.run(deadline, prepared).await;
        session.lease.statements = kept;
        prepared
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
        self.ready().await?;
        self.recall(&stmt);
        let deadline = self.session_mut().deadline();
        let prepared = self.prepare(stmt.given(), deadline).await;
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
