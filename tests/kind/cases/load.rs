//! Tasks that read or write until told to stop, and what they saw.
//!
//! Owns the count of successes, errors and pauses. It must never hide an error: what a case allows
//! is for the case to say.

use super::report::{Report, brief};
use super::world::{Failure, Outcome};
use headless_mysql::{Cluster, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const TASKS: usize = 4;

/// Between two operations of a task: enough of them, and a machine that can do something else.
const BREATH: Duration = Duration::from_millis(2);

/// What a load saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Such as `reads`.
    what: &'static str,
    pub(crate) ok: u64,
    pub(crate) errors: Vec<Error>,
    /// The longest time in which no task had a success.
    pub(crate) outage: Duration,
    last: Instant,
    /// Operations by `@@server_id`, which is the ordinal and one, since the last mark.
    by: BTreeMap<u32, u64>,
    /// The first of them.
    first: BTreeMap<u32, Instant>,
}

/// Tasks that run one operation after another until told to stop.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<Outcome>>,
}

/// Ids of rows whose INSERT was acknowledged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged {
    next: Arc<AtomicU64>,
    ids: Arc<Mutex<Vec<u64>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Seen ===

impl Seen {
    fn success(&mut self, server: u32) {
        let now = Instant::now();
        self.ok += 1;
        self.outage = self.outage.max(now - self.last);
        self.last = now;
        *self.by.entry(server).or_default() += 1;
        self.first.entry(server).or_insert(now);
    }

    /// Prints what was seen.
    pub(crate) fn say(&self, report: &mut Report) {
        report.say(format!(
            "{}: {} succeeded, {} failed, longest pause {}",
            self.what,
            self.ok,
            self.errors.len(),
            brief(self.outage)
        ));
    }

    /// No operation failed.
    pub(crate) fn flawless(&self) -> Outcome {
        match self.errors.first() {
            Some(first) => Err(format!(
                "{} of the {} failed, the first with: {first}",
                self.errors.len(),
                self.what
            )
            .into()),
            None => Ok(()),
        }
    }

    /// Whatever failed did so because the primary went away: nothing else may end a write.
    pub(crate) fn only_lost_the_primary(&self) -> Outcome {
        for error in &self.errors {
            let lost = matches!(
                error,
                Error::ConnectionLost { .. }
                    | Error::Disconnected { .. }
                    | Error::NoPrimary { .. }
                    | Error::Timeout { .. }
            );
            ensure!(lost, "one of the {} failed with: {error}", self.what);
        }
        Ok(())
    }
}

// === impl Load ===

