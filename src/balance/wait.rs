//! What a call does while it waits, for its endpoint or for any.
//!
//! Owns the call's seat in the line, its timer, and what it remembers of its endpoints. It must
//! register before it looks, so that no change is lost in between; and it must not give up a place
//! in an endpoint's own line but for an endpoint that is better *now*.
//!
//! A call is better off elsewhere if there is an endpoint with room while it waits at a full one, or
//! a ready one while its own has become suspect or a reserve, was ejected or removed. Between two full
//! ones it stays: where it is, it has waited already. Only an endpoint that must not serve it any more
//! it leaves also for nothing.

use super::chance::fraction;
use super::choose::{Choice, Held, Standing, Tried};
use super::eligible::{Class, Classify, Eligibility, Eligible};
use super::endpoint::Endpoint;
use super::error::BalanceError;
use super::guard::{Stranded, Wishes};
use super::line::{News, Seat};
use super::pick::Rank;
use super::service::Shared;
use super::vitals::{Place, Vitals};
use crate::brief::Brief;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use tower::Service;

/// The longest pause (full jitter) of a call before it asks an endpoint that failed it twice.
const REPEAT_PAUSE: Duration = Duration::from_millis(100);

/// The shortest pause of a call before it asks an endpoint again that was not fit for it.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// See the module documentation.
pub(super) struct Slow<E> {
    started: Instant,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    tried: Vec<Tried>,
    last: Option<E>,
    place: Option<Place>,
    wishes: Option<Wishes>,
    stranded: Option<Stranded>,
    /// What the call holds on to, for those who look for whom room is.
    standing: Arc<AtomicU8>,
    seat: Seat<Arc<Vitals>>,
    /// Room that the call was told of, while it lets go of what it held.
    told: Option<Arc<Vitals>>,
    /// A pick may come out differently than the last one.
    look: bool,
}

pub(super) enum Step<S, E> {
    Use(Arc<Endpoint<S>>, Rank),
    /// What the call holds must not serve it any more: to be asked again without it.
    LetGo,
    Failed(BalanceError<E>),
    Pending,
}

