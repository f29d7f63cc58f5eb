//! A connection to one pod, on loan.
//!
//! Owns the protection of one user from another: an operation that was cut off makes the
//! connection unusable, so that nobody ever reads another statement's rows; and what a user leaves
//! in the session is gone before the next one gets it. It must never send on a connection whose
//! state it does not know.

use super::connect::{Raw, SessionKind};
use super::fault::{Fault, fault, is_read_only, may_roll_back, rolls_back};
use super::lease::{Cleaning, Lease, Trace, clean, drained};
use super::text::{SqlText, Verdicts, trace_of};
use crate::balance::Guard;
use crate::error::{Error, PodId};
use mysql_async::Conn;
use mysql_async::consts::StatusFlags;
use mysql_async::prelude::Queryable;
use std::fmt;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// How long operations may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Each operation.
    pub(crate) each: Option<Duration>,
    /// All of them together.
    pub(crate) all: Option<Instant>,
}

impl Limit {
    /// A timeout beyond what the clock can hold is none.
    fn deadline(&self) -> Option<Instant> {
        let each = self.each.and_then(|each| Instant::now().checked_add(each));
        match (each, self.all) {
            (Some(each), Some(all)) => Some(each.min(all)),
            (each, all) => each.or(all),
        }
    }
}

/// What is known of the session, apart from the driver's connection itself.
pub(crate) struct Session {
    pub(crate) lease: Lease,
    pub(crate) limit: Limit,
    /// An operation was begun and its end was not seen.
    cut_off: bool,
    /// The connection is gone.
    lost: bool,
    /// Its user has run something; until then the driver still tells of the last user's statement.
    used: bool,
    /// A result or stream was handed out that may not have been read to its end.
    streaming: bool,
    /// The status flags the driver shows are not those of the last statement. (It takes the answer
    /// to a PREPARE for an OK packet and reads flags out of the statement's id.)
    flags_unknown: bool,
    /// A [`Tx`](super::Tx) has begun and not ended.
    in_tx: bool,
    /// The last error the server answered with since the transaction began.
    refused: Option<mysql_async::ServerError>,
    /// The server has ended the open transaction by itself.
    rolled_back: bool,
    /// The server may have done so; only a question can tell.
    doubtful: bool,
    trace: Trace,
    verdicts: Verdicts,
}

