//! Tests of the parent module.

use proptest::prelude::*;

use super::*;

const MIN: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(5);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A pace whose first look-up ended well at the returned time, with a TTL of 5 s.
fn settled() -> (Schedule, Instant) {
    let (mut pace, t) = (Schedule::new(MIN, MAX), Instant::now());
    pace.begin();
    pace.succeed(t, Some(MAX), 0.5);
    (pace, t)
}

/// The times of look-ups (in ms since `from`) up to `until`, if each takes no time and fails.
fn failing(pace: &mut Schedule, from: Instant, until: Duration, random: f64) -> Vec<u64> {
    let mut times = Vec::new();
    while let Some(due) = pace.due() {
        if due > from + until {
            break;
        }
        times.push(u64::try_from((due - from).as_millis()).unwrap());
        pace.begin();
        pace.fail(due, false, random);
    }
    times
}

#[test]
fn the_first_look_up_is_at_once() {
    assert_eq!(Schedule::new(MIN, MAX).due(), None);
    let mut pace = Schedule::new(MIN, MAX);
    pace.poke(Instant::now());
    pace.wait(Instant::now(), true);
    assert_eq!(pace.due(), None);
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
        let mut pace = Schedule::new(MIN, MAX);
        pace.begin();
        pace.succeed(t, ttl, random);
        assert_eq!(pace.due(), Some(t + ms(expected)), "{ttl:?} {random}");
        pace.wait(t, true);
        assert_eq!(pace.due(), Some(t + URGENT));
    }
}

#[test]
fn a_poke_is_met_at_once_or_a_step_after_the_last_look_up() {
    let (mut pace, t) = settled();
    pace.poke(t + ms(10));
    assert_eq!(pace.due(), Some(t + STEP));
    pace.wait(t + ms(10), true);
    assert_eq!(pace.due(), Some(t + URGENT));

    let (mut pace, t) = settled();
    pace.poke(t + ms(4_000));
    assert!(pace.due().unwrap() <= t + ms(4_000));
    pace.begin();
    pace.succeed(t + ms(4_010), Some(MAX), 0.5);
    assert_eq!(pace.due(), Some(t + ms(9_010)), "the demand is met");
}

#[test]
fn a_poke_never_delays_the_regular_look_up() {
    let (mut pace, t) = (Schedule::new(ms(50), ms(100)), Instant::now());
    pace.begin();
    pace.succeed(t, None, 0.5);
    pace.poke(t);
    assert_eq!(pace.due(), Some(t + ms(100)));
}

#[test]
fn failures_back_off_after_three_seconds() {
    let (mut pace, t) = (Schedule::new(MIN, MAX), Instant::now());
    pace.begin();
    pace.fail(t, false, 1.0);
    let brisk: Vec<u64> = (1..=12).map(|n| n * 250).collect();
    let slow = [3_500, 4_500, 6_500, 10_500, 15_500, 20_500];
    assert_eq!(
        failing(&mut pace, t, ms(21_000), 1.0),
        [brisk.as_slice(), &slow].concat()
    );
}

#[test]
fn the_jitter_takes_up_to_half() {
    let (mut pace, t) = (Schedule::new(MIN, MAX), Instant::now());
    pace.begin();
    pace.fail(t, false, 0.0);
    let times = failing(&mut pace, t, ms(60_000), 0.0);
    // Half of 500, 1000, 2000, 4000 and then of 5000.
    assert_eq!(
        times[11..18],
        [3_000, 3_250, 3_750, 4_750, 6_750, 9_250, 11_750]
    );
}

#[test]
fn an_episode_ends_with_quiet() {
    let (mut pace, t) = (Schedule::new(MIN, MAX), Instant::now());
    pace.begin();
    pace.fail(t, false, 1.0);
    let times = failing(&mut pace, t, ms(11_000), 1.0);
    assert_eq!(times.last(), Some(&10_500), "at 5 s by now");
    let end = t + ms(15_500);
    pace.begin();
    pace.succeed(end, Some(MAX), 0.5);

    // Still the same episode: a poke does not start a new one...
    pace.poke(end + ms(1_000));
    assert!(pace.due().unwrap() >= end + ms(2_500));
    pace.begin();
    pace.succeed(end + ms(5_000), Some(MAX), 0.5);
    // ...until there was no demand for long enough.
    let later = end + ms(5_000 + 10_001);
    pace.poke(later);
    assert!(pace.due().unwrap() <= later);
    pace.begin();
    pace.fail(later, false, 0.5);
    assert_eq!(pace.due(), Some(later + STEP));
}

#[test]
fn pokes_further_apart_than_a_step_back_off_too() {
    let (mut pace, t) = settled();
    let mut now = t;
    let mut look_ups = 0;
    while now < t + ms(30_000) {
        now += ms(300);
        pace.poke(now);
        if pace.due().unwrap() <= now {
            pace.begin();
            pace.succeed(now, Some(MAX), 0.5);
            look_ups += 1;
        }
    }
    assert!(look_ups < 25, "{look_ups}");
}