impl<E: Classify> Slow<E> {
    /// That of the call; from now on it waits.
    pub(super) fn of<'a, S, R>(
        slow: &'a mut Option<Box<Self>>,
        shared: &Arc<Shared<S>>,
        request: &R,
    ) -> &'a mut Self
    where
        S: Send + Sync + 'static,
        R: Eligible<S> + Clone + Send + Sync + 'static,
    {
        slow.get_or_insert_with(|| Box::new(Self::new(shared, request)))
    }

    fn new<S, R>(shared: &Arc<Shared<S>>, request: &R) -> Self
    where
        S: Send + Sync + 'static,
        R: Eligible<S> + Clone + Send + Sync + 'static,
    {
        let started = Instant::now();
        let deadline = request
            .deadline()
            .unwrap_or_else(|| started + shared.config.checkout_timeout);
        let standing = Arc::new(AtomicU8::new(0));
        let fits = {
            let (standing, request) = (Arc::clone(&standing), request.clone());
            // Weak: the line is part of what is shared.
            let shared = Arc::downgrade(shared);
            move |vitals: &Arc<Vitals>| {
                let held = standing.load(Ordering::Relaxed);
                let shared = shared.upgrade();
                shared.is_some_and(|shared| shared.fits(&request, held, vitals))
            }
        };
        // A timer of the caller's runtime, if it has one: the balancer's may end before this call,
        // and a timer that is polled then panics.
        let has_none = tokio::runtime::Handle::try_current().is_err();
        let _runtime = has_none.then(|| shared.handle.enter());
        Self {
            started,
            deadline,
            timer: Box::pin(tokio::time::sleep_until(deadline)),
            tried: Vec::new(),
            last: None,
            place: None,
            wishes: None,
            stranded: None,
            standing,
            seat: shared.bell.line.join(Box::new(fits)),
            told: None,
            look: true,
        }
    }

    /// What the call waited for is not what it wants any more.
    pub(super) fn look_again(&mut self) {
        self.look = true;
    }

    /// Takes in that `held` did not serve.
    pub(super) fn refused(&mut self, held: Held, error: E) -> Result<(), BalanceError<E>> {
        let vitals = Arc::clone(held.guard.vitals());
        let not_before = match error.class() {
            Class::Fatal => return Err(BalanceError::Endpoint(error)),
            Class::Failure => {
                held.guard.failed(&error);
                // The first time another endpoint may do; a second failure in one call means that
                // there is none, and trying without a pause would storm it.
                let mut tried = self.tried.iter();
                let again = tried.any(|entry| Arc::ptr_eq(&entry.vitals, &vitals));
                again.then(|| Instant::now() + REPEAT_PAUSE.mul_f64(fraction()))
            }
            Class::Overloaded => {
                held.guard.condemn(&error);
                None
            }
            Class::Unfit(pause) => {
                vitals.note(error.to_string());
                // Never at once again: the call would not let go of its thread.
                Some(Instant::now() + pause.max(LEAST_PAUSE))
            }
        };
        self.tried
            .retain(|entry| !Arc::ptr_eq(&entry.vitals, &vitals));
        self.tried.push(Tried { vitals, not_before });
        self.last = Some(error);
        self.look = true;
        Ok(())
    }

    /// Looks for an endpoint if something happened since the last time.
    pub(super) fn wait<S, R>(
        &mut self,
        shared: &Arc<Shared<S>>,
        request: &R,
        held: Option<&Held>,
        cx: &mut Context<'_>,
    ) -> Step<S, E>
    where
        S: Service<R, Error = E> + Clone + Send + Sync + 'static,
        S::Error: Send,
        S::Future: Send + 'static,
        S::Response: Send,
        R: Eligible<S> + Clone + Send + Sync + 'static,
    {
        loop {
            let mut room = self.told.take();
            if let Poll::Ready(news) = self.seat.poll_news(cx) {
                self.look = true;
                if let News::Room(vitals) = news
                    && let Some(earlier) = room.replace(vitals)
                {
                    self.seat.pass_on(&earlier);
                }
            }
            // First: its runtime's end closes the balancer, and then the timer must not be polled.
            let closed = shared.closed.load(Ordering::Acquire);
            let due = !closed && self.timer.as_mut().poll(cx).is_ready();
            let step = if closed {
                Some(Step::Failed(BalanceError::Closed))
            } else if (due || self.look) && Instant::now() >= self.deadline {
                Some(Step::Failed(self.timed_out(shared, request, held)))
            } else if due || self.look {
                self.look = false;
                self.look(shared, request, held)
            } else {
                return Step::Pending;
            };
            if matches!(&step, Some(Step::LetGo)) {
                self.told = room;
            } else if let Some(room) = room {
                let taken = matches!(&step, Some(Step::Use(e, _)) if Arc::ptr_eq(&e.vitals, &room));
                if !taken {
                    self.seat.pass_on(&room);
                }
            }
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// `None`: there is nothing better than to wait.
    fn look<S, R>(
        &mut self,
        shared: &Arc<Shared<S>>,
        request: &R,
        held: Option<&Held>,
    ) -> Option<Step<S, E>>
    where
        S: Service<R, Error = E> + Clone + Send + Sync + 'static,
        S::Error: Send,
        S::Future: Send + 'static,
        S::Response: Send,
        R: Eligible<S> + Clone + Send + Sync + 'static,
    {
        let held = held.map(|held| shared.standing(request, held));
        if held.as_ref().is_some_and(Standing::is_lost) {
            self.look = true;
            return Some(Step::LetGo);
        }
        self.stranded = None;
        self.standing.store(
            held.as_ref().map_or(u8::MAX, Standing::code),
            Ordering::Relaxed,
        );
        if held.as_ref().is_some_and(Standing::is_best) {
            self.wishes = None;
            self.pause_until(None);
            return None;
        }
        // Before the set is looked at, or room that appears in between would be lost.
        self.wishes = Some(shared.wishes(request, held.as_ref()));
        shared.start_probers(request);
        let choice = match &held {
            Some(held) => shared.choose_better(request, &self.tried, held),
            None => shared.choose(request, &self.tried),
        };
        let until = match choice {
            Choice::Use(endpoint, rank) => {
                if !rank.is_full() {
                    self.place = None;
                } else if let Err(waiting) = self.take_place(shared) {
                    if held.is_some() {
                        self.pause_until(None);
                        return None;
                    }
                    return Some(Step::Failed(BalanceError::QueueFull { waiting }));
                }
                // The endpoint may be worse than some, and wishes depend on it.
                self.look = true;
                return Some(Step::Use(endpoint, rank));
            }
            Choice::Wait(until) => until,
        };
        self.pause_until(until);
        if held.is_none() {
            shared.trouble();
            self.stranded = Some(shared.stranded(request));
            if let Err(waiting) = self.take_place(shared) {
                return Some(Step::Failed(BalanceError::QueueFull { waiting }));
            }
        }
        None
    }

    fn take_place<S>(&mut self, shared: &Shared<S>) -> Result<(), usize> {
        if self.place.is_none() {
            self.place = Some(shared.bell.take_place(shared.config.max_waiters)?);
        }
        Ok(())
    }

    fn pause_until(&mut self, until: Option<Instant>) {
        let until = until.map_or(self.deadline, |until| until.min(self.deadline));
        // A timer that has fired must not be polled again.
        if self.timer.is_elapsed() || self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
    }

    /// `held` is the endpoint that has not answered yet.
    fn timed_out<S, R: Eligible<S>>(
        &mut self,
        shared: &Shared<S>,
        request: &R,
        held: Option<&Held>,
    ) -> BalanceError<E> {
        let now = Instant::now();
        let waited = now - self.started;
        let asked = held.map(|held| held.guard.vitals());
        let report = |vitals: &Arc<Vitals>| {
            let mut report = vitals.report(now);
            if asked.is_some_and(|asked| Arc::ptr_eq(asked, vitals)) {
                let silence = || format!("no connection to be had within {}", Brief(waited));
                report.last_cause.get_or_insert_with(silence);
            }
            report
        };
        let snapshot = shared.snapshot.load();
        let endpoints = snapshot.endpoints.iter();
        BalanceError::Timeout {
            waited,
            endpoints: endpoints
                .filter(|e| request.eligible(&e.service) != Eligibility::No)
                .map(|e| report(&e.vitals))
                .collect(),
            last: self.last.take(),
        }
    }
}
