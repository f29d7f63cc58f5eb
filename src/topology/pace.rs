//! When to look up next. Pure: time and randomness are passed in.

use std::time::Duration;

use tokio::time::Instant;

/// Between look-ups when a caller begins to wait for a primary.
const URGENT: Duration = Duration::from_millis(100);
/// What part of the time that callers have waited lies between look-ups later on: so much longer
/// may an outage seem to last.
const PART: u32 = 10;
/// Between look-ups at the beginning of an episode.
const STEP: Duration = Duration::from_millis(250);
/// How long an episode runs at [`STEP`] before it backs off.
const BRISK: Duration = Duration::from_secs(3);
/// Where every back-off ends.
const SLOWEST: Duration = Duration::from_secs(5);
/// No interval is longer, whatever is configured: beyond this clocks overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// An episode lasts at least this long after its last demand, so that pokes a little further apart
/// than a step do not each start a new one and so evade the back-off.
const QUIET: Duration = Duration::from_secs(1);

/// The schedule of look-ups.
///
/// A *demand* is a poke ("resolve now") or a failed look-up. Demands that follow one another form
/// an *episode*: the first is met at once (but not sooner than [`STEP`] after the last look-up),
/// the next every [`STEP`] for [`BRISK`], then at intervals that double up to [`SLOWEST`], each
/// drawn from its upper half: in an outage thousands of clients must not ask in step. A failure of
/// DNS itself (not an answer that there is no pod) doubles the interval at once: a server in
/// trouble must not be asked more often by all its clients. An episode ends when twice its interval
/// (at least [`QUIET`]) passes without demand.
///
/// *Urgency* is for those who wait for a primary: a look-up every `waited / PART`, at least
/// [`URGENT`] ([`STEP`] after a failure of DNS itself), at most [`SLOWEST`], above the least drawn
/// from its upper half. `waited` grows while somebody waits, and shrinks half as fast while nobody
/// does. So the first second of a failover is asked through every 100 ms, a failover of 10 s is
/// noticed within a second of its end, and after 50 s a waiter is nothing special any more:
/// 2,000 waiting clients ask 20,000 times in the first second, but 550 times a second in the end.
#[derive(Debug)]
pub(super) struct Pace {
    min: Duration,
    max: Duration,
    ended: Option<Instant>,
    /// When to look up if nobody demands it; `None` after a failure.
    regular: Option<Instant>,
    /// A look-up is demanded that none has begun for.
    demanded: bool,
    /// The look-up under way was demanded.
    meeting: bool,
    episode: Option<Episode>,
    urgency: Urgency,
}

/// How long callers have waited for a primary, and what follows.
#[derive(Debug)]
struct Urgency {
    waiting: bool,
    /// When `waiting` was looked at last.
    seen: Option<Instant>,
    waited: Duration,
    /// After jitter: from the end of the last look-up to the next.
    interval: Duration,
}

#[derive(Debug)]
struct Episode {
    began: Instant,
    last_demand: Instant,
    /// Before jitter.
    step: Duration,
    /// After jitter: from the end of the last look-up to the next.
    interval: Duration,
}

// === impl Pace ===

impl Pace {
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

    /// Someone asks for a look-up that begins after `now`.
    pub(super) fn poke(&mut self, now: Instant) {
        self.demanded = true;
        match &mut self.episode {
            Some(episode) if !episode.is_over(now) => episode.last_demand = now,
            other => *other = Some(Episode::new(now)),
        }
    }

    /// Says whether somebody waits for a primary now.
    pub(super) fn wait(&mut self, now: Instant, waiting: bool) {
        self.urgency.note(now, waiting);
    }

    /// A look-up begins; it meets the demands so far.
    pub(super) fn begin(&mut self) {
        self.meeting = std::mem::take(&mut self.demanded);
    }

    /// A look-up ended well. `random` is uniform in `[0, 1)`.
    pub(super) fn succeed(&mut self, now: Instant, ttl: Option<Duration>, random: f64) {
        self.end(now, random, false);
        let interval = ttl.unwrap_or(self.max).clamp(self.min, self.max);
        self.regular = now.checked_add(interval.mul_f64(0.9 + 0.2 * random));
    }

    /// A look-up failed, or was answered without a pod. `trouble`: it was not answered.
    pub(super) fn fail(&mut self, now: Instant, trouble: bool, random: f64) {
        self.end(now, random, trouble);
        self.regular = None;
        self.poke(now);
    }

    /// When to begin the next look-up, not being in one; `None` means at once.
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
                // A slow look-up is no quiet.
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

// === impl Urgency ===

impl Urgency {
    fn note(&mut self, now: Instant, waiting: bool) {
        let passed = self.seen.map(|seen| now.saturating_duration_since(seen));
        let passed = passed.unwrap_or_default();
        self.waited = if self.waiting {
            (self.waited + passed).min(SLOWEST * PART)
        } else {
            self.waited.saturating_sub(passed / 2)
        };
        self.seen = Some(now);
        self.waiting = waiting;
    }

    fn end(&mut self, now: Instant, random: f64, trouble: bool) {
        self.note(now, self.waiting);
        let least = if trouble { STEP } else { URGENT };
        let interval = self.waited / PART;
        self.interval = if interval > least {
            jittered(interval, random).max(least)
        } else {
            least
        };
    }
}

// === impl Episode ===

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

/// Drawn from the upper half of `interval`.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.5 + 0.5 * random)
}

#[cfg(test)]
mod tests;
