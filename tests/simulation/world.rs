//! A scenario, and its run under one policy.
//!
//! Owns the arrivals, the script of events, and the report. Every random number comes from the
//! scenario's seed. Arrivals are drawn before the policy runs, and the balancers' choices after
//! that. So a run is reproducible, except for the rounding of timers to milliseconds.

use crate::client::{Client, Outcome, Policy};
use crate::pool::{Ask, Pool};
use crate::rng::Rng;
use crate::server::{Counts, Machine, Mode, STEP, Server};
use headless_mysql::balance::Paces;
use headless_mysql::balance::seed_chance;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// An event on a server, and its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) server: usize,
    pub(crate) mode: Mode,
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) clients: usize,
    /// For each server, how many times slower it is than a normal one.
    pub(crate) slowness: Vec<f64>,
    pub(crate) machine: Machine,
    /// The maximum number of connections from one client to one server.
    pub(crate) slots: usize,
    /// Requests per second of all clients together, as a Poisson process.
    pub(crate) rate: f64,
    /// The time during which requests arrive.
    pub(crate) length: Duration,
    /// Earlier requests are not counted, because connections are still being made.
    pub(crate) warm_up: Duration,
    /// Mean CPU time of a query; the distribution is exponential.
    pub(crate) work: Duration,
    /// `(n, time)`: one request in `n` holds its connection for `time`.
    pub(crate) hold: Option<(u64, Duration)>,
    /// `(n, time)`: one query in `n` needs `time` of CPU time.
    pub(crate) long: Option<(u64, Duration)>,
    pub(crate) query_timeout: Duration,
    pub(crate) script: Vec<Event>,
    pub(crate) seed: u64,
}

impl Default for Scenario {
    /// Ten clients and three servers at 70 % load.
    fn default() -> Self {
        Self {
            name: "",
            clients: 10,
            slowness: vec![1.0; 3],
            machine: Machine {
                cores: 4,
                connect: ms(5),
                max_connections: 10_000,
            },
            slots: 10,
            rate: 840.0,
            length: secs(14),
            warm_up: secs(2),
            work: ms(10),
            hold: None,
            long: None,
            query_timeout: secs(30),
            script: Vec::new(),
            seed: 0x0005_eed0,
        }
    }
}

/// The results of one run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) policy: Policy,
    /// The outcomes of requests after the warm-up.
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) servers: Vec<Counts>,
    /// Per server, since the last event of its script (or the start), the maximum over all clients:
    /// callers without a connection, and concurrent connects.
    pub(crate) herd: Vec<usize>,
    pub(crate) connects: Vec<usize>,
    warm_up: Duration,
    length: Duration,
}

impl Scenario {
    pub(crate) fn run(&self, policy: Policy) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        seed_chance(self.seed);
        runtime.block_on(self.simulate(policy))
    }

    async fn simulate(&self, policy: Policy) -> Report {
        let mut rng = Rng::new(self.seed);
        let began = Instant::now();
        let server = |&slowness: &f64| Arc::new(Server::new(self.machine, slowness));
        let servers: Vec<Arc<Server>> = self.slowness.iter().map(server).collect();
        let mut seeds = Rng::new(rng.next());
        let clients: Vec<Arc<Client>> = (0..self.clients)
            .map(|_| {
                let paces = (policy == Policy::Ours).then(|| Paces::new(Instant::now()));
                let pools = servers.iter().map(|server| {
                    Pool::new(
                        Arc::clone(server),
                        self.slots,
                        paces.as_ref().map(Paces::join),
                    )
                });
                let rng = Rng::new(seeds.next());
                let client = Client::new(policy, pools.collect(), self.query_timeout, rng);
                Arc::new(client)
            })
            .collect();
        // Let the balancers' drivers run once, so that they publish their sets.
        tokio::task::yield_now().await;

        let script = tokio::spawn(play(self.script.clone(), servers.clone(), clients.clone()));
        let outcomes = self.send(&mut rng, &clients, began).await;
        script.abort();

        let most = |of: fn(&Pool) -> usize| -> Vec<usize> {
            let of_server = |server: usize| clients.iter().map(move |c| of(&c.pools[server])).max();
            let of_servers = (0..servers.len()).map(of_server);
            of_servers.map(Option::unwrap_or_default).collect()
        };
        Report {
            policy,
            outcomes,
            servers: servers.iter().map(|server| server.counts()).collect(),
            herd: most(Pool::most_without),
            connects: most(Pool::most_connecting),
            warm_up: self.warm_up,
            length: self.length,
        }
    }

    /// Sends every request and returns when all of them have ended.
    async fn send(&self, rng: &mut Rng, clients: &[Arc<Client>], began: Instant) -> Vec<Outcome> {
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let (running, mut all_ended) = mpsc::channel::<()>(1);
        let mut at = 0.0;
        for number in 1u64.. {
            at += rng.exponential(1.0 / self.rate);
            let due = Duration::from_secs_f64(at);
            if due >= self.length {
                break;
            }
            sleep_until(began + due).await;
            let client = Arc::clone(&clients[rng.below(clients.len())]);
            let mut work = self.work.mul_f64(rng.exponential(1.0));
            if let Some((_, long)) = self.long.filter(|(every, _)| number % every == 0) {
                work = long;
            }
            let held = self.hold.filter(|(every, _)| number % every == 0);
            let hold = held.map_or(Duration::ZERO, |(_, hold)| hold);
            let (outcomes, running) = (Arc::clone(&outcomes), running.clone());
            let counts = due >= self.warm_up;
            tokio::spawn(async move {
                let task = tokio::task::id();
                let outcome = client.request(Ask { work, hold, task }).await;
                if counts {
                    outcomes.lock().unwrap().push(outcome);
                }
                drop(running);
            });
        }
        drop(running);
        all_ended.recv().await;
        std::mem::take(&mut outcomes.lock().unwrap())
    }
}

