//! The waiting part of a call: it waits for its endpoint, or for any endpoint it could use.
//!
//! Owns the call's seat in the line, its timer, and what it remembers about endpoints. It must
//! register before it looks, so that no change between the two is lost. It must not give up a place
//! in an endpoint's own queue except for an endpoint that is better *now*.
//!
//! Another endpoint is better if it has room while the call waits at a full one. It is also better
//! if it is ready while the call's own endpoint became suspect, moved to a higher tier, was
//! ejected, or was removed. If both are full, the call stays where it already queued. It gives up
//! its place without an alternative only when its endpoint may no longer serve it.

use super::chance::fraction;
use super::choose::{Choice, Held, Standing, Tried};
use super::clock::{after, part};
use super::eligible::{Class, Classify, Eligibility, Eligible};
use super::endpoint::Endpoint;
use super::error::BalanceError;
use super::guard::{Stranded, Wishes};
use super::line::{News, Seat};
use super::pick::Rank;
use super::shared::Shared;
use super::vitals::{Place, Vitals};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use tower::Service;

/// Longest pause (full jitter) before a call asks an endpoint again that failed it twice.
const REPEAT_PAUSE: Duration = Duration::from_millis(100);

/// Shortest pause before a call asks an endpoint again that was unfit for it.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// See the module documentation.
pub(super) struct Slow<E> {
    started: Instant,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    tried: Vec<Tried>,
    last: Option<E>,
    /// The error of the first endpoint that declined the call.
    declined: Option<E>,
    place: Option<Place>,
    wishes: Option<Wishes>,
    stranded: Option<Stranded>,
    /// The rank code of the held endpoint, for the `fits` check of the line.
    standing: Arc<AtomicU32>,
    seat: Seat<Arc<Vitals>>,
    /// Room the call was notified of. Set while the call releases its old endpoint.
    told: Option<Arc<Vitals>>,
    /// The result of a pick may differ from the last one.
    look: bool,
}

pub(super) enum Step<S, E> {
    Use(Arc<Endpoint<S>>, Rank),
    /// The held endpoint may no longer serve the call: release it and call again without it.
    LetGo,
    Failed(BalanceError<E>),
    Pending,
}

impl<E: Classify> Slow<E> {
    /// The waiting state of the call, created on first use.
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
            .unwrap_or_else(|| after(started, shared.config.checkout_timeout));
        let standing = Arc::new(AtomicU32::new(0));
        let fits = {
            let (standing, request) = (Arc::clone(&standing), request.clone());
            // Weak, because `Shared` owns the line, and the line owns this closure.
            let shared = Arc::downgrade(shared);
            move |vitals: &Arc<Vitals>| {
                let held = standing.load(Ordering::Relaxed);
                let shared = shared.upgrade();
                shared.is_some_and(|shared| shared.fits(&request, held, vitals))
            }
        };
        // Use the caller's runtime for the timer, if there is one. The balancer's runtime may end
        // before this call, and polling a timer of an ended runtime panics.
        let has_none = tokio::runtime::Handle::try_current().is_err();
        let _runtime = has_none.then(|| shared.handle.enter());
        Self {
            started,
            deadline,
            timer: Box::pin(tokio::time::sleep_until(deadline)),
            tried: Vec::new(),
            last: None,
            declined: None,
            place: None,
            wishes: None,
            stranded: None,
            standing,
            seat: shared.bell.line.join(Box::new(fits)),
            told: None,
            look: true,
        }
    }

    /// Makes the next wait look for an endpoint again.
    pub(super) fn look_again(&mut self) {
        self.look = true;
    }

    /// Records that `held` did not serve the call.
    pub(super) fn refused(&mut self, held: Held, error: E) -> Result<(), BalanceError<E>> {
        let vitals = Arc::clone(held.guard.vitals());
        self.look = true;
        let not_before = match error.class() {
            Class::Full => {
                self.last = Some(error);
                return Ok(());
            }
            Class::Fatal => return Err(BalanceError::Endpoint(error)),
            Class::Failure => {
                held.guard.failed(&error);
                // After a first failure another endpoint may serve. A second failure of the same
                // endpoint in one call means that there is no other, and retries without a pause
                // would flood it.
                let mut tried = self.tried.iter();
                let again = tried.any(|entry| Arc::ptr_eq(&entry.vitals, &vitals));
                again.then(|| after(Instant::now(), part(REPEAT_PAUSE, fraction())))
            }
            Class::Declined => {
                vitals.note(error.to_string());
                self.note(vitals, Some(self.deadline), true);
                self.declined.get_or_insert(error);
                return Ok(());
            }
            Class::Overloaded => {
                held.guard.condemn(&error);
                None
            }
            Class::Unfit(pause) => {
                vitals.note(error.to_string());
                // Never retry at once: the call would keep its thread busy.
                Some(after(Instant::now(), pause.max(LEAST_PAUSE)))
            }
        };
        self.note(vitals, not_before, false);
        self.last = Some(error);
        Ok(())
    }

    fn note(&mut self, vitals: Arc<Vitals>, not_before: Option<Instant>, declined: bool) {
        self.tried
            .retain(|entry| !Arc::ptr_eq(&entry.vitals, &vitals));
        self.tried.push(Tried {
            vitals,
            not_before,
            declined,
        });
    }

    /// Looks for an endpoint if something changed since the last look.
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
            // Check `closed` first: the end of its runtime closes the balancer, and then the timer
            // must not be polled.
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

    /// Looks for a better endpoint. `None`: the call should keep waiting.
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
            held.as_ref().map_or(Rank::NONE, Standing::code),
            Ordering::Relaxed,
        );
        if held.as_ref().is_some_and(Standing::is_best) {
            self.wishes = None;
            self.pause_until(None);
            return None;
        }
        // Register before looking at the set, or room that appears in between would be missed.
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
                // Look again if the call has to wait at this endpoint: its wishes depend on the
                // held endpoint.
                self.look = true;
                return Some(Step::Use(endpoint, rank));
            }
            Choice::Wait(until) => until,
        };
        self.pause_until(until);
        if held.is_none() {
            if self.declined.is_some() && shared.all_declined(request, &self.tried) {
                return self
                    .declined
                    .take()
                    .map(|error| Step::Failed(BalanceError::Endpoint(error)));
            }
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

    /// Builds the timeout error; `held` is the endpoint that has not answered yet.
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
                let silence = || format!("no connection to be had within {waited:.1?}");
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
            last: self.last.take().or(self.declined.take()),
        }
    }
}
