//! What becomes of a statement that nobody waits for any more.
//!
//! Owns the side connection to a pod, at most one at a time. It stops what was given up (`KILL
//! QUERY`), and tells whether a suspect pod answers at all. It must never stop a statement of
//! another server, nor of another start of the same one: connection ids begin anew there. Until it
//! is done with a statement, the slot of that statement's connection stays taken.

use super::connect::{Origin, Raw, SessionKind};
use super::lease::Hold;
use super::pool::Pool;
use crate::balance::{Guard, Suspicion};
use crate::brief::Brief;
use crate::error::ConnectError;
use crate::observe;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// For connecting and asking who is there, and then for each statement. A suspect pod that takes
/// longer is taken for dead, unless its last login took more than half of this: then it has twice
/// that time, up to the connect timeout.
const SIDE_TIMEOUT: Duration = Duration::from_secs(1);

/// A pod that takes longer to let a side connection in, or longer than twice its last login, is
/// suspect until the outcome is known, also if no statement timed out: callers with deadlines of
/// their own would go on to pick it.
const DOUBT_AFTER: Duration = Duration::from_millis(200);

/// A statement that was given up.
pub(super) struct GivenUp {
    /// The server's id of its connection. `None`: not to be stopped.
    pub(super) id: Option<u32>,
    /// The connection existed then, and the server has answered on it since.
    pub(super) alive: Instant,
    pub(super) origin: Arc<Origin>,
    /// It timed out, or its caller left and the pod is slow to let a side connection in. (That a
    /// caller left says nothing about the pod.)
    pub(super) suspicion: Option<Suspicion>,
    pub(super) hold: Arc<Hold>,
    /// A side connection was made only to find that it is older than this connection.
    pub(super) postponed: bool,
}

/// What waits for the side connection, and whether there is one.
#[derive(Default)]
pub(super) struct Side(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Vec<GivenUp>,
    served: bool,
}

impl Side {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<GivenUp> {
        std::mem::take(&mut self.queue().waiting)
    }
}

/// The task that serves the queue. Only one exists at a time; it ends under the queue's lock, so
/// whatever comes later starts another one.
struct Server {
    pool: Arc<Pool>,
    ended: bool,
}

impl Server {
    /// What waits. `None`: nothing does, and the task has to end.
    fn next(&mut self) -> Option<Vec<GivenUp>> {
        let mut queue = self.pool.side.queue();
        if queue.waiting.is_empty() {
            queue.served = false;
            self.ended = true;
            return None;
        }
        Some(std::mem::take(&mut queue.waiting))
    }
}

impl Drop for Server {
    /// A task that ends before its time, with its runtime, lets go of everything; also one that
    /// never began, for its runtime had ended.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let waiting = {
            let mut queue = self.pool.side.queue();
            queue.served = false;
            std::mem::take(&mut queue.waiting)
        };
        drop(waiting);
    }
}

/// A side connection, and who is at its other end.
struct Visit {
    raw: Raw,
    id: u32,
    identity: String,
    uptime: Duration,
    answered: Instant,
}

impl Visit {
    /// Whether the server at the other end has been up since before the connection of `given_up`
    /// was known to be alive.
    fn is_to_the_server_of(&self, given_up: &GivenUp) -> bool {
        let since = self.answered.saturating_duration_since(given_up.alive);
        self.identity == given_up.origin.identity && was_up_for(self.uptime, since)
    }
}

/// Servers tell their uptime in whole seconds, as a difference of two cut-off times: it may be up
/// to a second more than the truth. In doubt the answer is no.
fn was_up_for(uptime: Duration, since: Duration) -> bool {
    uptime
        .checked_sub(Duration::from_secs(1))
        .is_some_and(|surely| surely >= since)
}

/// The task of [`Pool::stop`].
async fn stop_all(mut server: Server) {
    let mut left = Vec::new();
    loop {
        if left.is_empty() {
            match server.next() {
                Some(waiting) => left = waiting,
                None => return,
            }
        }
        let pool = &server.pool;
        let limit = pool.dialler.sign_of_life(SIDE_TIMEOUT);
        let visit = tokio::time::timeout(limit, pool.visit_doubtful(&mut left)).await;
        let visit = visit.unwrap_or_else(|_| {
            let dead = format!("no answer on a side connection within {}", Brief(limit));
            Err(Failed::Dead(dead))
        });
        match visit {
            Ok(visit) => left = pool.serve(visit, std::mem::take(&mut left)).await,
            Err(failed) => {
                left.extend(pool.side.take());
                for given_up in left.drain(..) {
                    pool.not_stopped(given_up, &failed);
                }
            }
        }
    }
}

/// Why a visit failed.
enum Failed {
    /// There was an answer, if not the one hoped for.
    Refused(String),
    /// There was none.
    Dead(String),
}

