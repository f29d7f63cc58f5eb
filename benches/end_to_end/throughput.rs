//! Operations per second, and their cost.

use crate::contenders::{Contender, PRIMARY, Query, REPLICAS};
use crate::haproxy::HaProxy;
use crate::processes::Usage;
use headless_mysql::prelude::*;
use headless_mysql_testkit::stage::Stage;
use rand::seq::SliceRandom;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Named contenders, and the index of the one that the others are compared with.
type Field = (Vec<(&'static str, Contender)>, usize);

/// The results of one contender in all rounds.
#[derive(Default)]
struct Line {
    /// Operations per second, by round.
    rates: Vec<f64>,
    latencies: Vec<Duration>,
    used: Usage,
    operations: u64,
    /// The statements that the primary counted.
    questions: u64,
}

async fn readers(stage: &Stage, proxy: &HaProxy, tasks: usize) -> Field {
    let contenders = vec![
        ("this crate", Contender::ours(stage, tasks, true).await),
        (
            "one held connection per task",
            Contender::held(stage, REPLICAS),
        ),
        (
            "a sketch: least in flight, timeout",
            Contender::sketch(stage, tasks),
        ),
        (
            "random pools, no reset",
            Contender::random_pools(stage, REPLICAS, tasks, false),
        ),
        (
            "random pools, reset",
            Contender::random_pools(stage, REPLICAS, tasks, true),
        ),
        (
            "the driver's default pools",
            Contender::default_pools(stage),
        ),
        (
            "HAProxy, pool without reset",
            Contender::behind(proxy, stage, tasks),
        ),
    ];
    (contenders, 3)
}

async fn writers(stage: &Stage, tasks: usize) -> Field {
    let contenders = vec![
        ("this crate", Contender::ours(stage, tasks, true).await),
        (
            "one held connection per task",
            Contender::held(stage, PRIMARY),
        ),
        (
            "the driver's pool, no reset",
            Contender::random_pools(stage, PRIMARY, tasks, false),
        ),
        (
            "the driver's pool, reset",
            Contender::random_pools(stage, PRIMARY, tasks, true),
        ),
    ];
    (contenders, 2)
}

/// Compares the contenders in all reads, or in all writes.
pub(crate) async fn compare(
    stage: &Stage,
    writes: bool,
    tasks: usize,
    rounds: usize,
    slice: Duration,
) {
    let proxy = HaProxy::start(stage).await;
    let ((contenders, reference), queries) = match writes {
        false => (readers(stage, &proxy, tasks).await, &Query::READS[..]),
        true => (writers(stage, tasks).await, &Query::WRITES[..]),
    };
    for query in queries.iter().copied() {
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
        let names: Vec<_> = contenders.iter().map(|(name, _)| *name).collect();
        show(query, tasks, &names, reference, &mut lines);
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
        self.operations += other.operations;
        self.questions += other.questions;
    }

    fn micros_each(&self, used: Duration) -> f64 {
        used.as_secs_f64() * 1e6 / self.operations as f64
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
    let asked = questions(stage).await;
    let before = Usage::now(stage, proxy.pid());
    let began = Instant::now();
    for mut reader in readers {
        running.spawn(async move {
            let mut latencies = Vec::new();
            let mut last = Instant::now();
            while last - began < slice {
                reader.run(query).await.unwrap();
                let now = Instant::now();
                latencies.push(now - last);
                last = now;
            }
            latencies
        });
    }
    for latencies in running.join_all().await {
        line.operations += latencies.len() as u64;
        line.latencies.extend(latencies);
    }
    line.rates
        .push(line.operations as f64 / began.elapsed().as_secs_f64());
    line.used = Usage::now(stage, proxy.pid()).since(before);
    line.questions = questions(stage).await - asked;
}

/// The statements that the primary has counted. This question counts, too.
async fn questions(stage: &Stage) -> u64 {
    let mut root = stage.lab.admin(0).await.unwrap();
    let row: Option<(String, u64)> = root
        .query_first("SHOW GLOBAL STATUS LIKE 'Questions'")
        .await
        .unwrap();
    row.unwrap().1
}

fn show(query: Query, tasks: usize, names: &[&str], reference: usize, lines: &mut [Line]) {
    println!("{}, {tasks} tasks:\n", query.name());
    println!(
        "| | per second | against {} | p50 | p99 | CPU each: client | servers | proxy \
         | statements on the primary |",
        names[reference]
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    let reference = lines[reference].rates.clone();
    for (name, line) in names.iter().zip(lines) {
        let ratios = line.rates.iter().zip(&reference);
        let mut ratios: Vec<f64> = ratios.map(|(ours, theirs)| ours / theirs).collect();
        let ratio = median(&mut ratios);
        let rate = median(&mut line.rates);
        line.latencies.sort_unstable();
        let at = |share: f64| line.latencies[(line.latencies.len() as f64 * share) as usize];
        println!(
            "| {name} | {rate:.0} | {ratio:.2} | {} µs | {} µs | {:.1} µs | {:.0} µs | {:.0} µs \
             | {:.1} |",
            at(0.5).as_micros(),
            at(0.99).as_micros(),
            line.micros_each(line.used.client),
            line.micros_each(line.used.server),
            line.micros_each(line.used.proxy),
            line.questions as f64 / line.operations as f64,
        );
    }
    println!();
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
