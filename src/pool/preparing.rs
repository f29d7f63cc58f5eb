//! Prepares statements on a connection, and makes room if the server is at its limit.

use crate::pool::budget::Turn;
use crate::pool::state::Pool;
use crate::pool::statements::{SETTLE, Statements, is_exhausted};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Statement};
use std::time::Duration;
use tokio::time::Instant;

/// How long to retry on a server at its limit of prepared statements. The server notices closed
/// connections with a delay, and connections in use close their statements when they come back.
const PATIENCE: Duration = Duration::from_secs(1);

impl Pool {
    /// Prepares a text. If the server is at its limit, closes the least recently used statements
    /// and retries for up to [`PATIENCE`].
    pub(crate) async fn prepare(
        &self,
        conn: &mut Conn,
        kept: &mut Statements,
        text: &[u8],
    ) -> mysql_async::Result<Statement> {
        let begun = Instant::now();
        let statement = loop {
            let rounds = self.budget.rounds();
            match conn.prep(text).await {
                Err(error) if is_exhausted(&error) && begun.elapsed() < PATIENCE => {
                    self.make_room(conn, kept, rounds).await?;
                }
                prepared => break prepared?,
            }
        };
        kept.prepared(text, &statement);
        Ok(statement)
    }

    /// As [`Pool::prepare`], for a statement that the pool keeps. Closes the surplus of kept
    /// statements.
    pub(crate) async fn prepare_to_keep(
        &self,
        conn: &mut Conn,
        kept: &mut Statements,
        text: &[u8],
    ) -> mysql_async::Result<Statement> {
        let statement = self.prepare(conn, kept, text).await?;
        kept.shrink(conn, self.budget.each()).await?;
        Ok(statement)
    }

    /// As [`Pool::prepare`], for a statement that the user of the connection holds.
    pub(crate) async fn prepare_for_user(
        &self,
        conn: &mut Conn,
        kept: &mut Statements,
        text: &[u8],
    ) -> mysql_async::Result<Statement> {
        let statement = self.prepare(conn, kept, text).await?;
        kept.hold(&statement);
        Ok(statement)
    }

    /// After error 1461, met after `rounds`: closes the least recently used statements of this
    /// connection. If it has none to close, closes the idle connections that have some. One call at
    /// a time does so.
    pub(crate) async fn make_room(
        &self,
        conn: &mut Conn,
        kept: &mut Statements,
        rounds: u64,
    ) -> mysql_async::Result<()> {
        let turn = self.budget.turn(rounds).await;
        if turn.as_ref().is_some_and(Turn::halve) {
            tracing::warn!(
                pod = %self.pod(), keep = self.budget.each(),
                "the server is at its limit of prepared statements; each connection keeps fewer"
            );
        }
        let most = self.budget.each().min(kept.closable().saturating_sub(1));
        let gave_back = kept.shrink(conn, most).await?;
        if let Some(turn) = turn {
            if !gave_back {
                // Other connections of this pool hold the statements.
                self.idle
                    .drop_those(|idle| idle.kept.statements.closable() > 0);
                tokio::time::sleep(SETTLE).await;
            }
            turn.done();
        }
        Ok(())
    }
}
