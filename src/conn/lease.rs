//! The hold of a checked-out connection on its pool, and the cleaning when it comes back.
//!
//! Owns the slot, the count in the balancer, and the cleaning. It must never put a connection back
//! on which the last user's state may still be visible, and must never wait without a deadline.

use crate::balance::Guard;
use crate::config::Reset;
use crate::conn::rows::Answer;
use crate::pool::hold::Hold;
use crate::pool::idle::{Idle, Kept};
use crate::pool::side::GivenUp;
use crate::pool::state::Pool;
use crate::server::closing_conn::ClosingConn;
use crate::server::introduction::last_row;
use crate::sql::traces::Trace;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A connection that cannot be cleaned within this time is closed instead.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long reading the rest of a stream may take. After this, the connection is given up.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// A checkout's hold on its pool.
pub(crate) struct Lease {
    pub(crate) pool: Arc<Pool>,
    pub(crate) hold: Hold,
    /// The hold after a statement was given up: shared with the task that stops the statement.
    shared: Option<Arc<Hold>>,
    pub(crate) kept: Kept,
}

/// Why a statement was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    TimedOut,
    /// Its caller dropped the future.
    Dropped,
    /// Its pod does not answer.
    PodSilent,
    /// Its pod answers, but the flow of its connection is lost.
    FlowLost,
}

impl Lease {
    /// The lease of an idle connection that is checked out.
    pub(crate) fn of(idle: Idle, pool: Arc<Pool>) -> (Self, ClosingConn) {
        let hold = Hold {
            slot: Some(idle.slot),
            ..Hold::default()
        };
        let lease = Self {
            pool,
            hold,
            shared: None,
            kept: idle.kept,
        };
        (lease, idle.raw)
    }

    /// Moves the hold out. The rest holds nothing.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            hold: std::mem::take(&mut self.hold),
            shared: self.shared.take(),
            kept: self.kept.take(),
        }
    }

    /// Gives up the statement under way on connection `id`. It is stopped on the server if `stop`,
    /// and keeps the slot until the server no longer runs it. After a time-out, the pod is suspect
    /// until it answers.
    pub(crate) fn give_up(&mut self, id: u32, stop: bool, why: Why) {
        if why != Why::Dropped {
            self.suspect();
        }
        if self.shared.is_some() {
            return;
        }
        let hold = Arc::new(std::mem::take(&mut self.hold));
        self.shared = Some(Arc::clone(&hold));
        let guard = hold.guard.as_ref().filter(|_| why == Why::TimedOut);
        self.pool.stop(GivenUp {
            id,
            stop,
            alive: self.kept.alive,
            origin: Arc::clone(&self.kept.origin),
            suspicion: guard.map(Guard::suspect),
            hold,
            flow_lost: why == Why::FlowLost,
        });
    }

    /// Notes that the server answered a statement that began at `begun`.
    #[inline]
    pub(crate) fn heard(&mut self, begun: Instant) {
        self.kept.alive = begun;
        self.pool.growth.heard();
        self.pool.inquiry.heard();
    }

    /// Notes what the last user left on the connection, apart from what was cleaned.
    pub(crate) fn left(&mut self, trace: Trace) {
        self.kept.diagnostics |= trace == Trace::Diagnostics;
    }

    /// Notes that the connection broke. Counted once per event, for any number of connections.
    pub(crate) fn broke(&self, cause: impl std::fmt::Display) {
        if self.pool.broke(self.kept.generation)
            && let Some(guard) = &self.hold.guard
        {
            guard.failed(cause);
        }
    }

    /// Notes that the server refuses to work for now. The pod is ejected at once, and each
    /// connection to it is checked before its next use.
    pub(crate) fn refuses_to_work(&self, cause: impl std::fmt::Display) {
        if self.pool.refuses_to_work(self.kept.era)
            && let Some(guard) = &self.hold.guard
        {
            guard.condemn(cause);
        }
    }

    /// Notes that the server did not answer in time. The statement may be the cause, so this is no
    /// failure of the pod. But idle connections are pinged before they are handed out.
    fn suspect(&self) {
        self.pool.broke(self.kept.generation);
    }
}

/// The work before the next user may get the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cleaning {
    /// Rows may be unread.
    pub(crate) drain: bool,
    /// A transaction may be open.
    pub(crate) rollback: bool,
    pub(crate) trace: Trace,
}

impl Cleaning {
    pub(crate) fn is_needed(&self) -> bool {
        self.drain || self.rollback || self.trace == Trace::Session
    }

