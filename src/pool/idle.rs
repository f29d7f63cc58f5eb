//! The idle connections of a pool, and the queue of calls that wait for one.
//!
//! A connection that comes back goes to the first call in the queue. It becomes idle only if no
//! call waits. So calls are served in the order of their arrival, and a new call cannot overtake
//! them. Connections are taken from the end of the list: the most recently used one is the warmest,
//! and the rest may reach their idle timeout.
//!
//! Owns the list and the queue under one lock, so that no call joins the queue while a connection
//! becomes idle. It must never hold that lock while it closes a connection, and never lose a
//! connection that was given to a call which gave up.

use crate::pool::growth::Slot;
use crate::pool::statements::Statements;
use crate::pool::timer::Timer;
use crate::server::closing_conn::ClosingConn;
use crate::server::facts::Origin;
use crate::server::session_kind::SessionKind;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// An idle connection.
pub(crate) struct Idle {
    pub(crate) raw: ClosingConn,
    pub(crate) slot: Slot,
    pub(crate) since: Instant,
    pub(crate) kept: Kept,
}

/// The state of a connection that stays with it, both idle and checked out.
pub(crate) struct Kept {
    /// See [`state`](super::state) for `generation` and `era`.
    pub(crate) generation: u64,
    pub(crate) era: u64,
    pub(crate) kind: SessionKind,
    pub(crate) origin: Arc<Origin>,
    /// A moment before the server's last answer on the connection, which existed by then.
    pub(crate) alive: Instant,
    /// When the connection is too old to be kept.
    pub(crate) expires: Option<Instant>,
    /// The session may still hold the insert id or the warnings of an earlier user. They are
    /// removed before a statement that may read them.
    pub(crate) diagnostics: bool,
    pub(crate) statements: Statements,
    pub(crate) timer: Timer,
}

impl Kept {
    /// Copies the state, and moves out what cannot be copied.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            origin: Arc::clone(&self.origin),
            statements: std::mem::take(&mut self.statements),
            timer: std::mem::take(&mut self.timer),
            ..*self
        }
    }
}

/// See the module documentation.
#[derive(Default)]
pub(crate) struct IdleList {
    list: Mutex<List>,
    /// The number of idle connections, for the picker, which must not lock.
    count: AtomicUsize,
}

#[derive(Default)]
struct List {
    /// The most recently used connection is last.
    idle: Vec<Idle>,
    /// The queue, in the order of the tickets. Empty while there is an idle connection.
    line: BTreeMap<u64, Waiter>,
    next_ticket: u64,
    closed: bool,
}

struct Waiter {
    kind: SessionKind,
    give: oneshot::Sender<Idle>,
}

/// A place in the queue.
pub(crate) struct Turn<'a> {
    of: &'a IdleList,
    ticket: u64,
    given: oneshot::Receiver<Idle>,
}

impl IdleList {
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The kind of session that the call at position `before` of the queue wants (0 is the first).
    pub(crate) fn wanted(&self, before: usize) -> Option<SessionKind> {
        let list = self.lock();
        list.line.values().nth(before).map(|waiter| waiter.kind)
    }

    /// Gives the connection to the first call in the queue, or keeps it as idle. If `good`, called
    /// under the lock, returns false, the connection is closed instead, outside of the lock.
    pub(crate) fn put(&self, back: Idle, good: impl FnOnce() -> bool) {
        let mut list = self.lock();
        if list.closed || !good() {
            drop(list);
            drop(back);
            return;
        }
        let mut back = back;
        while let Some((_, waiter)) = list.line.pop_first() {
            match waiter.give.send(back) {
                Ok(()) => return self.publish(&list),
                Err(unwanted) => back = unwanted,
            }
        }
        list.idle.push(back);
        self.publish(&list);
    }