impl Pool {
    /// Stops a statement that was given up, and finds out whether the pod is alive, in a task of
    /// its own.
    pub(super) fn stop(self: &Arc<Self>, given_up: GivenUp) {
        let begin = {
            let mut queue = self.side.queue();
            queue.waiting.push(given_up);
            !std::mem::replace(&mut queue.served, true)
        };
        if begin {
            let server = Server {
                pool: Arc::clone(self),
                ended: false,
            };
            self.handle.spawn(stop_all(server));
        }
    }

    /// Logs in and asks who this is, and for how long it has been up.
    async fn visit(&self) -> Result<Visit, Failed> {
        let (mut raw, (_, facts)) = self.dialler.log_in(SessionKind::ReadOnly).await?;
        let conn = raw.get()?;
        let id = conn.id();
        let uptime: Option<Row> = conn.query_first("SHOW GLOBAL STATUS LIKE 'Uptime'").await?;
        let uptime = uptime.and_then(|row| row.get_opt::<u64, _>(1)?.ok());
        Ok(Visit {
            raw,
            id,
            identity: facts.origin.identity.clone(),
            uptime: Duration::from_secs(uptime.unwrap_or(0)),
            answered: Instant::now(),
        })
    }

    /// As [`Pool::visit`]; the pod is suspect when it takes long.
    async fn visit_doubtful(&self, waiting: &mut [GivenUp]) -> Result<Visit, Failed> {
        let mut visit = pin!(self.visit());
        let doubt = self.dialler.sign_of_life(DOUBT_AFTER);
        if let Ok(visit) = tokio::time::timeout(doubt, &mut visit).await {
            return visit;
        }
        for given_up in waiting {
            let guard = given_up.hold.guard.as_ref();
            given_up.suspicion = given_up.suspicion.take().or(guard.map(Guard::suspect));
        }
        visit.await
    }

    /// Serves everybody who waits, until nobody does; returns those for whom this side connection is
    /// not the right one.
    async fn serve(&self, mut visit: Visit, first: Vec<GivenUp>) -> Vec<GivenUp> {
        let mut next = first;
        let mut later = Vec::new();
        loop {
            next.extend(self.side.take());
            if next.is_empty() {
                return later;
            }
            let mut batch = std::mem::take(&mut next).into_iter();
            while let Some(mut given_up) = batch.next() {
                // An answer it was.
                if let Some(suspicion) = given_up.suspicion.take() {
                    suspicion.cleared();
                }
                let Some(id) = given_up.id else { continue };
                // Ids grow: a connection made after this visit belongs to the same server or a
                // later start, which only the next visit can tell.
                if id >= visit.id && !given_up.postponed {
                    given_up.postponed = true;
                    later.push(given_up);
                    continue;
                }
                if id >= visit.id || !visit.is_to_the_server_of(&given_up) {
                    tracing::debug!(pod = %self.pod(), id, "not stopped: the server may have restarted");
                    self.count_stop("not_sure");
                    continue;
                }
                if !self.kill(&mut visit.raw, id).await {
                    // Another side connection will do, or tell that the pod is dead.
                    later.extend(batch);
                    return later;
                }
            }
        }
    }