/// A connection to one pod. It implements [`mysql_async::prelude::Queryable`] and goes back to its
/// pool when dropped.
///
/// * Every operation has a deadline (30 s by default). One that times out or whose future is
///   dropped may have been executed; the connection then refuses every further operation with
///   [`Error::Interrupted`] and is closed when dropped. No other user can get its rows.
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
    session: Session,
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
        Self {
            raw,
            session: Session {
                lease,
                limit: Limit {
                    each: None,
                    all: None,
                },
                cut_off: false,
                lost: false,
                used: false,
                streaming: false,
                flags_unknown: false,
                in_tx: false,
                refused: None,
                rolled_back: false,
                doubtful: false,
                trace: Trace::Nothing,
                verdicts: Verdicts::new(),
            },
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
        self.raw.get().map_err(Error::from)
    }

    pub(crate) fn lease_mut(&mut self) -> &mut Lease {
        &mut self.session.lease
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    pub(crate) fn attach(&mut self, guard: Guard, limit: Limit) {
        self.session.lease.guard = Some(guard);
        self.session.limit = limit;
    }

    /// Whether the session was set up to refuse writes.
    pub(crate) fn is_read_only_session(&self) -> bool {
        self.session.lease.kind == SessionKind::ReadOnly
    }

    /// To be called before every operation: refuses if the connection's state is not known, and
    /// reads what a stream left behind. Nothing is sent for the operation yet.
    pub(crate) async fn ready(&mut self) -> Result<(), Error> {
        // Deadlines are timers, and these panic where there is no runtime.
        if !in_runtime() {
            return Err(Error::RuntimeGone);
        }
        self.session.check()?;
        // The driver closes the connection on its own on some errors, also of the caller's making.
        if self.raw.peek().is_none_or(Conn::is_disconnected) {
            self.session.lost = true;
            return Err(self.session.interrupted());
        }
        if self.session.streaming {
            self.session.cut_off = true;
            if !drained(&mut self.raw, self.session.deadline()).await {
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
            session.run(deadline, conn.ping()).await?;
            session.look_for_tx(conn);
        }
        self.session.check()
    }

    /// The same for a statement given as text.
    pub(crate) async fn ready_for(&mut self, statement: &[u8]) -> Result<(), Error> {
        self.ready().await?;
        let session = &mut self.session;
        if session.trace < Trace::Session {
            session.trace = session.trace.max(trace_of(statement));
        }
        Ok(())
    }

    /// The same for a statement that will be prepared.
    pub(crate) async fn ready_for_prepared<S: SqlText>(&mut self, stmt: &S) -> Result<(), Error> {
        self.ready().await?;
        let session = &mut self.session;
        if session.trace < Trace::Session {
            session.trace = session.trace.max(stmt.trace(&mut session.verdicts));
        }
        Ok(())
    }

    /// The same for a statement whose text the driver does not show.
    pub(crate) async fn ready_for_unknown(&mut self) -> Result<(), Error> {
        self.ready().await?;
        self.session.trace = Trace::Session;
        Ok(())
    }

    pub(crate) fn split(&mut self) -> mysql_async::Result<(&mut Conn, &mut Session)> {
        Ok((self.raw.get()?, &mut self.session))
    }
}

/// Whether the caller runs in a tokio runtime. A task is asked for first: the handle is counted.
pub(crate) fn in_runtime() -> bool {
    tokio::task::try_id().is_some() || tokio::runtime::Handle::try_current().is_ok()
}

impl Session {
    fn interrupted(&self) -> Error {
        Error::Interrupted {
            pod: self.lease.pool.pod().clone(),
        }
    }

    /// Whether anything may be sent at all.
    fn usable(&self) -> Result<(), Error> {
        if self.cut_off || self.lost {
            return Err(self.interrupted());
        }
        let pod = || self.lease.pool.pod().clone();
        if self.lease.pool.is_aborted() {
            return Err(Error::Closed);
        }
        if self.lease.pool.is_banned(self.lease.era) {
            return Err(Error::Superseded { pod: pod() });
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        self.usable()?;
        if !(self.in_tx && self.rolled_back) {
            return Ok(());
        }
        // The next statement would run, and stay, outside the transaction.
        let pod = self.lease.pool.pod().clone();
        Err(match self.refused.clone() {
            Some(source) => Error::RolledBack { pod, source },
            // Its error went to whoever read the rows.
            None => Error::Interrupted { pod },
        })
    }

    /// After a question whose answer the driver took in: whether the transaction that was begun is
    /// still there.
    fn look_for_tx(&mut self, conn: &Conn) {
        self.doubtful = false;
        let flags = conn.last_ok_packet().map(|ok| ok.status_flags());
        let open = flags.is_some_and(|f| f.contains(StatusFlags::SERVER_STATUS_IN_TRANS));
        self.rolled_back |= self.in_tx && !open;
    }

    pub(crate) fn begun(&mut self) {
        self.in_tx = true;
        self.refused = None;
        self.rolled_back = false;
        self.doubtful = false;
    }

    pub(crate) fn ended(&mut self) {
        self.in_tx = false;
    }

    /// A server error that may have ended the open transaction; only a question can tell.
    pub(crate) fn doubt(&self) -> Option<mysql_async::ServerError> {
        self.refused.clone()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.limit.deadline()
    }

    /// Rows may be left unread from here on.
    pub(crate) fn will_stream(&mut self) {
        self.streaming = true;
        // What the statements insert cannot be seen from here.
        self.trace = self.trace.max(Trace::Diagnostics);
    }

    /// An insert id, or warnings.
    pub(crate) fn left_diagnostics(&mut self) {
        self.trace = self.trace.max(Trace::Diagnostics);
    }

    /// The driver shows the status flags of a statement that ended just now.
    pub(crate) fn saw_flags(&mut self) {
        self.flags_unknown = false;
    }

    /// What the driver shows as status flags are not any.
    pub(crate) fn lost_flags(&mut self) {
        self.flags_unknown = true;
    }

    /// Runs one operation, from its first byte to its last row.
    ///
    /// Armed before the first poll and disarmed only after an answer, so a future that is dropped
    /// or times out in between leaves the connection marked as cut off.
    pub(crate) async fn run<T>(
        &mut self,
        deadline: Option<Instant>,
        operation: impl Future<Output = mysql_async::Result<T>>,
    ) -> mysql_async::Result<T> {
        let started = Instant::now();
        self.cut_off = true;
        self.used = true;
        let result = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, operation).await,
            None => Ok(operation.await),
        };
        let pod = || self.lease.pool.pod().clone();
        let error = match result {
            Ok(Ok(value)) => {
                self.cut_off = false;
                return Ok(value);
            }
            Ok(Err(error)) => error,
            Err(_) => {
                self.lease.suspect();
                let after = started.elapsed();
                return Err(Error::Timeout { pod: pod(), after }.into());
            }
        };
        match fault(&error) {
            Fault::Lost => {
                self.lease.broke(&error);
                let (pod, source) = (pod(), error);
                self.lost = true;
                Err(Error::ConnectionLost { pod, source }.into())
            }
            Fault::Refused => {
                self.cut_off = false;
                self.flags_unknown = true;
                // Of the rows before the one that was refused, and the error itself.
                self.left_diagnostics();
                self.heed(&error);
                Err(error)
            }
            Fault::Usage => {
                self.cut_off = false;
                self.streaming = true;
                self.left_diagnostics();
                Err(error)
            }
        }
    }

    /// What a server error says beyond the statement.
    fn heed(&mut self, error: &mysql_async::Error) {
        let mysql_async::Error::Server(error) = error else {
            return;
        };
        // A session that is read-only answers so on any server.
        if is_read_only(error) && self.lease.pool.is_primary() {
            self.lease.pool.demoted();
        }
        self.rolled_back |= rolls_back(error);
        self.doubtful |= may_roll_back(error);
        self.refused = Some(error.clone());
    }

    fn cleaning(&self, conn: &Conn) -> Cleaning {
        let in_transaction = match conn.last_ok_packet() {
            Some(ok) => ok
                .status_flags()
                .contains(StatusFlags::SERVER_STATUS_IN_TRANS),
            None => true,
        };
        let cleaning = Cleaning {
            drain: self.streaming,
            rollback: in_transaction || self.in_tx || self.flags_unknown || self.streaming,
            trace: self.trace,
        };
        cleaning.with(self.lease.pool.reset)
    }

    /// `None`: the connection must not be used again.
    fn verdict(&self, raw: &Raw) -> Option<Cleaning> {
        let conn = raw.peek()?;
        if self.usable().is_err() || conn.is_disconnected() {
            return None;
        }
        Some(self.cleaning(conn))
    }
}

impl Drop for PodConn {
    fn drop(&mut self) {
        self.session.lease.pool.lent(-1);
        let Some(cleaning) = self.session.verdict(&self.raw) else {
            self.raw.close();
            return;
        };
        let raw = std::mem::replace(&mut self.raw, Raw::empty());
        let mut lease = self.session.lease.take();
        // The user is done; only the slot stays taken while the connection is cleaned.
        lease.guard = None;
        if cleaning.is_needed() {
            let handle = lease.pool.handle.clone();
            handle.spawn(clean(raw, lease, cleaning));
        } else {
            let pool = std::sync::Arc::clone(&lease.pool);
            pool.put_back(raw, &lease);
        }
    }
}
