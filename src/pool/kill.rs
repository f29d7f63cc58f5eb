//! Stops statements that were given up: they timed out, or their callers left.
//!
//! While there is work, each pod has one task and one side connection ([`Visit`]), which is kept
//! for a second after its last use. The task stops the statements (`KILL QUERY`), and then checks
//! until their threads are gone. Until then, the slot of each statement's connection stays taken: a
//! slot counts a session on the server, and some statements cannot be stopped. Owns these slots,
//! and the verdict whether a pod still answers after a statement timed out on it. It must never
//! stop a statement of another server, nor of another start of the same server.

use crate::balance::Guard;
use crate::observe;
use crate::pool::hold::Hold;
use crate::pool::idle::Idle;
use crate::pool::side::Failed;
use crate::pool::side::{GivenUp, Question, Queue};
use crate::pool::state::Pool;
use crate::pool::threads::Activity;
use crate::pool::visit::{Kill, Process, Visit};
use mysql_async::Conn;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The limit for opening a side connection, and then for each question on it. A suspect pod that
/// takes longer counts as dead. If its last login took more than half of this limit, the limit is
/// twice the time of that login instead, up to the connect timeout.
const SIDE_TIMEOUT: Duration = Duration::from_secs(1);

/// A pod that takes longer than this (and than twice its last login) to answer on a side connection
/// is suspect until the outcome is known, even if no statement timed out. Otherwise, callers with
/// deadlines of their own would continue to pick it.
const DOUBT_AFTER: Duration = Duration::from_millis(200);

/// The limit for an answer to an `inquiry` on an existing side connection. Its flow may be lost,
/// and then a new side connection must be opened in time.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

/// A side connection is kept this long after its last use, so that a burst costs one login.
const LINGER: Duration = Duration::from_secs(1);

/// The first and the longest pause between two checks of the threads. The pause doubles.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(5), Duration::from_secs(1)];

/// The pause after a failed attempt to open a side connection.
const RETRY: Duration = Duration::from_secs(1);

/// A session that has not ended after this time is reported as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// If a thread still waits for a statement this long after its connection was closed, the close did
/// not reach the server: the flow is lost. The thread is then killed.
const UNTOLD_AFTER: Duration = Duration::from_secs(1);

/// A session whose statement was given up, and which may still exist on the server.
struct Unended {
    given_up: GivenUp,
    since: Instant,
    /// Whether its outcome is in the metrics.
    counted: bool,
    /// Since when the checks have found its thread idle.
    idle: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// The session has ended, or no further check can show more.
    Release,
    Wait,
    Kill(Kill),
}

impl Unended {
    fn new(given_up: GivenUp) -> Self {
        Self {
            given_up,
            since: Instant::now(),
            counted: false,
            idle: None,
        }
    }

    fn action(
        &mut self,
        process: Process,
        activity: Activity,
        may_kill: bool,
        now: Instant,
    ) -> Action {
        let idle_before = self.idle;
        self.idle = (activity == Activity::Idle).then(|| idle_before.unwrap_or(now));
        let stop = may_kill && self.given_up.stop;
        match (process, activity) {
            (Process::Another, _) | (_, Activity::Gone) => Action::Release,
            (Process::Same, Activity::Running) if stop => Action::Kill(Kill::Statement),
            (_, Activity::Running) => Action::Wait,
            (Process::Unsure, Activity::Idle) | (_, Activity::Unknown) => Action::Release,
            // At the first check, the statement may not have reached the server yet.
            (Process::Same, Activity::Idle) if idle_before.is_none() => Action::Wait,
            // Its user still has the connection, and the slot with it.
            (Process::Same, Activity::Idle) if !self.given_up.is_closed() => Action::Release,
            (Process::Same, Activity::Idle) => match idle_before {
                Some(since)
                    if !self.given_up.flow_lost
                        && now.saturating_duration_since(since) < UNTOLD_AFTER =>
                {
                    Action::Wait
                }
                _ if may_kill => Action::Kill(Kill::Session),
                _ => Action::Release,
            },
        }
    }
}

/// The task that serves the queue. Only one exists at a time. It ends under the queue's lock, so a
/// later entry starts a new task.
struct KillTask {
    pool: Arc<Pool>,
    unended: Vec<Unended>,
    questions: Vec<Question>,
    ended: bool,
}

impl Drop for KillTask {
    /// Releases everything if the runtime shuts down before or while the task runs.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.pool.side.queue().served = false;
        drop(self.pool.side.take());
    }
}

