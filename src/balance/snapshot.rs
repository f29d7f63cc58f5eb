//! The set of endpoints as pickers see it, and the one task that changes it.
//!
//! Owns publication: a new immutable set is built for every batch of changes and swapped in
//! whole. It must never yield a half-applied batch, and a source that fails or ends must never
//! empty the set.

use super::endpoint::Endpoint;
use super::health::HealthConfig;
use super::service::Shared;
use super::vitals::{Bell, Vitals};
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use tokio::time::Instant;
use tower::discover::{Change, Discover};

/// An immutable set of endpoints, in the order of their keys.
pub(crate) struct Snapshot<S> {
    pub(crate) endpoints: Vec<Arc<Endpoint<S>>>,
}

impl<S> Default for Snapshot<S> {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
        }
    }
}

/// Closes the balancer when its task is gone: with its runtime, for one. Then there is nobody who
/// could probe, or tell of a change.
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
        // Everything that is there already goes into one publication.
        while let Some(item) = next.take() {
            match item {
                Some(Ok(change)) => set.apply(change, &shared.bell, shared.config.health),
                // Not a reason to lose an endpoint: the source is asked again.
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
    // Aborted with the last clone.
    std::future::pending().await
}

/// The endpoints by key.
struct Set<K, S> {
    known: BTreeMap<K, Arc<Endpoint<S>>>,
    /// Those that were removed in a bad state, and when.
    departed: BTreeMap<K, (Instant, Arc<Vitals>)>,
    /// There is something to publish.
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
    /// Inserting a key that is there replaces its endpoint by one that starts afresh.
    fn apply(&mut self, change: Change<K, S>, bell: &Arc<Bell>, config: HealthConfig) {
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
