//! The demo's load: writers and readers, and their results.

use headless_mysql::{Cluster, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The pause between two operations of one task, which leaves the machine time for the live screen.
const PACE: Duration = Duration::from_millis(2);

/// The counters that are shown while the load runs.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    writes: AtomicU64,
    reads: AtomicU64,
    writers_waiting: AtomicU64,
    failed: AtomicU64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "{:6} writes  {:7} reads  {} failed",
            of(&self.writes),
            of(&self.reads),
            of(&self.failed),
        )?;
        match of(&self.writers_waiting) {
            Load::WRITERS => write!(f, "  (all writers wait)"),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Write {
    id: u64,
    began: Instant,
    ended: Instant,
    outcome: Result<(), Error>,
}

#[derive(Debug, Default)]
struct Reads {
    by_server: BTreeMap<String, u64>,
    failed: Vec<Error>,
}

pub(crate) struct Load {
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Vec<Write>>>,
    readers: Vec<JoinHandle<Reads>>,
}

impl Load {
    pub(crate) const WRITERS: u64 = 4;
    pub(crate) const READERS: u64 = 8;

    pub(crate) fn start(cluster: &Cluster) -> Self {
        let counts = Arc::new(Counts::default());
        let stop = Arc::new(AtomicBool::new(false));
        let writer = |number| {
            let task = write(
                cluster.clone(),
                Arc::clone(&counts),
                Arc::clone(&stop),
                number,
            );
            tokio::spawn(task)
        };
        let reader = |_| {
            let task = read(cluster.clone(), Arc::clone(&counts), Arc::clone(&stop));
            tokio::spawn(task)
        };
        Self {
            writers: (0..Self::WRITERS).map(writer).collect(),
            readers: (0..Self::READERS).map(reader).collect(),
            counts,
            stop,
        }
    }

    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    pub(crate) async fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut report = Report::default();
        for writer in self.writers {
            report.writes.extend(writer.await.unwrap_or_default());
        }
        for reader in self.readers {
            let reads = reader.await.unwrap_or_default();
            for (server, count) in reads.by_server {
                *report.reads.entry(server).or_default() += count;
            }
            report.failed_reads.extend(reads.failed);
        }
        report
    }
}

async fn write(
    cluster: Cluster,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    number: u64,
) -> Vec<Write> {
    let mut writes = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = n * Load::WRITERS + number;
        let insert = "INSERT INTO entries (id, pod) VALUES (?, @@server_id)";
        let began = Instant::now();
        counts.writers_waiting.fetch_add(1, Ordering::Relaxed);
        let outcome = cluster.primary().exec_drop(insert, (id,)).await;
        counts.writers_waiting.fetch_sub(1, Ordering::Relaxed);
        let count = match outcome {
            Ok(()) => &counts.writes,
            Err(_) => &counts.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        writes.push(Write {
            id,
            began,
            ended: Instant::now(),
            outcome,
        });
        sleep(PACE).await;
    }
    writes
}

async fn read(cluster: Cluster, counts: Arc<Counts>, stop: Arc<AtomicBool>) -> Reads {
    let mut reads = Reads::default();
    while !stop.load(Ordering::Relaxed) {
        let server = cluster.replicas().query_first("SELECT @@server_id");
        match server.await {
            Ok(server) => {
                let server: Option<u64> = server;
                let server = server.unwrap_or_default().to_string();
                *reads.by_server.entry(server).or_default() += 1;
                counts.reads.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                reads.failed.push(error);
            }
        }
        sleep(PACE).await;
    }
    reads
}

/// The results of the load.
#[derive(Debug, Default)]
pub(crate) struct Report {
    writes: Vec<Write>,
    /// The number of reads by `server_id`.
    pub(crate) reads: BTreeMap<String, u64>,
    failed_reads: Vec<Error>,
}

impl Report {
    /// Compares the acknowledged writes with the existing rows. `shown` is the time at which DNS
    /// showed the restarted primary.
    pub(crate) fn judge(&self, kept: &[(u64, String)], shown: Instant) -> Verdict {
        let ids: BTreeSet<u64> = kept.iter().map(|(id, _)| *id).collect();
        let acknowledged: Vec<&Write> = self.writes.iter().filter(|w| w.outcome.is_ok()).collect();
        let failed = self.writes.iter().filter_map(|w| w.outcome.as_ref().err());
        let mut waits: Vec<Duration> = acknowledged.iter().map(|w| w.ended - w.began).collect();
        waits.sort_unstable();
        let after = acknowledged.iter().filter(|write| write.ended > shown);
        Verdict {
            acknowledged: acknowledged.len(),
            lost: acknowledged.iter().filter(|w| !ids.contains(&w.id)).count(),
            astray: kept.iter().filter(|(_, server)| server != "1").count(),
            median: waits.get(waits.len() / 2).copied().unwrap_or_default(),
            longest: waits.last().copied().unwrap_or_default(),
            first_after: after.map(|write| write.ended - shown).min(),
            unknown: failed.map(ToString::to_string).collect(),
            failed_reads: self.failed_reads.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The summary for the user.
#[derive(Debug)]
pub(crate) struct Verdict {
    acknowledged: usize,
    lost: usize,
    astray: usize,
    median: Duration,
    longest: Duration,
    first_after: Option<Duration>,
    unknown: Vec<String>,
    failed_reads: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Writes took {:.1?} (median); the longest waited {:.0?} for the primary.",
            self.median, self.longest
        )?;
        if let Some(first) = self.first_after {
            writeln!(
                f,
                "The first one after DNS had the new address came after {first:.0?}."
            )?;
        }
        match self.lost {
            0 => writeln!(
                f,
                "Of {} acknowledged writes, none is lost.",
                self.acknowledged
            )?,
            lost => writeln!(
                f,
                "Of {} acknowledged writes, {lost} ARE LOST.",
                self.acknowledged
            )?,
        }
        writeln!(
            f,
            "{} writes were under way when the primary died, and were told so{}",
            self.unknown.len(),
            if self.unknown.is_empty() { "." } else { ":" }
        )?;
        if let Some(example) = self.unknown.first() {
            writeln!(f, "  {example}")?;
        }
        write!(f, "{} reads failed.", self.failed_reads.len())?;
        match self.failed_reads.first() {
            Some(example) => write!(f, "\n  {example}"),
            None => Ok(()),
        }
    }
}

impl Verdict {
    /// An error if a promise was broken.
    pub(crate) fn into_result(self) -> Result<(), crate::Failure> {
        if self.astray > 0 {
            return Err(
                format!("{} writes landed elsewhere than on ordinal 0", self.astray).into(),
            );
        }
        if self.lost > 0 {
            return Err(format!("{} acknowledged writes are lost", self.lost).into());
        }
        if self.first_after.is_none() {
            return Err("no write succeeded after the restart".into());
        }
        Ok(())
    }
}
