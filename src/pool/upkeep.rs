//! Upkeep of a pool: its size, stale connections, and draining.

use crate::observe;
use crate::pool::limits::{DRAIN_STEP, allowed};
use crate::pool::state::Pool;
use std::sync::Arc;
use tokio::time::Instant;

impl Pool {
    /// Connections that are checked out, being made, or being cleaned.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use_and_idle().0
    }

    /// See [`Pool::in_use`]. No connection is counted as both.
    pub(crate) fn in_use_and_idle(&self) -> (usize, usize) {
        let idle = self.idle_count();
        (self.growth.connections().saturating_sub(idle), idle)
    }

    /// The number of sessions whose given-up statements the server does not end.
    pub(crate) fn stuck_sessions(&self) -> usize {
        self.side.stuck()
    }

    /// Closes idle connections on which the server has not answered since `since`. Another
    /// connection, used at that time, has lost its flow, and theirs may be lost too. To check each
    /// would cost a call its time.
    pub(crate) fn distrust_flows(self: &Arc<Self>, since: Instant) {
        for idle in self.idle.take_those(|idle| idle.kept.alive < since) {
            self.bury(idle);
        }
    }

    /// Whether any connection of the pool exists.
    pub(crate) fn has_connections(&self) -> bool {
        self.in_use() + self.idle_count() > 0
    }

    /// Ends when no connection is in use any more. Call [`Pool::retire`] first.
    pub(crate) async fn drained(&self) {
        while self.in_use() > 0 {
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }

    /// Adapts the size of the pool to `server`, the server's limit of connections. Surplus
    /// connections in use are closed when they come back.
    pub(crate) fn fit_into(self: &Arc<Self>, server: usize) {
        let room = &self.limits;
        let (most, limit) = allowed(room.max, room.share, server);
        let (before, mut surplus) = {
            let mut book = self.growth.book();
            let before = book.most();
            if before == most {
                return;
            }
            (before, book.limit(most, limit))
        };
        if before == room.max {
            tracing::warn!(
                pod = %self.pod(), connections = most, limit,
                "fewer connections are made than configured"
            );
            let labels = [("pod", self.host()), ("reason", "share")];
            observe::count(observe::SLOTS_WITHHELD, &labels);
        }
        self.idle.drop_those(|_| {
            let drop_it = surplus > 0;
            surplus = surplus.saturating_sub(1);
            drop_it
        });
        self.resized();
        if most > before {
            // Calls in the balancer's queue are otherwise woken only when a checkout ends.
            self.freed();
        }
    }

    /// Call when the number of connections, or its limit, has changed.
    pub(crate) fn resized(self: &Arc<Self>) {
        let size = self.growth.book().size();
        self.fallback.resize((size / 2).max(1));
        self.grow();
    }

    /// Closes connections that are too old, or were idle for too long.
    pub(crate) fn prune(&self) {
        let now = Instant::now();
        self.idle.drop_those(|idle| self.limits.is_stale(idle, now));
        self.budget.recover();
    }
}
