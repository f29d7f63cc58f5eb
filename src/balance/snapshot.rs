//! The set of endpoints as pickers see it, and the one task that changes it.
//!
//! Owns publication: a new immutable set is built for every batch of changes and swapped in
//! whole. It must never yield a half-applied batch, and a source that fails or ends must never
//! empty the set.

use super::endpoint::Endpoint;
use super::health::HealthConfig;
use super::service::Shared;
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
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

/// Applies discovery to the shared snapshot until the source ends or the balancer is gone.
pub(super) async fn drive<D>(mut discover: Pin<Box<D>>, shared: Weak<Shared<D::Service>>)
where
    D: Discover,
    D::Key: Ord + Clone + fmt::Display,
    D::Error: fmt::Display,
{
    let mut known: BTreeMap<D::Key, Arc<Endpoint<D::Service>>> = BTreeMap::new();
    loop {
        let first = std::future::poll_fn(|cx| discover.as_mut().poll_discover(cx)).await;
        let mut next = Some(first);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        // Everything that is there already goes into one publication.
        while let Some(item) = next.take() {
            match item {
                Some(Ok(change)) => apply(&mut known, change, &shared, shared.config.health),
                // Not a reason to lose an endpoint: the source is asked again.
                Some(Err(error)) => tracing::warn!(%error, "discovery failed; the set stays"),
                None => {
                    shared.publish(known.values().cloned().collect());
                    tracing::debug!("discovery ended; the set stays");
                    return;
                }
            }
            next = std::future::poll_fn(|cx| discover.as_mut().poll_discover(cx)).now_or_never();
        }
        shared.publish(known.values().cloned().collect());
    }
}

/// Inserting a key that is there replaces its endpoint.
fn apply<K, S>(
    known: &mut BTreeMap<K, Arc<Endpoint<S>>>,
    change: Change<K, S>,
    shared: &Shared<S>,
    health: HealthConfig,
) where
    K: Ord + Clone + fmt::Display,
{
    match change {
        Change::Insert(key, service) => {
            let name = key.to_string();
            let endpoint = Endpoint::new(name, service, health, Arc::clone(&shared.changed));
            known.insert(key, Arc::new(endpoint));
        }
        Change::Remove(key) => {
            known.remove(&key);
        }
    }
}
