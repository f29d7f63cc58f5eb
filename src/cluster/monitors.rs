//! The monitor connections, on which pods are asked for their identity: one per pod, shared by all
//! tasks.
//!
//! A monitor connection exists while at least one task keeps it. One task uses it at a time; the
//! others wait for their turn, within their own time limit. A server therefore has only one such
//! session of a cluster. The module must never keep a connection that no task keeps.

use super::key::PodKey;
use crate::error::ConnectError;
use crate::gtid::history::History;
use crate::pool::monitor::{Monitor, Report};
use crate::pool::recognise::PrimaryVerdict;
use crate::pool::state::Pool;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use tokio::sync::MutexGuard;
use tokio::time::{Instant, timeout_at};

/// See the module documentation.
#[derive(Default)]
pub(super) struct Monitors(Mutex<BTreeMap<PodKey, Weak<Shared>>>);

/// The monitor connection to one pod.
#[derive(Default)]
pub(super) struct Shared(tokio::sync::Mutex<Monitor>);

/// The monitor connections that one task keeps.
pub(super) type Kept = BTreeMap<PodKey, Arc<Shared>>;

impl Monitors {
    /// The pod's monitor connection; it may not be connected yet.
    pub(super) fn of(&self, key: &PodKey) -> Arc<Shared> {
        let mut all = self.0.lock();
        if let Some(shared) = all.get(key).and_then(Weak::upgrade) {
            return shared;
        }
        all.retain(|_, shared| shared.strong_count() > 0);
        let shared = Arc::default();
        all.insert(key.clone(), Arc::downgrade(&shared));
        shared
    }
}

impl Shared {
    /// Whether the next question starts a login.
    pub(super) fn begins_login(&self) -> bool {
        // If the lock is taken, the connection exists or another task has started the login.
        self.0
            .try_lock()
            .is_ok_and(|monitor| !monitor.is_connected())
    }

    /// As [`Monitor::ask`].
    pub(super) async fn ask(
        &self,
        pool: &Arc<Pool>,
        until: Instant,
    ) -> Result<Report, ConnectError> {
        let mut monitor = self.turn(pool, until).await?;
        monitor.ask(pool, until).await
    }

    /// As [`Pool::ask_primary`].
    pub(super) async fn ask_primary(
        &self,
        pool: &Arc<Pool>,
        history: &History,
        until: Instant,
    ) -> Result<PrimaryVerdict, ConnectError> {
        let mut monitor = self.turn(pool, until).await?;
        pool.ask_primary(&mut monitor, history, until).await
    }

    async fn turn(
        &self,
        pool: &Pool,
        until: Instant,
    ) -> Result<MutexGuard<'_, Monitor>, ConnectError> {
        let begun = Instant::now();
        let turn = timeout_at(until, self.0.lock()).await;
        // The task that used the connection got no answer in this time.
        turn.map_err(|_| ConnectError::Silent {
            pod: pool.pod().clone(),
            after: begun.elapsed(),
        })
    }
}
