//! One client process: a policy over its own pools.
//!
//! Owns the path of a request through each policy. It must give every policy the same request and
//! the same pools.

use crate::pool::{Ask, Checkout, Pool};
use crate::reference::{Kind, Reference};
use crate::rng::Rng;
use crate::server::Fault;
use futures_util::stream;
use headless_mysql::balance::{Balance, BalanceConfig};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use tower::balance::p2c;
use tower::discover::{Change, ServiceList};
use tower::load::{CompleteOnResponse, PeakEwmaDiscover, PendingRequestsDiscover};
use tower::util::BoxService;
use tower::{BoxError, Service, ServiceExt};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Ours,
    /// Our balancer without weights by answer time (`pace` off).
    OursBlind,
    Reference(Kind),
    TowerPending,
    TowerEwma,
}

impl Policy {
    pub(crate) const ALL: [Self; 12] = [
        Self::Ours,
        Self::OursBlind,
        Self::Reference(Kind::Random),
        Self::Reference(Kind::RoundRobin),
        Self::Reference(Kind::FirstLeast),
        Self::Reference(Kind::Least),
        Self::Reference(Kind::P2c),
        Self::Reference(Kind::P2cAccrual),
        Self::Reference(Kind::PeakEwma),
        Self::Reference(Kind::PeakEwmaHold),
        Self::TowerPending,
        Self::TowerEwma,
    ];

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursBlind)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursBlind => "ours, pace off",
            Self::Reference(Kind::Random) => "random",
            Self::Reference(Kind::RoundRobin) => "round robin",
            Self::Reference(Kind::FirstLeast) => "least, first index",
            Self::Reference(Kind::Least) => "least, random tie",
            Self::Reference(Kind::P2c) => "P2C in flight",
            Self::Reference(Kind::P2cAccrual) => "P2C + accrual",
            Self::Reference(Kind::PeakEwma) => "peak EWMA (answer)",
            Self::Reference(Kind::PeakEwmaHold) => "peak EWMA (hold)",
            Self::TowerPending => "tower PendingRequests",
            Self::TowerEwma => "tower PeakEwma",
        }
    }
}

/// The checkout timeout; equal to the balancer's default.
const CHECKOUT: Duration = Duration::from_secs(5);
/// How long a server may take to prove that it is alive after a query timed out.
const SIDE_CONNECT: Duration = Duration::from_secs(1);

/// The result of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) sent: Duration,
    /// The time from the request to its answer, without the hold.
    pub(crate) took: Duration,
    pub(crate) fault: Option<Fault>,
    pub(crate) held: bool,
}

/// Tower's balancers need `&mut`, so they are behind a mutex, which costs no virtual time.
type Tower = tokio::sync::Mutex<BoxService<Ask, Duration, BoxError>>;

#[derive(Debug)]
enum Via {
    Ours(Balance<Pool>),
    Reference(Mutex<Reference>),
    Tower(Tower),
}

#[derive(Debug)]
pub(crate) struct Client {
    via: Via,
    pub(crate) pools: Vec<Pool>,
    query_timeout: Duration,
    began: Instant,
}

impl Client {
    pub(crate) fn new(
        policy: Policy,
        pools: Vec<Pool>,
        query_timeout: Duration,
        mut rng: Rng,
    ) -> Self {
        let via = match policy {
            Policy::Ours | Policy::OursBlind => {
                let inserts = pools.iter().cloned().enumerate();
                let inserts: Vec<_> = inserts
                    .map(|(key, pool)| Ok::<_, Infallible>(Change::Insert(key, pool)))
                    .collect();
                let config = BalanceConfig::default();
                Via::Ours(Balance::new(
                    stream::iter(inserts),
                    config,
                    &Handle::current(),
                ))
            }
            Policy::Reference(kind) => {
                let reference = Reference::new(kind, pools.len(), Rng::new(rng.next()));
                Via::Reference(Mutex::new(reference))
            }
            Policy::TowerPending => {
                let whole = whole(&pools, query_timeout);
                let discover = PendingRequestsDiscover::new(whole, CompleteOnResponse::default());
                let balance = p2c::Balance::from_rng(discover, rng);
                Via::Tower(tokio::sync::Mutex::new(balance.boxed()))
            }
            Policy::TowerEwma => {
                let discover = PeakEwmaDiscover::new(
                    whole(&pools, query_timeout),
                    Duration::from_millis(30),
                    Duration::from_secs(10),
                    CompleteOnResponse::default(),
                );
                let balance = p2c::Balance::from_rng(discover, rng);
                Via::Tower(tokio::sync::Mutex::new(balance.boxed()))
            }
        };
        Self {
            via,
            pools,
            query_timeout,
            began: Instant::now(),
        }
    }

