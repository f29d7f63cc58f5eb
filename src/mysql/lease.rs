//! What a checked-out connection holds of its pool, and what is done when it comes back.
//!
//! Owns the slot, the count in the balancer, and the cleaning. It must never put a connection back
//! whose last user's state may still be visible, and must never wait without a deadline.

use super::connect::{Origin, Raw, SessionKind, last_row};
use super::idle::Idle;
use super::kill::GivenUp;
use super::pool::Pool;
use super::statements::Statements;
use super::timer::Timer;
use crate::balance::Guard;
use crate::config::Reset;
use crate::observe;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// A connection that cannot be cleaned within this time is closed instead.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(2);

/// How soon a slot that is held without a connection is given back when its pool ends.
const HOLD_STEP: Duration = Duration::from_millis(50);

/// How long what is left of a stream may take to read before the connection is given up.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// A checkout's hold on its pool.
pub(crate) struct Lease {
    pub(crate) pool: Arc<Pool>,
    pub(crate) hold: Hold,
    /// The same, once a statement was given up: held until that is dealt with too.
    shared: Option<Arc<Hold>>,
    pub(crate) generation: u64,
    pub(crate) era: u64,
    pub(crate) kind: SessionKind,
    pub(crate) origin: Arc<Origin>,
    /// The connection existed then, and the server has answered on it since.
    pub(crate) alive: Instant,
    /// When the connection is too old to be kept.
    pub(crate) expires: Option<Instant>,
    pub(crate) statements: Statements,
    pub(super) timer: Timer,
}

/// What counts a checkout.
#[derive(Default)]
pub(crate) struct Hold {
    slot: Option<OwnedSemaphorePermit>,
    /// For a read that fell back to the primary.
    pub(crate) fallback: Option<OwnedSemaphorePermit>,
    /// Counts the checkout in the balancer.
    pub(crate) guard: Option<Guard>,
}

/// How a statement came to be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    TimedOut,
    /// Its caller has left.
    Dropped,
}

impl Lease {
    /// Of the pool's present generation and era.
    pub(crate) fn new(
        pool: Arc<Pool>,
        slot: OwnedSemaphorePermit,
        kind: SessionKind,
        origin: Arc<Origin>,
    ) -> Self {
        Self {
            hold: Hold {
                slot: Some(slot),
                ..Hold::default()
            },
            shared: None,
            generation: pool.generation.load(Ordering::Acquire),
            era: pool.era.load(Ordering::Acquire),
            kind,
            origin,
            alive: Instant::now(),
            expires: None,
            statements: Statements::default(),
            timer: Timer::default(),
            pool,
        }
    }

    /// Of an idle connection.
    pub(super) fn of(idle: Idle, pool: Arc<Pool>, slot: OwnedSemaphorePermit) -> (Self, Raw) {
        let hold = Hold {
            slot: Some(slot),
            ..Hold::default()
        };
        let lease = Self {
            pool,
            hold,
            shared: None,
            generation: idle.generation,
            era: idle.era,
            kind: idle.kind,
            origin: idle.origin,
            alive: idle.alive,
            expires: idle.expires,
            statements: idle.statements,
            timer: idle.timer,
        };
        (lease, idle.raw)
    }

    /// Moves the hold out; what stays behind holds nothing.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            pool: Arc::clone(&self.pool),
            hold: std::mem::take(&mut self.hold),
            shared: self.shared.take(),
            generation: self.generation,
            era: self.era,
            kind: self.kind,
            origin: Arc::clone(&self.origin),
            alive: self.alive,
            expires: self.expires,
            statements: std::mem::take(&mut self.statements),
            timer: std::mem::take(&mut self.timer),
        }
    }

    /// The statement under way on connection `id` is not waited for any longer: it is stopped, and
    /// after a time-out the pod has to prove that it is alive. Without `id` nothing is stopped.
    pub(crate) fn give_up(&mut self, id: Option<u32>, why: Why) {
        if why == Why::TimedOut {
            self.suspect();
        }
        let in_vain = id.is_none() && why == Why::Dropped;
        if in_vain || !self.pool.kill_query || self.shared.is_some() {
            return;
        }
        let hold = Arc::new(std::mem::take(&mut self.hold));
        self.shared = Some(Arc::clone(&hold));
        let guard = hold.guard.as_ref().filter(|_| why == Why::TimedOut);
        self.pool.stop(GivenUp {
            id,
            alive: self.alive,
            origin: Arc::clone(&self.origin),
            suspicion: guard.map(Guard::suspect),
            hold,
            postponed: false,
        });
    }

    /// Keeps the slot taken for a while although no connection is behind it: the server has no
    /// room for as many as we would make.
    pub(crate) fn hold_slot_for(&mut self, pause: Duration) {
        let Some(slot) = self.hold.slot.take() else {
            return;
        };
        let pool = Arc::clone(&self.pool);
        pool.hold();
        let labels = [("pod", pool.host()), ("reason", "full")];
        observe::count(observe::SLOTS_WITHHELD, &labels);
        let until = Instant::now() + pause;
        self.pool.handle.spawn(async move {
            while Instant::now() < until && !pool.is_retired() {
                tokio::time::sleep(HOLD_STEP).await;
            }
            pool.release();
            drop(slot);
            pool.freed();
        });
    }

    /// The connection broke; counted once per event, however many connections it cut.
    pub(crate) fn broke(&self, cause: &mysql_async::Error) {
        if self.pool.broke(self.generation)
            && let Some(guard) = &self.hold.guard
        {
            guard.failed(cause);
        }
    }

    /// The server did not answer in time. That may be the statement's fault, so it is no failure
    /// of the pod, but idle connections are to be asked before they are handed out.
    fn suspect(&self) {
        self.pool.broke(self.generation);
    }
}