    /// Takes the most recently used idle connection, preferably with a session of this kind.
    /// Without one, returns a place in the queue. `None` if the pool is closed.
    pub(crate) fn pop_or_wait(&self, kind: SessionKind) -> Option<Result<Idle, Turn<'_>>> {
        let mut list = self.lock();
        if let Some(idle) = list.pop(kind) {
            self.publish(&list);
            return Some(Ok(idle));
        }
        if list.closed {
            return None;
        }
        let (give, given) = oneshot::channel();
        let ticket = list.next_ticket;
        list.next_ticket += 1;
        list.line.insert(ticket, Waiter { kind, give });
        self.publish(&list);
        Some(Err(Turn {
            of: self,
            ticket,
            given,
        }))
    }

    /// Takes the most recently used idle connection, preferably with a session of this kind.
    pub(crate) fn pop(&self, kind: SessionKind) -> Option<Idle> {
        let mut list = self.lock();
        let found = list.pop(kind);
        self.publish(&list);
        found
    }

    /// Closes the idle connections for which `which` is true, outside of the lock: closing writes
    /// to sockets.
    pub(crate) fn drop_those(&self, which: impl FnMut(&Idle) -> bool) {
        drop(self.take_those(which));
    }

    pub(crate) fn take_those(&self, which: impl FnMut(&Idle) -> bool) -> Vec<Idle> {
        let mut which = which;
        let mut list = self.lock();
        let taken = list.idle.extract_if(.., |idle| which(idle)).collect();
        self.publish(&list);
        taken
    }

    /// Closes all idle connections and ends the queue. Waiting calls get `None`.
    pub(crate) fn close(&self) {
        let (idle, line) = {
            let mut list = self.lock();
            list.closed = true;
            let rest = (
                std::mem::take(&mut list.idle),
                std::mem::take(&mut list.line),
            );
            self.publish(&list);
            rest
        };
        drop((idle, line));
    }

    pub(crate) fn count_those(&self, which: impl Fn(&Idle) -> bool) -> usize {
        self.lock().idle.iter().filter(|idle| which(idle)).count()
    }

    /// The latest [`Kept::alive`] of the idle connections.
    pub(crate) fn last_alive(&self) -> Option<Instant> {
        self.lock().idle.iter().map(|idle| idle.kept.alive).max()
    }

    /// Takes the most recently used idle connection for which `which` is true.
    pub(crate) fn take(&self, which: impl Fn(&Idle) -> bool) -> Option<Idle> {
        let mut list = self.lock();
        let index = list.idle.iter().rposition(which)?;
        let found = list.idle.remove(index);
        self.publish(&list);
        Some(found)
    }

    /// Takes the most recently used idle connection with a session of this kind, if it is `good`.
    pub(crate) fn take_latest(
        &self,
        kind: SessionKind,
        good: impl FnOnce(&Idle) -> bool,
    ) -> Option<Idle> {
        let mut list = self.lock();
        let index = list.idle.iter().rposition(|idle| idle.kept.kind == kind)?;
        if !list.idle.get(index).is_some_and(good) {
            return None;
        }
        let found = match index + 1 == list.idle.len() {
            // Cheaper, and nearly always the case.
            true => list.idle.pop()?,
            false => list.idle.remove(index),
        };
        self.publish(&list);
        Some(found)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock()
    }

    fn publish(&self, list: &List) {
        self.count.store(list.idle.len(), Ordering::Relaxed);
    }
}

impl List {
    fn pop(&mut self, kind: SessionKind) -> Option<Idle> {
        let fitting = self.idle.iter().rposition(|idle| idle.kept.kind == kind);
        match fitting {
            Some(index) => Some(self.idle.remove(index)),
            None => self.idle.pop(),
        }
    }
}

impl Turn<'_> {
    /// Waits for a connection. `None` if the pool is closed.
    ///
    /// # Cancel safety
    ///
    /// Safe: the place in the queue is kept until the turn is dropped.
    pub(crate) async fn given(&mut self) -> Option<Idle> {
        (&mut self.given).await.ok()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        {
            let mut list = self.of.lock();
            list.line.remove(&self.ticket);
            self.of.publish(&list);
        }
        self.given.close();
        // A connection that was given but not taken goes to the next call in the queue.
        if let Ok(idle) = self.given.try_recv() {
            self.of.put(idle, || true);
        }
    }
}

pub(crate) fn is_past(expiry: Option<Instant>, now: Instant) -> bool {
    expiry.is_some_and(|expiry| now >= expiry)
}

#[cfg(test)]
mod tests;
