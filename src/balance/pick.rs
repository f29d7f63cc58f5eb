//! Which endpoint takes a request: the pure choice.
//!
//! Owns the order of preference, the policy and the tie-break. It must never wait, count or touch
//! health: it reads what it is shown and answers with an index.
//!
//! Load is the number of checkouts in flight (waiting, connecting and held) per unit of weight.
//! Hold time is the caller's doing and is not used: one connection held for ten seconds must not
//! make a replica look slow. Ties are broken at random: "the first of the least loaded" sends nearly
//! all idle traffic to one replica.
//!
//! Up to [`SCANNED`] endpoints all are looked at. Above, two at random: nearly as even, at a cost
//! that does not grow. They are drawn among those that could serve at once; where too few draws hit
//! such, all are looked at after all, so nothing is ever missed.

use super::chance::scramble;
use super::eligible::Eligibility;
use super::health::Availability;
use std::cmp::Ordering;
use std::hint::select_unpredictable;
use tokio::time::Instant;

/// Sets up to this size are scanned: a scan of them costs twice as much as two draws at most, and
/// picks better.
pub(crate) const SCANNED: usize = 8;

/// Draws for two endpoints before all are looked at.
const DRAWS: usize = 6;

/// What this very call has seen of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    Untried,
    /// It did not serve: only if nobody else is left.
    Refused,
    /// It did not serve: not before this instant.
    PausedUntil(Instant),
}

/// What the choice needs to know of one endpoint.
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
    /// Use the endpoint with this index, which has this rank.
    Use(usize, Rank),
    /// Nobody can be used now. At this instant a pause ends; `None`: only an announced change
    /// helps.
    Wait(Option<Instant>),
}

/// An order of preference: a lower rank is preferred whatever the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(u8);

impl Rank {
    pub(crate) const BEST: Self = Self(0);
    const FULL: u8 = 1;
    const RESERVE: u8 = 2;
    const SUSPECT: u8 = 4;
    const REFUSED: u8 = 8;

    /// `None`: it may not.
    #[inline]
    pub(crate) fn of(eligibility: Eligibility) -> Option<Self> {
        match eligibility {
            Eligibility::Yes => Some(Self(0)),
            Eligibility::Full => Some(Self(Self::FULL)),
            Eligibility::Reserve => Some(Self(Self::RESERVE)),
            Eligibility::FullReserve => Some(Self(Self::RESERVE | Self::FULL)),
            Eligibility::No => None,
        }
    }

    /// A number in the same order.
    pub(crate) fn code(self) -> u8 {
        self.0
    }

    /// Somebody would have to wait there.
    #[inline]
    pub(crate) fn is_full(self) -> bool {
        self.0 & Self::FULL != 0
    }

    /// What it would be, had the endpoint room and no stain.
    pub(crate) fn at_best(self) -> Self {
        Self(self.0 & Self::RESERVE)
    }

    /// The rank an endpoint was picked with, by what it may be used for now. That it has become full,
    /// or is no longer, does not count. `None`: it may not be used any more.
    pub(crate) fn for_now(self, eligibility: Eligibility) -> Option<Self> {
        let Self(now) = Self::of(eligibility)?;
        Some(Self(self.0 & !Self::RESERVE | now & Self::RESERVE))
    }

    /// What is left of the rank an endpoint was picked with; `None`: it is out.
    #[inline]
    pub(crate) fn after(self, availability: Availability) -> Option<Self> {
        let rank = self.0 & !Self::SUSPECT;
        match availability {
            Availability::Ready => Some(Self(rank)),
            Availability::Suspect => Some(Self(rank | Self::SUSPECT)),
            _ => None,
        }
    }
}

impl Candidate {
    /// `None`: it cannot be used now.
    #[inline]
    pub(crate) fn rank(&self) -> Option<Rank> {
        if self.weight == 0 {
            return None;
        }
        let Rank(rank) = Rank::of(self.eligibility)?.after(self.availability)?;
        match self.past {
            Past::Untried => Some(Rank(rank)),
            Past::Refused => Some(Rank(rank | Rank::REFUSED)),
            Past::PausedUntil(_) => None,
        }
    }

    /// Compares `(load + 1) / weight`. The one added is the request itself: without it, idle
    /// endpoints would tie whatever their weights.
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
/// Nearly always somebody of the best rank is there, and then only loads have to be compared. Only
/// where nobody is, ranks and pauses are.
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

/// The lightest of all candidates of the best rank, at random among equals; `None`: there is none.
///
/// Of k that tie, the j-th replaces the choice with probability 1/j, so each is chosen with
/// probability 1/k (reservoir sampling). Who is lighter, and who wins a tie, no branch predictor
/// can know: nothing here branches on it.
#[inline]
fn lightest<T>(all: &[T], look: impl Fn(&T) -> Candidate, mut random: u64) -> Option<usize> {
    let (mut chosen, mut ties) = (0, 0);
    // Without weight: whoever comes first is lighter.
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
        // `random` as a fraction of one: times `ties`, a draw among so many stands before the
        // point, and behind it what is left for the next. Eight at most need 16 of 64 bits.
        let drawn = u128::from(random) * u128::from(ties);
        random = drawn as u64;
        let takes = (order != Ordering::Greater) & (drawn >> 64 == 0);
        chosen = select_unpredictable(takes, index, chosen);
        load = select_unpredictable(order == Ordering::Less, candidate.load, load);
        weight = select_unpredictable(order == Ordering::Less, candidate.weight, weight);
    }
    (ties > 0).then_some(chosen)
}

/// The lighter of two random candidates of the best rank; `None`: not found.
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
        // Of two that tie, the one drawn first: it is as random as the other.
        let lighter = candidate.cmp_load(&than) == Ordering::Less;
        return Some(if lighter { index } else { other });
    }
    None
}

/// The best of all candidates, whatever their rank.
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
                // As `random % ties == 0`, without the division.
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
