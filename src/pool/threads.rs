//! The server threads of this account, and what each of them does.
//!
//! Owns the question (`SHOW PROCESSLIST`, which needs no privilege for the account's own threads)
//! and the reading of its answer. It must never report a thread as gone if the answer does not
//! cover it.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

/// The activity of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    Running,
    /// The thread waits for a statement.
    Idle,
    Gone,
    /// The server does not say, or its thread ids differ from those in its handshakes, as behind
    /// a proxy.
    Unknown,
}

/// The account's threads at one moment. `None` if they are unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Threads(Option<Vec<(u64, Activity)>>);

impl Threads {
    /// The server answered, but not about threads.
    pub(crate) const UNKNOWN: Self = Self(None);

    /// Asks the server at the other end of `conn`. A refusal is an answer, and means unknown
    /// threads.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub(crate) async fn ask(conn: &mut Conn) -> mysql_async::Result<Self> {
        let asking = u64::from(conn.id());
        let rows: Vec<Row> = match conn.query("SHOW PROCESSLIST").await {
            Ok(rows) => rows,
            Err(mysql_async::Error::Server(_)) => return Ok(Self(None)),
            Err(error) => return Err(error),
        };
        let threads = rows.iter().map(|row| {
            let id = row.get_opt::<u64, _>("Id")?.ok()?;
            let command = row.get_opt::<String, _>("Command")?.ok()?;
            Some((id, command))
        });
        Ok(Self::read(asking, threads.collect::<Option<Vec<_>>>()))
    }

    /// Reads `threads` (id and command), as listed for the connection `asking`.
    fn read(asking: u64, threads: Option<Vec<(u64, String)>>) -> Self {
        let threads = threads.filter(|threads| threads.iter().any(|(id, _)| *id == asking));
        Self(threads.map(|threads| {
            let activity = |command: &str| match command {
                "Sleep" => Activity::Idle,
                _ => Activity::Running,
            };
            let threads = threads.into_iter();
            threads
                .map(|(id, command)| (id, activity(&command)))
                .collect()
        }))
    }

    /// The activity of the thread whose connection has this id.
    pub(crate) fn activity(&self, id: u32) -> Activity {
        let Some(threads) = &self.0 else {
            return Activity::Unknown;
        };
        let thread = threads.iter().find(|(thread, _)| *thread == u64::from(id));
        thread.map_or(Activity::Gone, |(_, activity)| *activity)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The list that connection 100 got.
    pub(crate) fn threads(threads: &[(u64, &str)]) -> Threads {
        let asking = std::iter::once(&(100, "Query"));
        let threads = asking.chain(threads);
        let threads = threads.map(|(id, command)| (*id, (*command).to_owned()));
        Threads::read(100, Some(threads.collect()))
    }

    #[test]
    fn a_thread_that_the_list_lacks_is_gone_and_one_that_sleeps_runs_nothing() {
        let list = threads(&[(7, "Query"), (8, "Sleep"), (9, "Execute"), (10, "Killed")]);
        let seen = [7, 8, 9, 10, 11].map(|id| list.activity(id));
        let (running, idle) = (Activity::Running, Activity::Idle);
        assert_eq!(seen, [running, idle, running, running, Activity::Gone]);
    }

    #[test]
    fn a_list_without_the_connection_that_asked_says_nothing() {
        let behind_a_proxy = Threads::read(100, Some(vec![(7, "Query".to_owned())]));
        assert_eq!(behind_a_proxy.activity(7), Activity::Unknown);
        assert_eq!(Threads::read(100, None).activity(7), Activity::Unknown);
    }
}
