//! Decides when the next look-up is due. Pure: time and randomness are passed in.

use std::time::Duration;

use tokio::time::Instant;

/// Interval of look-ups during the first second in which a caller waits for a primary.
const URGENT: Duration = Duration::from_millis(100);
/// After the first second the interval is 1/PART of the time waited, limited by the two constants
/// below.
const PART: u32 = 10;
/// Longest interval until callers have waited for [`LONG_OUTAGE`], before jitter.
const WAITING: Duration = Duration::from_millis(250);
/// Longest interval after [`LONG_OUTAGE`], and at any time while DNS itself fails, before jitter.
const WAITING_LONG: Duration = Duration::from_secs(1);
/// Longer than a restart of the primary by Kubernetes (6 to 21 s were measured).
const LONG_OUTAGE: Duration = Duration::from_secs(30);
/// Interval of look-ups at the beginning of an episode.
const STEP: Duration = Duration::from_millis(250);
/// How long an episode runs at [`STEP`] before it backs off.
const BRISK: Duration = Duration::from_secs(3);
/// Longest interval of a back-off.
const SLOWEST: Duration = Duration::from_secs(5);
/// Upper limit of configured intervals: longer ones may overflow the clock.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// An episode lasts at least this long after its last demand. Otherwise pokes a little further
/// apart than [`STEP`] would each start a new episode and evade the back-off.
const QUIET: Duration = Duration::from_secs(1);

/// The schedule of look-ups.
///
/// A *demand* is a poke ("resolve now") or a failed look-up. Consecutive demands form an *episode*.
/// The first demand is met at once (but not sooner than [`STEP`] after the last look-up), the next
/// ones every [`STEP`] for [`BRISK`], then at intervals that double up to [`SLOWEST`]. Each of
/// these intervals is drawn from its upper half: in an outage, thousands of clients must not ask in
/// step. A failure of DNS itself (not an answer without a pod) doubles the interval at once: a DNS
/// server in trouble must not be asked more often by all its clients. An episode ends when twice
/// its interval (at least [`QUIET`]) passes without a demand.
///
/// *Urgency* is for calls that wait for a primary. `waited` grows while a call waits, and shrinks
/// half as fast while none does. The interval is [`URGENT`] for the first second, then `waited /
/// PART`. It is at most [`WAITING`] until [`LONG_OUTAGE`], and at most [`WAITING_LONG`] from then
/// on; above [`URGENT`] it is drawn from its upper half. A write therefore follows DNS within 250
/// ms after a restart of up to 30 s, and within 1 s after a longer one. After a failure of DNS
/// itself the interval is `waited / PART` between [`STEP`] and [`WAITING_LONG`].
///
/// The cost is load on cluster DNS. If 2,000 processes all wait, they send 19,000 queries in the
/// first second, 10,500 per second until 30 s, and 2,700 per second after that; without waiting,
/// 400 per second (measured by the test `outage`). Intervals of a tenth of the time waited, up to 5
/// s, would cost 650 per second in the end, but after an outage of 30 s the first write came up to
/// 3 s after DNS. One CoreDNS pod answers tens of thousands of queries per second.
#[derive(Debug)]
pub(super) struct Schedule {
    min: Duration,
    max: Duration,
    ended: Option<Instant>,
    /// When to look up without a demand; `None` after a failure.
    regular: Option<Instant>,
    /// A look-up is demanded and has not begun.
    demanded: bool,
    /// The running look-up was demanded.
    meeting: bool,
    episode: Option<Episode>,
    urgency: Urgency,
}

/// How long callers have waited for a primary, and the interval that follows from it.
#[derive(Debug)]
struct Urgency {
    waiting: bool,
    /// When `waiting` was updated last.
    seen: Option<Instant>,
    /// At most [`LONG_OUTAGE`].
    waited: Duration,
    /// After jitter: time from the end of the last look-up to the next one.
    interval: Duration,
}

#[derive(Debug)]
struct Episode {
    began: Instant,
    last_demand: Instant,
    /// Before jitter.
    step: Duration,
    /// After jitter: time from the end of the last look-up to the next one.
    interval: Duration,
}

