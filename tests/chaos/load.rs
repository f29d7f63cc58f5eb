//! Writers, readers and callers that give up; and the record of what each was told.

use crate::resources::Lateness;
use headless_mysql::{Cluster, Error};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

const WRITERS: usize = 4;
const READERS: usize = 4;
const IMPATIENT: usize = 2;

/// How much later than its deadline a call may end.
const MARGIN: Duration = Duration::from_millis(100);

const INSERT: &str = "INSERT INTO entries (id, pod) VALUES (?, @@server_id)";

/// What became of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Acknowledged: it is there, once.
    Done,
    /// Refused with a promise that nothing was executed: it is not there.
    Nothing,
    /// Nobody can tell: it is there once, or not.
    Unknown,
}

/// What all tasks were told.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) fates: BTreeMap<u64, Fate>,
    /// Both are there, or none is.
    pub(crate) pairs: Vec<(u64, u64)>,
    reads: u64,
    failures: BTreeMap<&'static str, u64>,
    /// How much later than its deadline a call ended at most.
    overdue: Duration,
    late: Duration,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |fate| self.fates.values().filter(|f| **f == fate).count();
        write!(
            f,
            "{} writes acknowledged, {} refused, {} unknown; {} reads; failed calls: {:?}; \
             at most {:?} after a deadline (timers were {:?} late)",
            count(Fate::Done),
            count(Fate::Nothing),
            count(Fate::Unknown),
            self.reads,
            self.failures,
            self.overdue,
            self.late,
        )
    }
}

impl Record {
    fn join(&mut self, other: Self) {
        self.fates.extend(other.fates);
        self.pairs.extend(other.pairs);
        self.reads += other.reads;
        for (kind, count) in other.failures {
            *self.failures.entry(kind).or_default() += count;
        }
        self.overdue = self.overdue.max(other.overdue);
    }

    fn failed(&mut self, error: &Error) {
        *self.failures.entry(kind(error)).or_default() += 1;
    }

    pub(crate) fn check_deadlines(&self) {
        assert!(self.overdue <= MARGIN + self.late, "{self}");
    }
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Discovery { .. } => "Discovery",
        Error::NoPrimary { .. } => "NoPrimary",
        Error::NoReplica { .. } => "NoReplica",
        Error::QueueFull { .. } => "QueueFull",
        Error::Connect(_) => "Connect",
        Error::Timeout { .. } => "Timeout",
        Error::ConnectionLost { .. } => "ConnectionLost",
        Error::Interrupted { .. } => "Interrupted",
        Error::Superseded { .. } => "Superseded",
        Error::Server { .. } => "Server",
        Error::RolledBack { .. } => "RolledBack",
        Error::CommitUnknown { .. } => "CommitUnknown",
        // Nothing that happens here excuses these.
        error => panic!("{error}"),
    }
}

/// What an error of a single statement says about it.
fn fate(error: &Error) -> Fate {
    match error {
        Error::Timeout { .. } | Error::ConnectionLost { .. } => Fate::Unknown,
        // Only a server that is read-only, or one that is going down.
        Error::Server { source, .. } => {
            assert!([1290, 1836, 1053, 1792].contains(&source.code), "{error}");
            match source.code {
                1053 => Fate::Unknown,
                _ => Fate::Nothing,
            }
        }
        _ => Fate::Nothing,
    }
}

/// Ids that no other write has.
#[derive(Debug, Clone, Default)]
struct Ids(Arc<AtomicU64>);

impl Ids {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Polls `call` so often and then drops it. (By time, hardly any would be cut in the middle.)
async fn cut<T>(polls: u32, call: impl Future<Output = T>) -> Option<T> {
    let mut call = std::pin::pin!(call);
    let mut polled = 0;
    std::future::poll_fn(|cx| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        call.as_mut().poll(cx).map(Some)
    })
    .await
}

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Record>>,
    lateness: Arc<Lateness>,
}

/// What each task has.
#[derive(Clone)]
struct Task {
    cluster: Cluster,
    ids: Ids,
    written: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
}

