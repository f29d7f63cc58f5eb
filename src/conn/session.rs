//! The state of a checked-out session.
//!
//! Owns the flags that decide whether a statement may be sent, and which cleaning is needed before
//! the next user gets the connection. It must never treat an operation as complete before its
//! answer was read.

mod late;

use crate::conn::deadline::{Deadline, Timeouts};
use crate::conn::lease::{Cleaning, Lease, Why};
use crate::conn::patience::Ended;
use crate::conn::reports::Reports;
use crate::conn::rows::Answer;
use crate::conn::txstate::{End, TxState};
use crate::error::Error;
use crate::server::closing_conn::ClosingConn;
use crate::server::failure::{
    Cause, Connection, Executed, Meaning, of_driver_error, of_server_error,
};
use crate::server::failure::{is_elsewhere, is_read_only};
use crate::server::session_kind::SessionKind;
use crate::sql::reading::Reading;
use crate::sql::reading::diagnostics::Diagnostics;
use crate::sql::traces::Trace;
use mysql_async::ServerError;
use std::future::Future;
use tokio::time::Instant;

/// The state of the session, without the driver's connection.
pub(crate) struct Session {
    pub(crate) lease: Lease,
    /// The server's id of the connection.
    id: u32,
    pub(crate) limit: Timeouts,
    /// A plain read may be given up if the flow is lost: the caller runs it again on another
    /// connection.
    pub(crate) may_move: bool,
    /// The checkout is for one statement.
    pub(crate) single: bool,
    /// What the user's statements have reported.
    pub(crate) reports: Reports,
    /// An operation was given up before its deadline.
    pub(crate) abandoned: bool,
    /// The deadline of an operation that first had to drain, probe or ping the connection.
    pub(crate) begun: Option<Deadline>,
    /// An operation began, and its end was not seen.
    pub(crate) cut_off: bool,
    /// The connection is gone.
    pub(crate) lost: bool,
    /// The user has run a statement. Until then, the driver's counters are those of the previous
    /// user's last statement.
    pub(crate) used: bool,
    /// A result or stream was handed out, and may not have been read to its end.
    pub(crate) streaming: bool,
    /// The last answer. `None` if its flags are unknown.
    answer: Option<Answer>,
    pub(crate) tx: TxState,
    pub(crate) trace: Trace,
    /// The reading of the last statement that was begun.
    pub(crate) reading: Reading,
}

/// Guards an operation under way. If it is dropped before [`Armed::ended`], the operation is given
/// up.
pub(crate) struct Armed<'a> {
    session: &'a mut Session,
    under_way: bool,
}

impl Armed<'_> {
    /// Call when the end of the operation was seen.
    pub(crate) fn ended(mut self) {
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

fn is_answer(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(_))
}

impl Session {
    pub(crate) fn new(lease: Lease, id: u32) -> Self {
        Self {
            lease,
            id,
            limit: Timeouts {
                each: None,
                all: None,
            },
            may_move: false,
            single: false,
            reports: Reports::default(),
            abandoned: false,
            begun: None,
            cut_off: false,
            lost: false,
            used: false,
            streaming: false,
            answer: Some(Answer::CLEAN),
            tx: TxState::None,
            trace: Trace::Nothing,
            reading: Reading::UNKNOWN,
        }
    }

    /// Call before a statement is sent.
    pub(crate) fn will_run(&mut self, reading: Reading) {
        self.reading = reading;
        self.trace = self.trace.max(reading.trace());
        self.tx.sends(reading);
    }

    pub(crate) fn interrupted(&self) -> Error {
        Error::Interrupted {
            pod: self.lease.pool.pod().clone(),
        }
    }

    /// Whether a statement may be sent at once.
    pub(crate) fn is_ready(&self) -> bool {
        debug_assert_eq!(self.is_usable(), self.usable().is_ok());
        !self.streaming
            && self.begun.is_none()
            && self.tx.is_settled()
            && self.is_usable()
            && !self.is_disputed()
    }

    /// Whether the session may send no statement because another pod may be the primary. Never true
    /// within a transaction, so that it can end.
    fn is_disputed(&self) -> bool {
        self.lease.kept.kind == SessionKind::ReadWrite
            && self.lease.pool.disputes.any()
            && !self.tx.has_begun()
            && !self.is_in_transaction()
    }

    fn is_usable(&self) -> bool {
        let pool = &self.lease.pool;
        !self.cut_off && !self.lost && !pool.is_aborted() && !pool.is_banned(self.lease.kept.era)
    }

