//! Arithmetic on instants and durations that come from options.
//!
//! It must not panic: an option may be [`Duration::MAX`].

use std::time::Duration;
use tokio::time::Instant;

/// Used in place of an instant that the clock cannot represent.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// `start + wait`, or an instant in the far future if the clock cannot represent the sum.
pub(crate) fn after(start: Instant, wait: Duration) -> Instant {
    let instant = start.checked_add(wait);
    instant.unwrap_or_else(|| start.checked_add(FAR).unwrap_or(start))
}

/// `longest * fraction`; `fraction` is clamped to 0..=1.
pub(crate) fn part(longest: Duration, fraction: f64) -> Duration {
    let seconds = longest.as_secs_f64() * fraction.clamp(0.0, 1.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_the_clock_cannot_hold_ends_in_the_far_future() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(after(now, second), now + second);
        assert_eq!(after(now, Duration::MAX), now + FAR);
    }

    #[test]
    fn a_part_of_any_duration_is_no_longer_than_the_duration() {
        let second = Duration::from_secs(1);
        assert_eq!(part(second, 0.5), second / 2);
        for longest in [Duration::ZERO, second, Duration::MAX] {
            for fraction in [-1.0, 0.0, 1.0 - f64::EPSILON / 2.0, 1.0, 2.0] {
                assert!(part(longest, fraction) <= longest, "{longest:?} {fraction}");
            }
            assert_eq!(part(longest, 1.0), longest);
        }
    }
}
