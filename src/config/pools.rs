//! Owns the options of the pools, one per pod: how many connections, how long they live, what they
//! keep. They must never say how long a call may take: those options are in the parent module.

use super::Config;
use std::time::Duration;

impl Config {
    /// The most connections to hold to one pod; default 16. Times the number of application
    /// processes it must stay below the servers' `max_connections`.
    #[must_use]
    pub fn with_max_connections(mut self, per_pod: usize) -> Self {
        self.max_connections = per_pod;
        self
    }

    /// Connections that are kept open to each pod while it is listed and healthy, used or not;
    /// default 0. They are opened one at a time. Raise it so that the first calls after a start, or
    /// after a pause, need not wait for a login.
    #[must_use]
    pub fn with_min_connections(mut self, per_pod: usize) -> Self {
        self.min_connections = per_pod;
        self
    }

    /// The most of a server's `@@max_connections` that this process may take, in percent; default
    /// 50. It lowers `max_connections` (never below 1) where a server has less room than was
    /// thought, so that one process cannot shut out the others, nor the operator. Lower it to
    /// 100 divided by the number of application processes to be strict.
    #[must_use]
    pub fn with_max_share(mut self, percent: u8) -> Self {
        self.max_share = percent;
        self
    }

    /// The most callers that may wait for a connection; default 1,024. Those beyond it fail at
    /// once. Lower it to shed load earlier.
    #[must_use]
    pub fn with_max_waiters(mut self, waiters: usize) -> Self {
        self.max_waiters = waiters;
        self
    }

    /// A connection idle for longer is pinged before it is used; default 500 ms. Zero pings
    /// always, at the price of a round trip per checkout.
    #[must_use]
    pub fn with_idle_ping_after(mut self, idle: Duration) -> Self {
        self.idle_ping_after = idle;
        self
    }

    /// A connection idle for longer is closed; default 60 s. Keep it below the servers'
    /// `wait_timeout` and the idle limit of any proxy or firewall between.
    #[must_use]
    pub fn with_idle_timeout(mut self, idle: Duration) -> Self {
        self.idle_timeout = idle;
        self
    }

    /// A connection older than this is closed when it is not in use; default 30 min, each
    /// connection's own between 10 % less and 10 % more. `None`: never for its age. It spreads
    /// connections again after changes, and frees what servers keep per session.
    #[must_use]
    pub fn with_max_lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.max_lifetime = lifetime;
        self
    }

    /// Prepared statements that are kept on one pod for the next use, on all connections together;
    /// default 512. Each connection keeps its part of it (at least one): 32 with 16 connections.
    /// Times the number of processes it must stay below the servers' `max_prepared_stmt_count`
    /// (16,382 by default); a server that is at its limit (error 1461) makes the pool keep fewer.
    #[must_use]
    pub fn with_statement_cache(mut self, per_pod: usize) -> Self {
        self.statement_cache = per_pod;
        self
    }
}