async fn play(script: Vec<Event>, servers: Vec<Arc<Server>>, clients: Vec<Arc<Client>>) {
    let began = Instant::now();
    for event in script {
        sleep_until(began + event.at).await;
        servers[event.server].set(event.mode);
        for client in &clients {
            client.pools[event.server].forget_herd();
        }
    }
}

impl Report {
    fn answered(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes
            .iter()
            .filter(|outcome| outcome.fault.is_none())
    }

    /// Mean in milliseconds over answered requests that did not hold their connection.
    pub(crate) fn mean(&self) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for outcome in self.answered().filter(|outcome| !outcome.held) {
            sum += outcome.took.as_secs_f64() * 1e3;
            count += 1.0;
        }
        sum / count
    }

    /// 99th percentile in milliseconds over answered requests.
    pub(crate) fn p99(&self) -> f64 {
        let mut took: Vec<Duration> = self.answered().map(|outcome| outcome.took).collect();
        took.sort();
        let at = took.len() * 99 / 100;
        took.get(at)
            .map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }

    pub(crate) fn errors(&self) -> usize {
        self.outcomes.len() - self.answered().count()
    }

    pub(crate) fn error_share(&self) -> f64 {
        self.errors() as f64 / self.outcomes.len() as f64
    }

    /// The number of failed requests among those sent in this window.
    pub(crate) fn errors_between(&self, from: Duration, to: Duration) -> usize {
        let failed = self.outcomes.iter().filter(|o| o.fault.is_some());
        failed.filter(|o| o.sent >= from && o.sent < to).count()
    }

    /// Checkouts for requests in this window, per server.
    pub(crate) fn calls_between(&self, from: Duration, to: Duration) -> Vec<u64> {
        let servers = self.servers.iter();
        servers
            .map(|counts| within(&counts.calls, from, to))
            .collect()
    }

    /// The balancers' probes of one server in this window.
    pub(crate) fn probes_between(&self, server: usize, from: Duration, to: Duration) -> u64 {
        within(&self.servers[server].probes, from, to)
    }

    /// Each server's share of the requests in this window.
    pub(crate) fn shares_between(&self, from: Duration, to: Duration) -> Vec<f64> {
        let calls = self.calls_between(from, to);
        let all: u64 = calls.iter().sum();
        calls.iter().map(|&n| n as f64 / all as f64).collect()
    }

    /// Each server's share of the requests after the warm-up.
    pub(crate) fn shares(&self) -> Vec<f64> {
        self.shares_between(self.warm_up, self.length)
    }

    /// The largest relative deviation of a share from an equal share.
    pub(crate) fn unevenness(&self) -> f64 {
        let shares = self.shares();
        let equal = 1.0 / shares.len() as f64;
        let off = shares.iter().map(|share| (share / equal - 1.0).abs());
        off.fold(0.0, f64::max)
    }
}

fn within(series: &[u64], from: Duration, to: Duration) -> u64 {
    let step = |at: Duration| (at.as_millis() / STEP.as_millis()) as usize;
    let range = step(from).min(series.len())..step(to).min(series.len());
    series[range].iter().sum()
}
