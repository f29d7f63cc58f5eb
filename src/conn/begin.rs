//! Begins the transaction of a [`Tx`](crate::conn::tx::Tx) with its first statement.
//!
//! START TRANSACTION travels in one request with the first statement, if that is a text that can
//! neither commit nor begin a transaction, and sets no savepoint; otherwise in a request of its own
//! before it. A pod that refuses START TRANSACTION has executed nothing, so the transaction begins
//! on another connection.
//!
//! Owns this move. It must never run a statement of the transaction outside of it, and never run
//! one a second time.

use crate::conn::podconn::{Elsewhere, PodConn, in_runtime};
use crate::conn::rows::{Answer, More, read};
use crate::conn::size;
use crate::conn::txstate::{Access, TxState};
use crate::error::Error;
use crate::sql::reading::Reading;
use crate::sql::reading::diagnostics::Diagnostics;
use crate::sql::traces::Trace;
use mysql_async::prelude::{FromRow, Queryable};
use std::pin::pin;

/// Between START TRANSACTION and the first statement.
const SEPARATOR: &[u8] = b"; ";

impl PodConn {
    /// The next statement begins a transaction.
    pub(crate) fn will_begin(&mut self, access: Access, elsewhere: Box<dyn Elsewhere>) {
        self.session_mut().tx = TxState::Due(access);
        self.elsewhere = Some(elsewhere);
    }

    /// Begins the transaction that is due, in a request of its own. The anchor is set with it if
    /// the first statement could commit.
    pub(crate) async fn begin(&mut self, anchored: bool) -> Result<(), Error> {
        if !in_runtime() {
            return Err(Error::RuntimeGone);
        }
        while let TxState::Due(access) = self.session_mut().tx {
            if let Err(error) = self.begin_here(access, anchored).await {
                self.go_elsewhere(access, error).await?;
            }
        }
        // It keeps the cluster alive.
        self.elsewhere = None;
        Ok(())
    }

    async fn begin_here(&mut self, access: Access, anchored: bool) -> Result<(), Error> {
        self.session_mut().check()?;
        if self.is_disconnected() {
            let session = self.session_mut();
            session.lost = true;
            return Err(session.interrupted());
        }
        if self.session_mut().is_stale() {
            let deadline = self.session_mut().deadline();
            self.wake(deadline).await?;
            self.session_mut().check()?;
            self.session_mut().go_on(deadline);
        }
        let text = match anchored {
            true => access.anchored_text(),
            false => access.begin_text(),
        };
        let session = self.session_mut();
        session.tx = TxState::begun(anchored);
        session.will_run(Reading::OURS);
        let deadline = session.deadline();
        let begun = self.control(text, deadline).await;
        begun.map_err(|error| Error::at(self.pod(), error))?;
        // The first statement shares the deadline.
        self.session_mut().go_on(deadline);
        self.session_mut().check()
    }

    /// Goes on with another connection, on which the transaction is due.
    async fn go_elsewhere(&mut self, access: Access, error: Error) -> Result<(), Error> {
        let pod = self.pod().clone();
        // If this future is dropped, no statement may run outside of the transaction. Others, and
        // this transaction itself, may be waiting for the slot.
        self.leave();
        let Some(mut elsewhere) = self.elsewhere.take() else {
            return Err(error);
        };
        let mut conn = elsewhere.another(error, pod).await?;
        conn.will_begin(access, elsewhere);
        *self = conn;
        Ok(())
    }

    /// Whether the text can begin the transaction that is due, in one request with START
    /// TRANSACTION.
    pub(crate) fn may_ride(&mut self, statement: &[u8]) -> bool {
        let is_disconnected = self.is_disconnected();
        let session = self.session_mut();
        let TxState::Due(access) = session.tx else {
            return false;
        };
        if is_disconnected || session.is_stale() || !in_runtime() {
            return false;
        }
        let size = size::of_text(statement) + access.begin_text().len() + SEPARATOR.len();
        let kept = &mut session.lease.kept;
        let reading = kept.statements.read(statement);
        let is_silent = reading.reads() == Diagnostics::NONE && reading.trace() == Trace::Nothing;
        reading.begins_unanchored()
            && (is_silent || !kept.diagnostics)
            && session.check().is_ok()
            && session.check_size(size).is_ok()
    }

    /// Runs the text in one request with START TRANSACTION, if [`PodConn::may_ride`]. Returns
    /// `None` if the pod refused START TRANSACTION and the transaction is due on another
    /// connection.
    pub(crate) async fn ride<T: FromRow>(
        &mut self,
        statement: &[u8],
        each: impl FnMut(T) -> More + Send,
    ) -> Option<mysql_async::Result<()>> {
        let TxState::Due(access) = self.session_mut().tx else {
            return None;
        };
        let mut begun = false;
        let error = match self.begin_with(access, statement, each, &mut begun).await {
            Err(error) if !begun => Error::at(self.pod(), error),
            done => {
                self.elsewhere = None;
                return Some(done);
            }
        };
        // After any other error, the server may have executed the request.
        if !matches!(error, Error::Server { .. }) {
            if !self.session_mut().tx.is_due() {
                self.elsewhere = None;
            }
            return Some(Err(error.into()));
        }
        let moved = self.go_elsewhere(access, error).await;
        moved.err().map(|error| Err(error.into()))
    }

    async fn begin_with<T: FromRow>(
        &mut self,
        access: Access,
        statement: &[u8],
        each: impl FnMut(T) -> More + Send,
        begun: &mut bool,
    ) -> mysql_async::Result<()> {
        self.judge(statement)?;
        let (conn, session) = self.split()?;
        let deadline = session.deadline();
        session.tx = TxState::begun(false);
        let text = [access.begin_text().as_bytes(), SEPARATOR, statement].concat();
        let operation = pin!(async {
            let mut result = conn.query_iter(text).await?;
            *begun = true;
            // The answer to START TRANSACTION.
            result.next().await?;
            read(result, each).await?;
            Ok(Answer::of(conn))
        });
        let answer = session.run(deadline, operation).await?;
        session.took(answer);
        Ok(())
    }
}
