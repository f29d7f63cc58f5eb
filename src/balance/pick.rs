//! The pure choice: which endpoint gets a request.
//!
//! Owns the order of preference ([`Rank`]) and the tie-break. It must never wait, count checkouts
//! or change health: it reads its input and returns an index.
//!
//! Load is the number of checkouts in flight (waiting, connecting and held) per unit of weight.
//! Hold time depends on the caller and is not used: a connection held for ten seconds must not make
//! a replica look slow. Ties are broken at random: always choosing the first of the least loaded
//! would send nearly all idle traffic to one replica.
//!
//! In sets of up to [`SCANNED`] endpoints, all are compared. In larger sets, two random ones:
//! nearly as even, at a cost that does not grow with the set. The two are drawn from the endpoints
//! that could serve at once. If too few draws find such an endpoint, all are compared, so no
//! endpoint is missed.

use super::chance::scramble;
use super::eligible::Eligibility;
use super::health::Availability;
use std::cmp::Ordering;
use std::hint::select_unpredictable;
use tokio::time::Instant;

/// Sets up to this size are scanned: a scan costs at most twice as much as two draws, and picks
/// better.
pub(crate) const SCANNED: usize = 8;

/// Number of draws for two endpoints before all are compared.
const DRAWS: usize = 6;

/// The history of an endpoint within this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    Untried,
    /// The endpoint did not serve: use it only if no other is left.
    Refused,
    /// The endpoint did not serve: do not use it before this instant.
    PausedUntil(Instant),
}

/// The properties of one endpoint that the choice depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) eligibility: Eligibility,
    pub(crate) availability: Availability,
    /// Checkouts in flight.
    pub(crate) load: usize,
    pub(crate) weight: u32,
    pub(crate) past: Past,
}

/// The outcome of a pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Use the endpoint with this index and rank.
    Use(usize, Rank),
    /// No endpoint can be used now. A pause ends at this instant; `None`: only an announced change
    /// helps.
    Wait(Option<Instant>),
}

/// Order of preference: the endpoint with the lowest rank is picked, regardless of load.
///
/// The field order is the order of preference: the first field that differs decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// The endpoint failed this call.
    tried: bool,
    /// The endpoint may have stopped answering.
    suspect: bool,
    /// The request's preference; see [`Eligibility::Yes`].
    tier: u8,
    /// The call would have to wait there.
    full: bool,
}

impl Rank {
    pub(crate) const BEST: Self = Self {
        tried: false,
        suspect: false,
        tier: 0,
        full: false,
    };

    /// In place of [`Rank::code`] for a call without a rank: any rank is better.
    pub(crate) const NONE: u32 = u32::MAX;

    /// The rank of a healthy, untried endpoint; `None`: it may not serve.
    #[inline]
    pub(crate) fn of(eligibility: Eligibility) -> Option<Self> {
        match eligibility {
            Eligibility::Yes { tier, room } => Some(Self {
                tier,
                full: !room,
                ..Self::BEST
            }),
            Eligibility::No => None,
        }
    }

    /// A number with the same order as the ranks.
    pub(crate) fn code(self) -> u32 {
        let Self {
            tried,
            suspect,
            tier,
            full,
        } = self;
        u32::from_be_bytes([tried.into(), suspect.into(), tier, full.into()])
    }

    /// Whether the call would have to wait there.
    #[inline]
    pub(crate) fn is_full(self) -> bool {
        self.full
    }

    /// The rank if the endpoint had room, answered, and had not failed this call.
    pub(crate) fn at_best(self) -> Self {
        Self {
            tier: self.tier,
            ..Self::BEST
        }
    }

    /// Updates the rank from the pick to the current eligibility. A change of room does not count.
    /// `None`: the endpoint may no longer serve.
    pub(crate) fn for_now(self, eligibility: Eligibility) -> Option<Self> {
        let now = Self::of(eligibility)?;
        Some(Self {
            tier: now.tier,
            ..self
        })
    }

    /// Updates the rank from the pick to the current availability; `None`: the endpoint is ejected.
    #[inline]
    pub(crate) fn after(self, availability: Availability) -> Option<Self> {
        let suspect = match availability {
            Availability::Ready => false,
            Availability::Suspect => true,
            Availability::Ejected(_) | Availability::ProbeDue | Availability::Probing => {
                return None;
            }
        };
        Some(Self { suspect, ..self })
    }
}

impl Candidate {
    /// The rank of the candidate; `None`: it cannot be used now.
    #[inline]
    pub(crate) fn rank(&self) -> Option<Rank> {
        if self.weight == 0 {
            return None;
        }
        let rank = Rank::of(self.eligibility)?.after(self.availability)?;
        let tried = match self.past {
            Past::Untried => false,
            Past::Refused => true,
            Past::PausedUntil(_) => return None,
        };
        Some(Rank { tried, ..rank })
    }

    /// Compares `(load + 1) / weight`. The added one is the request itself: without it, idle
    /// endpoints would tie regardless of their weights.
    #[inline]
    pub(crate) fn cmp_load(&self, other: &Self) -> Ordering {
        let cost = |load: usize, weight: u32| {
            let load = u32::try_from(load).unwrap_or(u32::MAX);
            (u64::from(load) + 1) * u64::from(weight)
        };
        cost(self.load, other.weight).cmp(&cost(other.load, self.weight))
    }
}