impl Schedule {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        let (min, max) = (min.min(LONGEST), max.min(LONGEST));
        let max = max.max(min);
        Self {
            min,
            max,
            ended: None,
            regular: None,
            demanded: false,
            meeting: false,
            episode: None,
            urgency: Urgency {
                waiting: false,
                seen: None,
                waited: Duration::ZERO,
                interval: URGENT,
            },
        }
    }

    /// Whether a look-up is demanded that has not begun.
    pub(super) fn is_demanded(&self) -> bool {
        self.demanded
    }

    /// Demands a look-up that begins after `now`.
    pub(super) fn poke(&mut self, now: Instant) {
        self.demanded = true;
        match &mut self.episode {
            Some(episode) if !episode.is_over(now) => episode.last_demand = now,
            other => *other = Some(Episode::new(now)),
        }
    }

    /// Records whether a call waits for a primary now.
    pub(super) fn wait(&mut self, now: Instant, waiting: bool) {
        self.urgency.note(now, waiting);
    }

    /// Records that a look-up begins; it meets all demands so far.
    pub(super) fn begin(&mut self) {
        self.meeting = std::mem::take(&mut self.demanded);
    }

    /// Records that a look-up succeeded. `random` is uniform in `[0, 1)`.
    pub(super) fn succeed(&mut self, now: Instant, ttl: Option<Duration>, random: f64) {
        self.end(now, random, false);
        let interval = ttl.unwrap_or(self.max).clamp(self.min, self.max);
        self.regular = now.checked_add(interval.mul_f64(0.9 + 0.2 * random));
    }

    /// Records that a look-up failed or was answered without a pod. `trouble`: there was no answer.
    pub(super) fn fail(&mut self, now: Instant, trouble: bool, random: f64) {
        self.end(now, random, trouble);
        self.regular = None;
        self.poke(now);
    }

    /// When to begin the next look-up; `None` means at once. Call it while no look-up is running.
    pub(super) fn due(&self) -> Option<Instant> {
        let ended = self.ended?;
        let urgent = self.urgency.waiting.then(|| ended + self.urgency.interval);
        let demand = self.episode.as_ref().filter(|_| self.demanded);
        let demand = demand.map(|episode| ended + episode.interval);
        let due = [urgent, demand, self.regular].into_iter().flatten().min();
        Some(due.unwrap_or(ended + self.max))
    }

    fn end(&mut self, now: Instant, random: f64, trouble: bool) {
        self.ended = Some(now);
        self.urgency.end(now, random, trouble);
        if let Some(episode) = &mut self.episode {
            if std::mem::take(&mut self.meeting) {
                // The duration of a slow look-up does not count as a time without demand.
                episode.last_demand = now;
            }
            if episode.is_over(now) {
                self.episode = None;
            } else if trouble || now.saturating_duration_since(episode.began) >= BRISK {
                episode.step = (episode.step * 2).min(SLOWEST);
                episode.interval = jittered(episode.step, random);
            }
        }
    }
}

impl Urgency {
    fn note(&mut self, now: Instant, waiting: bool) {
        let passed = self.seen.map(|seen| now.saturating_duration_since(seen));
        let passed = passed.unwrap_or_default();
        self.waited = if self.waiting {
            (self.waited + passed).min(LONG_OUTAGE)
        } else {
            self.waited.saturating_sub(passed / 2)
        };
        self.seen = Some(now);
        self.waiting = waiting;
    }

    fn end(&mut self, now: Instant, random: f64, trouble: bool) {
        self.note(now, self.waiting);
        let (least, most) = match trouble {
            true => (STEP, WAITING_LONG),
            false if self.waited < LONG_OUTAGE => (URGENT, WAITING),
            false => (URGENT, WAITING_LONG),
        };
        let interval = (self.waited / PART).min(most);
        self.interval = jittered(interval, random).max(least);
    }
}

impl Episode {
    fn new(now: Instant) -> Self {
        Self {
            began: now,
            last_demand: now,
            step: STEP,
            interval: STEP,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_demand) > (self.interval * 2).max(QUIET)
    }
}

/// A random duration from the upper half of `interval`.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.5 + 0.5 * random)
}

#[cfg(test)]
mod tests;
