//! The state machine of an endpoint's health.

use crate::balance::BalanceConfig;
use crate::balance::health::*;
use proptest::prelude::*;
use std::time::Duration;
use tokio::time::Instant;

fn machine() -> (Health, Instant) {
    (Health::new(HealthConfig::default()), Instant::now())
}

fn fail(health: &mut Health, now: Instant) -> bool {
    health.failure(health.term(), now, 0.5)
}

fn condemn(health: &mut Health, now: Instant) -> bool {
    health.condemn(health.term(), now, 0.5)
}

fn succeed(health: &mut Health) {
    health.success(health.term());
}

fn ejected() -> (Health, Instant) {
    let (mut health, now) = machine();
    for _ in 0..3 {
        fail(&mut health, now);
    }
    (health, now)
}

#[test]
fn two_failures_and_a_success_eject_nobody() {
    let (mut health, now) = machine();
    for _ in 0..10 {
        assert!(!fail(&mut health, now));
        assert!(!fail(&mut health, now));
        succeed(&mut health);
    }
    assert_eq!(health.availability(now), Availability::Ready);
}

#[test]
fn three_failures_in_a_row_eject_until_a_jittered_instant() {
    let (health, now) = ejected();
    let until = now + Duration::from_millis(50);
    assert_eq!(health.availability(now), Availability::Ejected(until));
    assert_eq!(health.availability(until), Availability::ProbeDue);
}

#[test]
fn exactly_one_probe_starts_when_the_ejection_is_over() {
    let (mut health, now) = ejected();
    assert_eq!(health.begin_probe(now), None);
    let later = now + Duration::from_secs(1);
    assert_eq!(health.begin_probe(later), Some(1));
    assert_eq!(health.begin_probe(later), None);
    assert_eq!(health.availability(later), Availability::Probing);
}

#[test]
fn a_failed_probe_doubles_the_longest_ejection_up_to_the_cap() {
    let (mut health, mut now) = ejected();
    for expected in [200, 400, 800, 1000, 1000] {
        now += Duration::from_secs(2);
        let epoch = health.begin_probe(now).unwrap();
        health.end_probe(epoch, Probe::Failed, now, 1.0);
        let until = now + Duration::from_millis(expected);
        assert_eq!(health.availability(now), Availability::Ejected(until));
    }
}

#[test]
fn an_abandoned_probe_is_due_again_at_once() {
    let (mut health, now) = ejected();
    let later = now + Duration::from_secs(1);
    let epoch = health.begin_probe(later).unwrap();
    health.end_probe(epoch, Probe::Abandoned, later, 0.5);
    assert_eq!(health.begin_probe(later), Some(epoch + 1));
}

#[test]
fn a_late_verdict_of_an_earlier_probe_changes_nothing() {
    let (mut health, now) = ejected();
    let later = now + Duration::from_secs(1);
    let first = health.begin_probe(later).unwrap();
    health.end_probe(first, Probe::Abandoned, later, 0.5);
    health.begin_probe(later).unwrap();
    health.end_probe(first, Probe::Succeeded, later, 0.5);
    assert_eq!(health.availability(later), Availability::Probing);
}

#[test]
fn a_success_of_an_old_connection_does_not_end_an_ejection() {
    let (mut health, now) = ejected();
    succeed(&mut health);
    assert!(matches!(health.availability(now), Availability::Ejected(_)));
}

#[test]
fn a_suspicion_stands_until_it_is_cleared() {
    let (mut health, now) = machine();
    let first = health.suspect();
    let second = health.suspect();
    assert_eq!(health.availability(now), Availability::Suspect);
    assert!(!health.end_suspicion(first, false, now, 0.5));
    assert_eq!(health.availability(now), Availability::Suspect);
    succeed(&mut health);
    assert_eq!(health.availability(now), Availability::Suspect);
    assert!(!health.end_suspicion(second, false, now, 0.5));
    assert_eq!(health.availability(now), Availability::Ready);
}

#[test]
fn suspicions_of_one_event_eject_once() {
    let (mut health, now) = machine();
    let tokens = [health.suspect(), health.suspect(), health.suspect()];
    assert!(health.end_suspicion(tokens[0], true, now, 0.5));
    let until = now + Duration::from_millis(50);
    assert_eq!(health.availability(now), Availability::Ejected(until));
    assert!(!health.end_suspicion(tokens[1], true, now, 0.9));
    assert_eq!(health.availability(now), Availability::Ejected(until));
    // The endpoint is back before the last suspicion is confirmed.
    let epoch = health.begin_probe(until).unwrap();
    let late = health.suspect();
    health.end_probe(epoch, Probe::Succeeded, until, 0.5);
    assert!(!health.end_suspicion(tokens[2], true, until, 0.5));
    assert!(!health.end_suspicion(late, true, until, 0.5));
    assert_eq!(health.availability(until), Availability::Ready);
}