#[test]
fn slow_failures_back_off_too() {
    let (mut pace, mut now) = (Schedule::new(MIN, MAX), Instant::now());
    for _ in 0..10 {
        pace.begin();
        now += ms(2_000);
        pace.fail(now, false, 1.0);
        now = pace.due().unwrap();
    }
    let due = pace.due().unwrap();
    pace.begin();
    pace.fail(due + ms(2_000), false, 1.0);
    assert_eq!(pace.due(), Some(due + ms(2_000) + SLOWEST));
}

/// The times of look-ups (in ms since `from`) up to `until`, if each takes no time and ends as
/// `trouble` says, and a call waits for a primary all the time.
fn waiting(pace: &mut Schedule, from: Instant, until: Duration, trouble: Option<bool>) -> Vec<u64> {
    waiting_with(pace, from, until, trouble, 0.5)
}

fn waiting_with(
    pace: &mut Schedule,
    from: Instant,
    until: Duration,
    trouble: Option<bool>,
    random: f64,
) -> Vec<u64> {
    let mut times = Vec::new();
    pace.wait(from, true);
    while let Some(due) = pace.due() {
        if due > from + until {
            break;
        }
        times.push(u64::try_from((due - from).as_millis()).unwrap());
        pace.wait(due, true);
        pace.begin();
        match trouble {
            Some(trouble) => pace.fail(due, trouble, random),
            None => pace.succeed(due, None, random),
        }
    }
    times
}

#[test]
fn trouble_backs_off_at_once() {
    let (mut pace, t) = (Schedule::new(MIN, MAX), Instant::now());
    pace.begin();
    pace.fail(t, true, 1.0);
    let mut times = Vec::new();
    while times.len() < 8 {
        let due = pace.due().unwrap();
        times.push((due - t).as_millis());
        pace.begin();
        pace.fail(due, true, 1.0);
    }
    assert_eq!(
        times,
        [250, 750, 1_750, 3_750, 7_750, 12_750, 17_750, 22_750]
    );
}

#[test]
fn a_waiting_caller_is_250_ms_behind_dns_for_30_s_and_a_second_after_that() {
    for random in [0.0, 0.5, 1.0] {
        let (mut pace, t) = settled();
        let times = waiting_with(&mut pace, t, ms(120_000), None, random);
        assert_eq!(
            times[..10],
            [100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000]
        );
        for two in times.windows(2) {
            let (gap, waited) = (two[1] - two[0], two[0]);
            let most = match waited {
                0..30_000 => (waited / 10).clamp(100, 250),
                _ => 1_000,
            };
            assert!(gap >= 100 && gap <= most + 1, "{gap} ms after {waited} ms");
            assert!(gap >= most / 2, "{gap} ms after {waited} ms");
        }
    }

    // While no caller waits, half of the elapsed time is subtracted.
    let (mut pace, t) = settled();
    waiting(&mut pace, t, ms(120_000), None);
    let quiet = t + ms(120_000 + 60_000);
    pace.wait(t + ms(120_000), false);
    pace.wait(quiet, true);
    pace.begin();
    pace.succeed(quiet, None, 0.5);
    assert_eq!(pace.due(), Some(quiet + URGENT));
}

#[test]
fn urgency_spares_a_server_in_trouble() {
    let (mut pace, t) = settled();
    let times = waiting(&mut pace, t, ms(2_400), Some(true));
    assert_eq!(times[..4], [100, 350, 600, 850]);
    let (mut pace, t) = settled();
    let times = waiting(&mut pace, t, ms(2_400), Some(false));
    assert_eq!(times[..4], [100, 200, 300, 400], "no pod is no trouble");

    let (mut pace, t) = settled();
    let times = waiting(&mut pace, t, ms(60_000), Some(true));
    let late = times.iter().filter(|time| **time >= 10_000);
    assert!(late.count() <= 50_000 / 750 + 1, "{times:?}");
}

#[test]
fn waiters_that_come_and_go_do_not_evade_the_decay() {
    let (mut pace, t) = settled();
    let mut look_ups = 0;
    // 5 s of waiting and 1 s of rest, for 10 minutes. Each rest gives back half a second of the
    // first 30 s, which is two or three look-ups.
    for n in 0..100 {
        let from = t + ms(n * 6_000);
        look_ups += waiting(&mut pace, from, ms(5_000), None).len();
        pace.wait(from + ms(5_000), false);
    }
    assert!(look_ups < 1_300, "{look_ups} in 10 minutes");
}

proptest! {
    /// After any sequence of events, a look-up is due within the slowest interval, and only a
    /// waiter makes it due within 250 ms of the last one.
    #[test]
    fn due_is_bounded(
        steps in proptest::collection::vec((0..4u8, 0..6_000u64, 0.0..1.0f64), 1..60),
    ) {
        let mut pace = Schedule::new(MIN, MAX);
        let mut now = Instant::now();
        pace.begin();
        pace.fail(now, false, 0.5);
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
                    pace.fail(now, false, random);
                    ended = now;
                }
                _ => {}
            }
            let due = pace.due().unwrap();
            prop_assert!(due >= ended + STEP);
            prop_assert!(due <= ended + MAX.mul_f64(1.1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn intervals_without_end_are_a_day() {
    let mut pace = Schedule::new(Duration::MAX, Duration::MAX);
    let now = Instant::now();
    pace.begin();
    pace.succeed(now, Some(Duration::MAX), 0.5);
    assert_eq!(pace.due(), Some(now + LONGEST));
}
