//! Turns the answer times of endpoints into weights for the pick.
//!
//! Owns the estimate. Feed it only with times that depend on the endpoint alone (the time of a
//! complete answer), never with a connect time or the time that the application keeps a checkout.
//! Endpoints of similar speed must keep equal weights: equal weights keep ties random and shares
//! equal. No endpoint may be left out for long. The module must neither read a clock nor make a
//! pick wait: a weight is one atomic.
//!
//! The number of requests in flight tells a busy client which endpoint is slow. A client with few
//! requests in flight learns too little from it. With one replica three times slower, the mean
//! answer time of a hundred such clients was four times as high as with these weights
//! (`tests/simulation`).
//!
//! * The typical time is the mean of the *logarithm*: a single long answer hardly moves it.
//! * The mean covers roughly the last [`RECENT`] answers. The weight of an answer falls to 1/e
//!   within [`MEMORY`], even if no further answers arrive. A client with many answers therefore
//!   notices within a second that an endpoint became slow or recovered; a client with few answers
//!   forgets old ones.
//! * An endpoint counts as slow from [`SLOW`] times the fastest on. If it is n times slower, it
//!   gets 1/n of the weight.
//! * In one of n² picks a slow endpoint gets full weight. Without that, a client with nothing else
//!   in flight would always choose the other endpoints, and would never learn that the slow one has
//!   recovered. One of n picks would be too many: if the other endpoints are idle, this share is
//!   all that the slow endpoint gets.

use super::chance::draw;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// An endpoint counts as slow if its time is at least this many times that of the fastest.
const SLOW: f64 = 2.0;
/// Upper limit of the slowness: each endpoint must be tried now and then.
const SLOWEST: f64 = 30.0;
/// The mean covers at most this many answers.
const RECENT: f64 = 16.0;
/// Time constant of the memory of answers, in seconds.
const MEMORY: f64 = 15.0;
/// At this many answers an estimate gets half weight. With fewer answers the endpoint cannot be the
/// reference for "fastest".
const FEW: f64 = 3.0;
/// Faster answers count as this long. A server that has just started may need 0.3 ms where others
/// need 0.1 ms, and must not be avoided for that.
const SHORTEST: Duration = Duration::from_millis(1);
/// Shortest time between two updates of the weights, in milliseconds.
const EVERY: u64 = 100;

/// A group of endpoints that are compared with each other: they do the same kind of work.
///
/// Cheap to clone; clones share one group. See [`Pace`].
#[derive(Clone)]
pub struct Paces(Arc<Group>);

struct Group {
    began: Instant,
    /// Time of the next update of the weights, in milliseconds after `began`.
    due: AtomicU64,
    members: Mutex<Vec<Weak<Member>>>,
}

/// The pace of one endpoint: its answer time, and the weight that follows from it.
///
/// For [`Eligible::weight`](super::Eligible::weight): a request returns [`Pace::weight`], and the
/// code that receives an answer calls [`Pace::observe`]. Dropping the value removes the endpoint
/// from the group.
pub struct Pace {
    group: Paces,
    member: Arc<Member>,
}

struct Member {
    weight: AtomicU32,
    typical: Mutex<Typical>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Typical {
    /// The mean of the logarithm of seconds.
    ln: f64,
    /// Sum of the remaining weights of the remembered answers.
    samples: f64,
    /// Time of the last answer, in seconds after the group began.
    at: f64,
}

impl Typical {
    fn samples_at(&self, now: f64) -> f64 {
        self.samples * (-(now - self.at).max(0.0) / MEMORY).exp()
    }

    fn observe(&mut self, took: Duration, now: f64) {
        self.samples = self.samples_at(now) + 1.0;
        let off = took.max(SHORTEST).as_secs_f64().ln() - self.ln;
        self.ln += off / self.samples.min(RECENT);
        self.at = self.at.max(now);
    }

