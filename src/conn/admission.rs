//! Checks before a statement is sent: whether the connection still works, whether the server
//! accepts a statement of this length, and whether the session may run it.
//!
//! Owns the errors that guarantee that the statement was not sent. It must never send the
//! statement.

use crate::conn::deadline::Deadline;
use crate::conn::lease::Why;
use crate::conn::podconn::PodConn;
use crate::conn::rows::Answer;
use crate::conn::session::Session;
use crate::conn::size;
use crate::error::Error;
use crate::server::session_kind::SessionKind;
use crate::sql::reading::Reading;
use mysql_async::prelude::Queryable;
use std::time::Duration;
use tokio::time::Instant;

/// A connection that does not answer a ping within this time is given up.
const WAKE_TIMEOUT: Duration = Duration::from_secs(1);

impl Session {
    /// Whether the user has not used the connection for so long that it may have been closed. False
    /// before the first use, because the pool has just checked the connection.
    pub(crate) fn rested(&self) -> bool {
        self.used && self.is_stale()
    }

    /// Whether the server's last answer is so old that the server may have closed the connection.
    pub(crate) fn is_stale(&self) -> bool {
        self.lease.kept.alive.elapsed() > self.lease.pool.idle_ping_after
    }

    /// The error of a connection that was closed while it was not in use. This is no failure of the
    /// pod by itself.
    pub(crate) fn closed_at_rest(&mut self, source: mysql_async::Error) -> Error {
        self.lost = true;
        self.lease.pool.broke(self.lease.kept.generation);
        let pod = self.lease.pool.pod().clone();
        Error::Disconnected { pod, source }
    }

    /// Refuses a statement that is no read on a read-only session.
    pub(crate) fn admits(&self, reading: Reading) -> Result<(), Error> {
        match reading.no_read() {
            Some(statement) if self.lease.kept.kind == SessionKind::ReadOnly => {
                let pod = self.lease.pool.pod().clone();
                Err(Error::OnlyReads { pod, statement })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn foreign_statement(&self) -> Error {
        Error::ForeignStatement {
            pod: self.lease.pool.pod().clone(),
        }
    }

    /// Refuses a statement of `size` bytes if the server would not accept it.
    pub(crate) fn check_size(&self, size: usize) -> Result<(), Error> {
        match self.lease.kept.origin.max_allowed_packet {
            Some(limit) if size > limit => Err(Error::TooLarge {
                pod: self.lease.pool.pod().clone(),
                size,
                limit,
            }),
            _ => Ok(()),
        }
    }
}

impl PodConn {
    /// Refuses a text that is too long for the server, and checks what the statement does.
    pub(crate) fn admit(&mut self, statement: &[u8]) -> Result<(), Error> {
        self.session_mut().check_size(size::of_text(statement))?;
        self.judge(statement)
    }

    /// Pings a connection that was not used for a while. If it was closed meanwhile, the caller
    /// knows for sure that its statement was not sent.
    pub(crate) async fn wake(&mut self, deadline: Deadline) -> Result<(), Error> {
        let asked = Instant::now();
        let latest = asked + WAKE_TIMEOUT;
        let until = deadline.at.map_or(latest, |at| at.min(latest));
        let (conn, session) = self.split()?;
        let armed = session.arm();
        let answer = tokio::time::timeout_at(until, conn.ping()).await;
        armed.ended();
        let failed = match answer {
            Ok(Ok(())) => {
                session.cut_off = false;
                session.lease.heard(asked);
                session.took(Answer::of_ping(conn));
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => {
                // Another connection finds out whether the pod is alive.
                session.give_up(Why::TimedOut);
                std::io::Error::from(std::io::ErrorKind::TimedOut).into()
            }
        };
        let error = session.closed_at_rest(failed);
        Err(session.unsent(error))
    }
}
