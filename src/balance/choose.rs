//! Chooses an endpoint of the set for a request.
//!
//! Owns the inputs of the pure choice in `pick`: eligibility, health, load, and what the call has
//! tried. It must not hold the snapshot longer than the choice takes.

use super::chance::draw;
use super::eligible::{Classify, Eligibility, Eligible};
use super::endpoint::Endpoint;
use super::guard::{Guard, InLine, Stranded, Wishes};
use super::pick::{Candidate, Past, Pick, Rank, pick, scan};
use super::shared::Shared;
use super::vitals::Vitals;
use std::sync::Arc;
use tokio::time::Instant;
use tower::Service;

/// An endpoint that did not serve this very call.
pub(super) struct Tried {
    pub(super) vitals: Arc<Vitals>,
    /// The call does not ask the endpoint again before this instant; `None`: only if no other
    /// endpoint is left.
    pub(super) not_before: Option<Instant>,
    /// The endpoint will never serve this call; waiting does not help.
    pub(super) declined: bool,
}

pub(super) enum Choice<S> {
    Use(Arc<Endpoint<S>>, Rank),
    /// When the next pause of this call ends, if there is one.
    Wait(Option<Instant>),
}

/// The endpoint that is serving a call. Field order matters: the endpoint's queue is left before
/// the count of checkouts goes down.
pub(super) struct Held {
    _line: Option<InLine>,
    pub(super) guard: Guard,
    rank: Rank,
}

impl Held {
    pub(super) fn new(vitals: &Arc<Vitals>, rank: Rank) -> Self {
        Self {
            _line: rank.is_full().then(|| InLine::new(vitals)),
            guard: Guard::new(vitals),
            rank,
        }
    }
}

/// The endpoint that a call holds, for the comparison with other endpoints.
pub(super) struct Standing<'a> {
    vitals: &'a Arc<Vitals>,
    /// `None`: the endpoint is ejected, removed or lost, so any other endpoint is better.
    rank: Option<Rank>,
    /// The endpoint may no longer serve the call.
    lost: bool,
}

impl Standing<'_> {
    pub(super) fn code(&self) -> u32 {
        self.rank.map_or(Rank::NONE, Rank::code)
    }

    pub(super) fn is_best(&self) -> bool {
        self.rank == Some(Rank::BEST)
    }

    /// Whether the call must give up the endpoint even without an alternative.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    fn is_beaten_by(&self, rank: Rank) -> bool {
        self.rank.is_none_or(|held| rank < held)
    }
}

#[inline]
fn candidate<S, R: Eligible<S>>(endpoint: &Endpoint<S>, request: &R, past: Past) -> Candidate {
    let vitals: &Vitals = &endpoint.vitals;
    let past = match past {
        Past::Untried if request.tried(&endpoint.service) => Past::Refused,
        past => past,
    };
    Candidate {
        eligibility: request.eligible(&endpoint.service),
        availability: vitals.availability(),
        load: vitals.counts.in_flight(),
        weight: request.weight(&endpoint.service),
        past,
    }
}

fn past(tried: &[Tried], vitals: &Arc<Vitals>) -> Past {
    let entry = tried.iter().find(|t| Arc::ptr_eq(&t.vitals, vitals));
    match entry.map(|entry| entry.not_before) {
        Some(Some(until)) if until > Instant::now() => Past::PausedUntil(until),
        Some(None) => Past::Refused,
        _ => Past::Untried,
    }
}

impl<S> Shared<S> {
    /// The first choice of a call, which has not tried any endpoint yet. The endpoint is passed to
    /// `used` by reference: cloning the `Arc` would cost an atomic. `None`: no endpoint can be used
    /// now.
    #[inline]
    pub(super) fn choose_first<R: Eligible<S>, T>(
        &self,
        request: &R,
        used: impl FnOnce(&Arc<Endpoint<S>>, Rank) -> T,
    ) -> Option<T> {
        let snapshot = self.snapshot.load();
        let endpoints = &snapshot.endpoints;
        let look = |endpoint: &Arc<Endpoint<S>>| candidate(endpoint, request, Past::Untried);
        match pick(endpoints, look, draw()) {
            Pick::Use(index, rank) => Some(used(&endpoints[index], rank)),
            Pick::Wait(_) => None,
        }
    }

    /// Chooses an endpoint for a call that the endpoints in `tried` did not serve.
    pub(super) fn choose<R: Eligible<S>>(&self, request: &R, tried: &[Tried]) -> Choice<S> {
        let snapshot = self.snapshot.load();
        let endpoints = &snapshot.endpoints;
        let look = |endpoint: &Arc<Endpoint<S>>| {
            candidate(endpoint, request, past(tried, &endpoint.vitals))
        };
        match pick(endpoints, look, draw()) {
            Pick::Use(index, rank) => Choice::Use(Arc::clone(&endpoints[index]), rank),
            Pick::Wait(until) => Choice::Wait(until),
        }
    }

