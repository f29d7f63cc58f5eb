//! Prepared statements of a checked-out connection.
//!
//! Owns their preparation and execution, each as one protected operation. It must never lose the
//! list of the connection's statements, unless the connection itself is lost.

use crate::conn::deadline::Deadline;
use crate::conn::podconn::PodConn;
use crate::conn::rows::{Answer, More, read};
use crate::conn::size::{self, Batches};
use crate::pool::statements::{Released, is_exhausted};
use crate::sql::reading::Reading;
use crate::sql::text::{Recalled, SqlText};
use futures_util::FutureExt;
use mysql_async::prelude::{FromRow, Queryable, StatementLike};
use mysql_async::{BinaryProtocol, Params, QueryResult, Statement};
use std::pin::pin;
use std::sync::Arc;
use tokio::time::Instant;

impl PodConn {
    /// Runs a prepared statement with a known text, and reads all its rows.
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
            match self.session_mut().tx.is_due() && self.begins_unanchored(stmt.given()) {
                true => self.begin(false).boxed().await?,
                false => self.make_ready().await?,
            }
        }
        let recalled = self.recall(stmt.given())?;
        if self.session_mut().must_precede(false) {
            // Boxed: it is rare, and would make every operation's future larger.
            self.precede(false).boxed().await?;
        }
        let mut deadline = self.session_mut().deadline();
        let stmt = match recalled {
            Recalled::Prepared(stmt) => stmt,
            Recalled::Text(text) => {
                // Boxed: it is rare, and would make every operation's future larger.
                let stmt = self.prepare(text, deadline).boxed().await?;
                // The time of the PREPARE must not count for the pod's pace.
                deadline.sent = Instant::now();
                stmt
            }
        };
        self.execute(stmt, params, each, deadline).await
    }

    /// As [`PodConn::known`], for a statement whose text the driver does not show.
    pub(crate) async fn generic<S, T>(
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
        let rounds = self.session_mut().lease.pool.budget.rounds();
        let done = self.execute(stmt, params, each, deadline).await;
        if let Err(error) = &done
            && is_exhausted(error)
        {
            // The statement cannot be run again here. Room is made for the caller's next attempt.
            let (conn, session) = self.split()?;
            let pool = Arc::clone(&session.lease.pool);
            let mut kept = std::mem::take(&mut session.lease.kept.statements);
            let room = pool.make_room(conn, &mut kept, rounds);
            let made = session.run(deadline, room).await;
            session.lease.kept.statements = kept;
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
        session.check_size(size::of_params(&params))?;
        // Pinned here: it is large, and each inner call would copy it.
        let operation = pin!(async {
            read(conn.exec_iter(stmt, params).await?, each).await?;
            Ok(Answer::of(conn))
        });
        let answer = session.run(deadline, operation).await?;
        session.answered(deadline.sent);
        session.took(answer);
        Ok(())
    }

    /// Prepares a text. The pool keeps the statement.
    pub(crate) async fn prepare(
        &mut self,
        text: &[u8],
        deadline: Deadline,
    ) -> mysql_async::Result<Statement> {
        let (conn, session) = self.split()?;
        session.check_size(size::of_text(text))?;
        session.lost_flags();
        // A PREPARE executes nothing, so the statement's reading does not apply to it.
        let reading = std::mem::replace(&mut session.reading, Reading::OURS);
        let pool = Arc::clone(&session.lease.pool);
        let mut kept = std::mem::take(&mut session.lease.kept.statements);
        let prepared = pool.prepare_to_keep(conn, &mut kept, text);
        let prepared = session.run(deadline, prepared).await;
        session.lease.kept.statements = kept;
        session.reading = reading;
        prepared
    }

    /// Runs a prepared statement, and hands out its rows unread.
    pub(crate) async fn prepared_result<'a: 's, 's, S: StatementLike + 's>(
        &'a mut self,
        stmt: S,
        params: Params,
    ) -> mysql_async::Result<QueryResult<'a, 'static, BinaryProtocol>> {
        self.ready_for_unknown().await?;
        let (conn, session) = self.split()?;
        session.check_size(size::of_params(&params))?;
        session.will_stream();
        let deadline = session.deadline();
        session.run(deadline, conn.exec_iter(stmt, params)).await
    }

    /// Runs a batch of a statement whose text is known.
    pub(crate) async fn known_batch<S, P, I>(
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
        let recalled = self.recall(stmt.given())?;
        if self.session_mut().must_precede(true) {
            self.precede(true).await?;
        }
        let deadline = self.session_mut().deadline();
        let statement = match recalled {
            Recalled::Prepared(stmt) => stmt,
            Recalled::Text(text) => self.prepare(text, deadline).await?,
        };
        let rows = params_iter.into_iter();
        let limit = self.session_mut().lease.kept.origin.max_allowed_packet;
        // For MariaDB, the driver sends all rows up to its own limit in one packet.
        for batch in Batches::new(rows, limit.unwrap_or(usize::MAX)) {
            if let [single] = batch.as_slice() {
                self.session_mut().check_size(size::of_params(single))?;
            }
            self.batch(&statement, batch, deadline).await?;
        }
        Ok(())
    }

    /// Runs a batch of a statement whose text the driver does not show. The statement itself is
    /// hidden as well, so the batch cannot be split, only refused.
    pub(crate) async fn generic_batch<S: StatementLike>(
        &mut self,
        stmt: S,
        rows: Vec<Params>,
    ) -> mysql_async::Result<()> {
        self.ready_for_unknown().await?;
        let session = self.session_mut();
        session.check_size(size::of_batch(&rows, session.lease.kept.origin.has_batches))?;
        let deadline = session.deadline();
        self.batch(stmt, rows, deadline).await
    }

    /// Runs one batch.
    async fn batch<S, P, I>(
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
        session.lost_flags();
        session.left_diagnostics();
        // For an empty batch, the driver sends only the PREPARE.
        let mut params = params_iter.into_iter().peekable();
        let executed = params.peek().is_some();
        session.run(deadline, conn.exec_batch(stmt, params)).await?;
        if executed {
            session.took(Answer::of(conn));
        }
        Ok(())
    }

    /// Prepares a statement that the user will hold.
    pub(crate) async fn prepare_for_user(&mut self, text: &[u8]) -> mysql_async::Result<Statement> {
        self.ready().await?;
        let (conn, session) = self.split()?;
        session.check_size(size::of_text(text))?;
        session.lost_flags();
        session.will_run(Reading::OURS);
        let deadline = session.deadline();
        let pool = Arc::clone(&session.lease.pool);
        let mut kept = std::mem::take(&mut session.lease.kept.statements);
        let prepared = pool.prepare_for_user(conn, &mut kept, text);
        let prepared = session.run(deadline, prepared).await;
        session.lease.kept.statements = kept;
        prepared
    }

    /// Releases a statement of the user, and closes it if no hold is left.
    pub(crate) async fn close_for_user(&mut self, stmt: Statement) -> mysql_async::Result<()> {
        self.ready().await?;
        match self.session_mut().lease.kept.statements.release(&stmt) {
            Released::Unknown => Err(self.session_mut().foreign_statement().into()),
            Released::Held => Ok(()),
            Released::Unused => {
                let (conn, session) = self.split()?;
                let deadline = session.deadline();
                session.run(deadline, conn.close(stmt)).await
            }
        }
    }
}
