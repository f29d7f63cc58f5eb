//! The balancer as a tower [`Service`]: pick, wait, try again, all inside the response future.
//!
//! Owns the life of one call. It must reserve nothing in `poll_ready` (a clone that is ready and
//! idle would hold a database connection), and hold neither a lock nor a snapshot across an
//! await.

use super::eligible::{Class, Classify, Eligibility, Eligible};
use super::endpoint::{Endpoint, Guard, Vitals};
use super::error::{BalanceError, EndpointReport};
use super::health::{Availability, HealthConfig};
use super::pick::{Candidate, Pick, pick};
use super::snapshot::{Snapshot, drive};
use arc_swap::ArcSwap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tower::Service;
use tower::discover::Discover;

/// The balancer's options.
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

type Hook = Box<dyn Fn() + Send + Sync>;

/// What all clones share.
pub(crate) struct Shared<S> {
    snapshot: ArcSwap<Snapshot<S>>,
    /// Told whenever a pick may come out differently.
    pub(super) changed: Arc<Notify>,
    pub(super) config: BalanceConfig,
    waiting: AtomicUsize,
    closed: AtomicBool,
    /// Told when an endpoint failed or none could be found: "resolve again now", without data.
    trouble: RwLock<Option<Hook>>,
    handle: Handle,
    driver: RwLock<Option<AbortHandle>>,
}

impl<S> Shared<S> {
    pub(super) fn publish(&self, endpoints: Vec<Arc<Endpoint<S>>>) {
        self.snapshot.store(Arc::new(Snapshot { endpoints }));
        self.changed.notify_waiters();
    }

