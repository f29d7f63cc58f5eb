//! A load: tasks that read or write until they are stopped, and their results.

use crate::support::insert;
use headless_mysql::{Cluster, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) const TASKS: usize = 8;

/// The results of a load.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) ok: u64,
    pub(crate) errors: Vec<Error>,
    /// The longest time between two successes of one task.
    pub(crate) longest_gap: Duration,
}

/// Tasks that run one operation after another until they are stopped.
pub(crate) struct Load {
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) done: Arc<AtomicU64>,
    pub(crate) tasks: Vec<JoinHandle<Seen>>,
}

impl Load {
    pub(crate) fn start<F, Fut>(tasks: usize, operation: F) -> Self
    where
        F: Fn() -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + Send,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let tasks = (0..tasks).map(|_| {
            let (stop, done, operation) = (Arc::clone(&stop), Arc::clone(&done), operation.clone());
            tokio::spawn(async move {
                let mut seen = Seen::default();
                let mut last = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    match operation().await {
                        Ok(()) => {
                            seen.ok += 1;
                            seen.longest_gap = seen.longest_gap.max(last.elapsed());
                            last = Instant::now();
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => seen.errors.push(error),
                    }
                }
                seen
            })
        });
        Self {
            tasks: tasks.collect(),
            stop,
            done,
        }
    }

    /// Starts readers, which check that each answer matches its query.
    pub(crate) fn reads(cluster: &Cluster) -> Self {
        let cluster = cluster.clone();
        Self::start(TASKS, move || {
            let cluster = cluster.clone();
            async move {
                let asked: u64 = rand::random::<u32>().into();
                let read = cluster.replicas().exec_first("SELECT ?", (asked,));
                let answer: Option<u64> = read.await?;
                assert_eq!(answer, Some(asked), "another statement's row");
                Ok(())
            }
        })
    }

    /// Starts writers of unique rows, and records the acknowledged ones.
    pub(crate) fn writes(cluster: &Cluster, acknowledged: &Acknowledged) -> Self {
        let (cluster, acknowledged) = (cluster.clone(), acknowledged.clone());
        Self::start(TASKS, move || {
            let (cluster, acknowledged) = (cluster.clone(), acknowledged.clone());
            async move {
                let id = acknowledged.next.fetch_add(1, Ordering::Relaxed);
                insert(&cluster, id).await?;
                acknowledged.ids.lock().unwrap().push(id);
                Ok(())
            }
        })
    }

    /// Waits until `count` more operations have succeeded.
    pub(crate) async fn progress(&self, count: u64) {
        let goal = self.done.load(Ordering::Relaxed) + count;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.done.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < deadline, "no progress within 30 s");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for task in self.tasks {
            let seen = task.await.unwrap();
            all.ok += seen.ok;
            all.errors.extend(seen.errors);
            all.longest_gap = all.longest_gap.max(seen.longest_gap);
        }
        all
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged {
    pub(crate) next: Arc<AtomicU64>,
    pub(crate) ids: Arc<std::sync::Mutex<Vec<u64>>>,
}

impl Acknowledged {
    /// Checks that every acknowledged row is on the primary, once (the id is the primary key).
    pub(crate) async fn check(&self, cluster: &Cluster) {
        let rows: Vec<u64> = cluster
            .primary()
            .query("SELECT id FROM entries")
            .await
            .unwrap();
        let rows: std::collections::BTreeSet<u64> = rows.into_iter().collect();
        let ids = self.ids.lock().unwrap();
        let missing: Vec<&u64> = ids.iter().filter(|id| !rows.contains(id)).collect();
        assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
        assert!(!ids.is_empty());
    }
}
