//! The balancer as a tower [`Service`].
//!
//! Owns the handle, its options and its end. It must reserve nothing in `poll_ready`: a clone that
//! is ready and idle would hold a database connection.

use super::call::ResponseFuture;
use super::eligible::{Classify, Eligible};
use super::endpoint::Endpoint;
use super::error::{BalanceError, EndpointReport};
use super::guard::Guard;
use super::health::HealthConfig;
use super::snapshot::{Snapshot, drive};
use super::vitals::Bell;
use arc_swap::ArcSwap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tower::Service;
use tower::discover::Discover;
use tower::load::Load;

/// The balancer's options.
///
/// ```
/// use headless_mysql::balance::{BalanceConfig, HealthConfig};
///
/// // One failed connect is proof enough, and hardly anybody queues.
/// let config = BalanceConfig::default()
///     .with_max_waiters(1)
///     .with_health(HealthConfig::default().with_threshold(1));
/// assert_eq!(config.health.threshold, 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct BalanceConfig {
    /// How long a call may take to be served when its request names no deadline. Default 5 s.
    pub checkout_timeout: Duration,
    /// Calls that may wait at once, over all endpoints; one more is turned away with
    /// [`BalanceError::QueueFull`]. Default 1024. Lower it to shed load early.
    pub max_waiters: usize,
    /// When an endpoint is taken out.
    pub health: HealthConfig,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            checkout_timeout: Duration::from_secs(5),
            max_waiters: 1024,
            health: HealthConfig::default(),
        }
    }
}

impl BalanceConfig {
    /// Sets [`checkout_timeout`](Self::checkout_timeout).
    #[must_use]
    pub fn with_checkout_timeout(mut self, timeout: Duration) -> Self {
        self.checkout_timeout = timeout;
        self
    }

    /// Sets [`max_waiters`](Self::max_waiters).
    #[must_use]
    pub fn with_max_waiters(mut self, waiters: usize) -> Self {
        self.max_waiters = waiters;
        self
    }

    /// Sets [`health`](Self::health).
    #[must_use]
    pub fn with_health(mut self, health: HealthConfig) -> Self {
        self.health = health;
        self
    }
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// What all clones share.
pub(crate) struct Shared<S> {
    pub(super) snapshot: ArcSwap<Snapshot<S>>,
    /// Rung whenever a pick may come out differently.
    pub(super) bell: Arc<Bell>,
    pub(super) config: BalanceConfig,
    pub(super) closed: AtomicBool,
    /// Told when an endpoint failed or none could be found: "resolve again now", without data.
    trouble: RwLock<Option<Hook>>,
    pub(super) handle: Handle,
    driver: RwLock<Option<AbortHandle>>,
}

impl<S> Shared<S> {
    pub(super) fn publish(&self, endpoints: Vec<Arc<Endpoint<S>>>) {
        self.snapshot.store(Arc::new(Snapshot { endpoints }));
        // New endpoints may be out already: they were before they went.
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

/// A load balancer over whatever a [`Discover`] finds.
///
/// * Cheap to clone; all clones share one set of endpoints.
/// * `poll_ready` is always ready until [`close`](Balance::close): picking, waiting and trying
///   again happen in the response future, under a deadline and a cap on waiters.
/// * Errors of `poll_ready` are terminal, as tower demands; that no endpoint can serve is an
///   error of the *response*.
///
/// # Cancel safety
///
/// The response future may be dropped at any time: the count of checkouts in flight and the
/// place in the queue go back at once. What the endpoint's own future does on drop is its own
/// promise.
pub struct Balance<S> {
    pub(super) shared: Arc<Shared<S>>,
}

impl<S> Clone for Balance<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S> fmt::Debug for Balance<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance")
            .field("endpoints", &self.endpoints())
            .finish()
    }
}

impl<S> Balance<S>
where
    S: Send + Sync + 'static,
{
    /// Starts a balancer whose endpoints are those that `discover` yields.
    ///
    /// A task on `handle` drains the source, whether or not calls come in; it ends with the last
    /// clone. An `Err` of the source is logged and changes nothing; its end leaves the set as it
    /// is. When that runtime ends, the balancer is closed.
    pub fn new<D>(discover: D, config: BalanceConfig, handle: &Handle) -> Self
    where
        D: Discover<Service = S> + Send + 'static,
        D::Key: Ord + Clone + fmt::Display + Send,
        D::Error: fmt::Display + Send,
    {
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            bell: Arc::new(Bell::new()),
            config,
            closed: AtomicBool::new(false),
            trouble: RwLock::new(None),
            handle: handle.clone(),
            driver: RwLock::new(None),
        });
        let task = handle.spawn(drive(Box::pin(discover), Arc::downgrade(&shared)));
        let mut driver = shared
            .driver
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *driver = Some(task.abort_handle());
        drop(driver);
        Self { shared }
    }
}

