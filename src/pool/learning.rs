//! Learns the primary's position after this process has committed.
//!
//! The primary is asked for its position before a write. That alone does not cover the last commits
//! before a pause: if a failover lost them, the loss would not be noticed. So [`Pool::wrote`] has
//! the primary asked once more when the writes pause. Owns that question. It must never delay a
//! call: it takes an idle connection for one round trip, or waits until one is idle.

use crate::pool::commits::PAUSE;
use crate::pool::state::Pool;
use crate::server::session_kind::SessionKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// If an idle connection does not answer within this time, it is closed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Attempts in a row. After the last one, the question waits for the next write.
const ATTEMPTS: u32 = 10;

impl Pool {
    /// Notes that a statement that may have written was answered.
    pub(crate) fn wrote(self: &Arc<Self>) {
        self.history.wrote();
        if self.commits.note() {
            let pool = Arc::clone(self);
            self.handle.spawn(async move { pool.learn_commits().await });
        }
    }

    async fn learn_commits(self: Arc<Self>) {
        loop {
            let count = self.commits.paused().await;
            let mut attempts = 0;
            while attempts < ATTEMPTS && !self.learn_position().await {
                tokio::time::sleep(PAUSE).await;
                attempts += 1;
            }
            if !self.commits.learnt(count) {
                return;
            }
        }
    }

    /// Asks the server for its position. Returns true if it answered or need not be asked.
    async fn learn_position(self: &Arc<Self>) -> bool {
        if self.is_retired() || !self.is_primary() {
            return true;
        }
        let era = self.era.load(Ordering::Acquire);
        let kind = SessionKind::ReadWrite;
        let Some(mut idle) = self.idle.take_latest(kind, |idle| idle.kept.era == era) else {
            return false;
        };
        let begun = Instant::now();
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.examine(&mut idle, kind)).await;
        let answered = matches!(asked, Ok(Ok(_)));
        if answered {
            idle.kept.alive = begun;
            // It was used just now, so the next call needs no ping.
            idle.since = Instant::now();
            self.give_back(idle);
        } else {
            self.broke(idle.kept.generation);
            drop(idle);
        }
        self.freed();
        answered
    }
}
