//! Transactions.
//!
//! A [`Tx`] forwards statements to its connection. `txstate` derives the state of the transaction
//! from their answers. Owns the outcome at the end. It must never report an
//! acknowledged COMMIT as an error, and never report an unanswered COMMIT as a success or a
//! failure.

use crate::conn::podconn::PodConn;
use crate::conn::txstate::End;
use crate::error::{Error, PodId};
use mysql_async::Conn;

/// An open transaction. It owns its connection, implements
/// [`Queryable`](mysql_async::prelude::Queryable), and is rolled back when dropped.
///
/// It begins on the server with its first statement: `START TRANSACTION READ WRITE` is sent in the
/// same request as a text that can neither commit nor begin a transaction, and before any other
/// statement. A read-only server refuses it at once, so nothing is executed, and the transaction
/// begins on another connection; until then [`pod`](Self::pod) may change. (A plain `BEGIN` would
/// succeed there and fail only at the first write.) Before a statement that could commit, the
/// savepoint `headless_mysql_begin` is set, so that COMMIT can verify that it ends this
/// transaction. A transaction without a statement sends nothing, not even COMMIT.
///
/// # If a statement ends the transaction
///
/// After each statement, the server reports whether a transaction is open. A DDL statement, a
/// procedure, or a COMMIT or BEGIN sent as text may end this transaction. Then the next statement
/// (which is not sent), [`commit`](Self::commit) and [`rollback`](Self::rollback) fail with
/// [`Error::TransactionEnded`]. After a deadlock they fail with [`Error::RolledBack`] if the texts
/// of all statements prove that nothing was committed. The text is unknown for statements that run
/// as `Queryable::exec*`, by code that is generic over `Queryable`, or on
/// [`as_conn_mut`](Self::as_conn_mut).
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Tx {
    pub(crate) conn: PodConn,
}

/// An acknowledged COMMIT.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The pod that committed it.
    pub pod: PodId,
}

impl Tx {
    /// Begins the transaction on the server now.
    pub(crate) async fn begin_now(&mut self) -> Result<(), Error> {
        self.conn.begin(true).await
    }

    /// The pod that the transaction runs on. It may change with the first statement.
    pub fn pod(&self) -> &PodId {
        self.conn.pod()
    }

    /// The number of rows that the last statement changed.
    pub fn affected_rows(&self) -> u64 {
        self.conn.affected_rows()
    }

    /// The id that the last statement generated, if any.
    pub fn last_insert_id(&self) -> Option<u64> {
        self.conn.last_insert_id()
    }

    /// The driver's own connection; see [`PodConn::as_conn_mut`].
    ///
    /// # Errors
    ///
    /// As [`PodConn::as_conn_mut`].
    pub async fn as_conn_mut(&mut self) -> Result<&mut Conn, Error> {
        self.conn.as_conn_mut().await
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// * [`Error::RolledBack`]: the server rolled back. Run the whole transaction again.
    /// * [`Error::TransactionEnded`]: COMMIT was not executed. A DDL statement or a procedure has
    ///   ended the transaction, or may have ended it. Whether the earlier statements were committed
    ///   is unknown.
    /// * [`Error::CommitUnknown`]: COMMIT was sent, and no answer or no conclusive answer came.
    /// * [`Error::Interrupted`], [`Error::Superseded`], [`Error::Closed`]: COMMIT was not sent. The
    ///   server rolls back.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: if the future is dropped, the outcome of the COMMIT is unknown.
    pub async fn commit(mut self) -> Result<Committed, Error> {
        let pod = self.conn.pod().clone();
        if self.conn.session_mut().tx.is_due() {
            self.conn.session_mut().check()?;
            return Ok(Committed { pod });
        }
        self.conn.ready().await?;
        match self.end(End::Commit).await {
            Ok(()) => Ok(Committed { pod }),
            Err(error) => Err(match self.conn.session_mut().tx.refusal(&pod) {
                Some(refusal) => refusal,
                None => Error::CommitUnknown {
                    source: Box::new(Error::at(&pod, error)),
                    pod,
                },
            }),
        }
    }

    pub(super) fn conn_mut(&mut self) -> &mut PodConn {
        &mut self.conn
    }

    async fn end(&mut self, by: End) -> mysql_async::Result<()> {
        let session = self.conn.session_mut();
        let deadline = session.deadline();
        let text = session.ends(by);
        self.conn.control(text, deadline).await
    }

    /// Rolls back, and waits for the answer. Dropping the transaction rolls back without waiting.
    ///
    /// # Errors
    ///
    /// * [`Error::TransactionEnded`]: a DDL statement or a procedure may have committed earlier
    ///   statements.
    /// * Otherwise as for any statement. The server rolls back once it notices that the connection
    ///   is closed.
    pub async fn rollback(mut self) -> Result<(), Error> {
        let pod = self.conn.pod().clone();
        if self.conn.session_mut().tx.is_due() {
            return Ok(());
        }
        match self.conn.ready().await {
            // The server has already rolled back.
            Err(Error::RolledBack { .. }) => return Ok(()),
            ready => ready?,
        }
        let rolled_back = self.end(End::Rollback).await;
        let session = self.conn.session_mut();
        rolled_back.map_err(|error| match session.tx.refusal(&pod) {
            Some(refusal) => refusal,
            None => session.unsent(Error::at(&pod, error)),
        })
    }
}
