//! The loop that keeps a [`Topology`] up to date.

use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::pace::Pace;
use super::{Change, DiscoveryStatus, RefreshConfig, Topology, expire, merge};
use crate::discovery::{Answer, Resolve, ResolveError};
use crate::observe;

/// How many changes of one look-up are told one by one; of a thousand pods nobody reads them all.
const LOGGED: usize = 20;

/// A handle to the task that looks up a Service again and again and publishes what it finds.
///
/// Cheap to clone. The task ends when the last handle is dropped, even in the middle of a look-up;
/// receivers from [`subscribe`](Self::subscribe) do not keep it alive.
///
/// When it looks up:
///
/// * after a success, when the answer's TTL is over, but between
///   [`min_interval`](RefreshConfig::min_interval) and
///   [`max_interval`](RefreshConfig::max_interval) later, give or take 10 %;
/// * while a [`PrimaryWaiter`] lives, every 100 ms for the first second; then at intervals of a
///   tenth of the time waited so far, up to 5 s;
/// * after [`resolve_now`](Self::resolve_now) or a failure, 250 ms after the end of the last
///   look-up (at once if that is past); if this goes on for more than 3 s, or DNS does not answer,
///   at random intervals that double up to 5 s.
///
/// A failed look-up or an empty answer takes no pod away; see [`merge`] for what does.
#[derive(Clone, Debug)]
pub struct Discovery {
    task: Arc<Task>,
}

/// While one lives, a caller waits for a primary and look-ups are urgent; see [`Discovery`].
#[derive(Debug)]
#[must_use = "look-ups are urgent only while it lives"]
pub struct PrimaryWaiter {
    shared: Weak<Shared>,
}

/// Ends the task when the last handle goes.
#[derive(Debug)]
struct Task {
    shared: Arc<Shared>,
    abort: AbortHandle,
}

/// What handles and task share.
struct Shared {
    name: String,
    config: RefreshConfig,
    topology: watch::Sender<Arc<Topology>>,
    status: Mutex<DiscoveryStatus>,
    /// A look-up is wanted that begins after this was set.
    poked: AtomicBool,
    /// Living [`PrimaryWaiter`]s.
    waiters: AtomicUsize,
    /// Tells the task that `poked` or `waiters` changed.
    wake: Notify,
    stopped: AtomicBool,
}

/// Says that the task is gone, however it went.
struct Ended(Arc<Shared>);

// === impl Discovery ===

impl Discovery {
    /// Starts looking up on `runtime`, the first time at once.
    pub fn start(resolve: Arc<dyn Resolve>, config: RefreshConfig, runtime: &Runtime) -> Self {
        Self::start_with(resolve, config, runtime, rand::random)
    }

    /// As [`start`](Self::start), with a source of numbers in `[0, 1)` for the jitter.
    fn start_with(
        resolve: Arc<dyn Resolve>,
        config: RefreshConfig,
        runtime: &Runtime,
        random: impl FnMut() -> f64 + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            name: resolve.describe(),
            config,
            topology: watch::Sender::new(Arc::default()),
            status: Mutex::default(),
            poked: AtomicBool::new(false),
            waiters: AtomicUsize::new(0),
            wake: Notify::new(),
            stopped: AtomicBool::new(false),
        });
        let ended = Ended(Arc::clone(&shared));
        let abort = runtime.spawn(run(ended, resolve, random)).abort_handle();
        Self {
            task: Arc::new(Task { shared, abort }),
        }
    }

    /// What is looked up.
    pub fn name(&self) -> &str {
        &self.shared().name
    }

    /// The latest snapshot; empty before the first good answer.
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.shared().topology.borrow())
    }

    /// Follows the snapshots. A slow receiver sees only the latest. It is closed when the last
    /// handle is dropped.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Topology>> {
        self.shared().topology.subscribe()
    }

    /// Asks for a look-up that begins after this call. Returns at once; any number of calls before
    /// it begins lead to one look-up.
    pub fn resolve_now(&self) {
        let shared = self.shared();
        if !shared.poked.swap(true, Ordering::AcqRel) {
            shared.wake.notify_one();
        }
    }

    /// Makes look-ups urgent for as long as the returned guard lives: every 100 ms at first, see
    /// [`Discovery`]. The time that all guards so far lived counts, less what has passed without
    /// one: callers that come and go are no more urgent than one who stays.
    pub fn wait_for_primary(&self) -> PrimaryWaiter {
        let shared = self.shared();
        if shared.waiters.fetch_add(1, Ordering::AcqRel) == 0 {
            shared.wake.notify_one();
        }
        PrimaryWaiter {
            shared: Arc::downgrade(shared),
        }
    }

    /// How discovery has fared so far.
    pub fn status(&self) -> DiscoveryStatus {
        self.shared().status().clone()
    }

    /// Waits for the first good answer and returns the snapshot; at once if there was one.
    /// Waits as long as that takes, unless discovery is stopped: then the snapshot is empty.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping the future loses nothing.
    pub async fn first_answer(&self) -> Arc<Topology> {
        let mut snapshots = self.subscribe();
        let ready = |topology: &Arc<Topology>| !topology.is_empty() || self.is_stopped();
        match snapshots.wait_for(ready).await {
            Ok(topology) => Arc::clone(&topology),
            Err(_) => self.topology(),
        }
    }

    /// Ends the task; the last snapshot stays readable.
    pub fn stop(&self) {
        self.task.abort.abort();
        self.shared().stop();
    }

    /// Whether the task is gone: stopped, or its runtime was shut down.
    pub fn is_stopped(&self) -> bool {
        self.shared().stopped.load(Ordering::Acquire)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.task.shared
    }
}

// === impl PrimaryWaiter ===

