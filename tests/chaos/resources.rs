//! The resources that the process uses, and how late its timers are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The tasks, sockets and memory of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resources {
    tasks: usize,
    sockets: usize,
    /// Resident memory in KiB.
    resident: usize,
}

/// The growth in KiB that a run may cause: buffers of the allocator and the runtime, and the
/// record.
const GROWTH: usize = 64 * 1024;

impl Resources {
    pub(crate) fn now() -> Self {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        let is_socket = |entry: &std::fs::DirEntry| {
            let target = std::fs::read_link(entry.path());
            target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
        };
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.split_whitespace().next());
        Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            sockets: descriptors.flatten().filter(is_socket).count(),
            resident: resident.and_then(|kib| kib.parse().ok()).unwrap(),
        }
    }

    pub(crate) fn check_memory(&self) {
        let now = Self::now();
        assert!(
            now.resident <= self.resident + GROWTH,
            "{} KiB before the faults, {} KiB after them",
            self.resident,
            now.resident
        );
    }

    /// Waits until there are no more tasks and sockets than in `self`.
    pub(crate) async fn come_back(&self, patience: Duration) {
        let give_up = Instant::now() + patience;
        loop {
            let now = Self::now();
            if now.tasks <= self.tasks && now.sockets <= self.sockets {
                return;
            }
            assert!(Instant::now() < give_up, "before: {self:?}; left: {now:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The largest delay of a timer in this process. Deadlines of calls are judged relative to it, so
/// that a busy machine does not look like a broken promise.
#[derive(Debug)]
pub(crate) struct Lateness {
    worst: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Lateness {
    pub(crate) fn watch() -> Arc<Self> {
        const STEP: Duration = Duration::from_millis(5);
        let worst = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&worst);
        let task = tokio::spawn(async move {
            loop {
                let began = Instant::now();
                tokio::time::sleep(STEP).await;
                let late = began.elapsed().saturating_sub(STEP).as_micros();
                seen.fetch_max(u64::try_from(late).unwrap(), Ordering::Relaxed);
            }
        });
        Arc::new(Self {
            worst,
            task: task.abort_handle(),
        })
    }

    pub(crate) fn worst(&self) -> Duration {
        Duration::from_micros(self.worst.load(Ordering::Relaxed))
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.task.abort();
    }
}
