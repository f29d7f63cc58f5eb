//! A checked-out connection to one pod.
//!
//! Owns the protection of one user from another. An operation that was cut off makes the connection
//! unusable, so that no user can read the rows of another statement. The state that a user leaves
//! in the session is removed before the next user gets the connection. It must never send on a
//! connection in an unknown state.

use crate::balance::Guard;
use crate::conn::deadline::{Deadline, Timeouts};
use crate::conn::lease::{Lease, Why, clean, drained, put_back};
use crate::conn::rows::Answer;
use crate::conn::session::Session;
use crate::conn::txstate::{ANCHOR, TxState};
use crate::error::{Error, PodId};
use crate::server::closing_conn::ClosingConn;
use crate::server::session_kind::SessionKind;
use crate::sql::reading::Reading;
use crate::sql::text::{Given, Recalled};
use crate::sql::traces::Trace;
use futures_util::future::BoxFuture;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::fmt;
use std::time::Duration;

/// A connection to one pod. It implements [`mysql_async::prelude::Queryable`] and goes back to its
/// pool when dropped.
///
/// * Every operation has a deadline (30 s by default). An operation that times out, or whose future
///   is dropped, may have been executed. The connection then refuses every further operation with
///   [`Error::Interrupted`], and is closed when dropped. No other user can get its rows. The
///   statement is stopped on the server, unless it is a COMMIT; see
///   [`Config::with_kill_query`](crate::Config::with_kill_query).
/// * A connection that was not used for
///   [`idle_ping_after`](crate::Config::with_idle_ping_after) (500 ms) is pinged before its next
///   statement. If it was closed meanwhile, the statement is not sent and fails with
///   [`Error::Disconnected`].
/// * Before another user gets the connection, an open transaction is rolled back, and session state
///   is reset.
/// * The connection may outlive its [`Cluster`](crate::Cluster). After a
///   [`shutdown`](crate::Cluster::shutdown) it fails with [`Error::Closed`].
/// * Results that are handed out row by row (`*_iter`, `*_stream`) have no deadline after their
///   begin. The caller must limit them.
///
/// Errors of this crate are boxed in [`mysql_async::Error::Other`].
/// [`Error::from`](crate::Error#impl-From<Error>-for-Error) unboxes them.
pub struct PodConn {
    raw: ClosingConn,
    /// Boxed, because a connection is moved a few times before it is used.
    session: Box<Session>,
    /// Where the transaction that is due begins if it cannot begin here.
    pub(crate) elsewhere: Option<Box<dyn Elsewhere>>,
}

/// Finds another connection for a transaction that could not begin.
pub(crate) trait Elsewhere: Send + Sync {
    /// Returns `error` if no other connection would help.
    fn another(&mut self, error: Error, avoid: PodId) -> BoxFuture<'_, Result<PodConn, Error>>;
}

impl fmt::Debug for PodConn {
    /// Written by hand, because the driver's `Debug` prints the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodConn")
            .field("pod", self.pod())
            .finish_non_exhaustive()
    }
}

impl PodConn {
    pub(crate) fn new(raw: ClosingConn, lease: Lease) -> Self {
        let id = raw.peek().map_or(0, Conn::id);
        Self {
            raw,
            session: Box::new(Session::new(lease, id)),
            elsewhere: None,
        }
    }

    /// The pod at the other end.
    pub fn pod(&self) -> &PodId {
        self.session.lease.pool.pod()
    }

    /// The server's id of this connection.
    pub fn id(&self) -> u32 {
        self.raw.peek().map_or(0, Conn::id)
    }

    /// The number of rows that the last statement changed.
    pub fn affected_rows(&self) -> u64 {
        self.own().map_or(0, Conn::affected_rows)
    }

    /// The id that the last statement generated, if any.
    pub fn last_insert_id(&self) -> Option<u64> {
        self.own().and_then(Conn::last_insert_id)
    }

    /// The number of warnings of the last statement.
    pub fn warnings(&self) -> u16 {
        self.own().map_or(0, Conn::get_warnings)
    }

    /// The connection, if its last statement was one of the current user.
    fn own(&self) -> Option<&Conn> {
        self.raw.peek().filter(|_| self.session.used)
    }

    /// Sets the limit of each further operation. `None` means no limit.
    pub fn set_statement_timeout(&mut self, timeout: Option<Duration>) {
        self.session.limit.each = timeout;
    }

