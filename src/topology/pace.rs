//! When to look up next. Pure: time and randomness are passed in.

use std::time::Duration;

use tokio::time::Instant;

/// Between look-ups while a caller waits for a primary.
const URGENT: Duration = Duration::from_millis(100);
/// Between look-ups in the first [`BRISK`] of an episode.
const STEP: Duration = Duration::from_millis(250);
/// How long an episode runs at [`STEP`] before it backs off.
const BRISK: Duration = Duration::from_secs(3);
/// Where the back-off ends.
const SLOWEST: Duration = Duration::from_secs(5);
/// An episode lasts at least this long after its last demand, so that pokes a little further apart
/// than a step do not each start a new one and so evade the back-off.
const QUIET: Duration = Duration::from_secs(1);

/// The schedule of look-ups.
///
/// A *demand* is a poke ("resolve now") or a failed look-up. Demands that follow one another form
/// an *episode*: the first is met at once (but not sooner than [`STEP`] after the last look-up),
/// the next every [`STEP`] for [`BRISK`], then at intervals that double up to [`SLOWEST`], each
/// drawn from its upper half: in an outage thousands of clients must not ask in step. An episode
/// ends when twice its interval (at least [`QUIET`]) passes without demand.
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
        let max = max.max(min);
        Self {
            min,
            max,
            ended: None,
            regular: None,
            demanded: false,
            meeting: false,
            episode: None,
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

    /// A look-up begins; it meets the demands so far.
    pub(super) fn begin(&mut self) {
        self.meeting = std::mem::take(&mut self.demanded);
    }

    /// A look-up ended well. `random` is uniform in `[0, 1)`.
    pub(super) fn succeed(&mut self, now: Instant, ttl: Option<Duration>, random: f64) {
        self.end(now, random);
        let interval = ttl.unwrap_or(self.max).clamp(self.min, self.max);
        self.regular = now.checked_add(interval.mul_f64(0.9 + 0.2 * random));
    }

    /// A look-up failed, or was answered without a pod.
    pub(super) fn fail(&mut self, now: Instant, random: f64) {
        self.end(now, random);
        self.regular = None;
        self.poke(now);
    }

    /// When to begin the next look-up, not being in one; `None` means at once. `waiting`: a caller
    /// waits for a primary.
    pub(super) fn due(&self, waiting: bool) -> Option<Instant> {
        let ended = self.ended?;
        let urgent = waiting.then(|| ended + URGENT);
        let demand = self.episode.as_ref().filter(|_| self.demanded);
        let demand = demand.map(|episode| ended + episode.interval);
        let due = [urgent, demand, self.regular].into_iter().flatten().min();
        Some(due.unwrap_or(ended + self.max))
    }

    fn end(&mut self, now: Instant, random: f64) {
        self.ended = Some(now);
        if let Some(episode) = &mut self.episode {
            if std::mem::take(&mut self.meeting) {
                // A slow look-up is no quiet.
                episode.last_demand = now;
            }
            if episode.is_over(now) {
                self.episode = None;
            } else if now.saturating_duration_since(episode.began) >= BRISK {
                episode.step = (episode.step * 2).min(SLOWEST);
                episode.interval = episode.step.mul_f64(0.5 + 0.5 * random);
            }
        }
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

#[cfg(test)]
mod tests;
