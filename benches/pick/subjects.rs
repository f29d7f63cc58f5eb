//! The subjects of the measurement: this crate, tower's balancers, and the simplest alternative.
//!
//! Owns how each subject is built and driven. Every endpoint is ready and answers at once, so only
//! the balancer is measured.

use futures_util::stream;
use headless_mysql::balance::{Balance, BalanceConfig, Class, Classify, Eligibility, Eligible};
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, poll_fn, ready};
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::balance::p2c;
use tower::discover::{Change, ServiceList};
use tower::load::{CompleteOnResponse, PeakEwmaDiscover, PendingRequestsDiscover};
use tower::{BoxError, Service};

/// An endpoint that is ready and answers at once.
#[derive(Clone, Copy)]
pub(crate) struct Instantly;

#[derive(Clone, Copy)]
pub(crate) struct Ask;

/// An endpoint's error. It never occurs.
#[derive(Debug)]
pub(crate) enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

impl Classify for Never {
    fn class(&self) -> Class {
        match *self {}
    }
}

impl Eligible<Instantly> for Ask {
    fn eligible(&self, _: &Instantly) -> Eligibility {
        Eligibility::Yes {
            tier: 0,
            room: true,
        }
    }
}

impl Service<Ask> for Instantly {
    type Response = ();
    type Error = Never;
    type Future = Ready<Result<(), Never>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        ready(Ok(()))
    }
}

fn endpoints(count: usize) -> ServiceList<Vec<Instantly>> {
    ServiceList::new(vec![Instantly; count])
}

pub(crate) async fn ours(count: usize) -> Balance<Instantly> {
    let inserts = (0..count).map(|key| Ok::<_, Infallible>(Change::Insert(key, Instantly)));
    let handle = tokio::runtime::Handle::current();
    let balance = Balance::new(
        stream::iter(inserts.collect::<Vec<_>>()),
        BalanceConfig::default(),
        &handle,
    );
    while balance.endpoints().len() < count {
        tokio::task::yield_now().await;
    }
    balance
}

type PeakEwma = PeakEwmaDiscover<ServiceList<Vec<Instantly>>>;
type Pending = PendingRequestsDiscover<ServiceList<Vec<Instantly>>>;

pub(crate) fn peak_ewma(count: usize) -> p2c::Balance<PeakEwma, Ask> {
    p2c::Balance::new(PeakEwmaDiscover::new(
        endpoints(count),
        Duration::from_secs(1),
        Duration::from_secs(10),
        CompleteOnResponse::default(),
    ))
}

pub(crate) fn pending_requests(count: usize) -> p2c::Balance<Pending, Ask> {
    let endpoints = endpoints(count);
    let pending = PendingRequestsDiscover::new(endpoints, CompleteOnResponse::default());
    p2c::Balance::new(pending)
}

/// A subject of the measurement, which runs its operation `n` times.
pub(crate) trait Subject: Send {
    fn run(&mut self, n: u64) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// A pick of this crate: the endpoint and the guard that counts it.
#[derive(Clone)]
pub(crate) struct Pick(pub(crate) Balance<Instantly>);

impl Subject for Pick {
    async fn run(&mut self, n: u64) -> Result<(), BoxError> {
        for _ in 0..n {
            black_box(self.0.pick(&Ask));
        }
        Ok(())
    }
}

/// A complete call of a service: readiness, call, response.
#[derive(Clone)]
pub(crate) struct Call<S>(pub(crate) S);

impl<S> Subject for Call<S>
where
    S: Service<Ask> + Send,
    S::Error: Into<BoxError>,
    S::Future: Send,
    S::Response: Send,
{
    async fn run(&mut self, n: u64) -> Result<(), BoxError> {
        for _ in 0..n {
            poll_fn(|cx| self.0.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            black_box(self.0.call(Ask).await.map_err(Into::into)?);
        }
        Ok(())
    }
}

/// The same through a mutex, for services that several tasks cannot share otherwise. The mutex is
/// released before the response is awaited.
pub(crate) struct Locked<S>(Arc<Mutex<S>>);

impl<S> Locked<S> {
    pub(crate) fn new(service: S) -> Self {
        Self(Arc::new(Mutex::new(service)))
    }
}

impl<S> Clone for Locked<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Subject for Locked<S>
where
    S: Service<Ask> + Send,
    S::Error: Into<BoxError>,
    S::Future: Send,
    S::Response: Send,
{
    async fn run(&mut self, n: u64) -> Result<(), BoxError> {
        for _ in 0..n {
            let response = poll_fn(|cx| {
                let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                service.poll_ready(cx).map_ok(|()| service.call(Ask))
            });
            let response = response.await.map_err(Into::into)?;
            black_box(response.await.map_err(Into::into)?);
        }
        Ok(())
    }
}

/// Round robin over a list, the usual first implementation.
pub(crate) struct RoundRobin {
    endpoints: Vec<Instantly>,
    next: usize,
}

impl RoundRobin {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            endpoints: vec![Instantly; count],
            next: 0,
        }
    }
}

impl Service<Ask> for RoundRobin {
    type Response = ();
    type Error = Never;
    type Future = Ready<Result<(), Never>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        self.next = (self.next + 1) % self.endpoints.len();
        self.endpoints[self.next].call(ask)
    }
}