    /// The driver's own connection, **without the protection**. There is no deadline, and after an
    /// operation that you cut off you must not run another one. The session is reset when the
    /// connection comes back. The first call in a transaction begins it on the server.
    ///
    /// # Errors
    ///
    /// As for an operation: the connection was cut off, lost, or superseded.
    pub async fn as_conn_mut(&mut self) -> Result<&mut Conn, Error> {
        match self.session.tx.is_settled() {
            true => self.session.check()?,
            false => self.ready().await?,
        }
        self.session.will_run(Reading::UNKNOWN);
        if self.session.must_precede(true) {
            self.ready().await?;
            self.precede(true).await?;
        }
        self.session.begun = None;
        self.session.trace = Trace::Session;
        self.session.streaming = true;
        self.session.used = true;
        self.session.lease.kept.statements.forget_unheld();
        self.raw.get().map_err(Error::from)
    }

    pub(crate) fn lease_mut(&mut self) -> &mut Lease {
        &mut self.session.lease
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    pub(crate) fn attach(&mut self, guard: Guard, limit: Timeouts) {
        self.session.lease.hold.guard = Some(guard);
        self.session.limit = limit;
    }

    /// Whether the last statement left a transaction open.
    pub(crate) fn is_in_transaction(&self) -> bool {
        self.session.is_in_transaction()
    }

    /// Runs a statement of this crate that begins or ends a transaction.
    pub(crate) async fn control(
        &mut self,
        text: &str,
        deadline: Deadline,
    ) -> mysql_async::Result<()> {
        let (conn, session) = self.split()?;
        session.run(deadline, conn.query_drop(text)).await?;
        session.took(Answer::of(conn));
        Ok(())
    }

    /// Whether its last operation was given up before its deadline, because its answer would not
    /// come.
    pub(crate) fn was_abandoned(&self) -> bool {
        self.session.abandoned
    }

    /// Whether the session was set up to refuse writes.
    pub(crate) fn is_read_only_session(&self) -> bool {
        self.session.lease.kept.kind == SessionKind::ReadOnly
    }

    /// Call before every operation. Fails if the connection's state is unknown, and reads the
    /// unread rows of a stream. Sends nothing of the operation itself. Hot paths inline this
    /// function, to save one future.
    pub(crate) async fn ready(&mut self) -> Result<(), Error> {
        match self.is_ready() {
            true => Ok(()),
            false => self.make_ready().await,
        }
    }

    /// Whether the next operation may begin at once.
    pub(crate) fn is_ready(&self) -> bool {
        // Deadlines need timers, and timers panic outside of a runtime.
        self.session.is_ready() && !self.session.rested() && in_runtime() && !self.is_disconnected()
    }

    /// The driver closes the connection by itself on some errors, even errors of the caller.
    pub(crate) fn is_disconnected(&self) -> bool {
        self.raw.peek().is_none_or(Conn::is_disconnected)
    }

    /// As [`PodConn::ready`], if work or an error is due first. Boxed: it is rare, and would make
    /// every operation's future larger.
    pub(crate) fn make_ready(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.settle())
    }

    async fn settle(&mut self) -> Result<(), Error> {
        if !in_runtime() {
            return Err(Error::RuntimeGone);
        }
        // Of an earlier operation that was refused before it was sent.
        self.session.begun = None;
        if self.session.tx.is_due() {
            return self.begin(true).await;
        }
        self.session.check()?;
        if self.is_disconnected() {
            self.session.lost = true;
            return Err(self.session.unsent(self.session.interrupted()));
        }
        let mut begun = None;
        if self.session.streaming {
            let deadline = self.session.deadline();
            begun = Some(deadline);
            let armed = self.session.arm();
            let drained = drained(&mut self.raw, deadline.at).await;
            armed.ended();
            if !drained {
                self.session.give_up(Why::TimedOut);
                return Err(self.session.unsent(self.session.interrupted()));
            }
            self.session.cut_off = false;
            self.session.streaming = false;
            // The answer to the drain query has the status flags.
            if let Some(conn) = self.raw.peek() {
                self.session.took(Answer::of(conn));
            }
        } else if self.session.tx.is_doubtful() {
            let (conn, session) = self.split()?;
            let deadline = session.deadline();
            begun = Some(deadline);
            let asked = session.run(deadline, conn.ping()).await;
            asked.map_err(|error| session.unsent(error.into()))?;
            session.took(Answer::of_ping(conn));
        }
        if begun.is_none() && self.session.rested() {
            let deadline = self.session.deadline();
            begun = Some(deadline);
            self.wake(deadline).await?;
        }
        self.session.check()?;
        if let Some(begun) = begun {
            self.session.go_on(begun);
        }
        Ok(())
    }

