//! The face of the crate.
//!
//! Owns the life cycle and the routes, and puts the layers together: discovery feeds the topology,
//! the topology feeds the pools, the pools are the balancer's endpoints. It must hold no policy that
//! belongs to one of them.

mod builder;
mod changes;
mod outcome;
mod reconcile;
mod roles;
mod route;
mod running;
mod status;
mod work;

pub use builder::Builder;
pub use outcome::Outcome;
pub use route::{Checkout, Route};
pub use status::{PodStatus, Status};

use crate::config::Config;
use crate::error::Error;
use crate::mysql::{Committed, History, Login, Target, Tx, in_runtime};
use running::Running;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A MySQL StatefulSet behind a headless Service: writes go to its ordinal 0, reads to the others.
///
/// Make one per application and clone it: clones share everything. It belongs to the tokio runtime
/// in which it was connected (or first used, see [`Cluster::lazy`]); its tasks end with its last
/// clone.
///
/// ```no_run
/// use headless_mysql::{Cluster, prelude::*};
///
/// # async fn demo() -> Result<(), headless_mysql::Error> {
/// let cluster = Cluster::connect("mysql://app:secret@mysql.default.svc.cluster.local/shop").await?;
///
/// let mut tx = cluster.begin().await?;
/// tx.exec_drop("INSERT INTO orders (sku) VALUES (?)", ("A-1",)).await?;
/// tx.commit().await?;
///
/// let orders: Vec<u64> = cluster
///     .replicas()
///     .exec("SELECT id FROM orders WHERE sku = ?", ("A-1",))
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    source: builder::Source,
    history: Arc<History>,
    login: Arc<Login>,
    running: OnceLock<Running>,
    /// Held while the tasks are being started.
    starting: Mutex<()>,
    closed: AtomicBool,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Connects by URL: `mysql://user:password@service[:port][/database][?option=value]`; see
    /// [`url`](crate::url) for the options.
    ///
    /// Returns when discovery has found the pods once. It does not wait for a primary: a cluster
    /// whose primary is down can be connected to and read from.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::Name`] at once; [`Error::Discovery`] when no pod was found
    /// within 10 s (a Service without ready pods looks like one that does not exist, so both are
    /// waited for); [`Error::RuntimeGone`] outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops everything.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, Error> {
        Self::builder(crate::url::parse(url.as_ref())?)
            .connect()
            .await
    }

    /// As [`Cluster::connect`] without any I/O: the first call starts discovery and waits for it
    /// within its own deadline.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::Name`].
    pub fn lazy(url: impl AsRef<str>) -> Result<Self, Error> {
        Self::builder(crate::url::parse(url.as_ref())?).lazy()
    }

    /// For what a URL cannot say.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    /// The primary: for everything that writes, and for reads that must be current. That is ordinal
    /// 0, unless [`Config::with_primary`] says otherwise.
    pub fn primary(&self) -> Route {
        Route::new(self.clone(), Target::Primary)
    }

    /// The replicas, least busy first; the primary only as the
    /// [`ReplicaPolicy`](crate::config::ReplicaPolicy) allows.
    ///
    /// Sessions on a replica are read-only, so a write sent here fails (error 1792) whatever the
    /// account may do. A read whose connection breaks is run once more on another pod.
    pub fn replicas(&self) -> Route {
        Route::new(self.clone(), Target::Replicas)
    }

    /// Begins a transaction on the primary.
    ///
    /// # Errors
    ///
    /// As [`Route::begin`].
    pub async fn begin(&self) -> Result<Tx, Error> {
        self.primary().begin().await
    }

    /// What is known of the cluster now: for people, health endpoints and tests.
    pub fn status(&self) -> Status {
        match self.inner.running.get() {
            Some(running) => running.status(),
            None => Status::default(),
        }
    }

    /// Accepts the history that the primary has, whatever was seen before: the way out of
    /// [`ConnectError::HistoryLost`](crate::error::ConnectError::HistoryLost) after a restore that
    /// was meant.
    pub fn accept_history(&self) {
        self.inner.history.forget();
    }

    /// Shuts the cluster down for all clones: new calls fail with [`Error::Closed`], connections in
    /// use may finish until `deadline` from now, idle ones are closed, tasks end.
    ///
    /// # Errors
    ///
    /// [`Error::ShutdownTimeout`] when connections were still in use at the deadline; they fail at
    /// their next statement. The shutdown is complete all the same. [`Error::RuntimeGone`] outside
    /// a tokio runtime; nothing was done then, and dropping the last clone is the way to end it.
    ///
    /// # Cancel safety
    ///
    /// New calls fail from the first poll on; call it again to wait.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        if !in_runtime() {
            return Err(Error::RuntimeGone);
        }
        let now = Instant::now();
        // A month stands for a deadline that the clock cannot hold.
        let until = now.checked_add(deadline);
        let until = until.unwrap_or_else(|| now + Duration::from_secs(30 * 86_400));
        self.inner.closed.store(true, Ordering::Release);
        match self.inner.running.get() {
            Some(running) => running.shutdown(until).await,
            None => Ok(()),
        }
    }

    fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The running tasks; started by the first caller.
    fn running(&self) -> Result<&Running, Error> {
        let inner = &*self.inner;
        if inner.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        // Timers panic where there is no runtime.
        if !in_runtime() {
            return Err(Error::RuntimeGone);
        }
        let running = match inner.running.get() {
            Some(running) => running,
            None => {
                let _starting = inner
                    .starting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                match inner.running.get() {
                    Some(running) => running,
                    None => {
                        let running = Running::start(inner)?;
                        inner.running.get_or_init(|| running)
                    }
                }
            }
        };
        if running.is_gone() {
            return Err(Error::RuntimeGone);
        }
        Ok(running)
    }
}

const _: () = {
    fn sendable<T: Send + Sync + 'static>() {}
    fn check() {
        sendable::<Cluster>();
        sendable::<Route>();
        sendable::<Error>();
        sendable::<crate::mysql::PodConn>();
        sendable::<Tx>();
        sendable::<Committed>();
    }
    let _ = check;
};