impl Drop for PrimaryWaiter {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.waiters.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

// === impl Task ===

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

// === impl Ended ===

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.stop();
    }
}

// === impl Shared ===

impl Shared {
    fn status(&self) -> MutexGuard<'_, DiscoveryStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        if !self.stopped.swap(true, Ordering::AcqRel) {
            // Wakes those who wait for a first answer.
            self.topology.send_modify(|_| ());
        }
    }

    /// Waits until a look-up is due; meanwhile removes what has been absent long enough.
    async fn due(&self, pace: &mut Pace) {
        loop {
            let now = Instant::now();
            if !pace.is_demanded() && self.poked.load(Ordering::Acquire) {
                pace.poke(now);
            }
            let expiry = self.expire(now);
            pace.wait(now, self.waiters.load(Ordering::Acquire) > 0);
            let Some(due) = pace.due().filter(|due| *due > now) else {
                return;
            };
            let until = expiry.map_or(due, |expiry| expiry.min(due));
            tokio::select! {
                () = self.wake.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Removes what has been absent long enough, and says when there will be more.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let grace = self.config.grace;
        let topology = Arc::clone(&self.topology.borrow());
        let expiry = topology.next_expiry(grace);
        // This runs with every wake-up; nothing is copied unless there is something to remove.
        if expiry.is_none_or(|expiry| expiry > now) {
            return expiry;
        }
        let (next, changes) = expire(&topology, now, grace);
        let expiry = next.next_expiry(grace);
        self.publish(&topology, next, &changes);
        expiry
    }

    /// Removes what is absent long enough while a look-up takes its time.
    async fn keep_expiring(&self) -> Infallible {
        loop {
            match self.expire(Instant::now()) {
                Some(expiry) => sleep_until(expiry).await,
                None => std::future::pending().await,
            }
        }
    }

    /// One look-up that ends, whatever the resolver does.
    async fn look_up(&self, resolve: &dyn Resolve) -> Result<Answer, ResolveError> {
        let look_up = AssertUnwindSafe(async { resolve.resolve().await }).catch_unwind();
        let name = || self.name.clone();
        match timeout(self.config.deadline, look_up).await {
            Ok(Ok(Ok(answer))) if answer.is_empty() => Err(ResolveError::NoData {
                name: answer.service,
            }),
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                let message = "the resolver panicked".to_owned();
                Err(ResolveError::Other {
                    name: name(),
                    message,
                })
            }
            Err(_) => {
                let after = self.config.deadline;
                Err(ResolveError::Timeout {
                    name: name(),
                    after,
                    server: None,
                })
            }
        }
    }

    fn take(&self, answer: &Answer, now: Instant) {
        self.count_look_up("ok");
        let before = {
            let mut status = self.status();
            status.look_ups += 1;
            status.last_ok = Some(now);
            status.failures_in_a_row = 0;
            status.failing_since.take()
        };
        if let Some(since) = before {
            let after = now.saturating_duration_since(since);
            info!(service = %self.name, ?after, "discovery works again");
        }
        let topology = Arc::clone(&self.topology.borrow());
        let (next, changes) = merge(&topology, answer, now, self.config.grace);
        self.publish(&topology, next, &changes);
    }

    fn note_failure(&self, error: ResolveError, now: Instant) {
        self.count_look_up(error.kind());
        let first = {
            let mut status = self.status();
            status.look_ups += 1;
            status.failures += 1;
            status.failures_in_a_row += 1;
            status.failing_since.get_or_insert(now);
            *status.failures_by_kind.entry(error.kind()).or_default() += 1;
            status.last_error = Some(error.clone());
            status.failures_in_a_row == 1
        };
        if first {
            warn!(service = %self.name, %error, "discovery fails; the known pods stay");
        } else {
            debug!(service = %self.name, %error, "discovery still fails");
        }
    }

    fn count_look_up(&self, outcome: &str) {
        let labels = [("service", &*self.name), ("outcome", outcome)];
        observe::count(observe::LOOK_UPS, &labels);
    }

    fn publish(&self, old: &Topology, next: Topology, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let (from, to) = (old.version(), next.version());
        for (n, change) in changes.iter().enumerate() {
            if n < LOGGED {
                info!(service = %self.name, %change, from, to, "topology changed");
            } else {
                debug!(service = %self.name, %change, from, to, "topology changed");
            }
            let labels = [("service", &*self.name), ("change", change.kind())];
            observe::count(observe::TOPOLOGY_CHANGES, &labels);
        }
        if let Some(more) = changes.len().checked_sub(LOGGED).filter(|more| *more > 0) {
            info!(service = %self.name, more, from, to, "topology changed further");
        }
        self.topology.send_replace(Arc::new(next));
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .field("config", &self.config)
            .field("topology", &*self.topology.borrow())
            .field("waiters", &self.waiters)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

/// The task. It holds nothing that keeps a handle alive.
async fn run(ended: Ended, resolve: Arc<dyn Resolve>, mut random: impl FnMut() -> f64) {
    let shared = &ended.0;
    let mut pace = Pace::new(shared.config.min_interval, shared.config.max_interval);
    loop {
        shared.due(&mut pace).await;
        shared.poked.store(false, Ordering::Release);
        pace.begin();
        let result = tokio::select! {
            result = shared.look_up(&*resolve) => result,
            never = shared.keep_expiring() => match never {},
        };
        let now = Instant::now();
        match result {
            Ok(answer) => {
                debug!(service = %shared.name, pods = answer.pods.len(), ttl = ?answer.ttl, "answer");
                pace.succeed(now, answer.ttl, random());
                shared.take(&answer, now);
            }
            Err(error) => {
                pace.fail(now, !error.is_absence(), random());
                shared.note_failure(error, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