    /// Applies the option `reset`, which overrides the proof from the statements.
    pub(crate) fn with(mut self, reset: Reset) -> Self {
        match reset {
            Reset::Auto => {}
            Reset::Always => self.trace = Trace::Session,
            Reset::Never => self.trace = Trace::Nothing,
        }
        self
    }
}

/// Cleans the connection and puts it back, or closes it.
pub(crate) async fn clean(mut raw: ClosingConn, mut lease: Lease, cleaning: Cleaning) {
    let work = tokio::time::timeout(CLEAN_TIMEOUT, scrub(&mut raw, &mut lease, cleaning));
    match work.await {
        Ok(Ok(true)) => put_back(&mut lease, raw),
        Ok(Ok(false)) => {}
        Ok(Err(error)) => tracing::debug!(
            pod = %lease.pool.pod(), %error, "a connection could not be cleaned and is closed"
        ),
        Err(_) => {
            // For example a long rollback.
            give_up(&raw, &mut lease);
            tracing::debug!(
                pod = %lease.pool.pod(), "cleaning a connection took too long; it is closed"
            );
        }
    }
}

fn give_up(raw: &ClosingConn, lease: &mut Lease) {
    if let Some(conn) = raw.peek() {
        lease.give_up(conn.id(), true, Why::TimedOut);
    }
}

/// Returns whether the connection may be used again.
async fn scrub(
    raw: &mut ClosingConn,
    lease: &mut Lease,
    cleaning: Cleaning,
) -> mysql_async::Result<bool> {
    if cleaning.drain && !drained(raw, None).await {
        give_up(raw, lease);
        return Ok(false);
    }
    if cleaning.rollback {
        // Needed even before a reset: MariaDB resets a session with a prepared XA transaction, but
        // then the next write fails. ROLLBACK is refused in that state.
        raw.get()?.query_drop("ROLLBACK").await?;
    }
    if cleaning.trace == Trace::Session && !reset(raw, lease).await? {
        return Ok(false);
    }
    lease.left(cleaning.trace);
    // A transaction is still open if the session chains them.
    Ok(raw
        .peek()
        .map(Answer::of)
        .is_some_and(Answer::commits_by_itself))
}

/// Resets the session, and restores what a reset does not; see
/// [`Origin`](crate::server::facts::Origin). Returns false, so that the connection is closed, if
/// something can be neither reset nor restored: another account or role, or records of the
/// statements that its user has run.
async fn reset(raw: &mut ClosingConn, lease: &mut Lease) -> mysql_async::Result<bool> {
    let conn = raw.get()?;
    // A reset does not run `init_connect` again, but a new connection does.
    if lease.kept.origin.has_init_connect || !conn.reset().await? {
        return Ok(false);
    }
    lease.kept.statements.clear();
    lease.kept.diagnostics = false;
    let setup = lease
        .pool
        .dialler
        .set_up_again(&lease.kept.origin, lease.kept.kind);
    let answer = last_row(&mut conn.query_iter(setup).await?).await?;
    let Some(answer) = answer else {
        return Ok(false);
    };
    let home: Option<String> = answer.get_opt(0).and_then(Result::ok);
    let records: Option<u64> = answer.get_opt(1).and_then(Result::ok);
    Ok(home.as_ref() == Some(&lease.kept.origin.home) && records == Some(0))
}

/// Reads all unread rows, and proves that none are left: only the answer to this question contains
/// its random number. (A ping proves less: the end of another result looks like its answer.)
/// Limited by `deadline` and by [`DRAIN_TIMEOUT`].
pub(crate) async fn drained(raw: &mut ClosingConn, deadline: Option<Instant>) -> bool {
    let latest = Instant::now() + DRAIN_TIMEOUT;
    let until = deadline.map_or(latest, |deadline| deadline.min(latest));
    let nonce: u64 = rand::random();
    let Ok(conn) = raw.get() else { return false };
    let answer = conn.query_first::<mysql_async::Row, _>(format!("SELECT {nonce}"));
    match tokio::time::timeout_at(until, answer).await {
        Ok(Ok(Some(row))) => row.get_opt::<u64, _>(0) == Some(Ok(nonce)),
        _ => false,
    }
}

/// Puts a clean connection back into the pool of its lease.
pub(crate) fn put_back(lease: &mut Lease, raw: ClosingConn) {
    // Without a slot, a statement was given up, and the task that stops it holds the slot.
    let Some(slot) = lease.hold.slot.take() else {
        return;
    };
    lease.kept.statements.release_all();
    lease.pool.give_back(Idle {
        raw,
        slot,
        since: Instant::now(),
        kept: lease.kept.take(),
    });
}