/// What a session may still hold of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Trace {
    #[default]
    Nothing,
    /// Only what statements tell of themselves: the last insert id and the warnings.
    Diagnostics,
    /// Anything: variables, temporary tables, locks.
    Session,
}

/// What has to be done before the next user may have the connection.
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
        self.drain || self.rollback || self.trace != Trace::Nothing
    }

    /// Applies the option that overrides the proof.
    pub(crate) fn with(mut self, reset: Reset) -> Self {
        match reset {
            Reset::Auto => {}
            Reset::Always => self.trace = Trace::Session,
            Reset::Never => self.trace = Trace::Nothing,
        }
        self
    }
}

/// Ends what [`Trace::Diagnostics`] stands for. MariaDB keeps the warnings of the last statement until
/// one comes that reads a table, so there is one.
const FORGET: &str = "SELECT LAST_INSERT_ID(0) FROM (SELECT 1) AS nothing";

/// Cleans the connection and puts it back, or closes it.
pub(crate) async fn clean(mut raw: Raw, mut lease: Lease, cleaning: Cleaning) {
    let work = tokio::time::timeout(CLEAN_TIMEOUT, scrub(&mut raw, &mut lease, cleaning));
    match work.await {
        Ok(Ok(true)) => Pool::put_back(&mut lease, raw),
        Ok(Ok(false)) => {}
        Ok(Err(error)) => tracing::debug!(
            pod = %lease.pool.pod(), %error, "a connection could not be cleaned and is closed"
        ),
        Err(_) => {
            lease.suspect();
            tracing::debug!(
                pod = %lease.pool.pod(), "cleaning a connection took too long; it is closed"
            );
        }
    }
}

/// Returns whether the connection may be used again.
async fn scrub(raw: &mut Raw, lease: &mut Lease, cleaning: Cleaning) -> mysql_async::Result<bool> {
    if cleaning.drain && !drained(raw, None).await {
        lease.give_up(raw.peek().map(Conn::id), Why::TimedOut);
        return Ok(false);
    }
    if cleaning.trace == Trace::Session {
        return reset(raw, lease).await;
    }
    let conn = raw.get()?;
    if cleaning.rollback {
        conn.query_drop("ROLLBACK").await?;
    }
    if cleaning.trace == Trace::Diagnostics {
        conn.query_drop(FORGET).await?;
    }
    Ok(true)
}

/// Resets the session and restores what a reset does not; see [`Origin`].
async fn reset(raw: &mut Raw, lease: &mut Lease) -> mysql_async::Result<bool> {
    let conn = raw.get()?;
    // A reset would not run `init_connect` again; a new connection does.
    if lease.origin.has_init_connect || !conn.reset().await? {
        return Ok(false);
    }
    lease.statements.clear();
    let setup = lease.pool.dialler.setup_again(conn, lease.kind);
    let home = last_row(&mut conn.query_iter(setup).await?).await?;
    let home: Option<String> = home.and_then(|row| row.get_opt(0)?.ok());
    Ok(home.as_ref() == Some(&lease.origin.home))
}

/// Reads whatever is left on the connection, and proves that nothing is: only an answer to *this*
/// question carries its number. (A ping proves less: the end of another result looks like its
/// answer.) It takes no longer than until `deadline`, nor than [`DRAIN_TIMEOUT`].
pub(super) async fn drained(raw: &mut Raw, deadline: Option<Instant>) -> bool {
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
