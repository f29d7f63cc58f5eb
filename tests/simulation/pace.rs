//! Which of a client's servers are slow, as weights for the balancer.
//!
//! Owns the estimate. It is fed with the time that servers take to answer, never with the time that
//! the application keeps a connection, and it must leave servers alike that are nearly alike: equal
//! weights are what lets ties be random, and shares equal.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// The weight of a server that is not slow; a common multiple of the small numbers.
const FULL: u32 = 60;
/// From how many times the fastest a server counts as slow.
const SLOW: f64 = 2.0;
/// No server counts as slower than this: it has to be tried now and then.
const SLOWEST: f64 = 30.0;
/// How long an answer is remembered: its weight falls to 1/e in this time.
const MEMORY: f64 = 10.0;
/// So many answers are believed half.
const FEW: f64 = 4.0;
/// Weights are set so often at most.
const EVERY: Duration = Duration::from_millis(100);

/// The servers of one client.
#[derive(Debug)]
pub(crate) struct Paces {
    began: Instant,
    weights: Vec<AtomicU32>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    servers: Vec<Typical>,
    weighed: Instant,
}

/// The typical answer time: the mean of its logarithm, which one long answer hardly moves.
#[derive(Debug, Clone, Copy, Default)]
struct Typical {
    ln: f64,
    /// Answers that are remembered, each by what is left of its weight.
    samples: f64,
    at: f64,
}

impl Paces {
    pub(crate) fn new(servers: usize) -> Arc<Self> {
        let began = Instant::now();
        Arc::new(Self {
            began,
            weights: (0..servers).map(|_| AtomicU32::new(FULL)).collect(),
            seen: Mutex::new(Seen {
                servers: vec![Typical::default(); servers],
                weighed: began,
            }),
        })
    }

    pub(crate) fn weight(&self, server: usize) -> u32 {
        self.weights[server].load(Relaxed)
    }

    /// A server answered.
    pub(crate) fn observe(&self, server: usize, took: Duration) {
        let instant = Instant::now();
        let now = (instant - self.began).as_secs_f64();
        let mut seen = self.seen.lock().unwrap();
        let typical = &mut seen.servers[server];
        typical.samples = typical.samples * fading(now - typical.at) + 1.0;
        typical.ln += (took.as_secs_f64().max(1e-5).ln() - typical.ln) / typical.samples;
        typical.at = now;
        if instant - seen.weighed >= EVERY {
            seen.weighed = instant;
            self.weigh(&seen.servers, now);
        }
    }

    fn weigh(&self, servers: &[Typical], now: f64) {
        let known = servers.iter().filter(|typical| typical.samples > 0.0);
        let fastest = known
            .map(|typical| typical.ln)
            .fold(f64::INFINITY, f64::min);
        for (weight, typical) in self.weights.iter().zip(servers) {
            // Few answers prove little; and what is not asked any more is forgotten, so it is
            // asked again.
            let samples = typical.samples * fading(now - typical.at);
            let slowness = ((typical.ln - fastest) * samples / (samples + FEW)).exp();
            let slow = slowness >= SLOW;
            let factor = if slow { slowness.min(SLOWEST) } else { 1.0 };
            weight.store((f64::from(FULL) / factor).round() as u32, Relaxed);
        }
    }
}

/// What is left of an answer's weight after so many seconds.
fn fading(seconds: f64) -> f64 {
    (-seconds / MEMORY).exp()
}
