//! The queue of work for the side connection of a pod.
//!
//! [`Pool::stop`](crate::pool::state::Pool::stop) adds a statement that was given up, and the task
//! in `kill` takes it. Owns the queue and the number of sessions that do not end. It must never
//! release a slot by itself.

use crate::balance::Suspicion;
use crate::error::ConnectError;
use crate::pool::hold::Hold;
use crate::pool::threads::Threads;
use crate::server::facts::Origin;
use crate::server::failure::{Cause, of_connect_error, of_driver_error};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// A statement that was given up. Its connection is closed, or will be.
pub(crate) struct GivenUp {
    /// The server's id of its connection.
    pub(crate) id: u32,
    /// Whether to stop the statement on the server. False for a COMMIT: the task only waits for its
    /// end.
    pub(crate) stop: bool,
    /// A moment before the server's last answer on the connection, which existed by then.
    pub(crate) alive: Instant,
    pub(crate) origin: Arc<Origin>,
    /// Set if the statement timed out, or if its caller left and the pod is slow to answer on the
    /// side connection. A caller that left says nothing about the pod by itself.
    pub(crate) suspicion: Option<Suspicion>,
    /// Shared with the connection while its user still has it.
    pub(crate) hold: Arc<Hold>,
    /// The close of the connection will not reach the server.
    pub(crate) flow_lost: bool,
}

impl GivenUp {
    /// Whether the client's end of the connection is closed: its user has dropped it.
    pub(crate) fn is_closed(&self) -> bool {
        Arc::strong_count(&self.hold) == 1
    }

    /// Whether the outcome still matters: the connection is in use, or a slot is held.
    pub(crate) fn counts(&self) -> bool {
        !self.is_closed() || self.hold.slot.is_some()
    }
}

/// Why there is no side connection.
#[derive(Debug, Clone)]
pub(crate) enum Failed {
    /// The server answered with a refusal.
    Refused(String),
    /// No answer came.
    Dead(String),
    /// Our own machine could not send the question.
    NotAsked(String),
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        Self::new(of_connect_error(&error).cause, error.to_string())
    }
}

impl From<mysql_async::Error> for Failed {
    fn from(error: mysql_async::Error) -> Self {
        Self::new(of_driver_error(&error).cause, error.to_string())
    }
}

impl Failed {
    fn new(cause: Cause, words: String) -> Self {
        match cause {
            Cause::Network => Self::Dead(words),
            Cause::OwnMachine => Self::NotAsked(words),
            _ => Self::Refused(words),
        }
    }
}

/// A question for the account's threads: the channel for the answer.
pub(crate) type Question = oneshot::Sender<Result<Arc<Threads>, Failed>>;

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Side {
    queue: Mutex<Queue>,
    /// Wakes the task when the queue has grown or the pool is retired.
    pub(crate) news: Notify,
    stuck: AtomicUsize,
}

#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) given_up: Vec<GivenUp>,
    pub(crate) questions: Vec<Question>,
    /// A task serves the queue.
    pub(crate) served: bool,
}

impl Side {
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    pub(crate) fn take(&self) -> (Vec<GivenUp>, Vec<Question>) {
        let mut queue = self.queue();
        let queue = &mut *queue;
        let given_up = std::mem::take(&mut queue.given_up);
        (given_up, std::mem::take(&mut queue.questions))
    }

    /// The number of sessions whose given-up statements do not end.
    pub(crate) fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Returns the previous number.
    pub(crate) fn set_stuck(&self, sessions: usize) -> usize {
        self.stuck.swap(sessions, Ordering::Relaxed)
    }
}
