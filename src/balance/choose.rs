//! From the set and a request to an endpoint.
//!
//! Owns what the pure choice is shown: eligibility, health, load, and what the call has seen. It
//! must not hold the snapshot any longer than the choice takes.

use super::chance::draw;
use super::eligible::{Classify, Eligibility, Eligible};
use super::endpoint::Endpoint;
use super::guard::{Guard, InLine, Stranded, Wishes};
use super::pick::{Candidate, Past, Pick, Rank, pick, scan};
use super::service::Shared;
use super::vitals::Vitals;
use std::sync::Arc;
use tokio::time::Instant;
use tower::Service;

/// An endpoint that did not serve this very call.
pub(super) struct Tried {
    pub(super) vitals: Arc<Vitals>,
    /// Not to be asked again before this instant; `None`: only if nobody else is left.
    pub(super) not_before: Option<Instant>,
}

pub(super) enum Choice<S> {
    Use(Arc<Endpoint<S>>, Rank),
    /// A pause of this call ends at this instant.
    Wait(Option<Instant>),
}

/// The endpoint that a call is being served by. The line is left before the count goes down.
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

/// What a call holds on to unless there is better.
pub(super) struct Standing<'a> {
    vitals: &'a Arc<Vitals>,
    /// `None`: the endpoint is out, gone or lost, so any other is better.
    rank: Option<Rank>,
    /// The endpoint may not serve the call any more.
    lost: bool,
}

impl Standing<'_> {
    pub(super) fn code(&self) -> u8 {
        self.rank.map_or(u8::MAX, Rank::code)
    }

    pub(super) fn is_best(&self) -> bool {
        self.rank == Some(Rank::BEST)
    }

    /// Nothing at all is better: the call must not be served there.
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
    /// The first choice of a call, which has tried nobody yet. The endpoint is only lent, for its
    /// counts cost. `None`: nobody can be used now.
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

    /// An endpoint for a call that was not served by those it has `tried`.
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

    /// As [`Shared::choose`], but only an endpoint that is better than what the call holds.
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

    /// What `held` is worth now.
    ///
    /// That the endpoint has become full since does not count: it may be full of this very call.
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

    /// The wish for room wherever the call would be better off.
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

    /// The mark of a call that no endpoint can serve, at those that are out.
    pub(super) fn stranded<R: Eligible<S>>(&self, request: &R) -> Stranded {
        let snapshot = self.snapshot.load();
        let out = snapshot.endpoints.iter().filter(|endpoint| {
            request.weight(&endpoint.service) != 0
                && request.eligible(&endpoint.service) != Eligibility::No
                && endpoint.vitals.is_out()
        });
        Stranded::new(out.map(|e| Arc::clone(&e.vitals)).collect())
    }

    /// Whether a call that holds something of rank `held` would move to this endpoint now.
    pub(super) fn fits<R: Eligible<S>>(&self, request: &R, held: u8, vitals: &Arc<Vitals>) -> bool {
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

    /// Sees to it that every endpoint that is out and could serve `request` is probed in time.
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
                // Left to a call that can use it.
                self.bell.set_needs_prober(true);
                continue;
            }
            endpoint.probe(request, self.config.checkout_timeout, &self.handle);
        }
    }
}
