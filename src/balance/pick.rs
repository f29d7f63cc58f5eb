//! Which endpoint takes a request: the pure choice.
//!
//! Owns the order of preference and the tie-break. It must never wait, count or touch health:
//! it reads what it is shown and answers with an index.
//!
//! Load is the number of checkouts in flight (waiting, connecting and held). Hold time is the
//! caller's doing and is not used: one connection held for ten seconds must not make a replica
//! look slow. Ties are broken at random: "the first of the least loaded" sends nearly all idle
//! traffic to one replica.

use super::eligible::Eligibility;
use super::health::Availability;
use tokio::time::Instant;

/// What the choice needs to know of one endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) eligibility: Eligibility,
    pub(crate) availability: Availability,
    /// Checkouts in flight.
    pub(crate) load: usize,
    /// This call has tried it and was not served.
    pub(crate) tried: bool,
}

/// The outcome of a pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Use the endpoint with this index.
    Use(usize),
    /// Nobody can be used now. Something may change at this instant at the latest: an ejection
    /// ends. `None`: only an announced change helps.
    Wait(Option<Instant>),
}

/// Candidates of one rank; a lower rank is preferred whatever the load.
fn rank(candidate: &Candidate) -> Option<u8> {
    let suspect = match candidate.availability {
        Availability::Ready => false,
        Availability::Suspect => true,
        _ => return None,
    };
    let rank = match candidate.eligibility {
        Eligibility::Yes => 0,
        Eligibility::Full => 1,
        Eligibility::Reserve => 2,
        Eligibility::FullReserve => 3,
        Eligibility::No => return None,
    };
    Some(rank + if suspect { 4 } else { 0 } + if candidate.tried { 8 } else { 0 })
}

/// Picks among `candidates`; `random` is a fresh uniform number.
///
/// One pass without allocation. Of k endpoints that tie, the j-th replaces the choice with
/// probability 1/j, so each is chosen with probability 1/k (reservoir sampling).
pub(crate) fn pick(candidates: impl Iterator<Item = Candidate>, mut random: u64) -> Pick {
    let mut best: Option<(u8, usize)> = None;
    let mut chosen = 0;
    let mut ties: u64 = 0;
    let mut next_expiry: Option<Instant> = None;
    for (index, candidate) in candidates.enumerate() {
        let Some(rank) = rank(&candidate) else {
            if let (Availability::Ejected(until), true) = (
                candidate.availability,
                candidate.eligibility != Eligibility::No,
            ) {
                next_expiry = Some(next_expiry.map_or(until, |soonest| soonest.min(until)));
            }
            continue;
        };
        let key = (rank, candidate.load);
        match best {
            Some(found) if key > found => {}
            Some(found) if key == found => {
                ties += 1;
                random = scramble(random);
                if random.is_multiple_of(ties) {
                    chosen = index;
                }
            }
            _ => {
                best = Some(key);
                chosen = index;
                ties = 1;
            }
        }
    }
    match best {
        Some(_) => Pick::Use(chosen),
        None => Pick::Wait(next_expiry),
    }
}

/// The next independent number from one draw: the finalizer of SplitMix64 (Steele, Lea, Flood,
/// "Fast splittable pseudorandom number generators", 2014).
fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use std::time::Duration;

    fn ready(load: usize) -> Candidate {
        Candidate {
            eligibility: Eligibility::Yes,
            availability: Availability::Ready,
            load,
            tried: false,
        }
    }

    fn pick_of(candidates: &[Candidate], random: u64) -> Pick {
        pick(candidates.iter().copied(), random)
    }

    fn shares(candidates: &[Candidate], rounds: usize) -> Vec<usize> {
        let mut rng = rand::rng();
        let mut shares = vec![0; candidates.len()];
        for _ in 0..rounds {
            if let Pick::Use(index) = pick_of(candidates, rng.random()) {
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
    fn the_reserve_serves_only_when_every_other_endpoint_is_out() {
        let mut reserve = ready(0);
        reserve.eligibility = Eligibility::Reserve;
        assert_eq!(pick_of(&[reserve, ready(90)], 7), Pick::Use(1));

        let mut full = ready(90);
        full.eligibility = Eligibility::Full;
        assert_eq!(pick_of(&[reserve, full], 7), Pick::Use(1));

        let mut out = ready(0);
        out.availability = Availability::Ejected(Instant::now());
        assert_eq!(pick_of(&[reserve, out], 7), Pick::Use(0));
    }

    #[test]
    fn a_full_endpoint_is_passed_over_while_another_has_room() {
        let mut full = ready(0);
        full.eligibility = Eligibility::Full;
        assert_eq!(pick_of(&[full, ready(9)], 0), Pick::Use(1));
        assert_eq!(pick_of(&[full], 0), Pick::Use(0));
    }

    #[test]
    fn an_endpoint_that_just_failed_this_call_comes_last() {
        let mut tried = ready(0);
        tried.tried = true;
        assert_eq!(pick_of(&[tried, ready(9)], 0), Pick::Use(1));
        let mut reserve = ready(9);
        reserve.eligibility = Eligibility::Reserve;
        assert_eq!(pick_of(&[tried, reserve], 0), Pick::Use(1));
        assert_eq!(pick_of(&[tried], 0), Pick::Use(0));
    }

    #[test]
    fn a_suspect_comes_after_everybody_who_is_ready_and_before_nobody() {
        let mut suspect = ready(0);
        suspect.availability = Availability::Suspect;
        let mut reserve = ready(9);
        reserve.eligibility = Eligibility::FullReserve;
        assert_eq!(pick_of(&[suspect, reserve], 0), Pick::Use(1));
        let mut tried = ready(0);
        tried.tried = true;
        assert_eq!(pick_of(&[suspect, tried], 0), Pick::Use(0));
        assert_eq!(pick_of(&[suspect], 0), Pick::Use(0));
    }

    #[test]
    fn with_nobody_available_the_earliest_end_of_an_ejection_is_told() {
        let now = Instant::now();
        let soon = now + Duration::from_millis(10);
        let mut first = ready(0);
        first.availability = Availability::Ejected(soon + Duration::from_secs(1));
        let mut second = ready(0);
        second.availability = Availability::Ejected(soon);
        let mut foreign = ready(0);
        foreign.availability = Availability::Ejected(now);
        foreign.eligibility = Eligibility::No;
        let candidates = [first, second, foreign];
        assert_eq!(pick_of(&candidates, 1), Pick::Wait(Some(soon)));
        assert_eq!(pick_of(&[], 1), Pick::Wait(None));
    }
}
