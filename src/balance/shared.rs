//! The state that all clones of a balancer share.

use super::config::BalanceConfig;
use super::endpoint::Endpoint;
use super::vitals::Announcer;
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

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

pub(super) type Hook = Box<dyn Fn() + Send + Sync>;

/// The state that all clones share.
pub(crate) struct Shared<S> {
    pub(super) snapshot: ArcSwap<Snapshot<S>>,
    /// Rung whenever the result of a pick may have changed.
    pub(super) bell: Arc<Announcer>,
    pub(super) config: BalanceConfig,
    pub(super) closed: AtomicBool,
    /// Called when an endpoint failed or a call found none: a hint to resolve again now, without
    /// data.
    pub(super) trouble: RwLock<Option<Hook>>,
    pub(super) handle: Handle,
    pub(super) driver: RwLock<Option<AbortHandle>>,
}

impl<S> Shared<S> {
    pub(super) fn publish(&self, endpoints: Vec<Arc<Endpoint<S>>>) {
        self.snapshot.store(Arc::new(Snapshot { endpoints }));
        // New endpoints may start ejected: they keep the health they had when they were removed.
        self.bell.set_needs_prober(true);
        self.bell.line.ring();
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.bell.line.ring();
        for endpoint in &self.snapshot.load().endpoints {
            endpoint.stop_probing();
        }
    }

    pub(super) fn trouble(&self) {
        let hook = self.trouble.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(hook) = hook.as_ref() {
            hook();
        }
    }
}

impl<S> Drop for Shared<S> {
    fn drop(&mut self) {
        let driver = self.driver.get_mut();
        if let Some(driver) = driver.unwrap_or_else(PoisonError::into_inner).take() {
            driver.abort();
        }
    }
}
