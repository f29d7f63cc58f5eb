//! The side connection to a pod.
//!
//! It asks the server about the account's other threads and stops their statements, which the
//! pool's own connections cannot do. Owns the proof that its server is the one that got a given-up
//! statement. It must never stop anything without that proof: connection ids restart at each server
//! start.

use crate::pool::side::{Failed, GivenUp};
use crate::pool::state::Pool;
use crate::pool::threads::Threads;
use crate::server::closing_conn::ClosingConn;
use crate::server::facts::Origin;
use crate::server::session_kind::SessionKind;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A side connection, and the server at its other end.
pub(crate) struct Visit {
    raw: ClosingConn,
    origin: Arc<Origin>,
    /// The server's uptime at a moment between `asked` and `answered`.
    uptime: Duration,
    asked: Instant,
    answered: Instant,
}

/// Whether a server process is the one that got a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    Same,
    /// Another process. The process that got the statement has ended, and the statement with it.
    Another,
    Unsure,
}

impl Visit {
    /// The account's threads. The answer proves that the process still runs.
    pub(crate) async fn threads(&mut self) -> mysql_async::Result<Threads> {
        Threads::ask(self.raw.get()?).await
    }

    /// Closes the side connection, which does not answer, and returns its own session as given up.
    pub(crate) fn given_up(&mut self) -> GivenUp {
        let id = self.raw.peek().map_or(0, Conn::id);
        self.raw.close();
        GivenUp {
            id,
            stop: true,
            alive: self.answered,
            origin: Arc::clone(&self.origin),
            suspicion: None,
            hold: Arc::default(),
            flow_lost: true,
        }
    }

    pub(crate) async fn kill(&mut self, what: Kill, id: u32) -> mysql_async::Result<()> {
        let statement = match what {
            Kill::Statement => format!("KILL QUERY {id}"),
            Kill::Session => format!("KILL {id}"),
        };
        self.raw.get()?.query_drop(statement).await
    }

    /// Call after an answer on this connection. The answer proves that its process has been running
    /// since before `given_up` was queued.
    pub(crate) fn process_of(&self, given_up: &GivenUp) -> Process {
        if self.origin.identity != given_up.origin.identity {
            return Process::Another;
        }
        // A server computes its uptime as the difference of two truncated times, in whole seconds.
        // It may be wrong by up to a second.
        let second = Duration::from_secs(1);
        let at_most = self.answered.saturating_duration_since(given_up.alive);
        let at_least = self.asked.saturating_duration_since(given_up.alive);
        if (self.uptime.checked_sub(second)).is_some_and(|surely| surely >= at_most) {
            Process::Same
        } else if self.uptime + second < at_least {
            Process::Another
        } else {
            Process::Unsure
        }
    }
}

/// What to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    Statement,
    Session,
}

impl Pool {
    /// Logs in, and asks for the server's identity and uptime.
    pub(crate) async fn visit(&self) -> Result<Visit, Failed> {
        let (mut raw, facts) = self.dialler.log_in(SessionKind::ReadOnly).await?;
        let conn = raw.get()?;
        let asked = Instant::now();
        let uptime: Option<Row> = conn.query_first("SHOW GLOBAL STATUS LIKE 'Uptime'").await?;
        let uptime = uptime.and_then(|row| row.get_opt::<u64, _>(1)?.ok());
        Ok(Visit {
            raw,
            origin: Arc::clone(&facts.origin),
            uptime: Duration::from_secs(uptime.unwrap_or(0)),
            asked,
            answered: Instant::now(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn origin(identity: &str) -> Arc<Origin> {
        Arc::new(Origin {
            identity: identity.to_owned(),
            ..Origin::default()
        })
    }

    fn visit(identity: &str, uptime: Duration, answered: Instant) -> Visit {
        Visit {
            raw: ClosingConn::empty(),
            origin: origin(identity),
            uptime,
            asked: answered,
            answered,
        }
    }

    fn given_up(identity: &str, alive: Instant) -> GivenUp {
        GivenUp {
            id: 7,
            stop: true,
            alive,
            origin: origin(identity),
            suspicion: None,
            hold: Arc::default(),
            flow_lost: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_restarted_since_the_connection_answered_is_another_one() {
        let answered = Instant::now() + 100 * SECOND;
        let victim = given_up("mysql-0/1", answered - 30 * SECOND);
        // A restart after `alive` leaves at most 30 s, which the server may round up to 31.
        for (uptime, process) in [
            (0, Process::Another),
            (28, Process::Another),
            (29, Process::Unsure),
            (30, Process::Unsure),
            (31, Process::Same),
            (99, Process::Same),
        ] {
            let visit = visit("mysql-0/1", uptime * SECOND, answered);
            assert_eq!(visit.process_of(&victim), process, "{uptime}");
        }
        let stranger = visit("mysql-0/2", 99 * SECOND, answered);
        assert_eq!(stranger.process_of(&victim), Process::Another);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_made_after_the_visit_needs_a_server_that_tells_its_uptime() {
        let now = Instant::now();
        let victim = given_up("mysql-0/1", now + SECOND);
        let process = |uptime| visit("mysql-0/1", uptime, now).process_of(&victim);
        assert_eq!(process(SECOND), Process::Same);
        assert_eq!(process(Duration::ZERO), Process::Unsure);
    }
}
