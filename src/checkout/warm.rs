//! Makes connections before a call needs them: the configured minimum, and the connection that
//! proves a pod's identity.

use crate::pool::growth::Slot;
use crate::pool::idle::Idle;
use crate::pool::limits::WARM_PAUSE;
use crate::pool::state::Pool;
use crate::server::session_kind::SessionKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

struct Warming<'a>(&'a AtomicBool);

impl Drop for Warming<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Pool {
    /// Keeps the configured minimum of connections, in a task of its own. Call it repeatedly while
    /// the pod is healthy.
    pub(crate) fn keep_warm(self: &Arc<Self>) {
        if self.limits.min == 0 || !self.needs_warming() {
            return;
        }
        if self.limits.warming.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::clone(self);
        self.handle.spawn(async move { pool.warm().await });
    }

    /// Dials once, in a task of its own, so that the server proves which pod it is. The new
    /// connection then stays in the pool for a caller.
    pub(crate) fn prove(self: &Arc<Self>) {
        let pool = Arc::clone(self);
        self.handle
            .spawn(async move { pool.make_unasked(SessionKind::ReadWrite).await });
    }

    fn needs_warming(&self) -> bool {
        self.takes_calls() && (self.growth.connections() < self.limits.min || self.has_cooling())
    }

    /// Whether an idle connection of the minimum would be closed soon.
    fn has_cooling(&self) -> bool {
        let cooling = self.idle.count_those(|idle| self.is_cooling(idle));
        cooling > 0 && self.growth.connections() < self.limits.min + cooling
    }

    fn is_cooling(&self, idle: &Idle) -> bool {
        idle.since.elapsed() > self.limits.idle_timeout.mul_f64(0.75)
    }

    async fn warm(self: Arc<Self>) {
        let _warming = Warming(&self.limits.warming);
        let kind = match self.is_primary() {
            true => SessionKind::ReadWrite,
            false => SessionKind::ReadOnly,
        };
        while self.needs_warming() {
            tokio::time::sleep(WARM_PAUSE.mul_f64(rand::random())).await;
            let cooling = match self.has_cooling() {
                true => self.idle.take(|idle| self.is_cooling(idle)),
                false => None,
            };
            // After a failure the next call of `keep_warm` tries again.
            let is_warmer = match cooling {
                // A successful check returns it to the pool at once.
                Some(idle) => self.check(idle.kept.kind, idle).await.is_ok(),
                None if self.growth.connections() < self.limits.min => {
                    self.make_for_later(kind).await
                }
                None => false,
            };
            if !is_warmer {
                return;
            }
        }
    }

    /// Makes a connection up to the minimum. Returns whether it was made.
    async fn make_for_later(self: &Arc<Self>, kind: SessionKind) -> bool {
        if self.growth.connections() >= self.limits.min {
            return false;
        }
        self.make_unasked(kind).await
    }

    /// Makes a connection that no call waits for. Returns whether it was made.
    async fn make_unasked(self: &Arc<Self>, kind: SessionKind) -> bool {
        // `None`: the limit is reached, or calls are making connections already, which proves as
        // much.
        let Some(slot) = Slot::begin(&self.growth) else {
            return false;
        };
        let answers = self.growth.answers();
        let Err(failed) = self.dial(kind, slot).await else {
            return true;
        };
        tracing::debug!(pod = %self.pod(), error = %failed.0, "no connection could be made");
        // No call waits for the connection, so none would report that the pod may be unhealthy.
        self.blocks_growth(&failed.0, answers);
        drop(failed);
        self.resized();
        false
    }
}
