//! What is known of a checked-out session.
//!
//! Owns the flags that decide what may be sent next, and what has to be done before the next user
//! gets the connection. It must never call an operation complete before its answer was read.

use super::connect::{Raw, SessionKind};
use super::fault::{Fault, fault, is_read_only, may_roll_back, rolls_back};
use super::lease::{Cleaning, Lease, Trace, Why};
use super::text::Verdicts;
use crate::error::Error;
use mysql_async::Conn;
use mysql_async::consts::StatusFlags;
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
    fn deadline(&self) -> Deadline {
        let begun = Instant::now();
        let each = self.each.and_then(|each| begun.checked_add(each));
        let at = match (each, self.all) {
            (Some(each), Some(all)) => Some(each.min(all)),
            (each, all) => each.or(all),
        };
        let sent = begun;
        Deadline { begun, sent, at }
    }
}

/// The time of an operation that begins now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(super) begun: Instant,
    /// The same, or the end of the question that came before it.
    pub(super) sent: Instant,
    /// `None`: it may take as long as it takes.
    pub(super) at: Option<Instant>,
}

impl Deadline {
    /// For the statement itself, once the question that came before it is answered.
    fn rest(self) -> Self {
        Self {
            sent: Instant::now(),
            ..self
        }
    }
}

/// What is known of the session, apart from the driver's connection itself.
pub(crate) struct Session {
    pub(crate) lease: Lease,
    /// The server's id of the connection.
    id: u32,
    pub(crate) limit: Limit,
    /// Of an operation that has asked the server something on its own behalf first.
    begun: Option<Deadline>,
    /// An operation was begun and its end was not seen.
    pub(super) cut_off: bool,
    /// The connection is gone.
    pub(super) lost: bool,
    /// Its user has run something; until then the driver still tells of the last user's statement.
    pub(super) used: bool,
    /// A result or stream was handed out that may not have been read to its end.
    pub(super) streaming: bool,
    /// The status flags the driver shows are not those of the last statement. (It takes the answer
    /// to a PREPARE for an OK packet and reads flags out of the statement's id.)
    pub(super) flags_unknown: bool,
    /// A [`Tx`](super::Tx) has begun and not ended.
    pub(super) in_tx: bool,
    /// The last error the server answered with since the transaction began.
    pub(super) refused: Option<Box<mysql_async::ServerError>>,
    /// The server has ended the open transaction by itself.
    pub(super) rolled_back: bool,
    /// The server may have done so; only a question can tell.
    pub(super) doubtful: bool,
    /// COMMIT is being sent: it must not be stopped.
    pub(super) committing: bool,
    pub(super) trace: Trace,
    pub(super) verdicts: Verdicts,
}

/// An operation that was begun and whose end was not seen. Dropped so, it is given up.
pub(super) struct Armed<'a> {
    session: &'a mut Session,
    under_way: bool,
}

impl Armed<'_> {
    /// Somebody has seen how it ended.
    pub(super) fn ended(mut self) {
        self.under_way = false;
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        if self.under_way {
            self.session.give_up(Why::Dropped);
        }
    }
}

impl Session {
    pub(super) fn new(lease: Lease, id: u32) -> Self {
        Self {
            lease,
            id,
            limit: Limit {
                each: None,
                all: None,
            },
            begun: None,
            cut_off: false,
            lost: false,
            used: false,
            streaming: false,
            flags_unknown: false,
            in_tx: false,
            refused: None,
            rolled_back: false,
            doubtful: false,
            committing: false,
            trace: Trace::Nothing,
            verdicts: Verdicts::new(),
        }
    }

    pub(super) fn interrupted(&self) -> Error {
        Error::Interrupted {
            pod: self.lease.pool.pod().clone(),
        }
    }

    /// Whether anything may be sent at once.
    pub(super) fn is_ready(&self) -> bool {
        debug_assert_eq!(self.is_usable(), self.usable().is_ok());
        let unsettled = self.streaming || (self.in_tx && (self.rolled_back || self.doubtful));
        !unsettled && self.is_usable()
    }

    fn is_usable(&self) -> bool {
        let pool = &self.lease.pool;
        !self.cut_off && !self.lost && !pool.is_aborted() && !pool.is_banned(self.lease.era)
    }