#[test]
fn a_late_clearance_does_not_clear_a_newer_suspicion() {
    let (mut health, now) = machine();
    let old = health.suspect();
    condemn(&mut health, now);
    let later = now + Duration::from_secs(1);
    let epoch = health.begin_probe(later).unwrap();
    health.end_probe(epoch, Probe::Succeeded, later, 0.5);
    assert_eq!(health.availability(later), Availability::Ready);
    let new = health.suspect();
    health.end_suspicion(old, false, later, 0.5);
    assert_eq!(health.availability(later), Availability::Suspect);
    assert!(health.end_suspicion(new, true, later, 0.5));
}

#[derive(Debug, Clone)]
enum Step {
    Success,
    Failure,
    Condemn,
    Wait(u16),
    Probe(Probe),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Success),
        Just(Step::Failure),
        Just(Step::Condemn),
        (0u16..2000).prop_map(Step::Wait),
        Just(Step::Probe(Probe::Succeeded)),
        Just(Step::Probe(Probe::Failed)),
        Just(Step::Probe(Probe::Abandoned)),
    ]
}

proptest! {
    /// After any sequence of events, an endpoint can be used or probed again within the cap.
    #[test]
    fn no_sequence_of_events_keeps_an_endpoint_out_beyond_the_cap(
        steps in proptest::collection::vec((step(), 0.0f64..1.0), 0..60)
    ) {
        let (mut health, mut now) = machine();
        for (step, jitter) in steps {
            match step {
                Step::Success => succeed(&mut health),
                Step::Failure => { { let term = health.term(); health.failure(term, now, jitter) }; }
                Step::Condemn => { let term = health.term(); health.condemn(term, now, jitter); },
                Step::Wait(ms) => now += Duration::from_millis(ms.into()),
                Step::Probe(verdict) => {
                    if let Some(epoch) = health.begin_probe(now) {
                        health.end_probe(epoch, verdict, now, jitter);
                    }
                }
            }
        }
        let config = HealthConfig::default();
            let later = now + config.cap.max(config.relapse_cap);
        prop_assert!(matches!(
            health.availability(later),
            Availability::Ready | Availability::ProbeDue
        ));
    }
}

#[test]
fn an_ejection_is_cut_short_once_and_not_for_one_that_has_no_room() {
    let ms = Duration::from_millis;
    let (mut health, mut now) = ejected();
    for _ in 0..6 {
        let Availability::Ejected(until) = health.availability(now) else {
            panic!("{health:?}");
        };
        now = until;
        let epoch = health.begin_probe(now).unwrap();
        health.end_probe(epoch, Probe::Failed, now, 1.0);
    }
    assert_eq!(health.hurry(now, 0.5), Some(now + ms(100)));
    assert_eq!(health.hurry(now, 0.1), Some(now + ms(100)), "once");
    now += ms(100);
    let epoch = health.begin_probe(now).unwrap();
    health.end_probe(epoch, Probe::Failed, now, 1.0);
    assert_eq!(health.hurry(now, 1.0), Some(now + ms(200)), "each time");
    now += ms(200);
    let epoch = health.begin_probe(now).unwrap();
    health.end_probe(epoch, Probe::Overloaded, now, 1.0);
    assert_eq!(health.hurry(now, 0.5), Some(now + ms(1_000)));
    now += ms(1_000);

    // The endpoint passes its probes and fails in use: `cap` limits the hurried ejection.
    for _ in 0..8 {
        let epoch = health.begin_probe(now).unwrap();
        assert!(health.end_probe(epoch, Probe::Succeeded, now, 1.0));
        assert_eq!(health.hurry(now, 0.5), None);
        assert!(fail(&mut health, now));
        now += ms(5_000);
    }
    now -= ms(5_000);
    assert_eq!(health.hurry(now, 1.0), Some(now + ms(1_000)));
}

#[test]
fn each_option_is_set_by_the_method_of_its_name() {
    let ms = Duration::from_millis;
    let config = HealthConfig::default()
        .with_threshold(1)
        .with_base(ms(2))
        .with_cap(ms(3))
        .with_memory(ms(4))
        .with_relapse_cap(ms(5))
        .with_urgent_cap(ms(6));
    let expected = HealthConfig {
        threshold: 1,
        base: ms(2),
        cap: ms(3),
        memory: ms(4),
        relapse_cap: ms(5),
        urgent_cap: ms(6),
    };
    assert_eq!(config, expected);
    let balance = BalanceConfig::default()
        .with_checkout_timeout(ms(7))
        .with_max_waiters(8)
        .with_health(config);
    let expected = BalanceConfig {
        checkout_timeout: ms(7),
        max_waiters: 8,
        health: config,
    };
    assert_eq!(balance, expected);
}
