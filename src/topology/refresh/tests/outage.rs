//! The load of 2,000 clients on cluster DNS when it fails, or when all clients lose their primary.
//! Simulated, under the paused clock. The tables are printed with `--nocapture`.

use std::fmt::Write as _;

use super::*;

const CLIENTS: u64 = 2_000;
/// Begin of the trouble, its duration, and the time observed after it, in ms.
const BEGIN: u64 = 20_000;
const LASTS: u64 = 60_000;
const AFTER: u64 = 20_000;

/// The kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    /// DNS answers SERVFAIL.
    ServFail,
    /// DNS does not answer: two queries, a second each.
    Silent,
    /// DNS answers that there is no pod.
    NoPod,
    /// DNS works, but shows the old address of the primary.
    Stale,
}

/// The single DNS server of all clients. Before `BEGIN + LASTS` the primary is at `.1`, afterwards
/// at `.2`.
#[derive(Debug)]
struct Server {
    start: Instant,
    trouble: Trouble,
    /// Number of queries in each 100 ms.
    queries: Mutex<Vec<u64>>,
}

impl Server {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    fn count(&self) {
        let slot = usize::try_from(self.now() / 100).unwrap();
        let mut queries = self.queries.lock();
        let length = queries.len().max(slot + 1);
        queries.resize(length, 0);
        queries[slot] += 1;
    }

    fn is_over(&self) -> bool {
        self.now() >= BEGIN + LASTS
    }

    fn answer(&self) -> Result<Answer, ResolveError> {
        let name = "mysql".to_owned();
        let trouble = (BEGIN..BEGIN + LASTS).contains(&self.now());
        match self.trouble {
            Trouble::ServFail if trouble => Err(ResolveError::ServerFailure {
                name,
                code: "Server Failure".to_owned(),
                server: None,
            }),
            Trouble::NoPod if trouble => Err(ResolveError::NotFound {
                name,
                asked: vec![],
            }),
            _ => {
                let address = [10, 0, 0, 1 + u8::from(self.is_over())].into();
                let pod = FoundPod::new(Some(Ordinal::PRIMARY), "mysql-0", [address], 3306);
                Ok(Answer::new("mysql", [pod], Some(Duration::from_secs(5))))
            }
        }
    }
}

impl Resolve for Server {
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
        Box::pin(async move {
            for _ in 0..2 {
                self.count();
                let trouble = (BEGIN..BEGIN + LASTS).contains(&self.now());
                if self.trouble == Trouble::Silent && trouble {
                    pass(1_000).await;
                    continue;
                }
                pass(2).await;
                return self.answer();
            }
            Err(ResolveError::Timeout {
                name: "mysql".to_owned(),
                after: Duration::from_secs(2),
                server: None,
            })
        })
    }

    fn describe(&self) -> String {
        "mysql".to_owned()
    }
}

/// The result of one simulation.
struct Seen {
    /// Number of queries in each 100 ms.
    queries: Vec<u64>,
    /// When each client learned the new primary, in ms after the end of the trouble.
    recovered: Vec<u64>,
}

/// Runs one simulation. `waiters` of the clients wait for a primary, from a random moment in the
/// first second until they know the new one.
async fn simulate(trouble: Trouble, waiters: u64) -> Seen {
    let server = Arc::new(Server {
        start: Instant::now(),
        trouble,
        queries: Mutex::default(),
    });
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..CLIENTS {
        let server = Arc::clone(&server);
        clients.spawn(async move {
            pass(n * 5_000 / CLIENTS).await;
            let resolve = Arc::clone(&server) as Arc<dyn Resolve>;
            let config = RefreshConfig::default();
            let discovery = Discovery::start(resolve, config, &Runtime::current());
            let mut snapshots = discovery.subscribe();
            pass(BEGIN + rand::random_range(0..1_000) - server.now()).await;
            let waiting = (n < waiters).then(|| discovery.wait_for_primary());
            let moved = |topology: &Arc<Topology>| {
                let primary = topology.pod(Ordinal::PRIMARY);
                let at = primary.and_then(|pod| pod.listed().next());
                at.is_some_and(|at| at.socket() == ([10, 0, 0, 2], 3306).into())
            };
            snapshots.wait_for(moved).await.unwrap();
            drop(waiting);
            let recovered = server.now() - BEGIN - LASTS;
            pass(BEGIN + LASTS + AFTER - server.now()).await;
            recovered
        });
    }
    let recovered = clients.join_all().await;
    let queries = server.queries.lock().clone();
    Seen { queries, recovered }
}

