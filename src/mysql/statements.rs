//! The prepared statements that one connection keeps.
//!
//! Owns their order of use, and what is closed when there are too many: here by the pool's share,
//! or because the server is at its limit for all clients (error 1461). It must never close a
//! statement that a user has prepared by hand.
//!
//! The driver keeps statements too, by the same rule, but neither shows them nor lets its cache
//! shrink.

use super::pool::Pool;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Statement};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// The server's limit for prepared statements (`max_prepared_stmt_count`) is reached.
const TOO_MANY_STATEMENTS: u16 = 1461;

/// For how long fewer statements are kept after the server was at its limit; then twice as many.
const FEWER_FOR: Duration = Duration::from_secs(60);

/// What a connection that was closed takes to give its statements back.
const SETTLE: Duration = Duration::from_millis(20);

/// What is to be executed.
#[derive(Debug)]
pub enum Given<'a> {
    /// Prepared by us, or before.
    Text(&'a [u8]),
    /// Prepared by the user.
    Ready(&'a Statement),
}

/// The statements of one connection that nobody but its pool holds, least recently used first.
#[derive(Default)]
pub(crate) struct Statements(Vec<Statement>);

impl Statements {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn used(&mut self, statement: &Statement) {
        self.forget(statement);
        self.0.push(statement.clone());
    }

    fn forget(&mut self, statement: &Statement) {
        let found = self.0.iter().rposition(|kept| kept.id() == statement.id());
        if let Some(index) = found {
            self.0.remove(index);
        }
    }

    /// Closes all but the `most` used last; returns whether there was one to close.
    async fn shrink(&mut self, conn: &mut Conn, most: usize) -> mysql_async::Result<bool> {
        let surplus = self.0.len().saturating_sub(most);
        for statement in self.0.drain(..surplus) {
            conn.close(statement).await?;
        }
        Ok(surplus > 0)
    }
}

fn is_exhausted(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(error) if error.code == TOO_MANY_STATEMENTS)
}

/// How many statements each connection of a pool keeps.
pub(super) struct Budget {
    configured: usize,
    now: std::sync::atomic::AtomicUsize,
    shrunk: std::sync::Mutex<Option<Instant>>,
}

impl Budget {
    /// Of `per_pod` statements for `connections`.
    pub(super) fn new(per_pod: usize, connections: usize) -> Self {
        let each = (per_pod / connections.max(1)).max(1);
        Self {
            configured: each,
            now: each.into(),
            shrunk: std::sync::Mutex::default(),
        }
    }

    pub(super) fn each(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    fn halve(&self) {
        let half = |now: usize| Some((now / 2).max(1));
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.now.fetch_update(set, fetch, half);
        *self.lock() = Some(Instant::now());
    }

    /// To be called now and then: what was given up comes back in steps.
    pub(super) fn recover(&self) {
        let mut shrunk = self.lock();
        let Some(since) = *shrunk else { return };
        if since.elapsed() < FEWER_FOR {
            return;
        }
        let more = (self.each() * 2).min(self.configured);
        self.now.store(more, Ordering::Relaxed);
        *shrunk = (more < self.configured).then(Instant::now);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        let locked = self.shrunk.lock();
        locked.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Pool {
    /// The statement for a text, prepared if it must be. A server at its limit is given back the
    /// statements used least, and asked once more.
    pub(super) async fn prepare(
        &self,
        conn: &mut Conn,
        kept: &mut Statements,
        given: Given<'_>,
    ) -> mysql_async::Result<Statement> {
        let text = match given {
            Given::Ready(statement) => return Ok(statement.clone()),
            Given::Text(text) => text,
        };
        let statement = match conn.prep(text).await {
            Err(error) if is_exhausted(&error) => {
                self.make_room(conn, kept).await?;
                conn.prep(text).await?
            }
            prepared => prepared?,
        };
        kept.used(&statement);
        kept.shrink(conn, self.budget.each()).await?;
        Ok(statement)
    }

    /// The same for a statement that its user is going to hold.
    pub(super) async fn prepare_for_user(
        &self,
        conn: &mut Conn,
        kept: &mut Statements,
        text: &[u8],
    ) -> mysql_async::Result<Statement> {
        let statement = self.prepare(conn, kept, Given::Text(text)).await?;
        kept.forget(&statement);
        Ok(statement)
    }

    /// For code whose text is not known, which cannot be run again here: the next try finds room.
    pub(super) async fn heed_exhaustion(
        &self,
        conn: &mut Conn,
        kept: &mut Statements,
        error: &mysql_async::Error,
    ) -> mysql_async::Result<()> {
        match is_exhausted(error) {
            true => self.make_room(conn, kept).await,
            false => Ok(()),
        }
    }

    async fn make_room(&self, conn: &mut Conn, kept: &mut Statements) -> mysql_async::Result<()> {
        self.budget.halve();
        let most = self.budget.each().min(kept.0.len().saturating_sub(1));
        tracing::warn!(
            pod = %self.pod(), keep = self.budget.each(),
            "the server is at its limit of prepared statements; each connection keeps fewer"
        );
        if !kept.shrink(conn, most).await? {
            // Others of ours hold them.
            self.drop_idle(|idle| !idle.statements.is_empty());
            tokio::time::sleep(SETTLE).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_connection_has_its_part_and_gets_back_what_it_gave_up() {
        assert_eq!(Budget::new(512, 16).each(), 32);
        assert_eq!(Budget::new(3, 16).each(), 1);
        let budget = Budget::new(40, 4);
        for left in [5, 2, 1, 1] {
            budget.halve();
            assert_eq!(budget.each(), left);
        }
        budget.recover();
        assert_eq!(budget.each(), 1, "not so soon");
        for more in [2, 4, 8, 10, 10] {
            tokio::time::advance(FEWER_FOR).await;
            budget.recover();
            assert_eq!(budget.each(), more);
        }
    }
}