    fn weight(&self, fastest: f64, now: f64) -> u32 {
        let samples = self.samples_at(now);
        let slowness = ((self.ln - fastest) * samples / (samples + FEW)).exp();
        // If no endpoint can be the fastest, `fastest` is infinite and the slowness is 0 or NaN.
        if !slowness.is_finite() || slowness < SLOW {
            return Pace::FULL;
        }
        (f64::from(Pace::FULL) / slowness.min(SLOWEST)).round() as u32
    }
}

impl Paces {
    /// Creates a group without endpoints. `now` is the origin of its times.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Group {
            began: now,
            due: AtomicU64::new(EVERY),
            members: Mutex::new(Vec::new()),
        }))
    }

    /// Adds an endpoint to the group. Nothing is known about it yet: it has full weight.
    pub fn join(&self) -> Pace {
        let member = Arc::new(Member {
            weight: AtomicU32::new(Pace::FULL),
            typical: Mutex::new(Typical::default()),
        });
        lock(&self.0.members).push(Arc::downgrade(&member));
        Pace {
            group: self.clone(),
            member,
        }
    }

    fn weigh(&self, now: f64) {
        let mut members = lock(&self.0.members);
        members.retain(|member| member.strong_count() > 0);
        let typical = |member: &Weak<Member>| {
            let member = member.upgrade()?;
            let typical = *lock(&member.typical);
            Some((member, typical))
        };
        let known = members
            .iter()
            .filter_map(typical)
            .map(|(_, typical)| typical);
        let known = known.filter(|typical| typical.samples_at(now) >= FEW);
        let fastest = known
            .map(|typical| typical.ln)
            .fold(f64::INFINITY, f64::min);
        for (member, typical) in members.iter().filter_map(typical) {
            let weight = typical.weight(fastest, now);
            member.weight.store(weight, Ordering::Relaxed);
        }
    }
}

impl Pace {
    /// The weight of an endpoint that is not slow. Many small numbers divide it.
    pub const FULL: u32 = 60;

    /// The weight for one pick, between 2 and [`Pace::FULL`]. Costs one atomic load, and a random
    /// number for a slow endpoint, which gets full weight now and then.
    pub fn weight(&self) -> u32 {
        let weight = self.usual_weight();
        if weight >= Self::FULL || is_tried(weight, draw()) {
            return Self::FULL;
        }
        weight
    }

    fn usual_weight(&self) -> u32 {
        self.member.weight.load(Ordering::Relaxed)
    }

    /// Records that the endpoint gave a complete answer at `now`, after the time `took`. Do not
    /// report failures or answers that were not awaited: they say nothing about its pace.
    pub fn observe(&self, took: Duration, now: Instant) {
        let since = now.saturating_duration_since(self.group.0.began);
        let seconds = since.as_secs_f64();
        // Of two simultaneous answers, one is enough: do not wait for the lock.
        match self.member.typical.try_lock() {
            Ok(mut typical) => typical.observe(took, seconds),
            Err(TryLockError::Poisoned(typical)) => typical.into_inner().observe(took, seconds),
            Err(TryLockError::WouldBlock) => {}
        }
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let due = self.group.0.due.load(Ordering::Relaxed);
        if millis < due {
            return;
        }
        let (next, order) = (millis.saturating_add(EVERY), Ordering::Relaxed);
        let turn = self.group.0.due.compare_exchange(due, next, order, order);
        if turn.is_ok() {
            self.group.weigh(seconds);
        }
    }
}

impl fmt::Debug for Paces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paces").finish_non_exhaustive()
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace")
            .field("weight", &self.usual_weight())
            .finish_non_exhaustive()
    }
}