    /// Runs one request, from the pick to the return of the connection.
    pub(crate) async fn request(&self, ask: Ask) -> Outcome {
        let began = Instant::now();
        let result = match &self.via {
            Via::Ours(balance) => self.through_ours(balance, ask).await,
            Via::Reference(reference) => self.through_reference(reference, ask).await,
            Via::Tower(tower) => through_tower(tower, ask).await,
        };
        let (took, fault) = match result {
            Ok(answered) => (answered, None),
            Err(fault) => (began.elapsed(), Some(fault)),
        };
        Outcome {
            sent: began - self.began,
            took,
            fault,
            held: !ask.hold.is_zero(),
        }
    }

    async fn through_ours(&self, balance: &Balance<Pool>, ask: Ask) -> Result<Duration, Fault> {
        let began = Instant::now();
        let mut balance = balance.clone();
        let ready = balance.ready().await.map_err(|_| Fault::Unserved)?;
        let served = ready.call(ask).await.map_err(|_| Fault::Unserved)?;
        let (guard, mut checkout) = served.into_parts();
        match checkout.query(&ask, self.query_timeout).await {
            Ok(()) => {
                let took = began.elapsed();
                hold(&ask).await;
                // Return the connection before dropping the guard, so that a waiting request finds
                // it.
                drop(checkout);
                drop(guard);
                Ok(took)
            }
            Err((fault, is_news)) => {
                if fault == Fault::QueryTimeout && is_news {
                    let suspicion = guard.suspect();
                    tokio::spawn(async move {
                        if !checkout.pool.is_alive(SIDE_CONNECT).await {
                            suspicion.confirmed("no answer to a query, nor to a connect");
                        }
                        // Until now the connection held its slot, and the request counted as in
                        // flight.
                        drop((checkout, guard));
                    });
                } else if is_news {
                    guard.failed(fault);
                }
                Err(fault)
            }
        }
    }

    async fn through_reference(
        &self,
        reference: &Mutex<Reference>,
        ask: Ask,
    ) -> Result<Duration, Fault> {
        let began = Instant::now();
        let index = reference.lock().unwrap().pick(self.began.elapsed());
        let (checkout, result) = perform(&self.pools[index], &ask, self.query_timeout).await;
        let (took, now) = (began.elapsed(), self.began.elapsed());
        let failed = result.is_err();
        let answered = |r: &mut Reference| r.answered(index, now, took, failed);
        answered(&mut reference.lock().unwrap());
        if !failed {
            hold(&ask).await;
        }
        drop(checkout);
        let (held, now) = (began.elapsed(), self.began.elapsed());
        reference.lock().unwrap().returned(index, now, held);
        result.map(|()| took)
    }
}

async fn hold(ask: &Ask) {
    if !ask.hold.is_zero() {
        sleep(ask.hold).await;
    }
}

/// Checks a connection out and runs the query.
async fn perform(
    pool: &Pool,
    ask: &Ask,
    query_timeout: Duration,
) -> (Option<Checkout>, Result<(), Fault>) {
    let checkout = timeout(CHECKOUT, pool.checkout(ask)).await;
    match checkout.unwrap_or(Err(Fault::Unserved)) {
        Err(fault) => (None, Err(fault)),
        Ok(mut checkout) => {
            let result = checkout.query(ask, query_timeout).await;
            (Some(checkout), result.map_err(|(fault, _)| fault))
        }
    }
}

async fn through_tower(tower: &Tower, ask: Ask) -> Result<Duration, Fault> {
    let future = {
        let mut balance = tower.lock().await;
        let ready = balance.ready().await.map_err(|_| Fault::Unserved)?;
        ready.call(ask)
    };
    future.await.map_err(|error| match error.downcast() {
        Ok(fault) => *fault,
        Err(_) => Fault::Unserved,
    })
}

/// A pool as a service whose response marks the end of the request, so that tower counts the whole
/// request as pending.
#[derive(Debug, Clone)]
struct Whole {
    pool: Pool,
    query_timeout: Duration,
}

fn whole(pools: &[Pool], query_timeout: Duration) -> ServiceList<Vec<Whole>> {
    let whole = |pool: &Pool| Whole {
        pool: pool.clone(),
        query_timeout,
    };
    ServiceList::new(pools.iter().map(whole).collect::<Vec<_>>())
}

impl Service<Ask> for Whole {
    /// The time until the answer.
    type Response = Duration;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Duration, Fault>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        let Self {
            pool,
            query_timeout,
        } = self.clone();
        Box::pin(async move {
            let began = Instant::now();
            let (_checkout, result) = perform(&pool, &ask, query_timeout).await;
            let took = began.elapsed();
            result?;
            hold(&ask).await;
            Ok(took)
        })
    }
}
