//! A connection to one pod, on loan.
//!
//! Owns the protection of one user from another: an operation that was cut off makes the
//! connection unusable, so that nobody ever reads another statement's rows; and what a user leaves
//! in the session is gone before the next one gets it. It must never send on a connection whose
//! state it does not know.

use super::connect::{Raw, SessionKind};
use super::lease::{Lease, Trace, Why, clean, drained};
use super::pool::Pool;
use super::session::{Limit, Session};
use super::text::SqlText;
use crate::balance::Guard;
use crate::error::{Error, PodId};
use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Statement};
use std::fmt;
use std::time::Duration;

/// A connection to one pod. It implements [`mysql_async::prelude::Queryable`] and goes back to its
/// pool when dropped.
///
/// * Every operation has a deadline (30 s by default). One that times out or whose future is
///   dropped may have been executed; the connection then refuses every further operation with
///   [`Error::Interrupted`] and is closed when dropped. No other user can get its rows. The server
///   is told to stop the statement, unless it is a COMMIT; see
///   [`Config::with_kill_query`](crate::Config::with_kill_query).
/// * An open transaction is rolled back, and session state is reset, before anybody else gets the
///   connection.
/// * It may outlive its [`Cluster`](crate::Cluster), but not a
///   [`shutdown`](crate::Cluster::shutdown): after that it fails with [`Error::Closed`].
/// * Results handed out row by row (`*_iter`, `*_stream`) are the caller's to time once they have
///   begun.
///
/// Errors of this crate ride inside [`mysql_async::Error::Other`];
/// [`Error::from`](crate::Error#impl-From<Error>-for-Error) takes them out.
pub struct PodConn {
    raw: Raw,
    /// In a box: a connection is passed on a few times before it is used.
    session: Box<Session>,
}

impl fmt::Debug for PodConn {
    /// By hand: the driver prints the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodConn")
            .field("pod", self.pod())
            .finish_non_exhaustive()
    }
}

