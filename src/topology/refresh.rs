//! The loop that keeps a [`Topology`] up to date.

use parking_lot::{Mutex, MutexGuard};
use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::findings::Findings;
use super::schedule::Schedule;
use super::{Change, DiscoveryStatus, RefreshConfig, Topology, expire, merge};
use crate::discovery::{Answer, BlockedCalls, Finding, Resolve, ResolveError, findings};
use crate::observe;

/// How many changes of one look-up are logged at `info`: of a thousand pods, a list of all changes
/// is not readable.
const LOGGED: usize = 20;

/// A handle to the task that looks up a Service repeatedly and publishes the results.
///
/// Cheap to clone. The task ends when the last handle is dropped, even during a look-up; receivers
/// from [`subscribe`](Self::subscribe) do not keep it alive.
///
/// The times of look-ups:
///
/// * after a success, when the answer's TTL ends, but no earlier than
///   [`min_interval`](RefreshConfig::min_interval) and no later than
///   [`max_interval`](RefreshConfig::max_interval), with a jitter of 10 %;
/// * while a [`PrimaryWaiter`] exists, every 100 ms for the first second; then at least every 250
///   ms; after 30 s of waiting (or while DNS does not answer) at least every second;
/// * after [`resolve_now`](Self::resolve_now) or a failure, 250 ms after the end of the last
///   look-up (at once if that time is past). If such demands continue for more than 3 s, or DNS
///   does not answer, at random intervals that double up to 5 s.
///
/// A failed look-up or an empty answer removes no pod; `merge` documents what does.
#[derive(Clone, Debug)]
pub struct Discovery {
    task: Arc<Task>,
}

/// Makes look-ups urgent while it exists, because a caller waits for a primary; see [`Discovery`].
#[derive(Debug)]
#[must_use = "look-ups are urgent only while it lives"]
pub struct PrimaryWaiter {
    shared: Weak<Shared>,
}

/// Aborts the task when the last handle is dropped.
#[derive(Debug)]
struct Task {
    shared: Arc<Shared>,
    abort: AbortHandle,
}

/// The state that the handles and the task share.
struct Shared {
    name: String,
    config: RefreshConfig,
    topology: watch::Sender<Arc<Topology>>,
    findings: Findings,
    status: Mutex<DiscoveryStatus>,
    /// A look-up is demanded that begins after this was set.
    poked: AtomicBool,
    /// The number of [`PrimaryWaiter`]s.
    waiters: AtomicUsize,
    /// Notifies the task that `poked` or `waiters` changed.
    wake: Notify,
    stopped: AtomicBool,
}

/// Marks discovery as stopped when the task ends, for any reason.
struct Ended(Arc<Shared>);

impl Discovery {
    /// Starts look-ups on `runtime`; the first one begins at once.
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
            topology: watch::Sender::new(Arc::new(Topology::with_primary(config.primary))),
            config,
            findings: Findings::default(),
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

    /// The name that is looked up.
    pub fn name(&self) -> &str {
        &self.shared().name
    }

    /// The latest snapshot; empty before the first good answer.
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.shared().topology.borrow())
    }

    /// Subscribes to the snapshots. A slow receiver sees only the latest. The channel closes when
    /// the last handle is dropped.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Topology>> {
        self.shared().topology.subscribe()
    }

    /// Demands a look-up that begins after this call. Returns at once; all calls before that
    /// look-up begins share it.
    pub fn resolve_now(&self) {
        let shared = self.shared();
        if !shared.poked.swap(true, Ordering::AcqRel) {
            shared.wake.notify_one();
        }
    }

    /// Makes look-ups urgent while the returned guard exists: every 100 ms at first, see
    /// [`Discovery`]. The schedule depends on the total time with a guard, minus half of the time
    /// without one: several short waits are no more urgent than one long wait.
    pub fn wait_for_primary(&self) -> PrimaryWaiter {
        let shared = self.shared();
        if shared.waiters.fetch_add(1, Ordering::AcqRel) == 0 {
            shared.wake.notify_one();
        }
        PrimaryWaiter {
            shared: Arc::downgrade(shared),
        }
    }

    /// The success and failure counts of discovery.
    pub fn status(&self) -> DiscoveryStatus {
        self.shared().status().clone()
    }

    /// The findings of the last look-up about the set-up and DNS.
    pub(crate) fn findings(&self) -> Arc<[Finding]> {
        self.shared().findings.latest()
    }

    /// Returns when a look-up has a finding that bars calls and for which `concerns` is true: such
    /// calls would wait in vain.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping the future loses nothing.
    pub(crate) async fn barred(&self, concerns: impl Fn(BlockedCalls) -> bool) {
        self.shared().findings.barred(concerns).await;
    }

    /// Waits for the first good answer and returns the snapshot; returns at once if there was one.
    /// The wait has no time limit. If discovery is stopped, the returned snapshot is empty.
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

    /// Stops the task; the last snapshot stays readable.
    pub fn stop(&self) {
        self.task.abort.abort();
        self.shared().stop();
    }

    /// Whether the task has ended: it was stopped, or its runtime was shut down.
    pub fn is_stopped(&self) -> bool {
        self.shared().stopped.load(Ordering::Acquire)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.task.shared
    }
}

impl Drop for PrimaryWaiter {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.waiters.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, DiscoveryStatus> {
        self.status.lock()
    }

    fn stop(&self) {
        if !self.stopped.swap(true, Ordering::AcqRel) {
            // Wakes the callers of `first_answer`.
            self.topology.send_modify(|_| ());
        }
    }

    /// Waits until a look-up is due; meanwhile removes addresses that have been absent for the
    /// grace period.
    async fn due(&self, pace: &mut Schedule) {
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

    /// Removes addresses that have been absent for the grace period. Returns when the next one
    /// expires.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let grace = self.config.grace;
        let topology = Arc::clone(&self.topology.borrow());
        let expiry = topology.next_expiry(grace);
        // This runs at every wake-up, so it copies nothing unless an address has to be removed.
        if expiry.is_none_or(|expiry| expiry > now) {
            return expiry;
        }
        let (next, changes) = expire(&topology, now, grace);
        let expiry = next.next_expiry(grace);
        self.publish(&topology, next, &changes);
        expiry
    }

    /// Removes expired addresses while a look-up is running.
    async fn keep_expiring(&self) -> Infallible {
        loop {
            match self.expire(Instant::now()) {
                Some(expiry) => sleep_until(expiry).await,
                None => std::future::pending().await,
            }
        }
    }

    /// One look-up. It always ends, even if the resolver hangs or panics.
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
        let found = findings(Ok(answer), self.config.primary);
        let topology = Arc::clone(&self.topology.borrow());
        self.findings.warn_of(&found, &topology, &self.name);
        self.findings.publish(found);
    }

    fn note_failure(&self, error: ResolveError, now: Instant) {
        self.count_look_up(error.kind());
        let found = findings(Err(&error), self.config.primary);
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
            let check = found.first().map(tracing::field::display);
            warn!(service = %self.name, %error, check, "discovery fails; the known pods stay");
        } else {
            debug!(service = %self.name, %error, "discovery still fails");
        }
        self.findings.publish(found);
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

/// The task. It must not hold a handle, or it would keep itself alive.
async fn run(ended: Ended, resolve: Arc<dyn Resolve>, mut random: impl FnMut() -> f64) {
    let shared = &ended.0;
    let mut pace = Schedule::new(shared.config.min_interval, shared.config.max_interval);
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
                pace.fail(now, error.is_trouble(), random());
                shared.note_failure(error, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