impl Load {
    pub(crate) fn start(cluster: &Cluster, lateness: &Arc<Lateness>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = Task {
            cluster: cluster.clone(),
            ids: Ids::default(),
            written: Arc::default(),
            read: Arc::default(),
        };
        let mut tasks = Vec::new();
        for n in 0..WRITERS + READERS + IMPATIENT {
            let (task, stop) = (task.clone(), Arc::clone(&stop));
            tasks.push(tokio::spawn(async move {
                let mut record = Record::default();
                while !stop.load(Ordering::Relaxed) {
                    match n {
                        0..WRITERS => task.write(&mut record).await,
                        WRITERS..8 => task.read(&mut record).await,
                        _ => task.give_up(&mut record).await,
                    }
                    // Faults are to be met by many calls, not by as many as the machine can do.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                record
            }));
        }
        Self {
            stop,
            written: task.written,
            read: task.read,
            tasks,
            lateness: Arc::clone(lateness),
        }
    }

    /// Waits for so many more writes and reads.
    pub(crate) async fn progress(&self, count: u64) {
        let counters = [&self.written, &self.read];
        let goals = counters.map(|counter| counter.load(Ordering::Relaxed) + count);
        while (0..2).any(|n| counters[n].load(Ordering::Relaxed) < goals[n]) {
            assert!(
                !self.tasks.iter().any(JoinHandle::is_finished),
                "a task is gone"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until writes and reads are served again.
    pub(crate) async fn recovered(&self, patience: Duration) {
        let progress = timeout(patience, self.progress(200)).await;
        assert!(progress.is_ok(), "no recovery within {patience:?}");
    }

    pub(crate) async fn stop(self) -> Record {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Record::default();
        for task in self.tasks {
            all.join(task.await.unwrap());
        }
        all.late = self.lateness.worst();
        all
    }
}

impl Task {
    async fn write(&self, record: &mut Record) {
        let within = Duration::from_millis(100 + u64::from(rand::random::<u16>()) % 1900);
        let began = Instant::now();
        if rand::random_ratio(1, 3) {
            self.write_pair(record, within).await;
        } else {
            let id = self.ids.next();
            let insert = self.cluster.primary().deadline(within);
            let fate = match insert.exec_drop(INSERT, (id,)).await {
                Ok(()) => Fate::Done,
                Err(error) => {
                    record.failed(&error);
                    fate(&error)
                }
            };
            record.fates.insert(id, fate);
            self.count(fate);
        }
        record.overdue = record.overdue.max(began.elapsed().saturating_sub(within));
    }

    fn count(&self, fate: Fate) {
        if fate == Fate::Done {
            self.written.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Two rows in a transaction.
    async fn write_pair(&self, record: &mut Record, within: Duration) {
        let ids = (self.ids.next(), self.ids.next());
        let transaction = async {
            let mut tx = self.cluster.primary().deadline(within).begin().await?;
            for id in [ids.0, ids.1] {
                tx.exec_drop(INSERT, (id,)).await?;
            }
            tx.commit().await
        };
        let fate = match transaction.await {
            Ok(_) => Fate::Done,
            Err(error) => {
                record.failed(&error);
                match error {
                    Error::CommitUnknown { .. } => Fate::Unknown,
                    // Whatever it was: without a COMMIT nothing stays.
                    _ => Fate::Nothing,
                }
            }
        };
        record.fates.insert(ids.0, fate);
        record.fates.insert(ids.1, fate);
        record.pairs.push(ids);
        self.count(fate);
    }

    async fn read(&self, record: &mut Record) {
        let within = Duration::from_millis(100 + u64::from(rand::random::<u16>()) % 1900);
        let began = Instant::now();
        let asked: u64 = rand::random();
        let read = self.cluster.replicas().deadline(within);
        // In both protocols: an answer to the one is none to the other.
        let answer: Result<Option<u64>, Error> = match rand::random() {
            true => read.exec_first("SELECT ?", (asked,)).await,
            false => read.query_first(format!("SELECT {asked}")).await,
        };
        match answer {
            Ok(answer) => {
                assert_eq!(answer, Some(asked), "another statement's row");
                record.reads += 1;
                self.read.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => record.failed(&error),
        }
        record.overdue = record.overdue.max(began.elapsed().saturating_sub(within));
    }

    /// Calls that are dropped at any moment.
    async fn give_up(&self, record: &mut Record) {
        let polls = rand::random_range(0..24);
        if rand::random() {
            let asked: u64 = rand::random();
            let read = self
                .cluster
                .replicas()
                .query_first::<u64>(format!("SELECT {asked}"));
            if let Some(Ok(answer)) = cut(polls, read).await {
                assert_eq!(answer, Some(asked), "another statement's row");
            }
        } else {
            let id = self.ids.next();
            let write = self.cluster.primary().exec_drop(INSERT, (id,));
            let fate = match cut(polls, write).await {
                Some(Ok(())) => Fate::Done,
                Some(Err(error)) => fate(&error),
                None => Fate::Unknown,
            };
            record.fates.insert(id, fate);
        }
    }
}
