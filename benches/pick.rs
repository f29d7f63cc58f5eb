//! What a pick costs, next to tower's own balancers, in one run.
//!
//! ```text
//! cargo bench --bench pick
//! ```
//!
//! Every endpoint answers at once, so what is measured is the balancer. One task, on a
//! current-thread runtime: a buffer's worker runs on the same thread, as allocations are counted
//! per thread. Judge by ratios and allocations; nanoseconds differ by machine and by the hour.
//!
//! The dev-dependencies turn tokio's `test-util` on, which makes each reading of its clock dearer,
//! for us and for tower alike.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use futures_util::stream;
use headless_mysql::balance::{Balance, BalanceConfig, Class, Classify, Eligibility, Eligible};
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tower::balance::p2c;
use tower::buffer::Buffer;
use tower::discover::{Change, ServiceList};
use tower::load::{CompleteOnResponse, PeakEwmaDiscover, PendingRequestsDiscover};
use tower::{BoxError, Service, ServiceExt};

/// Operations over which allocations are counted.
const COUNTED: u64 = 10_000;

/// An endpoint that is ready and answers at once.
#[derive(Clone, Copy)]
struct Instantly;

#[derive(Clone, Copy)]
struct Ask;

/// An endpoint's error that never happens.
#[derive(Debug)]
enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

impl Classify for Never {
    fn class(&self) -> Class {
        match *self {}
    }
}

impl Eligible<Instantly> for Ask {
    fn eligible(&self, _: &Instantly) -> Eligibility {
        Eligibility::Yes
    }
}

impl Service<Ask> for Instantly {
    type Response = ();
    type Error = Never;
    type Future = Ready<Result<(), Never>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        ready(Ok(()))
    }
}

fn endpoints(count: usize) -> ServiceList<Vec<Instantly>> {
    ServiceList::new(vec![Instantly; count])
}

async fn ours(count: usize) -> Balance<Instantly> {
    let inserts = (0..count).map(|key| Ok::<_, Infallible>(Change::Insert(key, Instantly)));
    let handle = tokio::runtime::Handle::current();
    let balance = Balance::new(
        stream::iter(inserts.collect::<Vec<_>>()),
        BalanceConfig::default(),
        &handle,
    );
    while balance.endpoints().len() < count {
        tokio::task::yield_now().await;
    }
    balance
}

fn peak_ewma(count: usize) -> PeakEwmaDiscover<ServiceList<Vec<Instantly>>> {
    PeakEwmaDiscover::new(
        endpoints(count),
        Duration::from_secs(1),
        Duration::from_secs(10),
        CompleteOnResponse::default(),
    )
}

async fn call<S>(service: &mut S) -> Result<(), BoxError>
where
    S: Service<Ask>,
    S::Error: Into<BoxError>,
{
    let ready = service.ready().await.map_err(Into::into)?;
    black_box(ready.call(Ask).await.map_err(Into::into)?);
    Ok(())
}

/// What was measured of one subject.
struct Row {
    endpoints: usize,
    subject: &'static str,
    /// Nanoseconds per operation: the median of criterion's samples.
    median: f64,
    allocations: f64,
}

/// A subject's operation, `n` times.
trait Subject {
    fn run(&mut self, n: u64) -> impl Future<Output = Result<(), BoxError>>;
}

struct Pick(Balance<Instantly>);

impl Subject for Pick {
    async fn run(&mut self, n: u64) -> Result<(), BoxError> {
        for _ in 0..n {
            black_box(self.0.pick(&Ask));
        }
        Ok(())
    }
}

struct Call<S>(S);

impl<S> Subject for Call<S>
where
    S: Service<Ask>,
    S::Error: Into<BoxError>,
{
    async fn run(&mut self, n: u64) -> Result<(), BoxError> {
        for _ in 0..n {
            call(&mut self.0).await?;
        }
        Ok(())
    }
}

struct Session<'a> {
    runtime: &'a Runtime,
    rows: Vec<Row>,
}

impl Session<'_> {
    fn measure(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        endpoints: usize,
        subject: &'static str,
        mut it: impl Subject,
    ) -> Result<(), BoxError> {
        // Warm: pools and queues have their size.
        self.runtime.block_on(it.run(COUNTED))?;
        let mut counted = Ok(());
        let info = allocation_counter::measure(|| {
            counted = self.runtime.block_on(it.run(COUNTED));
        });
        counted?;

        let mut samples = Vec::new();
        let mut failed = None;
        group.bench_function(BenchmarkId::new(subject, endpoints), |bencher| {
            bencher.iter_custom(|n| {
                let began = Instant::now();
                failed = self.runtime.block_on(it.run(n)).err();
                let took = began.elapsed();
                samples.push(took.as_secs_f64() * 1e9 / n as f64);
                took
            });
        });
        if let Some(error) = failed {
            return Err(error);
        }
        // Not measured: filtered out on the command line, or only tried (`-- --test`).
        if samples.len() < 10 {
            return Ok(());
        }
        samples.sort_by(f64::total_cmp);
        self.rows.push(Row {
            endpoints,
            subject,
            median: samples[samples.len() / 2],
            allocations: info.count_total as f64 / COUNTED as f64,
        });
        Ok(())
    }

    fn report(&self) {
        println!(
            "{:>9}  {:<24} {:>9} {:>8} {:>8} {:>8}",
            "endpoints", "subject", "ns", "allocs", "/pick", "/call"
        );
        for row in &self.rows {
            let of = |base: &str| {
                let base = self
                    .rows
                    .iter()
                    .find(|b| b.endpoints == row.endpoints && b.subject == base);
                base.map_or_else(String::new, |b| format!("{:.1}x", row.median / b.median))
            };
            println!(
                "{:>9}  {:<24} {:>9.1} {:>8.2} {:>8} {:>8}",
                row.endpoints,
                row.subject,
                row.median,
                row.allocations,
                of(PICK),
                of(CALL)
            );
        }
    }
}

const PICK: &str = "headless-mysql pick";
const CALL: &str = "headless-mysql call";

fn main() -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut session = Session {
        runtime: &runtime,
        rows: Vec::new(),
    };
    let mut group = criterion.benchmark_group("balance");
    for n in [3, 100] {
        let balance = runtime.block_on(ours(n));
        session.measure(&mut group, n, PICK, Pick(balance.clone()))?;
        session.measure(&mut group, n, CALL, Call(balance))?;
        let pending = PendingRequestsDiscover::new(endpoints(n), CompleteOnResponse::default());
        let pending = p2c::Balance::new(pending);
        session.measure(&mut group, n, "tower PendingRequests", Call(pending))?;
        let ewma = p2c::Balance::new(peak_ewma(n));
        session.measure(&mut group, n, "tower PeakEwma", Call(ewma))?;
        let inner = p2c::Balance::new(peak_ewma(n));
        let buffered = runtime.block_on(async { Buffer::new(inner, 1024) });
        session.measure(&mut group, n, "tower Buffer<PeakEwma>", Call(buffered))?;
    }
    group.finish();
    if !session.rows.is_empty() {
        session.report();
    }
    Ok(())
}