/// Picks one of `all`; `random` is a fresh uniform number.
///
/// Nearly always there is an endpoint of `Rank::BEST`, and only the loads of those are compared.
/// Otherwise `scan` compares the ranks and pauses of all.
#[inline]
pub(crate) fn pick<T>(all: &[T], look: impl Fn(&T) -> Candidate, random: u64) -> Pick {
    let found = if all.len() <= SCANNED {
        lightest(all, &look, random)
    } else {
        two_choices(all, &look, random)
    };
    match found {
        Some(index) => Pick::Use(index, Rank::BEST),
        None => scan(all, look, random),
    }
}

/// The least loaded of all candidates of the best rank, at random among equals; `None`: there is
/// none.
///
/// Of k candidates that tie, the j-th replaces the choice with probability 1/j, so each is chosen
/// with probability 1/k (reservoir sampling). A branch predictor cannot guess which candidate is
/// less loaded or wins a tie, so the loop does not branch on it.
#[inline]
fn lightest<T>(all: &[T], look: impl Fn(&T) -> Candidate, mut random: u64) -> Option<usize> {
    let (mut chosen, mut ties) = (0, 0);
    // The initial weight is 0, with which `cmp_load` finds the first candidate less loaded.
    let (mut load, mut weight) = (0, 0);
    for (index, it) in all.iter().enumerate() {
        let candidate = look(it);
        if candidate.rank() != Some(Rank::BEST) {
            continue;
        }
        let than = Candidate {
            load,
            weight,
            ..candidate
        };
        let order = candidate.cmp_load(&than);
        ties += u64::from(order == Ordering::Equal);
        ties = select_unpredictable(order == Ordering::Less, 1, ties);
        // Fixed-point: `random` is a fraction of one, in 64 bits. The upper half of `random * ties`
        // is a number from 0 to `ties - 1`, the lower half a new fraction for the next draw. Eight
        // candidates use at most 16 of the 64 bits.
        let drawn = u128::from(random) * u128::from(ties);
        random = drawn as u64;
        let takes = (order != Ordering::Greater) & (drawn >> 64 == 0);
        chosen = select_unpredictable(takes, index, chosen);
        load = select_unpredictable(order == Ordering::Less, candidate.load, load);
        weight = select_unpredictable(order == Ordering::Less, candidate.weight, weight);
    }
    (ties > 0).then_some(chosen)
}

/// The less loaded of two random candidates of the best rank; `None`: not found.
#[inline]
fn two_choices<T>(all: &[T], look: impl Fn(&T) -> Candidate, mut random: u64) -> Option<usize> {
    let count = u64::from(u32::try_from(all.len()).ok()?);
    let mut first: Option<(usize, Candidate)> = None;
    for _ in 0..DRAWS {
        random = scramble(random);
        let index = usize::try_from(((random >> 32) * count) >> 32).ok()?;
        if first.is_some_and(|(taken, _)| taken == index) {
            continue;
        }
        let candidate = look(all.get(index)?);
        if candidate.rank() != Some(Rank::BEST) {
            continue;
        }
        let Some((other, than)) = first else {
            first = Some((index, candidate));
            continue;
        };
        // If the two tie, take the first: the draws were random already.
        let lighter = candidate.cmp_load(&than) == Ordering::Less;
        return Some(if lighter { index } else { other });
    }
    None
}

/// The best of all candidates, of any rank.
///
/// One pass without allocation. Of k endpoints that tie, the j-th replaces the choice with
/// probability 1/j, so each is chosen with probability 1/k (reservoir sampling).
#[inline(never)]
pub(crate) fn scan<T>(all: &[T], look: impl Fn(&T) -> Candidate, mut random: u64) -> Pick {
    let mut best: Option<(Rank, Candidate)> = None;
    let mut chosen = 0;
    let mut ties: u64 = 0;
    let mut pause: Option<Instant> = None;
    for (index, it) in all.iter().enumerate() {
        let candidate = look(it);
        let Some(rank) = candidate.rank() else {
            if let (Past::PausedUntil(until), true) =
                (candidate.past, candidate.eligibility != Eligibility::No)
            {
                pause = Some(pause.map_or(until, |soonest| soonest.min(until)));
            }
            continue;
        };
        let order = match &best {
            Some((than, other)) => rank.cmp(than).then_with(|| candidate.cmp_load(other)),
            None => Ordering::Less,
        };
        match order {
            Ordering::Greater => {}
            Ordering::Equal => {
                ties += 1;
                random = scramble(random);
                // Like `random % ties == 0`, but without a division.
                if ((random >> 32) * ties) >> 32 == 0 {
                    chosen = index;
                }
            }
            Ordering::Less => {
                best = Some((rank, candidate));
                chosen = index;
                ties = 1;
            }
        }
    }
    match best {
        Some((rank, _)) => Pick::Use(chosen, rank),
        None => Pick::Wait(pause),
    }
}
