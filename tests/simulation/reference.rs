//! The policies for comparison, as their authors describe them.
//!
//! Owns the choice between one client's pools, and what it learns from results. It must see only
//! what a client can see: its own requests.

use crate::rng::Rng;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Random,
    RoundRobin,
    /// Fewest in flight; the first one of a tie.
    FirstLeast,
    /// Fewest in flight; a random one of a tie.
    Least,
    /// The less loaded of two random ones (Mitzenmacher).
    P2c,
    /// As `P2c`, with finagle's failure accrual: consecutive failures eject a server, with backoff.
    P2cAccrual,
    /// The better of two random ones by peak EWMA x (pending + 1), over the time until the answer.
    PeakEwma,
    /// The same, over the time until the connection is returned.
    PeakEwmaHold,
}

/// Time constant and initial value of the peak EWMA, as in linkerd.
const DECAY: f64 = 10.0;
const FIRST_RTT: f64 = 0.030;

/// The number of consecutive failures that ejects, and the first and the longest ejection in
/// seconds.
const STRIKES: u32 = 3;
const OUT: (f64, f64) = (1.0, 60.0);

#[derive(Debug, Clone, Copy)]
struct Seen {
    pending: usize,
    rtt: f64,
    rtt_at: f64,
    failures: u32,
    ejections: u32,
    out_until: f64,
}

#[derive(Debug)]
pub(crate) struct Reference {
    kind: Kind,
    seen: Vec<Seen>,
    next: usize,
    rng: Rng,
}

impl Reference {
    pub(crate) fn new(kind: Kind, servers: usize, mut rng: Rng) -> Self {
        let seen = Seen {
            pending: 0,
            rtt: FIRST_RTT,
            rtt_at: 0.0,
            failures: 0,
            ejections: 0,
            out_until: 0.0,
        };
        Self {
            kind,
            seen: vec![seen; servers],
            next: rng.below(servers),
            rng,
        }
    }

    /// Chooses a server and counts it as pending.
    pub(crate) fn pick(&mut self, now: Duration) -> usize {
        let now = now.as_secs_f64();
        let n = self.seen.len();
        let choice = match self.kind {
            Kind::Random => self.rng.below(n),
            Kind::RoundRobin => {
                self.next = (self.next + 1) % n;
                self.next
            }
            Kind::FirstLeast => (0..n).min_by_key(|&i| self.seen[i].pending).unwrap(),
            Kind::Least => {
                let start = self.rng.below(n);
                let order = (0..n).map(|i| (start + i) % n);
                order.min_by_key(|&i| self.seen[i].pending).unwrap()
            }
            Kind::P2c => self.of_two(|seen| seen.pending as f64),
            Kind::P2cAccrual => self.of_two(|seen| match seen.out_until > now {
                true => f64::INFINITY,
                false => seen.pending as f64,
            }),
            Kind::PeakEwma | Kind::PeakEwmaHold => self.of_two(|seen| {
                let faded = seen.rtt * (-(now - seen.rtt_at) / DECAY).exp();
                faded * (seen.pending + 1) as f64
            }),
        };
        self.seen[choice].pending += 1;
        if self.kind == Kind::P2cAccrual && self.seen[choice].ejections > 0 {
            // The first request after an ejection is the probe.
            self.seen[choice].out_until = now + OUT.0;
        }
        choice
    }

    fn of_two(&mut self, cost: impl Fn(&Seen) -> f64) -> usize {
        let n = self.seen.len();
        let a = self.rng.below(n);
        let b = (a + 1 + self.rng.below(n - 1)) % n;
        let (cost_a, cost_b) = (cost(&self.seen[a]), cost(&self.seen[b]));
        // Finagle draws again. Scanning all servers gives the same result.
        if cost_a.is_infinite() && cost_b.is_infinite() {
            let costs: Vec<f64> = self.seen.iter().map(cost).collect();
            return (0..n)
                .min_by(|&a, &b| costs[a].total_cmp(&costs[b]))
                .unwrap();
        }
        if cost_a <= cost_b { a } else { b }
    }

    /// Records the answer or the failure.
    pub(crate) fn answered(&mut self, index: usize, now: Duration, took: Duration, failed: bool) {
        if self.kind != Kind::PeakEwmaHold {
            self.observe(index, now, took);
        }
        let seen = &mut self.seen[index];
        if !failed {
            seen.failures = 0;
            seen.ejections = 0;
            return;
        }
        seen.failures += 1;
        if seen.failures >= STRIKES {
            let (first, longest) = OUT;
            let out = (first * f64::from(1u32 << seen.ejections.min(10))).min(longest);
            // Half fixed, half random ("equal jitter").
            seen.out_until = now.as_secs_f64() + out * (0.5 + self.rng.unit() / 2.0);
            seen.ejections += 1;
        }
    }

    /// Records the return of the connection.
    pub(crate) fn returned(&mut self, index: usize, now: Duration, held: Duration) {
        self.seen[index].pending -= 1;
        if self.kind == Kind::PeakEwmaHold {
            self.observe(index, now, held);
        }
    }

    fn observe(&mut self, index: usize, now: Duration, sample: Duration) {
        let (now, sample) = (now.as_secs_f64(), sample.as_secs_f64());
        let seen = &mut self.seen[index];
        let keep = (-(now - seen.rtt_at) / DECAY).exp();
        let faded = seen.rtt * keep;
        seen.rtt = if sample > faded {
            sample
        } else {
            faded + sample * (1.0 - keep)
        };
        seen.rtt_at = now;
    }
}
