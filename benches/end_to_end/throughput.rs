//! Reads per second, and their cost.

use crate::contenders::{Contender, Query};
use crate::haproxy::HaProxy;
use crate::processes::Usage;
use headless_mysql_testkit::stage::Stage;
use rand::seq::SliceRandom;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The index of the contender that the others are compared with.
const REFERENCE: usize = 3;

/// The results of one contender in all rounds.
#[derive(Default)]
struct Line {
    /// Reads per second, by round.
    rates: Vec<f64>,
    latencies: Vec<Duration>,
    used: Usage,
    reads: u64,
}

pub(crate) async fn compare(stage: &Stage, tasks: usize, rounds: usize, slice: Duration) {
    let proxy = HaProxy::start(stage).await;
    let contenders = [
        ("this crate", Contender::ours(stage, tasks, true).await),
        ("one held connection per task", Contender::held(stage)),
        (
            "a sketch: least in flight, timeout",
            Contender::sketch(stage, tasks),
        ),
        (
            "random pools, no reset",
            Contender::random_pools(stage, tasks, false),
        ),
        (
            "random pools, reset",
            Contender::random_pools(stage, tasks, true),
        ),
        (
            "the driver's default pools",
            Contender::default_pools(stage),
        ),
        (
            "HAProxy, pool without reset",
            Contender::behind(&proxy, stage, tasks),
        ),
    ];
    for query in Query::ALL {
        let mut lines: Vec<Line> = contenders.iter().map(|_| Line::default()).collect();
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        // The first round is a warm-up.
        for round in 0..=rounds {
            order.shuffle(&mut rand::rng());
            for index in &order {
                let mut line = Line::default();
                round_of(
                    stage,
                    &proxy,
                    &contenders[*index].1,
                    query,
                    tasks,
                    slice,
                    &mut line,
                )
                .await;
                if round > 0 {
                    lines[*index].join(line);
                }
            }
        }
        show(
            query,
            tasks,
            &contenders.each_ref().map(|(name, _)| *name),
            &mut lines,
        );
    }
    for (_, contender) in contenders {
        contender.end().await;
    }
}

impl Line {
    fn join(&mut self, other: Self) {
        self.rates.extend(other.rates);
        self.latencies.extend(other.latencies);
        self.used.add(other.used);
        self.reads += other.reads;
    }

    fn micros_per_read(&self, used: Duration) -> f64 {
        used.as_secs_f64() * 1e6 / self.reads as f64
    }
}

async fn round_of(
    stage: &Stage,
    proxy: &HaProxy,
    contender: &Contender,
    query: Query,
    tasks: usize,
    slice: Duration,
    line: &mut Line,
) {
    let mut running = JoinSet::new();
    let mut readers = Vec::new();
    for task in 0..tasks {
        readers.push(contender.reader(task).await);
    }
    let before = Usage::now(stage, proxy.pid());
    let began = Instant::now();
    for mut reader in readers {
        running.spawn(async move {
            let mut latencies = Vec::new();
            let mut last = Instant::now();
            while last - began < slice {
                reader.read(query).await.unwrap();
                let now = Instant::now();
                latencies.push(now - last);
                last = now;
            }
            latencies
        });
    }
    for latencies in running.join_all().await {
        line.reads += latencies.len() as u64;
        line.latencies.extend(latencies);
    }
    line.rates
        .push(line.reads as f64 / began.elapsed().as_secs_f64());
    line.used = Usage::now(stage, proxy.pid()).since(before);
}

fn show(query: Query, tasks: usize, names: &[&str], lines: &mut [Line]) {
    println!("{}, {tasks} tasks, two replicas:\n", query.name());
    println!(
        "| | reads/s | against random pools | p50 | p99 | CPU per read: client | servers | proxy |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let reference = lines[REFERENCE].rates.clone();
    for (name, line) in names.iter().zip(lines) {
        let ratios = line.rates.iter().zip(&reference);
        let mut ratios: Vec<f64> = ratios.map(|(ours, theirs)| ours / theirs).collect();
        let ratio = median(&mut ratios);
        let rate = median(&mut line.rates);
        line.latencies.sort_unstable();
        let at = |share: f64| line.latencies[(line.latencies.len() as f64 * share) as usize];
        println!(
            "| {name} | {rate:.0} | {ratio:.2} | {} µs | {} µs | {:.0} µs | {:.0} µs | {:.0} µs |",
            at(0.5).as_micros(),
            at(0.99).as_micros(),
            line.micros_per_read(line.used.client),
            line.micros_per_read(line.used.server),
            line.micros_per_read(line.used.proxy),
        );
    }
    println!();
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