    /// As [`Shared::choose`], but only an endpoint that is better than the held one.
    pub(super) fn choose_better<R: Eligible<S>>(
        &self,
        request: &R,
        tried: &[Tried],
        held: &Standing<'_>,
    ) -> Choice<S> {
        let snapshot = self.snapshot.load();
        let endpoints = &snapshot.endpoints;
        let look = |endpoint: &Arc<Endpoint<S>>| {
            let vitals = &endpoint.vitals;
            let mut candidate = candidate(endpoint, request, past(tried, vitals));
            let better = candidate.rank().is_some_and(|rank| held.is_beaten_by(rank));
            if Arc::ptr_eq(vitals, held.vitals) || !better {
                candidate.eligibility = Eligibility::No;
            }
            candidate
        };
        match scan(endpoints, look, draw()) {
            Pick::Use(index, rank) => Choice::Use(Arc::clone(&endpoints[index]), rank),
            Pick::Wait(_) => Choice::Wait(None),
        }
    }

    /// The standing of `held` now.
    ///
    /// That the endpoint has become full since does not count: this call itself may fill it.
    pub(super) fn standing<'a, R: Eligible<S>>(&self, request: &R, held: &'a Held) -> Standing<'a> {
        let vitals = held.guard.vitals();
        let snapshot = self.snapshot.load();
        let mut endpoints = snapshot.endpoints.iter();
        let endpoint = endpoints.find(|e| Arc::ptr_eq(&e.vitals, vitals));
        let may = endpoint.map(|endpoint| {
            let weight = request.weight(&endpoint.service);
            let eligibility = request.eligible(&endpoint.service);
            let rank = held.rank.for_now(eligibility);
            rank.filter(|_| weight != 0)
        });
        let rank = may.flatten();
        Standing {
            vitals,
            rank: rank.and_then(|rank| rank.after(vitals.availability())),
            lost: may.is_some() && rank.is_none(),
        }
    }

    /// Registers that the call wants room at each endpoint that could be better than the held one.
    pub(super) fn wishes<R: Eligible<S>>(
        &self,
        request: &R,
        held: Option<&Standing<'_>>,
    ) -> Wishes {
        let snapshot = self.snapshot.load();
        let wanted = snapshot.endpoints.iter().filter(|endpoint| {
            if request.weight(&endpoint.service) == 0 {
                return false;
            }
            let Some(rank) = Rank::of(request.eligible(&endpoint.service)) else {
                return false;
            };
            held.is_none_or(|held| {
                !Arc::ptr_eq(&endpoint.vitals, held.vitals) && held.is_beaten_by(rank.at_best())
            })
        });
        Wishes::new(wanted.map(|e| Arc::clone(&e.vitals)).collect())
    }

    /// Marks the call as stranded at each ejected endpoint that could serve it.
    pub(super) fn stranded<R: Eligible<S>>(&self, request: &R) -> Stranded {
        let snapshot = self.snapshot.load();
        let out = snapshot.endpoints.iter().filter(|endpoint| {
            request.weight(&endpoint.service) != 0
                && request.eligible(&endpoint.service) != Eligibility::No
                && endpoint.vitals.is_out()
        });
        Stranded::new(out.map(|e| Arc::clone(&e.vitals)).collect())
    }

    /// Whether every endpoint that could serve `request` and is not ejected has declined it.
    pub(super) fn all_declined<R: Eligible<S>>(&self, request: &R, tried: &[Tried]) -> bool {
        let declined = |vitals: &Arc<Vitals>| {
            let mut tried = tried.iter();
            tried.any(|entry| entry.declined && Arc::ptr_eq(&entry.vitals, vitals))
        };
        let snapshot = self.snapshot.load();
        snapshot.endpoints.iter().all(|endpoint| {
            request.weight(&endpoint.service) == 0
                || request.eligible(&endpoint.service) == Eligibility::No
                || endpoint.vitals.is_out()
                || declined(&endpoint.vitals)
        })
    }

    /// Whether a call that holds an endpoint of rank `held` would move to this endpoint now.
    pub(super) fn fits<R: Eligible<S>>(
        &self,
        request: &R,
        held: u32,
        vitals: &Arc<Vitals>,
    ) -> bool {
        let snapshot = self.snapshot.load();
        let endpoint = snapshot
            .endpoints
            .iter()
            .find(|e| Arc::ptr_eq(&e.vitals, vitals));
        endpoint.is_some_and(|endpoint| {
            let rank = candidate(endpoint, request, Past::Untried).rank();
            rank.is_some_and(|rank| !rank.is_full() && rank.code() < held)
        })
    }

    /// Starts a prober for each ejected endpoint that could serve `request` and has none.
    pub(super) fn start_probers<R>(&self, request: &R)
    where
        S: Service<R> + Clone + Send + Sync + 'static,
        S::Error: Classify + Send,
        S::Future: Send + 'static,
        S::Response: Send,
        R: Eligible<S> + Clone + Send + 'static,
    {
        if !self.bell.needs_prober() {
            return;
        }
        self.bell.set_needs_prober(false);
        let snapshot = self.snapshot.load();
        for endpoint in &snapshot.endpoints {
            if !endpoint.vitals.is_out() {
                continue;
            }
            let service = &endpoint.service;
            if request.eligible(service) == Eligibility::No || request.weight(service) == 0 {
                // A later call that can use the endpoint starts its prober.
                self.bell.set_needs_prober(true);
                continue;
            }
            endpoint.probe(request, self.config.checkout_timeout, &self.handle);
        }
    }
}
