//! The balancer as a tower [`Service`].
//!
//! Owns the handle, its options and its closing. It must reserve nothing in `poll_ready`: a clone
//! that is ready and idle would hold a database connection.

use super::balanced::Balanced;
use super::call::ResponseFuture;
use super::config::BalanceConfig;
use super::driver::drive;
use super::eligible::{Classify, Eligible};
use super::error::{BalanceError, EndpointReport};
use super::guard::Guard;
use super::shared::{Shared, Snapshot};
use super::vitals::Announcer;
use arc_swap::ArcSwap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tower::Service;
use tower::discover::Discover;
use tower::load::Load;

/// A load balancer over the endpoints that a [`Discover`] yields.
///
/// * Cheap to clone; all clones share one set of endpoints.
/// * `poll_ready` is always ready until [`close`](Balance::close). The response future picks, waits
///   and retries, under a deadline and a limit on waiting calls.
/// * Errors of `poll_ready` are terminal, as tower requires. If no endpoint can serve, the
///   *response* is an error.
///
/// # Cancel safety
///
/// The response future may be dropped at any time: the count of checkouts in flight goes down and
/// the place in the queue is freed at once. The endpoint's own future defines what happens when it
/// is dropped.
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
    /// Starts a balancer over the endpoints that `discover` yields.
    ///
    /// A task on `handle` polls the source, whether or not calls arrive; it ends with the last
    /// clone. An `Err` of the source is logged and changes nothing; if the source ends, the set
    /// stays as it is. When the runtime of `handle` ends, the balancer is closed.
    pub fn new<D>(discover: D, config: BalanceConfig, handle: &Handle) -> Self
    where
        D: Discover<Service = S> + Send + 'static,
        D::Key: Ord + Clone + fmt::Display + Send,
        D::Error: fmt::Display + Send,
    {
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            bell: Arc::new(Announcer::new()),
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
    /// Calls `hook` whenever an endpoint failed or a call found no endpoint. The hook must not
    /// block; it replaces an earlier hook.
    pub fn on_trouble(&self, hook: impl Fn() + Send + Sync + 'static) {
        let mut slot = self
            .shared
            .trouble
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Box::new(hook));
    }

    /// Tells waiting calls to pick again, because an endpoint's eligibility changed.
    pub fn wake(&self) {
        self.shared.bell.line.ring();
    }

    /// A report of every endpoint, in the order of the keys.
    pub fn endpoints(&self) -> Vec<EndpointReport> {
        let now = Instant::now();
        let snapshot = self.shared.snapshot.load();
        let endpoints = snapshot.endpoints.iter();
        endpoints.map(|e| e.vitals.report(now)).collect()
    }

    /// Rejects every call from now on, including the calls that wait already.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Picks an endpoint for `request` without waiting, as the first step of a call does.
    ///
    /// `None`: a call would have to wait now. For callers that need the endpoint itself.
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
    /// Serves a call without a future, if it need not wait. `serve` gets the endpoint that a call
    /// would ask first, and must change nothing if it returns `None`. The result is `None` if
    /// `serve` returns `None` or no endpoint with room is available; then use a call.
    pub(crate) fn serve_now<R: Eligible<S>, T>(
        &self,
        request: &R,
        serve: impl FnOnce(&S) -> Option<T>,
    ) -> Option<Balanced<T>> {
        let shared = &*self.shared;
        // If a prober is missing, only a call can start it.
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

    /// As [`Service::call`], but with a shared reference.
    pub(crate) fn ask<R>(&self, request: R) -> ResponseFuture<S, R>
    where
        S: Service<R>,
    {
        ResponseFuture::new(Arc::clone(&self.shared), request)
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

/// Checkouts in flight over all endpoints, plus the waiting calls. With it a balancer can be an
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