    /// Returns whether the side connection can be used on.
    async fn kill(&self, raw: &mut Raw, id: u32) -> bool {
        let Ok(conn) = raw.get() else { return false };
        let killed = conn.query_drop(format!("KILL QUERY {id}"));
        match tokio::time::timeout(SIDE_TIMEOUT, killed).await {
            Ok(Ok(())) => {
                tracing::debug!(pod = %self.pod(), id, "a statement was stopped");
                self.count_stop("stopped");
                true
            }
            // Such as 1094: the connection is gone, and its statement with it.
            Ok(Err(error @ mysql_async::Error::Server(_))) => {
                tracing::debug!(pod = %self.pod(), id, %error, "a statement was not stopped");
                self.count_stop("refused");
                !raw.peek().is_none_or(Conn::is_disconnected)
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    fn count_stop(&self, outcome: &'static str) {
        let labels = [("pod", self.host()), ("outcome", outcome)];
        observe::count(observe::STATEMENTS_STOPPED, &labels);
    }

    fn not_stopped(&self, given_up: GivenUp, failed: &Failed) {
        if given_up.id.is_some() {
            self.count_stop("unreachable");
        }
        match failed {
            Failed::Refused(refusal) => {
                tracing::debug!(pod = %self.pod(), %refusal, "a statement was not stopped");
                if let Some(suspicion) = given_up.suspicion {
                    suspicion.cleared();
                }
            }
            Failed::Dead(cause) => match (given_up.suspicion, &given_up.hold.guard) {
                (Some(suspicion), _) => suspicion.confirmed(cause),
                // Callers with deadlines of their own would never notice a pod that is frozen.
                (None, Some(guard)) => guard.condemn(cause),
                (None, None) => {}
            },
        }
    }
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        let cause = error.to_string();
        match error {
            ConnectError::Unreachable { .. }
            | ConnectError::Silent { .. }
            | ConnectError::ClosedEarly { .. }
            | ConnectError::NotMysql { .. } => Self::Dead(cause),
            _ => Self::Refused(cause),
        }
    }
}

impl From<mysql_async::Error> for Failed {
    fn from(error: mysql_async::Error) -> Self {
        let cause = error.to_string();
        match error {
            mysql_async::Error::Server(_) => Self::Refused(cause),
            _ => Self::Dead(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn visit(identity: &str, uptime: Duration, answered: Instant) -> Visit {
        Visit {
            raw: Raw::empty(),
            id: 100,
            identity: identity.to_owned(),
            uptime,
            answered,
        }
    }

    fn given_up(identity: &str, alive: Instant) -> GivenUp {
        GivenUp {
            id: Some(7),
            alive,
            origin: Arc::new(Origin {
                identity: identity.to_owned(),
                ..Origin::default()
            }),
            suspicion: None,
            hold: Arc::default(),
            postponed: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_restarted_since_the_connection_answered_is_another_one() {
        let answered = Instant::now() + 100 * SECOND;
        let alive = answered - 30 * SECOND;
        let victim = given_up("mysql-0/1", alive);
        // A restart after `alive` leaves at most 30 s, which the server may round up to 31.
        for (uptime, same) in [(0, false), (29, false), (30, false), (31, true), (99, true)] {
            let visit = visit("mysql-0/1", uptime * SECOND, answered);
            assert_eq!(visit.is_to_the_server_of(&victim), same, "{uptime}");
        }
        let stranger = visit("mysql-0/2", 99 * SECOND, answered);
        assert!(!stranger.is_to_the_server_of(&victim));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_served_by_one_task_at_a_time_and_by_another_one_after_it() {
        let (pool, _) = testing::pool(&testing::config(), tokio::runtime::Handle::current());
        let side = &pool.side;
        let comes = || {
            let mut queue = side.queue();
            queue.waiting.push(given_up("mysql-0/1", Instant::now()));
            !std::mem::replace(&mut queue.served, true)
        };
        let server = || Server {
            pool: Arc::clone(&pool),
            ended: false,
        };
        assert!(comes());
        let mut first = server();
        assert!(!comes());
        assert_eq!(first.next().unwrap().len(), 2);
        assert!(!comes(), "being served is not over");
        assert_eq!(first.next().unwrap().len(), 1);
        assert!(first.next().is_none());
        assert!(comes(), "the first one has ended");
        drop(first);
        let mut second = server();
        assert_eq!(
            second.next().unwrap().len(),
            1,
            "the first one took nothing along"
        );
        assert!(!comes());
        drop(second);
        assert!(side.take().is_empty() && comes(), "cut short, it lets go");
    }

    #[test]
    fn what_is_given_up_after_the_end_of_the_runtime_is_let_go_of() {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let (pool, _) = testing::pool(&testing::config(), runtime.handle().clone());
        drop(runtime);
        let given_up = given_up("mysql-0/1", Instant::now());
        let hold = Arc::downgrade(&given_up.hold);
        pool.stop(given_up);
        assert_eq!(hold.strong_count(), 0);
        assert!(!pool.side.queue().served);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_answered_after_the_visit_began_needs_a_server_that_tells_its_uptime()
    {
        let now = Instant::now();
        let victim = given_up("mysql-0/1", now + SECOND);
        assert!(visit("mysql-0/1", SECOND, now).is_to_the_server_of(&victim));
        assert!(!visit("mysql-0/1", Duration::ZERO, now).is_to_the_server_of(&victim));
    }

    #[cfg(feature = "metrics")]
    #[tokio::test(start_paused = true)]
    async fn a_statement_of_another_server_and_one_that_cannot_be_reached_are_counted_as_such() {
        let recorder = crate::observe::testing::Recorder::default();
        let _installed = metrics::set_default_local_recorder(&recorder);
        let (pool, _) = testing::pool(&testing::config(), tokio::runtime::Handle::current());
        let now = Instant::now();
        let visit = visit("mysql-0/2", 99 * SECOND, now);
        let left = pool.serve(visit, vec![given_up("mysql-0/1", now)]).await;
        assert!(left.is_empty());
        let dead = Failed::Dead("no answer".to_owned());
        pool.not_stopped(given_up("mysql-0/1", now), &dead);
        let not_to_be_stopped = GivenUp {
            id: None,
            ..given_up("mysql-0/1", now)
        };
        pool.not_stopped(not_to_be_stopped, &dead);

        let pod = "pod=mysql-0.mysql.default.svc.cluster.local";
        let key = |outcome| {
            let metric = observe::STATEMENTS_STOPPED;
            format!("{metric}{{{pod},outcome={outcome}}}")
        };
        let expected = [(key("not_sure"), 1), (key("unreachable"), 1)];
        assert_eq!(recorder.counters(), expected.into());
    }
}