impl Seen {
    /// Queries per second, and the maximum in 100 ms, between two times in ms since [`BEGIN`].
    fn rate(&self, from: i64, until: i64) -> (u64, u64) {
        let slot = |ms: i64| usize::try_from((i64::try_from(BEGIN).unwrap() + ms) / 100).unwrap();
        let slots = &self.queries[slot(from)..slot(until).min(self.queries.len())];
        let seconds = u64::try_from(until - from).unwrap();
        let sum = slots.iter().sum::<u64>();
        (sum * 1_000 / seconds, *slots.iter().max().unwrap())
    }

    fn table(&self, title: &str) -> String {
        let mut table = format!(
            "{title}\n  {:>16} {:>10} {:>12}\n",
            "s", "queries/s", "most/100 ms"
        );
        let end = i64::try_from(LASTS / 1_000).unwrap();
        let marks = [-10, 0, 1, 2, 3, 5, 10, 20, 30, end];
        let marks = marks.into_iter().chain([1, 2, 5, 10, 18].map(|s| end + s));
        let marks: Vec<i64> = marks.collect();
        for two in marks.windows(2) {
            let (rate, most) = self.rate(two[0] * 1_000, two[1] * 1_000);
            let span = format!("{} to {}", two[0], two[1]);
            writeln!(table, "  {span:>16} {rate:>10} {most:>12}").unwrap();
        }
        let mut recovered = self.recovered.clone();
        recovered.sort_unstable();
        let (half, last) = (recovered[recovered.len() / 2], recovered.last().unwrap());
        write!(table, "  recovered after: half {half} ms, last {last} ms").unwrap();
        table
    }
}

#[tokio::test(start_paused = true)]
async fn dns_that_fails_is_not_asked_more_often_than_before_for_long() {
    for (trouble, slowest) in [
        (Trouble::ServFail, 5_000),
        (Trouble::Silent, 7_000),
        (Trouble::NoPod, 5_000),
    ] {
        let seen = simulate(trouble, 0).await;
        println!("{}", seen.table(&format!("{CLIENTS} clients, {trouble:?}")));
        let (before, _) = seen.rate(-10_000, 0);
        assert!((380..=440).contains(&before), "TTL 5 s: {before}");
        // After ten seconds, at the slowest pace: an interval of 2.5 to 5 s, with one or two
        // queries each time.
        let (rate, most) = seen.rate(20_000, 60_000);
        assert!(
            rate < 2 * before && most < 2 * before / 5,
            "{trouble:?}: {rate}, {most}"
        );
        let (first, most) = seen.rate(0, 10_000);
        let limit = if trouble == Trouble::NoPod { 12 } else { 4 };
        assert!(first < limit * before, "{trouble:?}: {first}, {most}");
        assert!(
            *seen.recovered.iter().max().unwrap() <= slowest,
            "{trouble:?}"
        );
        let (after, _) = seen.rate(68_000, 78_000);
        assert!((380..=440).contains(&after), "as before: {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_thousand_who_wait_for_a_primary_slow_down() {
    for trouble in [Trouble::Stale, Trouble::ServFail] {
        let seen = simulate(trouble, CLIENTS).await;
        let title = format!("{CLIENTS} clients, all waiting for the primary, {trouble:?}");
        println!("{}", seen.table(&title));
        let (_, first) = seen.rate(0, 3_000);
        assert!(first <= CLIENTS, "no more than one each: {first}");
        // Intervals are drawn from the upper half, so the average is three quarters.
        for (from, until) in [(3, 5), (5, 10), (10, 20), (20, 30), (31, 60)] {
            let (rate, most) = seen.rate(from * 1_000, until * 1_000);
            let interval = match trouble {
                Trouble::ServFail => u64::try_from(from - 1).unwrap() * 100,
                _ => 250,
            };
            let interval = if from >= 31 { 1_000 } else { interval };
            let limit = CLIENTS * 1_000 * 4 / 3 * 11 / 10 / interval.clamp(250, 1_000);
            assert!(
                rate < limit,
                "{trouble:?} after {from} s: {rate} of {limit}"
            );
            assert!(
                most < limit / 5,
                "{trouble:?} after {from} s: {most} in 100 ms"
            );
        }
        assert!(*seen.recovered.iter().max().unwrap() <= 1_010);
        let (after, _) = seen.rate(68_000, 78_000);
        assert!((380..=440).contains(&after), "as before: {after}");
    }
}