    /// Fails if no statement may be sent on this connection any more.
    pub(crate) fn usable(&self) -> Result<(), Error> {
        if self.cut_off || self.lost {
            return Err(self.interrupted());
        }
        let pod = || self.lease.pool.pod().clone();
        if self.lease.pool.is_aborted() {
            return Err(Error::Closed);
        }
        if self.lease.pool.is_banned(self.lease.kept.era) {
            return Err(Error::Superseded { pod: pod() });
        }
        Ok(())
    }

    /// Fails if the next statement must not be sent, on the connection or in its transaction.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.usable().map_err(|error| self.unsent(error))?;
        if self.is_disputed() {
            let pool = &self.lease.pool;
            pool.disputes.check(pool.pod())?;
        }
        match self.tx.refusal(self.lease.pool.pod()) {
            None => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }

    /// The error for the caller if `error` prevents further statements.
    pub(crate) fn unsent(&self, error: Error) -> Error {
        self.tx.unsent(self.lease.pool.pod(), error)
    }

    /// Takes in the complete answer to a statement, or to a question of this crate.
    pub(crate) fn took(&mut self, answer: Answer) {
        self.answer = Some(answer);
        self.tx.answered(answer.in_transaction());
        if answer.left_a_trace() {
            self.left_diagnostics();
            self.reports.took(answer.insert_id, answer.warned);
        }
    }