impl KillTask {
    fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            unended: Vec::new(),
            questions: Vec::new(),
            ended: false,
        }
    }

    async fn run(mut self) {
        while self.goes_on() {
            match self.visit().await {
                Ok(visit) => self.attend(visit).await,
                Err(failed) => self.unreachable(&failed).await,
            }
        }
    }

    /// Whether there is work. If not, the task must end.
    fn goes_on(&mut self) -> bool {
        self.take();
        if self.has_work() {
            return true;
        }
        let mut queue = self.pool.side.queue();
        if !queue.given_up.is_empty() || !queue.questions.is_empty() {
            return true;
        }
        queue.served = false;
        self.ended = true;
        false
    }

    /// Takes the queued entries. Returns whether there were any.
    fn take(&mut self) -> bool {
        let (given_up, questions) = self.pool.side.take();
        let is_news = !given_up.is_empty() || !questions.is_empty();
        self.unended.extend(given_up.into_iter().map(Unended::new));
        self.questions.extend(questions);
        is_news
    }

    fn has_work(&self) -> bool {
        !self.unended.is_empty() || !self.questions.is_empty()
    }

    async fn visit(&mut self) -> Result<Visit, Failed> {
        let pool = Arc::clone(&self.pool);
        let limit = pool.dialler.sign_of_life(SIDE_TIMEOUT);
        let visit = self.doubting(limit, pool.visit()).await;
        visit.unwrap_or_else(|| {
            let dead = format!("no answer on a side connection within {limit:.1?}");
            Err(Failed::Dead(dead))
        })
    }

    /// Runs `work` up to `limit`. The pod becomes suspect if that takes longer than
    /// [`DOUBT_AFTER`].
    async fn doubting<T>(&mut self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let doubt = self.pool.dialler.sign_of_life(DOUBT_AFTER);
        if let Ok(done) = timeout(doubt, &mut work).await {
            return Some(done);
        }
        for Unended { given_up, .. } in &mut self.unended {
            let guard = given_up.hold.guard.as_ref();
            given_up.suspicion = given_up.suspicion.take().or(guard.map(Guard::suspect));
        }
        timeout(limit.saturating_sub(doubt), work).await.ok()
    }

    /// Uses the side connection until it breaks, or has been unused for [`LINGER`].
    async fn attend(&mut self, mut visit: Visit) {
        let [first, longest] = LOOK_AGAIN;
        let mut pause = first;
        let pool = Arc::clone(&self.pool);
        loop {
            if self.take() {
                pause = first;
            }
            if !self.has_work() {
                self.report_stuck();
                let news = timeout(LINGER, pool.side.news.notified()).await;
                if news.is_err() || pool.is_retired() {
                    return;
                }
                continue;
            }
            let limit = match self.questions.is_empty() {
                true => SIDE_TIMEOUT,
                false => self.pool.dialler.sign_of_life(ANSWER_WITHIN),
            };
            if !self.look(&mut visit, limit).await {
                self.unended.push(Unended::new(visit.given_up()));
                return;
            }
            if self.unended.is_empty() {
                continue;
            }
            if pool.is_retired() {
                // A retired pool dials no more, so its slots need not stay taken.
                self.unended.clear();
                continue;
            }
            self.report_stuck();
            let _ = timeout(pause, pool.side.news.notified()).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Checks all threads once. Returns whether the side connection is still usable.
    async fn look(&mut self, visit: &mut Visit, limit: Duration) -> bool {
        let Some(Ok(threads)) = self.doubting(limit, visit.threads()).await else {
            return false;
        };
        let threads = Arc::new(threads);
        for question in self.questions.drain(..) {
            let _ = question.send(Ok(Arc::clone(&threads)));
        }
        let now = Instant::now();
        let mut batch = std::mem::take(&mut self.unended).into_iter();
        while let Some(mut one) = batch.next() {
            if let Some(suspicion) = one.given_up.suspicion.take() {
                suspicion.cleared();
            }
            let process = visit.process_of(&one.given_up);
            let activity = threads.activity(one.given_up.id);
            match one.action(process, activity, self.pool.kill_query, now) {
                Action::Release => {
                    let outcome = match (process, activity) {
                        (_, Activity::Gone) | (Process::Same, Activity::Idle) => "ended",
                        _ => "not_sure",
                    };
                    self.pool.count_outcome(&mut one, outcome);
                    continue;
                }
                Action::Wait => {}
                Action::Kill(what) => {
                    if !self.pool.kill(visit, what, &mut one).await {
                        self.unended.push(one);
                        self.unended.extend(batch);
                        return false;
                    }
                }
            }
            self.unended.push(one);
        }
        true
    }

    /// Handles a failed attempt to open a side connection. The sessions may still exist on the
    /// server, so their slots stay taken until it can be asked.
    async fn unreachable(&mut self, failed: &Failed) {
        self.take();
        for question in self.questions.drain(..) {
            let _ = question.send(Err(failed.clone()));
        }
        for one in &mut self.unended {
            self.pool.count_outcome(one, "unreachable");
            let given_up = &mut one.given_up;
            match (failed, given_up.suspicion.take()) {
                (Failed::Refused(_) | Failed::NotAsked(_), suspicion) => drop(suspicion),
                (Failed::Dead(cause), Some(suspicion)) => suspicion.confirmed(cause),
                // Callers with deadlines of their own would never notice a frozen pod.
                (Failed::Dead(cause), None) => {
                    if let Some(guard) = &given_up.hold.guard {
                        guard.condemn(cause);
                    }
                }
            }
        }
        self.unended.retain(|one| one.given_up.counts());
        let (Failed::Refused(cause) | Failed::Dead(cause) | Failed::NotAsked(cause)) = failed;
        tracing::debug!(pod = %self.pool.pod(), cause, "no side connection");
        if !self.pool.is_retired() && self.has_work() {
            let _ = timeout(RETRY, self.pool.side.news.notified()).await;
        }
        if self.pool.is_retired() {
            self.unended.clear();
        }
    }

    /// Publishes the number of stuck sessions, and warns when it leaves zero.
    fn report_stuck(&self) {
        let is_stuck = |one: &&Unended| one.since.elapsed() >= STUCK_AFTER;
        let stuck = self.unended.iter().filter(is_stuck).count();
        let before = self.pool.side.set_stuck(stuck);
        for _ in before..stuck {
            let labels = [("pod", self.pool.host())];
            observe::count(observe::SESSIONS_STUCK, &labels);
        }
        if before == 0 && stuck > 0 {
            tracing::warn!(
                pod = %self.pool.pod(), sessions = stuck,
                "statements that were given up do not end on the server; each keeps its slot of \
                 the pool until it does"
            );
        }
    }
}

impl Pool {
    /// Queues a statement that was given up: a task stops it, and checks whether the pod is alive.
    pub(crate) fn stop(self: &Arc<Self>, given_up: GivenUp) {
        self.queue_aside(|queue| queue.given_up.push(given_up));
    }

    /// Asks for the account's threads on the side connection.
    pub(crate) fn ask_on_side(self: &Arc<Self>, question: Question) {
        self.queue_aside(|queue| queue.questions.push(question));
    }

    /// Closes a connection on which the server does not answer. A task then ends its session on the
    /// server, because the close may not reach the server.
    pub(crate) fn bury(self: &Arc<Self>, idle: Idle) {
        let Idle {
            mut raw,
            slot,
            kept,
            ..
        } = idle;
        let id = raw.peek().map(Conn::id);
        raw.close();
        let Some(id) = id else { return };
        let hold = Hold {
            slot: Some(slot),
            ..Hold::default()
        };
        self.stop(GivenUp {
            id,
            stop: true,
            alive: kept.alive,
            origin: kept.origin,
            suspicion: None,
            hold: Arc::new(hold),
            flow_lost: true,
        });
    }

    fn queue_aside(self: &Arc<Self>, add: impl FnOnce(&mut Queue)) {
        let begin = {
            let mut queue = self.side.queue();
            add(&mut queue);
            !std::mem::replace(&mut queue.served, true)
        };
        if begin {
            self.handle.spawn(KillTask::new(Arc::clone(self)).run());
        } else {
            self.side.news.notify_one();
        }
    }

    /// Returns whether the side connection is still usable.
    async fn kill(&self, visit: &mut Visit, what: Kill, one: &mut Unended) -> bool {
        let id = one.given_up.id;
        match timeout(SIDE_TIMEOUT, visit.kill(what, id)).await {
            Ok(Ok(())) => {
                tracing::debug!(pod = %self.pod(), id, ?what, "a statement was stopped");
                self.count_outcome(one, "stopped");
                true
            }
            // For example 1094: the connection is gone, and its statement with it.
            Ok(Err(error @ mysql_async::Error::Server(_))) => {
                tracing::debug!(pod = %self.pod(), id, %error, "a statement was not stopped");
                self.count_outcome(one, "refused");
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Counts the outcome, once for each statement that was to be stopped.
    fn count_outcome(&self, one: &mut Unended, outcome: &'static str) {
        if one.given_up.stop && !std::mem::replace(&mut one.counted, true) {
            let labels = [("pod", self.host()), ("outcome", outcome)];
            observe::count(observe::STATEMENTS_STOPPED, &labels);
        }
    }
}

#[cfg(test)]
mod tests;
