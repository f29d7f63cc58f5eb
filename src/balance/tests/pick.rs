//! The pure choice.

use super::{FULL, RESERVE, YES};
use crate::balance::eligible::Eligibility;
use crate::balance::health::Availability;
use crate::balance::pick::*;
use proptest::prelude::*;
use rand::RngExt;
use std::cmp::Ordering;
use std::time::Duration;
use tokio::time::Instant;

fn ready(load: usize) -> Candidate {
    Candidate {
        eligibility: YES,
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
            // More loaded candidates are before, between and behind the ties.
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
                    // At least six standard deviations.
                    let off = (*share as f64 - expected).abs();
                    assert!(off < 6.0 * expected.sqrt(), "{found:?}");
                }
            }
        }
    }
}

/// All candidates in the order of preference, each with more load than any behind it.
fn by_preference() -> Vec<Candidate> {
    let mut all = Vec::new();
    for past in [Past::Untried, Past::Refused] {
        for availability in [Availability::Ready, Availability::Suspect] {
            for tier in [0, 1, 2, u8::MAX] {
                for room in [true, false] {
                    all.push(Candidate {
                        eligibility: Eligibility::Yes { tier, room },
                        availability,
                        past,
                        ..ready(100 - all.len())
                    });
                }
            }
        }
    }
    all
}

#[test]
fn untried_comes_first_then_ready_then_the_tier_then_room_and_the_load_last() {
    let all = by_preference();
    for (index, better) in all.iter().enumerate() {
        for worse in &all[index + 1..] {
            assert_eq!(used(&[*better, *worse], 7), Some(0), "{better:?} {worse:?}");
            assert_eq!(used(&[*worse, *better], 7), Some(1), "{better:?} {worse:?}");
            let (better, worse) = (better.rank().unwrap(), worse.rank().unwrap());
            assert!(better.code() < worse.code(), "{better:?} {worse:?}");
        }
        assert!(better.rank().unwrap().code() < Rank::NONE);
    }
    let first = all.first().and_then(Candidate::rank);
    assert_eq!(first, Some(Rank::BEST));
}

#[test]
fn each_endpoint_that_can_be_used_is_picked_if_it_is_the_only_one() {
    let mut out = ready(0);
    out.availability = Availability::Ejected(Instant::now());
    for candidate in by_preference() {
        assert_eq!(used(&[out, candidate], 7), Some(1), "{candidate:?}");
    }
}

#[test]
fn a_rank_keeps_what_the_call_saw_and_takes_the_tier_of_the_moment() {
    let mut tried = ready(0);
    tried.eligibility = FULL;
    tried.past = Past::Refused;
    let rank = tried.rank().unwrap();
    assert_eq!(rank.for_now(Eligibility::No), None);
    assert_eq!(
        rank.for_now(YES),
        Some(rank),
        "a change of room does not count"
    );
    let mut moved = tried;
    moved.eligibility = Eligibility::Yes {
        tier: 1,
        room: false,
    };
    assert_eq!(rank.for_now(RESERVE), moved.rank());
    assert_eq!(rank.at_best(), Rank::BEST);
    assert_eq!(Some(moved.rank().unwrap().at_best()), Rank::of(RESERVE));
    assert_eq!(rank.after(Availability::Probing), None);
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
    // Each pick adds load: in the end the loads have the proportion of the weights.
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
    // The largest possible load and weight do not overflow.
    let most = weighted(usize::MAX, u32::MAX);
    assert_eq!(used(&[most, weighted(0, 1)], 1), Some(1));
}

#[test]
fn above_eight_endpoints_two_draws_are_even_and_avoid_the_busy_ones() {
    let mut candidates = [ready(0); 40];
    candidates[7].load = 5;
    let found = shares(&candidates, 39_000);
    // It would be picked only if both draws hit it, but the draws are distinct.
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
    candidates[63].eligibility = Eligibility::Yes {
        tier: 1,
        room: false,
    };
    for random in 0..200 {
        assert_eq!(used(&candidates, random), Some(63));
    }
    candidates[63].availability = Availability::Probing;
    assert_eq!(pick_of(&candidates, 1), Pick::Wait(None));
}

/// The order of [`Rank`], written a second time. Each variant is named, so a new variant does not
/// compile until it has a place here.
fn order(candidate: &Candidate) -> Option<(bool, bool, u8, bool)> {
    let (tier, full) = match candidate.eligibility {
        Eligibility::No => return None,
        Eligibility::Yes { tier, room } => (tier, !room),
    };
    let suspect = match candidate.availability {
        Availability::Ready => false,
        Availability::Suspect => true,
        Availability::Ejected(_) | Availability::ProbeDue | Availability::Probing => return None,
    };
    let tried = match candidate.past {
        Past::Untried => false,
        Past::Refused => true,
        Past::PausedUntil(_) => return None,
    };
    (candidate.weight > 0).then_some((tried, suspect, tier, full))
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let tier = prop_oneof![Just(0), Just(1), any::<u8>()];
    let yes = (tier, any::<bool>()).prop_map(|(tier, room)| Eligibility::Yes { tier, room });
    let eligibility = prop_oneof![1 => Just(Eligibility::No), 3 => yes];
    let later = Instant::now() + Duration::from_secs(1);
    let availability = prop_oneof![
        Just(Availability::Ready),
        Just(Availability::Suspect),
        Just(Availability::Ejected(later)),
        Just(Availability::ProbeDue),
        Just(Availability::Probing),
    ];
    let past = prop_oneof![
        Just(Past::Untried),
        Just(Past::Refused),
        Just(Past::PausedUntil(later)),
    ];
    let fields = (eligibility, availability, past, 0usize..4, 0u32..3);
    fields.prop_map(
        |(eligibility, availability, past, load, weight)| Candidate {
            eligibility,
            availability,
            load,
            weight,
            past,
        },
    )
}

proptest! {
    /// In a small set the pick is the least loaded candidate, at any position.
    #[test]
    fn of_a_small_set_nobody_is_lighter_than_the_pick(
        loads in proptest::collection::vec((0usize..6, 1u32..4), 1..=SCANNED),
        random: u64,
    ) {
        let weighted = |(load, weight)| Candidate { weight, ..ready(load) };
        let candidates: Vec<_> = loads.into_iter().map(weighted).collect();
        let index = used(&candidates, random).unwrap();
        for candidate in &candidates {
            prop_assert_ne!(candidate.cmp_load(&candidates[index]), Ordering::Less);
        }
    }

    /// In a set of any size, the pick can serve and has the best rank.
    #[test]
    fn the_pick_is_of_the_best_rank(
        candidates in proptest::collection::vec(any_candidate(), 0..40),
        random: u64,
    ) {
        let best = candidates.iter().filter_map(order).min();
        match pick_of(&candidates, random) {
            Pick::Use(index, rank) => {
                prop_assert_eq!(order(&candidates[index]), best);
                prop_assert_eq!(Some(rank), candidates[index].rank());
            },
            Pick::Wait(_) => prop_assert_eq!(best, None),
        }
    }
}