impl Load {
    /// The operation says which server it ran on, by its `@@server_id`.
    fn start<F, Fut>(what: &'static str, operation: F) -> Self
    where
        F: Fn() -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<Result<u32, Error>, Failure>> + Send,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen {
            what,
            ok: 0,
            errors: Vec::new(),
            outage: Duration::ZERO,
            last: Instant::now(),
            by: BTreeMap::new(),
            first: BTreeMap::new(),
        }));
        let tasks = (0..TASKS).map(|_| {
            let (stop, seen, operation) = (Arc::clone(&stop), Arc::clone(&seen), operation.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match operation().await? {
                        Ok(server) => lock(&seen).success(server),
                        Err(error) => lock(&seen).errors.push(error),
                    }
                    sleep(BREATH).await;
                }
                Ok(())
            })
        });
        let tasks = tasks.collect();
        Self { stop, seen, tasks }
    }

    /// Reads, each of which checks that the answer is its own.
    pub(crate) fn reads(cluster: &Cluster) -> Self {
        let cluster = cluster.clone();
        Self::start("reads", move || {
            let cluster = cluster.clone();
            async move {
                let asked: u32 = rand::random();
                let read = cluster
                    .replicas()
                    .exec_first("SELECT ?, @@server_id", (asked,));
                let answer: Option<(u32, u32)> = match read.await {
                    Ok(answer) => answer,
                    Err(error) => return Ok(Err(error)),
                };
                match answer {
                    Some((answer, server)) if answer == asked => Ok(Ok(server)),
                    other => Err(format!("asked for {asked}, was given {other:?}").into()),
                }
            }
        })
    }

    /// Writes of unique rows; those acknowledged are kept.
    pub(crate) fn writes(cluster: &Cluster, table: &str, acknowledged: &Acknowledged) -> Self {
        let insert = format!("INSERT INTO {table} (id, server) VALUES (?, @@server_id)");
        let (cluster, acknowledged) = (cluster.clone(), acknowledged.clone());
        Self::start("writes", move || {
            let (cluster, acknowledged) = (cluster.clone(), acknowledged.clone());
            let insert = insert.clone();
            async move {
                let id = acknowledged.next.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = cluster.primary().exec_drop(insert, (id,)).await {
                    return Ok(Err(error));
                }
                lock(&acknowledged.ids).push(id);
                // Where it really was is in the row, for the check at the end.
                Ok(Ok(1))
            }
        })
    }

    /// Waits until `count` more operations have succeeded.
    pub(crate) async fn progress(&self, count: u64, patience: Duration) -> Outcome {
        let goal = lock(&self.seen).ok + count;
        let began = Instant::now();
        while lock(&self.seen).ok < goal {
            if began.elapsed() >= patience {
                let seen = lock(&self.seen);
                let last = seen.errors.last().map(ToString::to_string);
                let last = last.unwrap_or_else(|| "nothing failed".to_owned());
                return Err(format!("no {count} {} in {patience:?}: {last}", seen.what).into());
            }
            ensure!(
                !self.tasks.iter().any(JoinHandle::is_finished),
                "a task of the {} has ended",
                lock(&self.seen).what
            );
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Counts operations by server from here on.
    pub(crate) fn mark(&self) {
        let mut seen = lock(&self.seen);
        seen.by.clear();
        seen.first.clear();
    }

    /// How many operations the pod served since the last mark.
    pub(crate) fn served_by(&self, ordinal: u32) -> u64 {
        let by = &lock(&self.seen).by;
        by.get(&(ordinal + 1)).copied().unwrap_or_default()
    }

    /// When the pod served its first operation since the last mark.
    pub(crate) fn first_of(&self, ordinal: u32) -> Option<Instant> {
        lock(&self.seen).first.get(&(ordinal + 1)).copied()
    }

    pub(crate) async fn stop(self) -> Result<Seen, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        let mut seen = lock(&self.seen);
        // A pause that nobody ended counts as well.
        let silence = seen.last.elapsed();
        let outage = seen.outage.max(silence);
        Ok(Seen {
            what: seen.what,
            ok: seen.ok,
            errors: std::mem::take(&mut seen.errors),
            outage,
            last: seen.last,
            by: std::mem::take(&mut seen.by),
            first: std::mem::take(&mut seen.first),
        })
    }
}

// === impl Acknowledged ===

impl Acknowledged {
    /// Every acknowledged row is on the primary, and was taken by it. Once each: the id is the key.
    pub(crate) async fn check(&self, cluster: &Cluster, table: &str) -> Outcome {
        let rows = format!("SELECT id, server FROM {table}");
        let rows: Vec<(u64, u32)> = cluster.primary().query(rows).await?;
        let elsewhere = rows.iter().filter(|(_, server)| *server != 1).count();
        ensure!(elsewhere == 0, "{elsewhere} rows were written on a replica");
        let found: BTreeSet<u64> = rows.into_iter().map(|(id, _)| id).collect();
        let ids = lock(&self.ids);
        let lost = ids.iter().filter(|id| !found.contains(id)).count();
        ensure!(
            lost == 0,
            "{lost} of {} acknowledged writes are lost",
            ids.len()
        );
        ensure!(!ids.is_empty(), "nothing was written");
        Ok(())
    }
}