impl PodConn {
    pub(crate) fn new(raw: Raw, lease: Lease) -> Self {
        lease.pool.lent(1);
        let id = raw.peek().map_or(0, Conn::id);
        Self {
            raw,
            session: Box::new(Session::new(lease, id)),
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

    /// Rows changed by the last statement.
    pub fn affected_rows(&self) -> u64 {
        self.own().map_or(0, Conn::affected_rows)
    }

    /// The id the last statement generated, if it did.
    pub fn last_insert_id(&self) -> Option<u64> {
        self.own().and_then(Conn::last_insert_id)
    }

    /// How many warnings the last statement gave.
    pub fn warnings(&self) -> u16 {
        self.own().map_or(0, Conn::get_warnings)
    }

    /// The connection, once the last statement on it is its user's own.
    fn own(&self) -> Option<&Conn> {
        self.raw.peek().filter(|_| self.session.used)
    }

    /// From now on each operation may take this long. `None`: as long as it takes.
    pub fn set_statement_timeout(&mut self, timeout: Option<Duration>) {
        self.session.limit.each = timeout;
    }

    /// The driver's own connection: **the way around the protection**. No deadline holds here, and
    /// an operation that you cut off must not be followed by another one. The session is reset when
    /// the connection comes back.
    ///
    /// # Errors
    ///
    /// As for an operation: the connection was cut off, lost, or superseded.
    pub fn as_conn_mut(&mut self) -> Result<&mut Conn, Error> {
        self.session.check()?;
        self.session.trace = Trace::Session;
        self.session.streaming = true;
        self.session.used = true;
        self.session.lease.statements.not_alone();
        self.raw.get().map_err(Error::from)
    }

    pub(crate) fn lease_mut(&mut self) -> &mut Lease {
        &mut self.session.lease
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    pub(crate) fn attach(&mut self, guard: Guard, limit: Limit) {
        self.session.lease.hold.guard = Some(guard);
        self.session.limit = limit;
    }

    /// Whether the session was set up to refuse writes.
    pub(crate) fn is_read_only_session(&self) -> bool {
        self.session.lease.kind == SessionKind::ReadOnly
    }

    /// To be called before every operation: refuses if the connection's state is not known, and
    /// reads what a stream left behind. Nothing is sent for the operation yet. The hot paths write it
    /// out, to hold one future less.
    pub(crate) async fn ready(&mut self) -> Result<(), Error> {
        match self.is_ready() {
            true => Ok(()),
            false => self.make_ready().await,
        }
    }

    /// Whether the next operation may begin at once.
    pub(super) fn is_ready(&self) -> bool {
        // Deadlines are timers, and these panic where there is no runtime.
        self.session.is_ready()
            && in_runtime()
            && self.raw.peek().is_some_and(|conn| !conn.is_disconnected())
    }

    /// As [`PodConn::ready`], where something has to be done or said first. In a box: it is rare,
    /// and would make every operation larger.
    pub(super) fn make_ready(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.settle())
    }

    async fn settle(&mut self) -> Result<(), Error> {
        if !in_runtime() {
            return Err(Error::RuntimeGone);
        }
        self.session.check()?;
        // The driver closes the connection on its own on some errors, also of the caller's making.
        if self.raw.peek().is_none_or(Conn::is_disconnected) {
            self.session.lost = true;
            return Err(self.session.interrupted());
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
                return Err(self.session.interrupted());
            }
            self.session.cut_off = false;
            self.session.streaming = false;
            // The answer to the question carries the flags.
            if let Some(conn) = self.raw.peek() {
                self.session.look_for_tx(conn);
            }
        } else if self.session.in_tx && self.session.doubtful {
            let (conn, session) = self.split()?;
            let deadline = session.deadline();
            begun = Some(deadline);
            session.run(deadline, conn.ping()).await?;
            session.look_for_tx(conn);
        }
        self.session.check()?;
        if let Some(begun) = begun {
            self.session.go_on(begun);
        }
        Ok(())
    }

    /// Takes in what a statement may leave that is about to be run as text.
    pub(super) fn judge(&mut self, statement: &[u8]) {
        let session = &mut self.session;
        if session.trace < Trace::Session {
            let trace = session.lease.statements.verdict(statement);
            session.trace = session.trace.max(trace);
        }
    }

    /// The same for a statement that will be prepared, or is: then it is returned.
    pub(super) fn recall<S: SqlText>(&mut self, stmt: &S) -> Option<Statement> {
        let session = &mut self.session;
        let (known, trace) = match session.lease.statements.recall(&stmt.given()) {
            Some((known, trace)) => (Some(known), trace),
            None if session.trace < Trace::Session => (None, stmt.trace(&mut session.verdicts)),
            None => (None, session.trace),
        };
        session.trace = session.trace.max(trace);
        known
    }

    /// As [`PodConn::ready`], for a statement whose text the driver does not show.
    pub(super) async fn ready_for_unknown(&mut self) -> Result<(), Error> {
        self.ready().await?;
        self.session.trace = Trace::Session;
        self.session.lease.statements.not_alone();
        Ok(())
    }

    pub(crate) fn split(&mut self) -> mysql_async::Result<(&mut Conn, &mut Session)> {
        Ok((self.raw.get()?, &mut *self.session))
    }
}

/// Whether the caller runs in a tokio runtime. A task is asked for first: the handle is counted.
pub(crate) fn in_runtime() -> bool {
    tokio::task::try_id().is_some() || tokio::runtime::Handle::try_current().is_ok()
}

impl Drop for PodConn {
    fn drop(&mut self) {
        self.session.lease.pool.lent(-1);
        let Some(cleaning) = self.session.verdict(&self.raw) else {
            self.raw.close();
            return;
        };
        let raw = std::mem::replace(&mut self.raw, Raw::empty());
        // It counts as a checkout until the slot is free: who waits for one is woken by that.
        if cleaning.is_needed() {
            let lease = self.session.lease.take();
            let handle = lease.pool.handle.clone();
            handle.spawn(clean(raw, lease, cleaning));
        } else {
            Pool::put_back(&mut self.session.lease, raw);
        }
    }
}
