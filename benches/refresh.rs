//! The cost of one refresh, look-up and merge, at 3, 100, 700 and 1,000 pods.
//!
//! ```text
//! cargo bench --bench refresh
//! ```
//!
//! The look-up goes over loopback to a cluster DNS double in its own thread. Its time includes the
//! double's, but its allocations are only this crate's (including hickory's). Compare the columns
//! per pod: no cost may grow faster than the number of pods.
//!
//! SRV records of 1,000 pods with their addresses do not fit into a TCP message, even with short
//! names. So that row measures the fallback after SRV: the addresses, and in one of 125 look-ups a
//! query for each pod.

use std::error::Error;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use headless_mysql::discovery::{Answer, DnsResolver, FoundPod, Resolve, ResolveError};
use headless_mysql::name::Ordinal;
use headless_mysql::topology::{Topology, merge};
use headless_mysql_testkit::dns::{ClusterDns, PodSpec, ServiceSpec};
use tokio::runtime::Runtime;
use tokio::time::Instant;

type Failure = Box<dyn Error + Send + Sync>;

const GRACE: Duration = Duration::from_secs(30);
const SIZES: [u32; 4] = [3, 100, 700, 1_000];
/// The maximum number of queries of a refresh in the steady state.
const MOST_QUERIES: usize = 2;

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + n).into()
}

/// A cluster DNS in its own thread, so that its allocations are not counted.
struct Server {
    dns: Arc<ClusterDns>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start() -> Result<Self, Failure> {
        let (started, address) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                if let Ok(dns) = ClusterDns::start().await {
                    let _ = started.send(Arc::new(dns));
                    let _ = stopped.await;
                }
            });
        };
        let thread = Some(thread::spawn(serve));
        let dns = address.recv()?;
        let stop = Some(stop);
        Ok(Self { dns, stop, thread })
    }

    /// Lists this many pods and returns the Service's name.
    fn list(&self, namespace: &str, service: &str, pods: u32) -> String {
        let pod = |n| PodSpec::ready(format!("{service}-{n}"), address(n));
        let spec = ServiceSpec::new(namespace, service).unnamed_port(3306);
        self.dns.set_service(spec.with_pods((0..pods).map(pod)));
        format!("{service}.{namespace}.svc.cluster.local")
    }

    fn resolver(&self, service: &str) -> Result<DnsResolver, Failure> {
        let builder = DnsResolver::builder(service.parse()?);
        Ok(builder.name_servers(vec![self.dns.addr()]).build()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The measurements of one subject.
struct Row {
    pods: u32,
    subject: &'static str,
    /// Microseconds: the median of criterion's samples.
    median: f64,
    allocations: f64,
    queries: Option<usize>,
    outcome: String,
}

#[derive(Default)]
struct Session {
    rows: Vec<Row>,
}

impl Session {
    /// Measures an operation. Returns false if it was only tried, or was filtered out.
    fn measure(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        pods: u32,
        subject: &'static str,
        mut operation: impl FnMut(),
    ) -> bool {
        operation();
        let counted = allocation_counter::measure(&mut operation);
        let mut samples = Vec::new();
        group.bench_function(BenchmarkId::new(subject, pods), |bencher| {
            bencher.iter_custom(|n| {
                let began = Instant::now();
                (0..n).for_each(|_| operation());
                let took = began.elapsed();
                samples.push(took.as_secs_f64() * 1e6 / n as f64);
                took
            });
        });
        if samples.len() < 10 {
            return false;
        }
        samples.sort_by(f64::total_cmp);
        self.rows.push(Row {
            pods,
            subject,
            median: samples[samples.len() / 2],
            allocations: counted.count_total as f64,
            queries: None,
            outcome: String::new(),
        });
        true
    }

    fn report(&self) {
        println!(
            "{:<24} {:>5} {:>9} {:>8} {:>9} {:>8} {:>8}  outcome",
            "subject", "pods", "us", "us/pod", "allocs", "/pod", "queries"
        );
        for row in &self.rows {
            let pods = f64::from(row.pods);
            println!(
                "{:<24} {:>5} {:>9.1} {:>8.2} {:>9.0} {:>8.1} {:>8}  {}",
                row.subject,
                row.pods,
                row.median,
                row.median / pods,
                row.allocations,
                row.allocations / pods,
                row.queries.map_or_else(String::new, |n| n.to_string()),
                row.outcome,
            );
        }
    }
}

fn describe(result: &Result<Answer, ResolveError>) -> String {
    match result {
        Ok(answer) => {
            let named = answer.pods.iter().filter(|pod| pod.ordinal.is_some());
            format!("{} pods, {} with ordinal", answer.pods.len(), named.count())
        }
        Err(error) => format!("fails: {}", error.kind()),
    }
}

fn look_ups(
    session: &mut Session,
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
) -> Result<(), Failure> {
    let server = Server::start()?;
    for pods in SIZES {
        let name = server.list("default", "mysql", pods);
        let resolver = server.resolver(&name)?;
        // The second look-up is in the steady state.
        let mut outcome = runtime.block_on(resolver.resolve());
        server.dns.clear_queries();
        outcome = runtime.block_on(resolver.resolve()).or(outcome);
        let queries = server.dns.query_count();
        if outcome.is_err() || queries > MOST_QUERIES {
            let outcome = describe(&outcome);
            return Err(format!("{pods} pods: {outcome}, {queries} queries").into());
        }
        let look_up = || {
            let _ = black_box(runtime.block_on(resolver.resolve()));
        };
        if session.measure(group, pods, "look-up", look_up)
            && let Some(row) = session.rows.last_mut()
        {
            row.queries = Some(queries);
            row.outcome = describe(&outcome);
        }
        server.dns.clear_queries();
    }
    Ok(())
}

fn answer(pods: u32, shift: u32) -> Answer {
    let pod = |n: u32| {
        let host = format!("mysql-{n}.mysql.default.svc.cluster.local");
        FoundPod::new(Some(Ordinal::new(n)), host, [address(n + shift)], 3306)
    };
    let service = "mysql.default.svc.cluster.local";
    Answer::new(service, (0..pods).map(pod), Some(Duration::from_secs(5)))
}

fn merges(session: &mut Session, group: &mut BenchmarkGroup<'_, WallTime>) {
    let now = Instant::now();
    for pods in SIZES {
        let (here, away) = (answer(pods, 0), answer(pods, 5_000));
        let empty = Topology::default();
        let (known, _) = merge(&empty, &here, now, GRACE);
        session.measure(group, pods, "merge, nothing changed", || {
            black_box(merge(&known, &here, now, GRACE));
        });
        session.measure(group, pods, "merge, all new", || {
            black_box(merge(&empty, &here, now, GRACE));
        });
        session.measure(group, pods, "merge, all moved", || {
            black_box(merge(&known, &away, now, GRACE));
        });
    }
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    let mut session = Session::default();
    let mut group = criterion.benchmark_group("refresh");
    merges(&mut session, &mut group);
    look_ups(&mut session, &mut group, &runtime)?;
    group.finish();
    if !session.rows.is_empty() {
        session.report();
    }
    Ok(())
}
