//! The pure choice.

use crate::balance::eligible::Eligibility;
use crate::balance::health::Availability;
use crate::balance::pick::*;
use rand::RngExt;
use std::cmp::Ordering;
use std::time::Duration;
use tokio::time::Instant;

fn ready(load: usize) -> Candidate {
    Candidate {
        eligibility: Eligibility::Yes,
        availability: Availability::Ready,
        load,
        weight: 1,
        past: Past::Untried,
    }
}

fn pick_of(candidates: &[Candidate], random: u64) -> Pick {
    pick(candidates, |candidate| *candidate, random)
}

fn used(candidates: &[Candidate], random: u64) -> Option<usize> {
    match pick_of(candidates, random) {
        Pick::Use(index, _) => Some(index),
        Pick::Wait(_) => None,
    }
}

fn shares(candidates: &[Candidate], rounds: usize) -> Vec<usize> {
    let mut rng = rand::rng();
    let mut shares = vec![0; candidates.len()];
    for _ in 0..rounds {
        if let Pick::Use(index, _) = pick_of(candidates, rng.random()) {
            shares[index] += 1;
        }
    }
    shares
}

#[test]
fn the_least_loaded_endpoint_is_picked() {
    let candidates = [ready(3), ready(1), ready(2)];
    assert_eq!(shares(&candidates, 100), [0, 100, 0]);
}

#[test]
fn ties_are_even_also_when_an_ineligible_endpoint_stands_between_them() {
    let mut primary = ready(0);
    primary.eligibility = Eligibility::No;
    let candidates = [ready(0), primary, ready(5), ready(0)];
    let shares = shares(&candidates, 20_000);
    assert_eq!((shares[1], shares[2]), (0, 0));
    // Six standard deviations of a fair coin over 20,000 throws: 424.
    assert!(shares[0].abs_diff(10_000) < 430, "{shares:?}");
}

#[test]
fn of_any_number_that_tie_each_is_picked_as_often_wherever_it_stands() {
    for ties in 2..=SCANNED {
        for others in 0..=(SCANNED - ties) {
            // Heavier ones stand before, between and behind those that tie.
            let mut candidates: Vec<_> = (0..others).map(|n| ready(1 + n / 2)).collect();
            for n in 0..ties {
                candidates.insert((2 + 2 * n).min(candidates.len()), ready(0));
            }
            let found = shares(&candidates, 4_000);
            let expected = 4_000.0 / ties as f64;
            for (candidate, share) in candidates.iter().zip(&found) {
                if candidate.load > 0 {
                    assert_eq!(*share, 0, "{found:?}");
                } else {
                    // Six standard deviations, or a little more.
                    let off = (*share as f64 - expected).abs();
                    assert!(off < 6.0 * expected.sqrt(), "{found:?}");
                }
            }
        }
    }
}

#[test]
fn the_reserve_serves_only_when_every_other_endpoint_is_out() {
    let mut reserve = ready(0);
    reserve.eligibility = Eligibility::Reserve;
    assert_eq!(used(&[reserve, ready(90)], 7), Some(1));

    let mut full = ready(90);
    full.eligibility = Eligibility::Full;
    assert_eq!(used(&[reserve, full], 7), Some(1));

    let mut out = ready(0);
    out.availability = Availability::Ejected(Instant::now());
    assert_eq!(used(&[reserve, out], 7), Some(0));
}

#[test]
fn a_full_endpoint_is_passed_over_while_another_has_room() {
    let mut full = ready(0);
    full.eligibility = Eligibility::Full;
    assert_eq!(used(&[full, ready(9)], 0), Some(1));
    assert_eq!(used(&[full], 0), Some(0));
}

#[test]
fn an_endpoint_that_just_failed_this_call_comes_last() {
    let mut tried = ready(0);
    tried.past = Past::Refused;
    assert_eq!(used(&[tried, ready(9)], 0), Some(1));
    let mut reserve = ready(9);
    reserve.eligibility = Eligibility::Reserve;
    assert_eq!(used(&[tried, reserve], 0), Some(1));
    assert_eq!(used(&[tried], 0), Some(0));
}

#[test]
fn a_suspect_comes_after_everybody_who_is_ready_and_before_nobody() {
    let mut suspect = ready(0);
    suspect.availability = Availability::Suspect;
    let mut reserve = ready(9);
    reserve.eligibility = Eligibility::FullReserve;
    assert_eq!(used(&[suspect, reserve], 0), Some(1));
    let mut tried = ready(0);
    tried.past = Past::Refused;
    assert_eq!(used(&[suspect, tried], 0), Some(0));
    assert_eq!(used(&[suspect], 0), Some(0));
}