    /// Ends when the balancer is closed.
    async fn closing(&self) {
        loop {
            // Registered before the flag is read, or a close in between would be lost.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }

    fn trouble(&self) {
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
    shared: Arc<Shared<S>>,
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
    /// is.
    pub fn new<D>(discover: D, config: BalanceConfig, handle: &Handle) -> Self
    where
        D: Discover<Service = S> + Send + 'static,
        D::Key: Ord + Clone + fmt::Display + Send,
        D::Error: fmt::Display + Send,
    {
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            changed: Arc::new(Notify::new()),
            config,
            waiting: AtomicUsize::new(0),
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
        self.shared.changed.notify_waiters();
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
        self.shared.closed.store(true, Ordering::Release);
        self.shared.changed.notify_waiters();
    }

    /// Picks an endpoint for `request` without waiting, as a call would first.
    ///
    /// `None`: a call would wait now. For callers that want the endpoint itself.
    pub fn pick<R: Eligible<S>>(&self, request: &R) -> Option<(S, Guard)>
    where
        S: Clone,
    {
        match self.shared.choose(request, &[]) {
            Choice::Use { endpoint, guard } => Some((endpoint.service.clone(), guard)),
            Choice::Wait(_) => None,
        }
    }
}

/// An endpoint that did not serve this very call.
struct Tried {
    vitals: Arc<Vitals>,
    /// Not to be asked again before this instant; `None`: only if nobody else is left.
    not_before: Option<Instant>,
}

enum Choice<S> {
    Use {
        endpoint: Arc<Endpoint<S>>,
        guard: Guard,
    },
    Wait(Option<Instant>),
}

impl<S> Shared<S> {
    fn choose<R: Eligible<S>>(&self, request: &R, tried: &[Tried]) -> Choice<S> {
        let snapshot = self.snapshot.load();
        let candidates = snapshot.endpoints.iter().map(|endpoint| {
            let vitals = &endpoint.vitals;
            let mut availability = vitals.availability(Instant::now);
            let mut seen = false;
            for entry in tried.iter().filter(|t| Arc::ptr_eq(&t.vitals, vitals)) {
                match entry.not_before {
                    Some(until) if until > Instant::now() => {
                        availability = Availability::Ejected(until);
                    }
                    Some(_) => {}
                    None => seen = true,
                }
            }
            Candidate {
                eligibility: request.eligible(&endpoint.service),
                availability,
                load: vitals.load(),
                tried: seen,
            }
        });
        match pick(candidates, rand::random()) {
            Pick::Use(index) => {
                let endpoint = Arc::clone(&snapshot.endpoints[index]);
                let guard = endpoint.vitals.admit();
                Choice::Use { endpoint, guard }
            }
            Pick::Wait(until) => Choice::Wait(until),
        }
    }

    /// Starts the probe of every endpoint that could serve `request` and whose ejection is over.
    ///
    /// A probe runs in a task of its own, so no caller waits for a dead endpoint while a living
    /// one could serve it, and a caller that gives up does not end the probe.
    fn probe<R>(self: &Arc<Self>, request: &R)
    where
        S: Service<R> + Clone + Send + Sync + 'static,
        S::Error: Classify + Send,
        S::Future: Send + 'static,
        S::Response: Send,
        R: Eligible<S> + Clone + Send + 'static,
    {
        let snapshot = self.snapshot.load();
        for endpoint in &snapshot.endpoints {
            if request.eligible(&endpoint.service) == Eligibility::No {
                continue;
            }
            let Some(token) = endpoint.vitals.begin_probe() else {
                continue;
            };
            let guard = endpoint.vitals.admit();
            let call = call_ready(endpoint.service.clone(), request.clone());
            let limit = self.config.checkout_timeout;
            self.handle.spawn(async move {
                match tokio::time::timeout(limit, call).await {
                    Ok(Ok(response)) => {
                        token.succeeded();
                        drop(response);
                    }
                    Ok(Err(error)) => match error.class() {
                        Class::Failure | Class::Overloaded => token.failed(error.to_string()),
                        // It answered, so it is alive; whether it fits is not a health question.
                        Class::Unfit(_) | Class::Fatal => token.succeeded(),
                    },
                    Err(_) => token.failed(format!("no answer to a probe within {limit:?}")),
                }
                drop(guard);
            });
        }
    }

    /// `asked` is the endpoint that has not answered yet.
    fn timed_out<R, E>(
        &self,
        request: &R,
        since: Instant,
        last: Option<E>,
        asked: Option<&Vitals>,
    ) -> BalanceError<E>
    where
        R: Eligible<S>,
    {
        let now = Instant::now();
        let report = |vitals: &Vitals| {
            let mut report = vitals.report(now);
            if asked.is_some_and(|asked| std::ptr::eq(asked, vitals)) {
                let silence = || format!("no connection to be had within {:?}", now - since);
                report.last_cause.get_or_insert_with(silence);
            }
            report
        };
        let snapshot = self.snapshot.load();
        let endpoints = snapshot.endpoints.iter();
        BalanceError::Timeout {
            waited: now - since,
            endpoints: endpoints
                .filter(|e| request.eligible(&e.service) != Eligibility::No)
                .map(|e| report(&e.vitals))
                .collect(),
            last,
        }
    }
}

/// A place in the bounded queue of waiting calls; dropping it leaves the queue.
struct Place<S>(Arc<Shared<S>>);

impl<S> Place<S> {
    fn take(shared: &Arc<Shared<S>>) -> Result<Self, usize> {
        let waiting = shared.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(shared));
        if waiting >= shared.config.max_waiters {
            return Err(waiting);
        }
        Ok(place)
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a served call yields: the endpoint's response and the guard that counts it.
#[derive(Debug)]
pub struct Balanced<T> {
    response: T,
    guard: Guard,
}

impl<T> Balanced<T> {
    /// Takes the two apart; the checkout counts as over when the guard is dropped.
    pub fn into_parts(self) -> (T, Guard) {
        (self.response, self.guard)
    }
}

async fn call_ready<S, R>(mut service: S, request: R) -> Result<S::Response, S::Error>
where
    S: Service<R>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

/// The life of one call; see the module documentation.
async fn serve<S, R>(
    shared: Arc<Shared<S>>,
    request: R,
) -> Result<Balanced<S::Response>, BalanceError<S::Error>>
where
    S: Service<R> + Clone + Send + Sync + 'static,
    S::Error: Classify + Send,
    S::Future: Send + 'static,
    S::Response: Send,
    R: Eligible<S> + Clone + Send + Sync + 'static,
{
    let started = Instant::now();
    let deadline = request
        .deadline()
        .unwrap_or_else(|| started + shared.config.checkout_timeout);
    let mut tried: Vec<Tried> = Vec::new();
    let mut last = None;
    let mut place = None;
    loop {
        // Registered before the snapshot is read, or a change in between would be lost.
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if shared.closed.load(Ordering::Acquire) {
            return Err(BalanceError::Closed);
        }
        if Instant::now() >= deadline {
            return Err(shared.timed_out(&request, started, last, None));
        }
        shared.probe(&request);
        match shared.choose(&request, &tried) {
            Choice::Use { endpoint, guard } => {
                place = None;
                let vitals = Arc::clone(&endpoint.vitals);
                let call = call_ready(endpoint.service.clone(), request.clone());
                drop(endpoint);
                let served = tokio::select! {
                    // A call that is served at once never looks further.
                    biased;
                    served = tokio::time::timeout_at(deadline, call) => served,
                    () = shared.closing() => return Err(BalanceError::Closed),
                };
                let error = match served {
                    Ok(Ok(response)) => {
                        vitals.succeeded();
                        return Ok(Balanced { response, guard });
                    }
                    Ok(Err(error)) => error,
                    // The caller's deadline says nothing about the endpoint.
                    Err(_) => {
                        return Err(shared.timed_out(&request, started, last, Some(&vitals)));
                    }
                };
                drop(guard);
                let not_before = match error.class() {
                    Class::Fatal => return Err(BalanceError::Endpoint(error)),
                    Class::Failure => {
                        vitals.failed(error.to_string());
                        None
                    }
                    Class::Overloaded => {
                        vitals.condemn(error.to_string());
                        None
                    }
                    Class::Unfit(pause) => {
                        vitals.note(error.to_string());
                        Some(Instant::now() + pause)
                    }
                };
                shared.trouble();
                tried.retain(|entry| !Arc::ptr_eq(&entry.vitals, &vitals));
                tried.push(Tried { vitals, not_before });
                last = Some(error);
            }
            Choice::Wait(until) => {
                shared.trouble();
                if place.is_none() {
                    let taken = Place::take(&shared);
                    place = Some(taken.map_err(|waiting| BalanceError::QueueFull { waiting })?);
                }
                let until = until.map_or(deadline, |until| until.min(deadline));
                // Either way the loop looks again; a timeout here is no error.
                let _ = tokio::time::timeout_at(until, changed).await;
            }
        }
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
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Poll::Ready(Err(BalanceError::Closed));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        ResponseFuture {
            inner: Box::pin(serve(Arc::clone(&self.shared), request)),
        }
    }
}

/// The future of a call; see [`Balance`] for what dropping it means.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<T, E> {
    inner: Pin<Box<dyn Future<Output = Result<Balanced<T>, BalanceError<E>>> + Send>>,
}

impl<T, E> fmt::Debug for ResponseFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<T, E> Future for ResponseFuture<T, E> {
    type Output = Result<Balanced<T>, BalanceError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}
