//! Counts the writes of a pool, and detects when they pause.
//!
//! [`learning`](super::learning) then asks for the primary's position.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Writes have paused if there was none for this time.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// If the writes do not pause, the primary is asked after this time.
const AT_LATEST: Duration = Duration::from_secs(1);

/// The writes of a pool.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// The number of answered statements that may have written.
    count: AtomicU64,
    /// A task is already waiting for the pause.
    is_awaited: AtomicBool,
}

impl Commits {
    /// Counts a write. Returns whether the caller must start a task.
    pub(super) fn note(&self) -> bool {
        self.count.fetch_add(1, Ordering::AcqRel);
        !self.is_awaited.load(Ordering::Acquire) && !self.is_awaited.swap(true, Ordering::AcqRel)
    }

    /// Ends when the writes have paused, or have continued for too long. Returns their count.
    pub(super) async fn paused(&self) -> u64 {
        let begun = Instant::now();
        let mut last = self.count.load(Ordering::Acquire);
        loop {
            tokio::time::sleep(PAUSE).await;
            let count = self.count.load(Ordering::Acquire);
            if count == last || begun.elapsed() >= AT_LATEST {
                return count;
            }
            last = count;
        }
    }

    /// Ends the question for the position after `count` writes. Returns whether more writes came
    /// since, so that the task must continue.
    pub(super) fn learnt(&self, count: u64) -> bool {
        self.is_awaited.store(false, Ordering::Release);
        self.count.load(Ordering::Acquire) != count && !self.is_awaited.swap(true, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_writes_is_asked_for_once_when_it_pauses() {
        let commits = Arc::new(Commits::default());
        assert!(commits.note());
        let waiting = tokio::spawn({
            let commits = Arc::clone(&commits);
            async move { commits.paused().await }
        });
        for _ in 0..4 {
            tokio::time::sleep(PAUSE / 2).await;
            assert!(!commits.note());
        }
        let last = Instant::now();
        assert_eq!(waiting.await.unwrap(), 5);
        assert!(last.elapsed() <= PAUSE * 2);
        assert!(!commits.learnt(5));
        assert!(commits.note(), "the next burst is asked for anew");
    }

    #[tokio::test(start_paused = true)]
    async fn writes_without_a_pause_are_asked_for_once_a_second() {
        let commits = Arc::new(Commits::default());
        assert!(commits.note());
        let begun = Instant::now();
        let writing = tokio::spawn({
            let commits = Arc::clone(&commits);
            async move {
                loop {
                    tokio::time::sleep(PAUSE / 3).await;
                    commits.note();
                }
            }
        });
        let count = commits.paused().await;
        assert!((AT_LATEST..AT_LATEST + PAUSE * 2).contains(&begun.elapsed()));
        tokio::time::sleep(PAUSE).await;
        assert!(commits.learnt(count), "writes came after the question");
        writing.abort();
    }
}