#[test]
fn with_nobody_available_the_earliest_end_of_a_pause_is_told() {
    let soon = Instant::now() + Duration::from_millis(10);
    let paused = |until| Candidate {
        past: Past::PausedUntil(until),
        ..ready(0)
    };
    let mut foreign = paused(soon - Duration::from_millis(5));
    foreign.eligibility = Eligibility::No;
    let mut ejected = ready(0);
    ejected.availability = Availability::Ejected(soon - Duration::from_millis(5));
    let candidates = [
        paused(soon + Duration::from_secs(1)),
        paused(soon),
        foreign,
        ejected,
    ];
    assert_eq!(pick_of(&candidates, 1), Pick::Wait(Some(soon)));
    assert_eq!(
        pick_of(&[ejected], 1),
        Pick::Wait(None),
        "its prober wakes the call"
    );
    assert_eq!(pick_of(&[], 1), Pick::Wait(None));
}

#[test]
fn shares_follow_the_weights_also_at_idle_and_a_weight_of_zero_gets_nothing() {
    let weighted = |load, weight| Candidate {
        weight,
        ..ready(load)
    };
    // Fills up: the loads end in the proportion of the weights.
    let mut candidates = [weighted(0, 1), weighted(0, 3), weighted(0, 0)];
    for _ in 0..400 {
        let Pick::Use(index, _) = pick_of(&candidates, rand::random()) else {
            panic!("nobody");
        };
        candidates[index].load += 1;
    }
    assert_eq!(candidates.map(|c| c.load), [100, 300, 0]);
    assert_eq!(pick_of(&[weighted(0, 0)], 1), Pick::Wait(None));
    // (0 + 1) / 3 is less than (0 + 1) / 1.
    assert_eq!(shares(&[weighted(0, 1), weighted(0, 3)], 100), [0, 100]);
    // No overflow: the largest there is.
    let most = weighted(usize::MAX, u32::MAX);
    assert_eq!(used(&[most, weighted(0, 1)], 1), Some(1));
}

#[test]
fn above_eight_endpoints_two_draws_are_even_and_avoid_the_busy_ones() {
    let mut candidates = [ready(0); 40];
    candidates[7].load = 5;
    let found = shares(&candidates, 39_000);
    // Picked only if both draws hit it, and they are distinct.
    assert_eq!(found[7], 0);
    for (index, share) in found.iter().enumerate().filter(|(index, _)| *index != 7) {
        // 1,000 expected, a standard deviation of 31.
        assert!(share.abs_diff(1_000) < 190, "{index}: {share}");
    }
}

#[test]
fn two_draws_miss_nobody_among_many_that_cannot_serve() {
    let mut candidates = [ready(0); 100];
    for candidate in &mut candidates {
        candidate.eligibility = Eligibility::No;
    }
    candidates[63].eligibility = Eligibility::FullReserve;
    for random in 0..200 {
        assert_eq!(used(&candidates, random), Some(63));
    }
    candidates[63].availability = Availability::Probing;
    assert_eq!(pick_of(&candidates, 1), Pick::Wait(None));
}

proptest::proptest! {
    /// Of a small set the pick is the lightest, whatever stands before and behind it.
    #[test]
    fn of_a_small_set_nobody_is_lighter_than_the_pick(
        loads in proptest::collection::vec((0usize..6, 1u32..4), 1..=SCANNED),
        random: u64,
    ) {
        let weighted = |(load, weight)| Candidate { weight, ..ready(load) };
        let candidates: Vec<_> = loads.into_iter().map(weighted).collect();
        let index = used(&candidates, random).unwrap();
        for candidate in &candidates {
            proptest::prop_assert_ne!(candidate.cmp_load(&candidates[index]), Ordering::Less);
        }
    }

    /// Whatever the size: who is picked can serve, and is of the best rank there is.
    #[test]
    fn the_pick_is_of_the_best_rank(
        kinds in proptest::collection::vec((0u8..5, 0u8..3, 0u8..3, 0usize..4, 0u32..3), 0..40),
        random: u64,
    ) {
        let candidates: Vec<Candidate> = kinds
            .into_iter()
            .map(|(eligibility, availability, past, load, weight)| Candidate {
                eligibility: [
                    Eligibility::Yes,
                    Eligibility::Full,
                    Eligibility::Reserve,
                    Eligibility::FullReserve,
                    Eligibility::No,
                ][usize::from(eligibility)],
                availability: [Availability::Ready, Availability::Suspect, Availability::Probing]
                    [usize::from(availability)],
                past: [Past::Untried, Past::Refused, Past::Untried][usize::from(past)],
                load,
                weight,
            })
            .collect();
        let best = candidates.iter().filter_map(Candidate::rank).min();
        match pick_of(&candidates, random) {
            Pick::Use(index, rank) => {
                proptest::prop_assert_eq!(candidates[index].rank(), best);
                proptest::prop_assert_eq!(Some(rank), best);
            },
            Pick::Wait(_) => proptest::prop_assert_eq!(best, None),
        }
    }
}
