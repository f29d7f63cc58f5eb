//! Tests of the module above.

use proptest::prelude::*;

use super::*;

const MIN: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(5);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A pace whose first look-up ended well at the returned time, with a TTL of 5 s.
fn settled() -> (Pace, Instant) {
    let (mut pace, t) = (Pace::new(MIN, MAX), Instant::now());
    pace.begin();
    pace.succeed(t, Some(MAX), 0.5);
    (pace, t)
}

/// The times of look-ups (in ms since `from`) up to `until`, if each takes no time and fails.
fn failing(pace: &mut Pace, from: Instant, until: Duration, random: f64) -> Vec<u64> {
    let mut times = Vec::new();
    while let Some(due) = pace.due(false) {
        if due > from + until {
            break;
        }
        times.push(u64::try_from((due - from).as_millis()).unwrap());
        pace.begin();
        pace.fail(due, random);
    }
    times
}

#[test]
fn the_first_look_up_is_at_once() {
    assert_eq!(Pace::new(MIN, MAX).due(false), None);
    let mut pace = Pace::new(MIN, MAX);
    pace.poke(Instant::now());
    assert_eq!(pace.due(true), None);
}

#[test]
fn after_a_success_the_ttl_counts_within_bounds() {
    let t = Instant::now();
    for (ttl, random, expected) in [
        (Some(ms(3_000)), 0.5, 3_000),
        (Some(ms(3_000)), 0.0, 2_700),
        (Some(ms(3_000)), 1.0, 3_300),
        (Some(ms(0)), 0.5, 1_000),
        (Some(ms(30_000)), 0.5, 5_000),
        (None, 0.5, 5_000),
    ] {
        let mut pace = Pace::new(MIN, MAX);
        pace.begin();
        pace.succeed(t, ttl, random);
        assert_eq!(pace.due(false), Some(t + ms(expected)), "{ttl:?} {random}");
        assert_eq!(pace.due(true), Some(t + URGENT));
    }
}

#[test]
fn a_poke_is_met_at_once_or_a_step_after_the_last_look_up() {
    let (mut pace, t) = settled();
    pace.poke(t + ms(10));
    assert_eq!(pace.due(false), Some(t + STEP));
    assert_eq!(pace.due(true), Some(t + URGENT));

    let (mut pace, t) = settled();
    pace.poke(t + ms(4_000));
    assert!(pace.due(false).unwrap() <= t + ms(4_000));
    pace.begin();
    pace.succeed(t + ms(4_010), Some(MAX), 0.5);
    assert_eq!(pace.due(false), Some(t + ms(9_010)), "the demand is met");
}

#[test]
fn a_poke_never_delays_the_regular_look_up() {
    let (mut pace, t) = (Pace::new(ms(50), ms(100)), Instant::now());
    pace.begin();
    pace.succeed(t, None, 0.5);
    pace.poke(t);
    assert_eq!(pace.due(false), Some(t + ms(100)));
}

#[test]
fn failures_back_off_after_three_seconds() {
    let (mut pace, t) = (Pace::new(MIN, MAX), Instant::now());
    pace.begin();
    pace.fail(t, 1.0);
    let brisk: Vec<u64> = (1..=12).map(|n| n * 250).collect();
    let slow = [3_500, 4_500, 6_500, 10_500, 15_500, 20_500];
    assert_eq!(
        failing(&mut pace, t, ms(21_000), 1.0),
        [brisk.as_slice(), &slow].concat()
    );
}

#[test]
fn the_jitter_takes_up_to_half() {
    let (mut pace, t) = (Pace::new(MIN, MAX), Instant::now());
    pace.begin();
    pace.fail(t, 0.0);
    let times = failing(&mut pace, t, ms(60_000), 0.0);
    // Half of 500, 1000, 2000, 4000 and then of 5000.
    assert_eq!(
        times[11..18],
        [3_000, 3_250, 3_750, 4_750, 6_750, 9_250, 11_750]
    );
}

#[test]
fn an_episode_ends_with_quiet() {
    let (mut pace, t) = (Pace::new(MIN, MAX), Instant::now());
    pace.begin();
    pace.fail(t, 1.0);
    let times = failing(&mut pace, t, ms(11_000), 1.0);
    assert_eq!(times.last(), Some(&10_500), "at 5 s by now");
    let end = t + ms(15_500);
    pace.begin();
    pace.succeed(end, Some(MAX), 0.5);

    // Still the same episode: a poke does not start afresh...
    pace.poke(end + ms(1_000));
    assert!(pace.due(false).unwrap() >= end + ms(2_500));
    pace.begin();
    pace.succeed(end + ms(5_000), Some(MAX), 0.5);
    // ...until nothing was demanded for long enough.
    let later = end + ms(5_000 + 10_001);
    pace.poke(later);
    assert!(pace.due(false).unwrap() <= later);
    pace.begin();
    pace.fail(later, 0.5);
    assert_eq!(pace.due(false), Some(later + STEP));
}

#[test]
fn pokes_further_apart_than_a_step_back_off_too() {
    let (mut pace, t) = settled();
    let mut now = t;
    let mut look_ups = 0;
    while now < t + ms(30_000) {
        now += ms(300);
        pace.poke(now);
        if pace.due(false).unwrap() <= now {
            pace.begin();
            pace.succeed(now, Some(MAX), 0.5);
            look_ups += 1;
        }
    }
    assert!(look_ups < 25, "{look_ups}");
}

#[test]
fn slow_failures_back_off_too() {
    let (mut pace, mut now) = (Pace::new(MIN, MAX), Instant::now());
    for _ in 0..10 {
        pace.begin();
        now += ms(2_000);
        pace.fail(now, 1.0);
        now = pace.due(false).unwrap();
    }
    let due = pace.due(false).unwrap();
    pace.begin();
    pace.fail(due + ms(2_000), 1.0);
    assert_eq!(pace.due(false), Some(due + ms(2_000) + SLOWEST));
}

proptest! {
    /// Whatever happens: a look-up is always due within the slowest interval, and nothing but a
    /// waiter makes it due within 250 ms of the last.
    #[test]
    fn due_is_bounded(
        steps in proptest::collection::vec((0..4u8, 0..6_000u64, 0.0..1.0f64), 1..60),
    ) {
        let mut pace = Pace::new(MIN, MAX);
        let mut now = Instant::now();
        pace.begin();
        pace.fail(now, 0.5);
        let mut ended = now;
        for (what, wait, random) in steps {
            now += ms(wait);
            match what {
                0 => pace.poke(now),
                1 => {
                    pace.begin();
                    pace.succeed(now, None, random);
                    ended = now;
                }
                2 => {
                    pace.begin();
                    pace.fail(now, random);
                    ended = now;
                }
                _ => {}
            }
            let due = pace.due(false).unwrap();
            prop_assert!(due >= ended + STEP);
            prop_assert!(due <= ended + MAX.mul_f64(1.1));
            prop_assert_eq!(pace.due(true), Some(ended + URGENT));
        }
    }
}
