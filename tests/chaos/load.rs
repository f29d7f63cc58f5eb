//! The load: writers, readers and callers that give up.

use crate::doors::OURS;
use crate::limits::SMALL_PACKET;
use crate::record::{Fate, Record, fate, fate_of_transaction};
use crate::resources::Lateness;
use headless_mysql::prelude::*;
use headless_mysql::{Cluster, Config, Error};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

const WRITERS: usize = 4;
const READERS: usize = 4;
const IMPATIENT: usize = 2;

const INSERT: &str = "INSERT INTO entries (id, pod) VALUES (?, @@server_id)";

/// The same insert in a longer text, which some servers refuse as too large.
fn long_insert(id: u64) -> String {
    let padding = " ".repeat(2 * SMALL_PACKET);
    format!("INSERT INTO entries (id, pod) {padding} VALUES ({id}, @@server_id)")
}

/// Generates ids that are unique among all writes.
#[derive(Debug, Clone, Default)]
struct Ids(Arc<AtomicU64>);

impl Ids {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Polls `call` at most this many times and then drops it. (A limit by time would rarely drop a
/// call in the middle.)
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
    task: Task,
    /// The records of other processes that have ended.
    others: Mutex<Record>,
    tasks: Vec<JoinHandle<Record>>,
    lateness: Arc<Lateness>,
}

/// The state that each task has a clone of.
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
                        WRITERS..8 if rand::random_ratio(1, 8) => task.borrow(&mut record).await,
                        WRITERS..8 => task.read(&mut record).await,
                        _ => task.give_up(&mut record).await,
                    }
                    // Faults should affect many calls, but the load must not use the whole machine.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                record
            }));
        }
        Self {
            stop,
            task,
            others: Mutex::default(),
            tasks,
            lateness: Arc::clone(lateness),
        }
    }

    /// Waits for `count` more writes and `count` more reads.
    pub(crate) async fn progress(&self, count: u64) {
        let counters = [&self.task.written, &self.task.read];
        let goals = counters.map(|counter| counter.load(Ordering::Relaxed) + count);
        while (0..2).any(|n| counters[n].load(Ordering::Relaxed) < goals[n]) {
            assert!(
                !self.tasks.iter().any(JoinHandle::is_finished),
                "a task is gone"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Simulates another process that starts, writes, reads and ends.
    pub(crate) async fn newcomer(&self, config: &Config) {
        let mut record = Record::default();
        let cluster = match Cluster::builder(config.clone()).connect().await {
            Ok(cluster) => cluster,
            Err(error) => {
                record.failed(&error);
                return self.others.lock().unwrap().join(record);
            }
        };
        let task = Task {
            cluster,
            ..self.task.clone()
        };
        task.write(&mut record).await;
        task.read(&mut record).await;
        self.others.lock().unwrap().join(record);
    }

    /// Waits until writes and reads succeed again.
    pub(crate) async fn recovered(&self, patience: Duration) {
        let count = || {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (count(&self.task.written), count(&self.task.read))
        };
        let before = count();
        let progress = timeout(patience, self.progress(200)).await;
        assert!(
            progress.is_ok(),
            "no recovery within {patience:?}: (writes, reads) were {before:?}, are {:?}: {:#?}",
            count(),
            self.task.cluster.status()
        );
    }

    pub(crate) async fn stop(self) -> Record {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = self.others.into_inner().unwrap();
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
            let done = match rand::random_ratio(1, 8) {
                true => insert.query_drop(long_insert(id)).await,
                false => insert.exec_drop(INSERT, (id,)).await,
            };
            let fate = match done {
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

    /// Writes two rows in one transaction.
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
                fate_of_transaction(&error)
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
        // Use both protocols at random: an answer of one is not valid in the other.
        let answer: Result<Option<(u64, String)>, Error> = match rand::random() {
            true => {
                read.exec_first("SELECT ?, name FROM origin", (asked,))
                    .await
            }
            false => {
                let select = format!("SELECT {asked}, name FROM origin");
                read.query_first(select).await
            }
        };
        match answer {
            Ok(answer) => {
                self.check_row(answer, asked);
                record.reads += 1;
                self.read.fetch_add(1, Ordering::Relaxed);
            }
            // No fault makes a server refuse a read with an error.
            Err(error @ Error::Server { .. }) => panic!("{error}: {:#?}", self.cluster.status()),
            Err(error) => record.failed(&error),
        }
        record.overdue = record.overdue.max(began.elapsed().saturating_sub(within));
    }

    /// Checks that a connection has none of its last user's session state, and leaves some in it.
    async fn borrow(&self, record: &mut Record) {
        let within = Duration::from_secs(1);
        let route = match rand::random() {
            true => self.cluster.primary(),
            false => self.cluster.replicas(),
        };
        let used = async {
            let mut conn = route.deadline(within).conn().await?;
            let left: Option<Option<u64>> = conn.query_first("SELECT @left_behind").await?;
            assert_eq!(left, Some(None), "the session of another");
            conn.query_drop("SET @left_behind = 1").await?;
            Ok::<(), Error>(())
        };
        match used.await {
            Ok(()) => {}
            Err(error @ Error::Server { .. }) => panic!("{error}"),
            Err(error) => record.failed(&error),
        }
    }

    /// Checks that the row is the requested one, from one of our servers.
    fn check_row(&self, row: Option<(u64, String)>, asked: u64) {
        let (answer, origin) = row.unzip();
        assert_eq!(answer, Some(asked), "another statement's row");
        let status = || self.cluster.status();
        assert_eq!(
            origin.as_deref(),
            Some(OURS),
            "another cluster's row: {:#?}",
            status()
        );
    }

    /// Makes calls that are dropped at a random moment.
    async fn give_up(&self, record: &mut Record) {
        let polls = rand::random_range(0..24);
        if rand::random() {
            let asked: u64 = rand::random();
            let read = self
                .cluster
                .replicas()
                .query_first(format!("SELECT {asked}, name FROM origin"));
            if let Some(Ok(row)) = cut(polls, read).await {
                self.check_row(row, asked);
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