/// True for a share of (weight / [`Pace::FULL`])² of all random numbers.
fn is_tried(weight: u32, random: u64) -> bool {
    const ALL: u64 = (Pace::FULL as u64).pow(2);
    ((random >> 32) * ALL) >> 32 < u64::from(weight).pow(2)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Each endpoint answers every 10 ms for `seconds`; `None`: the endpoint is not asked.
    fn run(paces: &[&Pace], from: Instant, seconds: u32, took: &[Option<Duration>]) -> Instant {
        let mut now = from;
        for _ in 0..seconds * 100 {
            now += 10 * MS;
            for (pace, took) in paces.iter().zip(took) {
                if let Some(took) = took {
                    pace.observe(*took, now);
                }
            }
        }
        now
    }

    fn pair(now: Instant) -> (Pace, Pace) {
        let paces = Paces::new(now);
        (paces.join(), paces.join())
    }

    #[test]
    fn a_slow_endpoint_loses_weight_by_how_slow_it_is_and_nearly_equal_ones_keep_theirs() {
        for (slow, least, most) in [(10, 60, 60), (19, 60, 60), (30, 19, 21), (9_000, 2, 2)] {
            let now = Instant::now();
            let (a, b) = pair(now);
            run(&[&a, &b], now, 20, &[Some(10 * MS), Some(slow * MS)]);
            assert_eq!(a.usual_weight(), Pace::FULL);
            assert!(
                (least..=most).contains(&b.usual_weight()),
                "{slow}: {}",
                b.usual_weight()
            );
        }
    }

    #[test]
    fn a_slow_endpoint_is_tried_as_rarely_as_it_is_slow_and_never_given_up() {
        let now = Instant::now();
        let (a, b) = pair(now);
        run(&[&a, &b], now, 20, &[Some(10 * MS), Some(30 * MS)]);
        let full = |pace: &Pace| (0..9_000).filter(|_| pace.weight() == Pace::FULL).count();
        assert_eq!(full(&a), 9_000);
        // One in nine is expected; a hundred is more than three standard deviations.
        let tried = full(&b);
        assert!((900..=1_100).contains(&tried), "{tried}");
    }

    #[test]
    fn an_endpoint_that_is_fast_again_has_its_weight_again_after_a_few_answers() {
        let now = Instant::now();
        let (a, b) = pair(now);
        let now = run(&[&a, &b], now, 20, &[Some(10 * MS), Some(30 * MS)]);
        let mut later = now;
        for answer in 1.. {
            later += 100 * MS;
            b.observe(10 * MS, later);
            a.observe(10 * MS, later);
            if b.usual_weight() == Pace::FULL {
                assert!(answer <= 10, "{answer}");
                break;
            }
        }
    }

    #[test]
    fn answers_of_less_than_a_millisecond_are_alike() {
        let now = Instant::now();
        let (a, b) = pair(now);
        run(&[&a, &b], now, 20, &[Some(MS / 10), Some(MS * 9 / 10)]);
        assert_eq!(
            (a.usual_weight(), b.usual_weight()),
            (Pace::FULL, Pace::FULL)
        );
    }

    #[test]
    fn a_single_answer_neither_condemns_an_endpoint_nor_makes_it_the_fastest() {
        let now = Instant::now();
        let (a, b) = pair(now);
        let now = run(&[&a], now, 1, &[Some(10 * MS)]);
        b.observe(100 * MS, now);
        let now = run(&[&a], now, 1, &[Some(10 * MS)]);
        assert_eq!(b.usual_weight(), Pace::FULL, "slow once");

        let (a, b) = pair(now);
        let now = run(&[&a], now, 1, &[Some(10 * MS)]);
        b.observe(MS, now);
        run(&[&a], now, 1, &[Some(10 * MS)]);
        assert_eq!(
            a.usual_weight(),
            Pace::FULL,
            "nothing is known of a faster one"
        );
    }

    #[test]
    fn a_long_answer_now_and_then_does_not_count() {
        let now = Instant::now();
        let (a, b) = pair(now);
        let mut now = now;
        for _ in 0..20 {
            now = run(&[&a, &b], now, 1, &[Some(MS), Some(MS)]);
            b.observe(2_000 * MS, now);
        }
        run(&[&a, &b], now, 1, &[Some(MS), Some(MS)]);
        assert_eq!(b.usual_weight(), Pace::FULL);
    }

    #[test]
    fn what_is_not_asked_any_more_is_forgotten_as_slow_and_as_the_fastest() {
        let now = Instant::now();
        let (a, b) = pair(now);
        let now = run(&[&a, &b], now, 20, &[Some(MS), Some(9 * MS)]);
        assert!(b.usual_weight() < 10);
        let later = run(&[&a], now, 120, &[Some(MS)]);
        assert_eq!(b.usual_weight(), Pace::FULL, "it is tried again");

        run(&[&b], later, 120, &[Some(9 * MS)]);
        assert_eq!(b.usual_weight(), Pace::FULL, "nobody faster is left");
    }

    #[test]
    fn an_endpoint_that_is_gone_is_compared_with_no_more() {
        let now = Instant::now();
        let (fast, b) = pair(now);
        let now = run(&[&fast, &b], now, 20, &[Some(MS), Some(9 * MS)]);
        assert!(b.usual_weight() < 10);
        drop(fast);
        run(&[&b], now, 1, &[Some(9 * MS)]);
        assert_eq!(b.usual_weight(), Pace::FULL);
    }

    #[test]
    fn time_that_stands_still_or_goes_back_does_no_harm() {
        let now = Instant::now();
        let (a, b) = pair(now + 100 * MS);
        for took in [Duration::ZERO, Duration::MAX, MS] {
            a.observe(took, now);
            b.observe(took, now + 500 * MS);
        }
        assert!((2..=Pace::FULL).contains(&a.usual_weight()));
        assert!((2..=Pace::FULL).contains(&b.usual_weight()));
    }
}
