//! The handle that applications clone.
//!
//! Owns the start and end of the tasks. The operations on a cluster are in
//! [`builder`](super::builder), [`route`](super::route) and [`check`](super::check).

use super::running::{Parts, Running};
use super::status::Status;
use crate::config::Config;
use crate::conn::podconn::in_runtime;
use crate::error::Error;
use parking_lot::Mutex;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// A MySQL StatefulSet behind a headless Service: writes go to ordinal 0, reads to the other pods.
///
/// Make one per application and clone it: clones share all state. It belongs to the tokio runtime
/// in which it was connected (or first used, see [`Cluster::lazy`]). Its tasks end with its last
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
    parts: Parts,
    running: OnceLock<Running>,
    /// Locked while the tasks are being started.
    starting: Mutex<()>,
    closed: AtomicBool,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("config", &self.inner.parts.config)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                running: OnceLock::new(),
                starting: Mutex::new(()),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// The known state of the cluster, without a query: for people and tests. [`Cluster::check`]
    /// queries the servers.
    pub fn status(&self) -> Status {
        match self.inner.running.get() {
            Some(running) => running.status(),
            None => Status::default(),
        }
    }

    /// Accepts the primary's history regardless of the history seen before. Use it after an
    /// intended restore, which otherwise fails with
    /// [`ConnectError::HistoryLost`](crate::error::ConnectError::HistoryLost).
    pub fn accept_history(&self) {
        self.inner.parts.history.forget();
    }

    /// Shuts the cluster down for all clones: new calls fail with [`Error::Closed`], connections in
    /// use may finish until `deadline` from now, idle connections are closed, and the tasks end.
    ///
    /// # Errors
    ///
    /// [`Error::ShutdownTimeout`] if connections were still in use at the deadline; they fail at
    /// their next statement, and the shutdown is complete nevertheless. [`Error::RuntimeGone`]
    /// outside a tokio runtime: then nothing was done; drop the last clone instead.
    ///
    /// # Cancel safety
    ///
    /// New calls fail from the first poll on. To wait again after dropping the future, call it
    /// again.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        if !in_runtime() {
            return Err(Error::RuntimeGone);
        }
        let now = Instant::now();
        // A deadline that the clock cannot represent is replaced by one month.
        let until = now.checked_add(deadline);
        let until = until.unwrap_or_else(|| now + Duration::from_secs(30 * 86_400));
        self.inner.closed.store(true, Ordering::Release);
        match self.inner.running.get() {
            Some(running) => running.shutdown(until).await,
            None => Ok(()),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.inner.parts.config
    }

    /// The running tasks; the first call starts them.
    pub(super) fn running(&self) -> Result<&Running, Error> {
        let inner = &*self.inner;
        if inner.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        // Timers panic outside a runtime.
        if !in_runtime() {
            return Err(Error::RuntimeGone);
        }
        let running = match inner.running.get() {
            Some(running) => running,
            None => {
                let _starting = inner.starting.lock();
                match inner.running.get() {
                    Some(running) => running,
                    None => {
                        let running = Running::start(&inner.parts)?;
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
