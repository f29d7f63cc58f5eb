//! The prepared statements that one connection keeps.
//!
//! Owns their order of use, and what is closed when there are too many: here by the pool's share,
//! or because the server is at its limit for all clients (error 1461). It must never close a
//! statement that a user has prepared by hand.
//!
//! The driver keeps statements too, but neither shows them nor lets its cache shrink. It has room for
//! one more than is kept here, so that it closes none by itself; then a statement that is kept need
//! not be looked up there, which takes a box and reads its text for named parameters. Statements that
//! were prepared past this module would take that room: where there may be some, the driver is asked.

use super::lease::Trace;
use super::pool::Pool;
use super::text::trace_of;
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

/// The verdicts on texts that a connection remembers: reading a text costs more than comparing it.
const MOST_JUDGED: usize = 4;

/// Longer ones are not remembered.
const LONGEST_JUDGED: usize = 256;

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
pub(crate) struct Statements {
    kept: Vec<Kept>,
    /// The driver may keep others too, and have closed some of these for them.
    others: bool,
    /// What texts that were not prepared may leave, the latest last.
    judged: Vec<(Vec<u8>, Trace)>,
}

struct Kept {
    text: Box<[u8]>,
    /// What running it may leave in the session.
    trace: Trace,
    statement: Statement,
}

impl Statements {
    /// After a reset of the session, which closes all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// From now on the driver may prepare and close statements by itself.
    pub(super) fn not_alone(&mut self) {
        self.others = true;
    }

    /// The statement for a text, and what it may leave, if it is surely prepared still.
    pub(super) fn recall(&mut self, given: &Given<'_>) -> Option<(Statement, Trace)> {
        let Given::Text(text) = given else {
            return None;
        };
        if self.others {
            return None;
        }
        let index = self.kept.iter().rposition(|kept| &*kept.text == *text)?;
        if index + 1 < self.kept.len() {
            let kept = self.kept.remove(index);
            self.kept.push(kept);
        }
        let kept = self.kept.last()?;
        Some((kept.statement.clone(), kept.trace))
    }

    /// What a text that is not prepared may leave in the session.
    pub(super) fn verdict(&mut self, text: &[u8]) -> Trace {
        let found = self.judged.iter().rfind(|(judged, _)| judged == text);
        if let Some((_, trace)) = found {
            return *trace;
        }
        let trace = trace_of(text);
        if text.len() <= LONGEST_JUDGED {
            let mut room = match self.judged.len() < MOST_JUDGED {
                true => Vec::new(),
                false => self.judged.remove(0).0,
            };
            room.clear();
            room.extend_from_slice(text);
            self.judged.push((room, trace));
        }
        trace
    }

    fn used(&mut self, text: &[u8], statement: &Statement) {
        // Texts that differ only in the names of their parameters share an id.
        let same = |kept: &Kept| kept.statement.id() == statement.id() || &*kept.text == text;
        self.kept.retain(|kept| !same(kept));
        self.kept.push(Kept {
            text: text.into(),
            trace: trace_of(text),
            statement: statement.clone(),
        });
    }

    fn forget(&mut self, statement: &Statement) {
        self.kept
            .retain(|kept| kept.statement.id() != statement.id());
    }

    /// Closes all but the `most` used last; returns whether there was one to close.
    async fn shrink(&mut self, conn: &mut Conn, most: usize) -> mysql_async::Result<bool> {
        let surplus = self.kept.len().saturating_sub(most);
        for kept in self.kept.drain(..surplus) {
            conn.close(kept.statement).await?;
        }
        Ok(surplus > 0)
    }
}

pub(super) fn is_exhausted(error: &mysql_async::Error) -> bool {
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
        kept.used(text, &statement);
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
        kept.not_alone();
        Ok(statement)
    }

    pub(super) async fn make_room(
        &self,
        conn: &mut Conn,
        kept: &mut Statements,
    ) -> mysql_async::Result<()> {
        self.budget.halve();
        let most = self.budget.each().min(kept.kept.len().saturating_sub(1));
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