    /// Whether anything may be sent at all.
    pub(super) fn usable(&self) -> Result<(), Error> {
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

    pub(super) fn check(&self) -> Result<(), Error> {
        self.usable()?;
        if !(self.in_tx && self.rolled_back) {
            return Ok(());
        }
        // The next statement would run, and stay, outside the transaction.
        let pod = self.lease.pool.pod().clone();
        Err(match self.refused.clone() {
            Some(source) => Error::RolledBack {
                pod,
                source: *source,
            },
            // Its error went to whoever read the rows.
            None => Error::Interrupted { pod },
        })
    }

    /// After a question whose answer the driver took in: whether the transaction that was begun is
    /// still there.
    pub(super) fn look_for_tx(&mut self, conn: &Conn) {
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
        self.refused.as_deref().cloned()
    }

    /// Of an operation that begins now, or has begun with the question that came before it.
    pub(crate) fn deadline(&mut self) -> Deadline {
        match self.begun.take() {
            None => self.limit.deadline(),
            Some(begun) => begun.rest(),
        }
    }

    /// The operation that a question was asked for goes on.
    pub(super) fn go_on(&mut self, deadline: Deadline) {
        self.begun = Some(deadline);
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

    /// A statement was answered completely that was sent at that time: a read, as far as it counts
    /// for the pod's pace, if its session can do nothing else, and has done nothing that may make
    /// it slower than others'.
    pub(super) fn answered(&self, sent: Instant) {
        let read_only = self.lease.kind == SessionKind::ReadOnly;
        if read_only && self.trace < Trace::Session && !self.in_tx {
            self.lease.pool.answered(sent);
        }
    }

    /// The driver shows the status flags of a statement that ended just now.
    pub(crate) fn saw_flags(&mut self) {
        self.flags_unknown = false;
    }

    /// What the driver shows as status flags are not any.
    pub(crate) fn lost_flags(&mut self) {
        self.flags_unknown = true;
    }

    /// To be called before anything is sent: whoever is dropped from here on leaves a connection
    /// that is cut off.
    pub(super) fn arm(&mut self) -> Armed<'_> {
        self.cut_off = true;
        Armed {
            session: self,
            under_way: true,
        }
    }

    /// What is under way is not waited for any longer.
    pub(super) fn give_up(&mut self, why: Why) {
        let id = (!self.committing).then_some(self.id);
        self.lease.give_up(id, why);
    }

    /// Runs one operation, from its first byte to its last row.
    ///
    /// Armed at the first poll and disarmed only after an answer, so a future that is dropped or
    /// times out in between leaves the connection marked as cut off, and its statement given up.
    pub(crate) async fn run<T>(
        &mut self,
        deadline: Deadline,
        operation: impl Future<Output = mysql_async::Result<T>>,
    ) -> mysql_async::Result<T> {
        self.used = true;
        let armed = self.arm();
        let result = match deadline.at {
            Some(at) => armed.session.lease.timer.until(at, operation).await,
            None => Some(operation.await),
        };
        armed.ended();
        match result {
            Some(Ok(value)) => {
                self.cut_off = false;
                self.lease.alive = deadline.begun;
                Ok(value)
            }
            failed => Err(self.failed(deadline.begun, failed.and_then(Result::err))),
        }
    }

    /// Takes in how an operation failed; `None`: its time was over.
    #[cold]
    fn failed(
        &mut self,
        started: Instant,
        error: Option<mysql_async::Error>,
    ) -> mysql_async::Error {
        let pod = || self.lease.pool.pod().clone();
        let error = match error {
            Some(error) => error,
            None => {
                let (pod, after) = (pod(), started.elapsed());
                self.give_up(Why::TimedOut);
                return Error::Timeout { pod, after }.into();
            }
        };
        match fault(&error) {
            Fault::Lost => {
                self.lease.broke(&error);
                let (pod, source) = (pod(), error);
                self.lost = true;
                Error::ConnectionLost { pod, source }.into()
            }
            Fault::Refused => {
                self.cut_off = false;
                self.lease.alive = started;
                self.flags_unknown = true;
                // Of the rows before the one that was refused, and the error itself.
                self.left_diagnostics();
                self.heed(&error);
                error
            }
            Fault::Usage => {
                self.cut_off = false;
                self.streaming = true;
                self.left_diagnostics();
                error
            }
        }
    }

    /// What a server error says beyond the statement.
    pub(super) fn heed(&mut self, error: &mysql_async::Error) {
        let mysql_async::Error::Server(error) = error else {
            return;
        };
        // A session that is read-only answers so on any server.
        if is_read_only(error) && self.lease.pool.is_primary() {
            self.lease.pool.demoted(self.lease.era);
        }
        self.rolled_back |= rolls_back(error);
        self.doubtful |= may_roll_back(error);
        self.refused = Some(Box::new(error.clone()));
    }

    pub(super) fn cleaning(&self, conn: &Conn) -> Cleaning {
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
    pub(super) fn verdict(&self, raw: &Raw) -> Option<Cleaning> {
        let conn = raw.peek()?;
        if !self.is_usable() || conn.is_disconnected() {
            return None;
        }
        Some(self.cleaning(conn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_question_before_a_statement_takes_of_its_time_but_is_not_part_of_its_pace() {
        let limit = Limit {
            each: Some(Duration::from_secs(10)),
            all: None,
        };
        let whole = limit.deadline();
        tokio::time::advance(Duration::from_secs(3)).await;
        let rest = whole.rest();
        assert_eq!((rest.begun, rest.at), (whole.begun, whole.at));
        assert_eq!(rest.sent, whole.sent + Duration::from_secs(3));
    }
}