impl<S> Balance<S> {
    /// Calls `hook` whenever an endpoint failed or a call found nobody to serve it. It must not
    /// block; it replaces an earlier hook.
    pub fn on_trouble(&self, hook: impl Fn() + Send + Sync + 'static) {
        let mut slot = self
            .shared
            .trouble
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Box::new(hook));
    }

    /// Tells waiting calls to pick again: an endpoint's eligibility changed.
    pub fn wake(&self) {
        self.shared.bell.line.ring();
    }

    /// Every endpoint, in the order of the keys.
    pub fn endpoints(&self) -> Vec<EndpointReport> {
        let now = Instant::now();
        let snapshot = self.shared.snapshot.load();
        let endpoints = snapshot.endpoints.iter();
        endpoints.map(|e| e.vitals.report(now)).collect()
    }

    /// Turns away every call from now on, also those that wait, for an endpoint or on one.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Picks an endpoint for `request` without waiting, as a call would first.
    ///
    /// `None`: a call would wait now. For callers that want the endpoint itself.
    pub fn pick<R: Eligible<S>>(&self, request: &R) -> Option<(S, Guard)>
    where
        S: Clone,
    {
        self.shared.choose_first(request, |endpoint, _| {
            (endpoint.service.clone(), Guard::new(&endpoint.vitals))
        })
    }
}

impl<S> Balance<S> {
    /// Serves a call that need not wait, without a future: `serve` is shown the endpoint that a call
    /// would ask first, and must leave everything as it was if it returns `None`. Then, or if that endpoint has
    /// no room, the answer is `None`, and a call is to be made.
    pub(crate) fn serve_now<R: Eligible<S>, T>(
        &self,
        request: &R,
        serve: impl FnOnce(&S) -> Option<T>,
    ) -> Option<Balanced<T>> {
        let shared = &*self.shared;
        // A call starts the prober that is missing.
        if shared.closed.load(Ordering::Acquire) || shared.bell.needs_prober() {
            return None;
        }
        let served = shared.choose_first(request, |endpoint, rank| {
            if rank.is_full() {
                return None;
            }
            let guard = Guard::new(&endpoint.vitals);
            let response = serve(&endpoint.service)?;
            guard.served();
            Some(Balanced { response, guard })
        });
        served.flatten()
    }

    /// As [`Service::call`], which takes the handle mutably although it changes nothing.
    pub(crate) fn ask<R>(&self, request: R) -> ResponseFuture<S, R>
    where
        S: Service<R>,
    {
        ResponseFuture::new(Arc::clone(&self.shared), request)
    }
}

/// What a served call yields: the endpoint's response and the guard that counts it.
#[derive(Debug)]
pub struct Balanced<T> {
    pub(super) response: T,
    pub(super) guard: Guard,
}

impl<T> Balanced<T> {
    /// Takes the two apart; the checkout counts as over when the guard is dropped.
    ///
    /// The guard comes first, so that `let (guard, response) = ...` drops it last, as it should be:
    /// variables are dropped in the opposite order. (A tuple that is kept whole is not.)
    pub fn into_parts(self) -> (Guard, T) {
        (self.guard, self.response)
    }
}

impl<S, R> Service<R> for Balance<S>
where
    S: Service<R> + Clone + Send + Sync + 'static,
    S::Error: Classify + Send,
    S::Future: Send + 'static,
    S::Response: Send,
    R: Eligible<S> + Clone + Send + Sync + 'static,
{
    type Response = Balanced<S::Response>;
    type Error = BalanceError<S::Error>;
    type Future = ResponseFuture<S, R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Poll::Ready(Err(BalanceError::Closed));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.ask(request)
    }
}

/// Checkouts in flight over all endpoints, and calls that wait for one: a balancer can be an
/// endpoint of tower's own `Balance`.
impl<S> Load for Balance<S> {
    type Metric = usize;

    fn load(&self) -> usize {
        let snapshot = self.shared.snapshot.load();
        let endpoints = snapshot.endpoints.iter();
        let in_flight: usize = endpoints.map(|e| e.vitals.counts.in_flight()).sum();
        in_flight + self.shared.bell.waiting()
    }
}