    /// Sends what must precede the statement that is about to run; see [`Session::must_precede`].
    /// Hot paths call it only if there is something, to save one future.
    pub(crate) async fn precede(&mut self, hides: bool) -> mysql_async::Result<()> {
        let forgets = self.session.must_forget(hides);
        let deadline = self.session.deadline();
        let reading = self.session.reading;
        let preceded = self.send_first(forgets, deadline).await;
        self.session.reading = reading;
        self.session.go_on(deadline);
        preceded?;
        self.session.check()?;
        Ok(())
    }

    async fn send_first(&mut self, forgets: bool, deadline: Deadline) -> mysql_async::Result<()> {
        if forgets {
            self.session.reading = Reading::QUESTION;
            let text = self.session.reports.forget_others();
            self.control(&text, deadline).await?;
            self.session.lease.kept.diagnostics = false;
        }
        if self.session.tx.must_anchor() {
            self.session.reading = Reading::OURS;
            self.control(ANCHOR, deadline).await?;
            self.session.tx.anchored();
        }
        Ok(())
    }

    /// Checks a text statement that is about to run.
    pub(crate) fn judge(&mut self, statement: &[u8]) -> Result<(), Error> {
        let reading = self.session.lease.kept.statements.read(statement);
        self.session.admits(reading)?;
        self.session.will_run(reading);
        Ok(())
    }

    /// See [`Reading::begins_unanchored`].
    pub(crate) fn begins_unanchored(&mut self, given: Given<'_>) -> bool {
        let statements = &mut self.session.lease.kept.statements;
        let reading = match given {
            Given::Ready(statement) => statements.reading_of(statement),
            Given::Text(text) => Some(match statements.by_text(text) {
                Some((_, reading)) => reading,
                None => statements.read(text),
            }),
        };
        reading.is_some_and(Reading::begins_unanchored)
    }

    /// Checks a prepared statement that is about to run. Returns the statement if it is already
    /// prepared.
    pub(crate) fn recall<'a>(&mut self, given: Given<'a>) -> Result<Recalled<'a>, Error> {
        let statements = &mut self.session.lease.kept.statements;
        let (recalled, reading) = match given {
            Given::Ready(statement) => match statements.reading_of(statement) {
                Some(reading) => (Recalled::Prepared(statement.clone()), reading),
                None => return Err(self.session.foreign_statement()),
            },
            Given::Text(text) => match statements.by_text(text) {
                Some((statement, reading)) => (Recalled::Prepared(statement), reading),
                None => (Recalled::Text(text), statements.read(text)),
            },
        };
        self.session.admits(reading)?;
        self.session.will_run(reading);
        Ok(recalled)
    }

    /// As [`PodConn::ready`], for a statement whose text the driver does not show.
    pub(crate) async fn ready_for_unknown(&mut self) -> Result<(), Error> {
        self.ready().await?;
        self.session.will_run(Reading::UNKNOWN);
        if self.session.must_precede(true) {
            self.precede(true).await?;
        }
        Ok(())
    }

    pub(crate) fn split(&mut self) -> mysql_async::Result<(&mut Conn, &mut Session)> {
        Ok((self.raw.get()?, &mut *self.session))
    }
}

/// Whether the caller runs in a tokio runtime. Checks for a task first: getting the handle costs a
/// reference count.
pub(crate) fn in_runtime() -> bool {
    tokio::task::try_id().is_some() || tokio::runtime::Handle::try_current().is_ok()
}

impl PodConn {
    /// Gives the connection back. Afterwards it refuses every operation.
    pub(crate) fn leave(&mut self) {
        self.give_back();
        drop(self.session.lease.take());
        self.session.lost = true;
        self.session.tx = TxState::None;
    }

    fn give_back(&mut self) {
        let Some(cleaning) = self.session.verdict(&self.raw) else {
            self.raw.close();
            return;
        };
        let raw = std::mem::replace(&mut self.raw, ClosingConn::empty());
        // The checkout counts until the slot is free, because its end wakes waiting calls.
        if cleaning.is_needed() {
            let lease = self.session.lease.take();
            let handle = lease.pool.handle.clone();
            handle.spawn(clean(raw, lease, cleaning));
        } else {
            self.session.lease.left(cleaning.trace);
            put_back(&mut self.session.lease, raw);
        }
    }
}

impl Drop for PodConn {
    fn drop(&mut self) {
        self.give_back();
    }
}
