//! One client's connections to one server, as a tower service: the endpoint of every policy.
//!
//! Owns the slots, the idle connections and the limit of concurrent connects. It must neither
//! choose between servers nor judge their health.

use crate::server::{Fault, Server, Session};
use headless_mysql::balance::{Class, Classify, Eligibility, Eligible, Pace};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tower::Service;

/// The maximum number of concurrent connects from one client to one server.
pub(crate) const CONNECTS: usize = 2;
/// The deadline of one connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The properties of a request. They are drawn before any policy runs, so that all policies get the
/// same requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// CPU time of the query.
    pub(crate) work: Duration,
    /// How long the application holds the connection after the answer.
    pub(crate) hold: Duration,
    /// The task of the request. A checkout from another task is a probe of the balancer.
    pub(crate) task: tokio::task::Id,
}

impl Eligible<Pool> for Ask {
    fn eligible(&self, pool: &Pool) -> Eligibility {
        Eligibility::Yes {
            tier: 0,
            room: !pool.is_full(),
        }
    }

    fn weight(&self, pool: &Pool) -> u32 {
        pool.0.pace.as_ref().map_or(1, Pace::weight)
    }
}

impl Classify for Fault {
    fn class(&self) -> Class {
        match self {
            Fault::NoRoom => Class::Overloaded,
            _ => Class::Failure,
        }
    }
}

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<Connection>,
    /// Incremented when a connection of the current generation breaks: ten sockets that one restart
    /// breaks count as one failure.
    generation: u64,
}

#[derive(Debug)]
struct Connection {
    session: Session,
    generation: u64,
}

#[derive(Debug)]
struct Inner {
    server: Arc<Server>,
    /// Receives the answer times.
    pace: Option<Pace>,
    slots: Arc<Semaphore>,
    connects: Semaphore,
    idle: Mutex<Idle>,
    /// The number of callers that wait for a slot or for a connect, or are connecting.
    without: AtomicUsize,
    most_without: AtomicUsize,
    connecting: AtomicUsize,
    most_connecting: AtomicUsize,
}

#[derive(Debug, Clone)]
pub(crate) struct Pool(Arc<Inner>);

impl Pool {
    pub(crate) fn new(server: Arc<Server>, slots: usize, pace: Option<Pace>) -> Self {
        Self(Arc::new(Inner {
            server,
            pace,
            slots: Arc::new(Semaphore::new(slots)),
            connects: Semaphore::new(CONNECTS),
            idle: Mutex::default(),
            without: AtomicUsize::new(0),
            most_without: AtomicUsize::new(0),
            connecting: AtomicUsize::new(0),
            most_connecting: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn most_without(&self) -> usize {
        self.0.most_without.load(Relaxed)
    }

    pub(crate) fn most_connecting(&self) -> usize {
        self.0.most_connecting.load(Relaxed)
    }

    /// Resets the two maxima.
    pub(crate) fn forget_herd(&self) {
        self.0.most_without.store(0, Relaxed);
        self.0.most_connecting.store(0, Relaxed);
    }

    /// Whether all slots are taken, or all connects are busy and no connection is idle.
    fn is_full(&self) -> bool {
        if self.0.slots.available_permits() == 0 {
            return true;
        }
        self.0.connecting.load(Relaxed) >= CONNECTS
            && self.0.idle.lock().unwrap().connections.is_empty()
    }

    fn take_idle(&self) -> Option<Connection> {
        self.0.idle.lock().unwrap().connections.pop()
    }

    pub(crate) async fn checkout(&self, ask: &Ask) -> Result<Checkout, Fault> {
        self.0
            .server
            .note_call(tokio::task::try_id() != Some(ask.task));
        let _without = Count::up(self, |pool| (&pool.without, &pool.most_without));
        let slots = Arc::clone(&self.0.slots);
        let slot = slots.acquire_owned().await.unwrap();
        if let Some(connection) = self.take_idle() {
            return Ok(self.out(connection, slot));
        }
        let _turn = self.0.connects.acquire().await.unwrap();
        if let Some(connection) = self.take_idle() {
            return Ok(self.out(connection, slot));
        }
        let generation = self.0.idle.lock().unwrap().generation;
        let session = self.connect().await?;
        let connection = Connection {
            session,
            generation,
        };
        Ok(self.out(connection, slot))
    }

    async fn connect(&self) -> Result<Session, Fault> {
        let _connecting = Count::up(self, |pool| (&pool.connecting, &pool.most_connecting));
        let accepted = timeout(CONNECT_TIMEOUT, self.0.server.accept()).await;
        accepted.unwrap_or(Err(Fault::ConnectTimeout))
    }

    /// Connects outside of the pool to find out whether the server is alive.
    pub(crate) async fn is_alive(&self, within: Duration) -> bool {
        matches!(timeout(within, self.0.server.accept()).await, Ok(Ok(_)))
    }

    fn out(&self, connection: Connection, slot: OwnedSemaphorePermit) -> Checkout {
        Checkout {
            pool: self.clone(),
            connection: Some(connection),
            _slot: slot,
        }
    }
}

/// Increments a counter until dropped, and records the maximum.
struct Count<'a>(&'a AtomicUsize);

impl<'a> Count<'a> {
    fn up(pool: &'a Pool, of: fn(&Inner) -> (&AtomicUsize, &AtomicUsize)) -> Self {
        let (now, most) = of(&pool.0);
        most.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
        Self(now)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A connection in use. Dropping it returns it; during a query, dropping closes it.
#[derive(Debug)]
pub(crate) struct Checkout {
    pub(crate) pool: Pool,
    connection: Option<Connection>,
    _slot: OwnedSemaphorePermit,
}

impl Checkout {
    /// Runs the query. The flag of a failure is true if the pool did not know of the failure yet.
    pub(crate) async fn query(&mut self, ask: &Ask, within: Duration) -> Result<(), (Fault, bool)> {
        let connection = self.connection.take().unwrap();
        let began = Instant::now();
        let result = timeout(within, connection.session.query(ask.work)).await;
        let fault = match result {
            Ok(Ok(())) => {
                if let Some(pace) = &self.pool.0.pace {
                    pace.observe(began.elapsed(), Instant::now());
                }
                self.connection = Some(connection);
                return Ok(());
            }
            Ok(Err(fault)) => fault,
            Err(_) => Fault::QueryTimeout,
        };
        let mut idle = self.pool.0.idle.lock().unwrap();
        let is_news = connection.generation == idle.generation;
        if is_news {
            idle.generation += 1;
            idle.connections.clear();
        }
        Err((fault, is_news))
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let mut idle = self.pool.0.idle.lock().unwrap();
            if connection.generation == idle.generation {
                idle.connections.push(connection);
            }
        }
    }
}

impl Service<Ask> for Pool {
    type Response = Checkout;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Checkout, Fault>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        let pool = self.clone();
        Box::pin(async move { pool.checkout(&ask).await })
    }
}