    /// Call before COMMIT or ROLLBACK of the [`Tx`](crate::conn::tx::Tx) is sent. Returns its text.
    pub(crate) fn ends(&mut self, by: End) -> &'static str {
        let text = self.tx.ends(by);
        self.reading = Reading::of(text.as_bytes());
        text
    }

    /// Call before an operation after which the driver's status flags are not those of a statement.
    pub(crate) fn lost_flags(&mut self) {
        self.answer = None;
    }

    /// Whether the last answer shows an open transaction. False if its flags are unknown.
    pub(crate) fn is_in_transaction(&self) -> bool {
        self.answer.is_some_and(Answer::in_transaction)
    }

    /// The deadline of an operation that begins now, or that began with a question before it.
    pub(crate) fn deadline(&mut self) -> Deadline {
        match self.begun.take() {
            None => self.limit.deadline(),
            Some(begun) => begun.rest(),
        }
    }

    /// Stores the deadline of an operation between its question and its statement.
    pub(crate) fn go_on(&mut self, deadline: Deadline) {
        self.begun = Some(deadline);
    }

    /// Whether something must be sent before the statement that is about to run. `hides`: what the
    /// statement reports about itself will not be seen.
    pub(crate) fn must_precede(&self, hides: bool) -> bool {
        self.must_forget(hides) || self.tx.must_anchor()
    }

    /// Whether what earlier users' statements reported must be removed: the statement may read it,
    /// or after the statement it could not be told from what the user's own statements reported.
    pub(crate) fn must_forget(&self, hides: bool) -> bool {
        let hides = (hides && !self.reading.is_plain())
            || self.reading.trace() != Trace::Nothing
            || self.reports.is_full();
        let hides = hides && !self.single;
        let reads = self.reading.reads();
        if self.reports.warned() && reads == Diagnostics::WARNINGS {
            return false;
        }
        let reads_others = reads.insert_id || (reads.warnings && !self.reports.warned());
        self.lease.kept.diagnostics && (hides || reads_others)
    }

    /// Call before rows are handed out that may remain unread.
    pub(crate) fn will_stream(&mut self) {
        self.streaming = true;
        // Insert ids and warnings are not visible from here on.
        self.trace = self.trace.max(Trace::Diagnostics);
    }

    /// Notes that an insert id or warnings may remain in the session.
    pub(crate) fn left_diagnostics(&mut self) {
        self.trace = self.trace.max(Trace::Diagnostics);
    }

    /// Notes that a statement sent at `sent` was answered completely. It counts for the pod's pace
    /// if the session is read-only and has neither a transaction nor changed session state, which
    /// could make it slower than other sessions.
    pub(crate) fn answered(&self, sent: Instant) {
        let read_only = self.lease.kept.kind == SessionKind::ReadOnly;
        if read_only && self.trace < Trace::Session && !self.tx.has_begun() {
            self.lease.pool.answered(sent);
        }
    }

    /// Call before sending. If the future is dropped after this, the connection counts as cut off.
    pub(crate) fn arm(&mut self) -> Armed<'_> {
        self.cut_off = true;
        Armed {
            session: self,
            under_way: true,
        }
    }

    /// Gives up the operation under way.
    pub(crate) fn give_up(&mut self, why: Why) {
        let stop = !self.reading.commits();
        self.lease.give_up(self.id, stop, why);
    }

    /// Runs one operation, from its first byte to its last row.
    ///
    /// It is armed at the first poll and disarmed only after an answer. If the future is dropped or
    /// times out in between, the connection is marked as cut off and the statement is given up.
    pub(crate) async fn run<T>(
        &mut self,
        deadline: Deadline,
        operation: impl Future<Output = mysql_async::Result<T>>,
    ) -> mysql_async::Result<T> {
        self.used = true;
        let armed = self.arm();
        let ended = armed.session.wait_for(deadline, operation).await;
        armed.ended();
        match ended {
            Ended::Done(Ok(value)) => {
                self.cut_off = false;
                self.lease.heard(deadline.begun);
                if self.lease.kept.kind == SessionKind::ReadWrite && !self.reading.is_plain() {
                    self.lease.pool.wrote();
                }
                Ok(value)
            }
            Ended::Done(Err(error)) => Err(self.failed(deadline.begun, Some(error))),
            Ended::TimedOut => Err(self.failed(deadline.begun, None)),
            Ended::Silent(silence) => Err(self.abandon(deadline.begun, silence)),
        }
    }

    /// Takes in the error of an operation. `None` means that it timed out.
    #[cold]
    fn failed(
        &mut self,
        started: Instant,
        error: Option<mysql_async::Error>,
    ) -> mysql_async::Error {
        let pod = self.lease.pool.pod().clone();
        let error = match error {
            Some(error) => error,
            None => {
                let after = started.elapsed();
                self.give_up(Why::TimedOut);
                return Error::Timeout { pod, after }.into();
            }
        };
        let meaning = of_driver_error(&error);
        match (error, meaning.connection) {
            (mysql_async::Error::Server(source), Connection::Usable) => {
                self.cut_off = false;
                self.lease.heard(started);
                self.answer = None;
                // The error leaves diagnostics, and so may the rows before the one that failed.
                self.left_diagnostics();
                self.reports.took(None, true);
                self.heed(&source);
                let pod = Some(pod);
                Error::Server { pod, source }.into()
            }
            (mysql_async::Error::Server(source), Connection::Closed)
                if meaning.executed == Executed::No =>
            {
                self.lose(meaning, &source);
                let pod = Some(pod);
                Error::Server { pod, source }.into()
            }
            // An error of this crate: a row that does not convert.
            (error @ mysql_async::Error::Other(_), _) => {
                self.complained();
                error
            }
            // The driver may have closed the connection nevertheless.
            (source, _) if meaning.cause == Cause::Statement && !is_answer(&source) => {
                self.complained();
                let pod = Some(pod);
                Error::Driver { pod, source }.into()
            }
            (source, _) => {
                self.lose(meaning, &source);
                Error::ConnectionLost { pod, source }.into()
            }
        }
    }

    /// Takes in an error of the driver or of a conversion about the statement or its rows.
    fn complained(&mut self) {
        self.cut_off = false;
        self.streaming = true;
        self.left_diagnostics();
    }

    /// The connection is gone.
    fn lose(&mut self, meaning: Meaning, cause: impl std::fmt::Display) {
        self.lost = true;
        if meaning.cause.is_of_the_pod() {
            self.lease.broke(cause);
        }
    }

    /// Takes in what a server error means beyond the statement.
    pub(crate) fn heed(&mut self, error: &ServerError) {
        // A read-only session gets this error on any server, so it proves nothing on a replica.
        if is_read_only(error) && self.lease.pool.is_primary() {
            self.lease.pool.demoted(self.lease.kept.era);
        }
        if of_server_error(error).cause == Cause::Server && is_elsewhere(error) {
            self.lease.refuses_to_work(error);
        }
        self.tx.refused(error, self.reading);
    }

    pub(crate) fn cleaning(&self) -> Cleaning {
        let clean = self.answer.is_some_and(Answer::commits_by_itself);
        // Autocommit is off, so a statement has changed the session although its text did not show
        // it.
        let hidden = self.answer.is_some_and(|answer| !answer.is_autocommit());
        let cleaning = Cleaning {
            drain: self.streaming,
            rollback: !clean || self.tx.has_begun() || self.streaming,
            trace: if hidden { Trace::Session } else { self.trace },
        };
        cleaning.with(self.lease.pool.reset)
    }

    /// The cleaning before the next user. `None` if the connection must not be used again.
    pub(crate) fn verdict(&self, raw: &ClosingConn) -> Option<Cleaning> {
        let conn = raw.peek()?;
        if !self.is_usable() || conn.is_disconnected() {
            return None;
        }
        Some(self.cleaning())
    }
}
