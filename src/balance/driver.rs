//! The set of endpoints, and the one task that changes it.
//!
//! Owns publication: each batch of changes yields a new immutable set, which replaces the old one
//! in one step. It must never publish a half-applied batch. A source that fails or ends must never
//! empty the set.

use super::endpoint::Endpoint;
use super::health::HealthConfig;
use super::shared::Shared;
use super::vitals::{Announcer, Vitals};
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use tokio::time::Instant;
use tower::discover::{Change, Discover};

/// Closes the balancer when its task ends, for example with its runtime. Without the task, no probe
/// runs and no change is announced.
struct CloseOnDrop<S>(Weak<Shared<S>>);

impl<S> Drop for CloseOnDrop<S> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.close();
        }
    }
}

/// Applies discovery to the shared snapshot until the balancer is gone.
pub(super) async fn drive<D>(mut discover: Pin<Box<D>>, shared: Weak<Shared<D::Service>>)
where
    D: Discover,
    D::Key: Ord + Clone + fmt::Display,
    D::Error: fmt::Display,
{
    let shared = CloseOnDrop(shared);
    let mut set = Set::default();
    let mut ended = false;
    while !ended {
        let first = std::future::poll_fn(|cx| discover.as_mut().poll_discover(cx)).await;
        let mut next = Some(first);
        let Some(shared) = shared.0.upgrade() else {
            return;
        };
        // All changes that are available already go into one publication.
        while let Some(item) = next.take() {
            match item {
                Some(Ok(change)) => set.apply(change, &shared.bell, shared.config.health),
                // An error is no reason to drop an endpoint: the source is polled again.
                Some(Err(error)) => tracing::warn!(%error, "discovery failed; the set stays"),
                None => {
                    tracing::debug!("discovery ended; the set stays");
                    ended = true;
                    break;
                }
            }
            next = std::future::poll_fn(|cx| discover.as_mut().poll_discover(cx)).now_or_never();
        }
        if std::mem::take(&mut set.is_new) {
            shared.publish(set.known.values().cloned().collect());
        }
    }
    drop((discover, set));
    // The task is aborted when the last clone of the balancer is dropped.
    std::future::pending().await
}

/// The endpoints by key.
struct Set<K, S> {
    known: BTreeMap<K, Arc<Endpoint<S>>>,
    /// Endpoints that were removed while they failed, with the time of the removal.
    departed: BTreeMap<K, (Instant, Arc<Vitals>)>,
    /// There is a change to publish.
    is_new: bool,
}

impl<K, S> Default for Set<K, S> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            departed: BTreeMap::new(),
            is_new: false,
        }
    }
}

impl<K: Ord + Clone + fmt::Display, S> Set<K, S> {
    /// Inserting a known key replaces its endpoint; the new one starts with clean health.
    fn apply(&mut self, change: Change<K, S>, bell: &Arc<Announcer>, config: HealthConfig) {
        let now = Instant::now();
        self.departed
            .retain(|_, (at, _)| now.saturating_duration_since(*at) < config.memory);
        self.is_new = true;
        match change {
            Change::Insert(key, service) => {
                let departed = self.departed.remove(&key);
                let legacy = departed.and_then(|(_, vitals)| vitals.legacy());
                let vitals = Vitals::new(key.to_string(), config, legacy, Arc::clone(bell));
                let endpoint = Endpoint::new(service, Arc::new(vitals));
                self.known.insert(key, Arc::new(endpoint));
            }
            Change::Remove(key) => {
                let Some(endpoint) = self.known.remove(&key) else {
                    return;
                };
                if endpoint.vitals.legacy().is_some() {
                    let vitals = Arc::clone(&endpoint.vitals);
                    self.departed.insert(key, (now, vitals));
                }
            }
        }
    }
}
