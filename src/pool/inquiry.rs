//! The state of a running inquiry: the question whether a pod is alive.
//!
//! Each pool runs one inquiry at a time, which all waiting operations share.
//! [`inquire`](super::inquire) runs it.

use crate::pool::threads::Threads;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// The result of an inquiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Threads(Arc<Threads>),
    /// The pod did not answer.
    Nothing,
    /// Our own machine could not send the question.
    NotAsked,
}

/// The inquiry of one pool.
#[derive(Default)]
pub(crate) struct Inquiry {
    pub(super) asked: Mutex<Option<watch::Receiver<Option<Found>>>>,
    open: AtomicBool,
    /// The pod answered an operation while the inquiry was open.
    heard: AtomicBool,
}

impl Inquiry {
    /// Notes that the pod answered an operation. Costs one load unless an inquiry is open.
    #[inline]
    pub(crate) fn heard(&self) {
        if self.open.load(Ordering::Relaxed) {
            self.heard.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn open(&self) {
        self.heard.store(false, Ordering::Relaxed);
        self.open.store(true, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
    }

    pub(super) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}
