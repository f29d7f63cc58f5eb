//! The answers of a cluster's servers about themselves, and the role of each pod that follows.
//!
//! The task that asks the primary publishes its answer with [`Evidence::publish`]. The pools judge
//! their pods by it in [`recognise`](super::recognise).
//!
//! Owns the answers. It must never judge.

use crate::config::{Config, ReadFrom};
use crate::routing::Role;
use crate::server::facts::Facts;
use crate::server::recognition::{PodRecord, Sample};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The primary's last answer.
#[derive(Debug, Clone)]
pub(crate) enum PrimaryAnswer {
    /// The primary has not been asked yet.
    Unasked,
    Given(Arc<Sample>),
    /// No pod is the primary, or the primary does not answer or is not accepted.
    None,
}

/// See the module documentation. One per cluster.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// Reads may use every listed pod, without a judgement.
    trusts_all: bool,
    pub(super) primary: watch::Sender<PrimaryAnswer>,
    /// The last answer of an accepted primary, of any age.
    before: Mutex<Option<Arc<Sample>>>,
    /// The last answer of each pod.
    pods: Mutex<BTreeMap<SocketAddr, Arc<Facts>>>,
    /// Wakes the task when a handshake waits for the primary's answer, or a pod is no longer
    /// proven.
    pub(super) wanted: Notify,
    /// The set of pods may have changed.
    changed: Notify,
}

/// Evidence that trusts every pod.
impl Default for Evidence {
    fn default() -> Self {
        Self::of(true)
    }
}

impl Evidence {
    pub(crate) fn new(config: &Config) -> Self {
        Self::of(config.read_from == ReadFrom::Listed)
    }

    fn of(trusts_all: bool) -> Self {
        Self {
            trusts_all,
            primary: watch::Sender::new(PrimaryAnswer::Unasked),
            before: Mutex::default(),
            pods: Mutex::default(),
            wanted: Notify::new(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn judges(&self) -> bool {
        !self.trusts_all
    }

    /// Publishes the primary's answer. The caller must have the pods judged again.
    pub(crate) fn publish(&self, answer: PrimaryAnswer) {
        if let PrimaryAnswer::Given(sample) = &answer {
            *self.before() = Some(Arc::clone(sample));
        }
        self.primary.send_replace(answer);
    }

    /// Discards the last answer: another pod is the primary now and has not been asked yet.
    pub(crate) fn is_to_be_asked(&self) {
        self.primary.send_replace(PrimaryAnswer::Unasked);
        self.wanted.notify_one();
    }

    /// Ends when a handshake waits for the primary's answer, or a pod is no longer proven.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Ends after a call of [`Evidence::set_changed`].
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The set of pods may have changed.
    pub(crate) fn set_changed(&self) {
        self.changed.notify_one();
    }

    /// Keeps the answers from these addresses, and removes all others.
    pub(crate) fn keep(&self, addresses: &[SocketAddr]) {
        self.pods().retain(|address, _| addresses.contains(address));
    }

    pub(super) fn before(&self) -> MutexGuard<'_, Option<Arc<Sample>>> {
        self.before.lock()
    }

    pub(super) fn pods(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<Facts>>> {
        self.pods.lock()
    }
}

/// The recognition of one pod as a replica of the primary.
#[derive(Debug)]
pub(crate) struct PodRecognition {
    record: Mutex<PodRecord>,
    /// The role that follows from `record`, readable without the lock.
    pub(super) role: AtomicU8,
}

impl PodRecognition {
    pub(crate) fn new() -> Self {
        Self {
            record: Mutex::new(PodRecord::new(Instant::now())),
            role: AtomicU8::new(Role::Replica as u8),
        }
    }

    /// The role of a pod that is not the primary.
    #[inline]
    pub(crate) fn role(&self) -> Role {
        match self.role.load(Ordering::Relaxed) {
            role if role == Role::Unproven as u8 => Role::Unproven,
            role if role == Role::Stranger as u8 => Role::Stranger,
            _ => Role::Replica,
        }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, PodRecord> {
        self.record.lock()
    }
}
