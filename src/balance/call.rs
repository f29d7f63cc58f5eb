//! The life of one call: pick, wait, try again.
//!
//! Owns the loop inside the response future, the place in the queue of waiting calls, and the start
//! of probes. It must hold neither a lock nor a snapshot across an await.

use super::eligible::{Class, Classify, Eligibility, Eligible};
use super::endpoint::{Endpoint, Guard, Vitals};
use super::error::BalanceError;
use super::health::Availability;
use super::pick::{Candidate, Pick, pick};
use super::service::{Balanced, Shared};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;
use tower::Service;

/// The longest pause (full jitter) of a call before it asks an endpoint that failed it twice.
const REPEAT_PAUSE: Duration = Duration::from_millis(100);

/// An endpoint that did not serve this very call.
pub(super) struct Tried {
    vitals: Arc<Vitals>,
    /// Not to be asked again before this instant; `None`: only if nobody else is left.
    not_before: Option<Instant>,
}

pub(super) enum Choice<S> {
    Use {
        endpoint: Arc<Endpoint<S>>,
        guard: Guard,
        /// The call will have to wait there.
        full: bool,
    },
    Wait(Option<Instant>),
}

impl<S> Shared<S> {
    pub(super) fn choose<R: Eligible<S>>(&self, request: &R, tried: &[Tried]) -> Choice<S> {
        let snapshot = self.snapshot.load();
        let candidates = snapshot.endpoints.iter().map(|endpoint| {
            let vitals = &endpoint.vitals;
            let mut availability = match vitals.availability(Instant::now) {
                // A probe is started for it in the next round, which must come at once.
                Availability::ProbeDue => Availability::Ejected(Instant::now()),
                availability => availability,
            };
            let mut seen = false;
            for entry in tried.iter().filter(|t| Arc::ptr_eq(&t.vitals, vitals)) {
                match entry.not_before {
                    Some(until) if until > Instant::now() => {
                        availability = Availability::Ejected(until);
                    }
                    Some(_) => {}
                    None => seen = true,
                }
            }
            Candidate {
                eligibility: request.eligible(&endpoint.service),
                availability,
                load: vitals.load(),
                tried: seen,
            }
        });
        match pick(candidates, rand::random()) {
            Pick::Use(index) => {
                let endpoint = Arc::clone(&snapshot.endpoints[index]);
                let full = matches!(
                    request.eligible(&endpoint.service),
                    Eligibility::Full | Eligibility::FullReserve
                );
                let guard = endpoint.vitals.admit();
                Choice::Use {
                    endpoint,
                    guard,
                    full,
                }
            }
            Pick::Wait(until) => Choice::Wait(until),
        }
    }

    /// Starts the probe of every endpoint that could serve `request` and whose ejection is over.
    ///
    /// A probe runs in a task of its own, so no caller waits for a dead endpoint while a living
    /// one could serve it, and a caller that gives up does not end the probe.
    fn probe<R>(self: &Arc<Self>, request: &R)
    where
        S: Service<R> + Clone + Send + Sync + 'static,
        S::Error: Classify + Send,
        S::Future: Send + 'static,
        S::Response: Send,
        R: Eligible<S> + Clone + Send + 'static,
    {
        let snapshot = self.snapshot.load();
        for endpoint in &snapshot.endpoints {
            // Nearly always there is nothing to probe, and this is all a call pays for it.
            if !endpoint.vitals.is_troubled()
                || request.eligible(&endpoint.service) == Eligibility::No
            {
                continue;
            }
            let Some(token) = endpoint.vitals.begin_probe() else {
                continue;
            };
            let guard = endpoint.vitals.admit();
            let call = call_ready(endpoint.service.clone(), request.clone());
            let limit = self.config.checkout_timeout;
            self.handle.spawn(async move {
                match tokio::time::timeout(limit, call).await {
                    Ok(Ok(response)) => {
                        token.succeeded();
                        drop(response);
                    }
                    Ok(Err(error)) => match error.class() {
                        Class::Failure | Class::Overloaded => token.failed(error.to_string()),
                        Class::Unfit(pause) => token.learnt_nothing(pause),
                        // It answered, so it is alive.
                        Class::Fatal => token.succeeded(),
                    },
                    Err(_) => token.failed(format!("no answer to a probe within {limit:?}")),
                }
                drop(guard);
            });
        }
    }

    /// Ends when the balancer is closed.
    async fn closing(&self) {
        loop {
            // Registered before the flag is read, or a close in between would be lost.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            changed.await;
        }
    }

    /// `asked` is the endpoint that has not answered yet.
    fn timed_out<R, E>(
        &self,
        request: &R,
        since: Instant,
        last: Option<E>,
        asked: Option<&Vitals>,
    ) -> BalanceError<E>
    where
        R: Eligible<S>,
    {
        let now = Instant::now();
        let report = |vitals: &Vitals| {
            let mut report = vitals.report(now);
            if asked.is_some_and(|asked| std::ptr::eq(asked, vitals)) {
                let silence = || format!("no connection to be had within {:?}", now - since);
                report.last_cause.get_or_insert_with(silence);
            }
            report
        };
        let snapshot = self.snapshot.load();
        let endpoints = snapshot.endpoints.iter();
        BalanceError::Timeout {
            waited: now - since,
            endpoints: endpoints
                .filter(|e| request.eligible(&e.service) != Eligibility::No)
                .map(|e| report(&e.vitals))
                .collect(),
            last,
        }
    }
}

/// A place in the bounded queue of waiting calls; dropping it leaves the queue.
struct Place<S>(Arc<Shared<S>>);

impl<S> Place<S> {
    fn take<E>(shared: &Arc<Shared<S>>) -> Result<Self, BalanceError<E>> {
        let waiting = shared.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(shared));
        if waiting >= shared.config.max_waiters {
            return Err(BalanceError::QueueFull { waiting });
        }
        Ok(place)
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn call_ready<S, R>(mut service: S, request: R) -> Result<S::Response, S::Error>
where
    S: Service<R>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

/// The life of one call; see the module documentation.
pub(super) async fn serve<S, R>(
    shared: Arc<Shared<S>>,
    request: R,
) -> Result<Balanced<S::Response>, BalanceError<S::Error>>
where
    S: Service<R> + Clone + Send + Sync + 'static,
    S::Error: Classify + Send,
    S::Future: Send + 'static,
    S::Response: Send,
    R: Eligible<S> + Clone + Send + Sync + 'static,
{
    let started = Instant::now();
    let deadline = request
        .deadline()
        .unwrap_or_else(|| started + shared.config.checkout_timeout);
    let mut tried: Vec<Tried> = Vec::new();
    let mut last = None;
    let mut place = None;
    loop {
        // Registered before the snapshot is read, or a change in between would be lost.
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if shared.closed.load(Ordering::Acquire) {
            return Err(BalanceError::Closed);
        }
        if Instant::now() >= deadline {
            return Err(shared.timed_out(&request, started, last, None));
        }
        shared.probe(&request);
        match shared.choose(&request, &tried) {
            Choice::Use {
                endpoint,
                guard,
                full,
            } => {
                if !full {
                    place = None;
                } else if place.is_none() {
                    place = Some(Place::take(&shared)?);
                }
                let vitals = Arc::clone(&endpoint.vitals);
                let call = call_ready(endpoint.service.clone(), request.clone());
                drop(endpoint);
                let served = tokio::select! {
                    // A call that is served at once never looks further.
                    biased;
                    served = tokio::time::timeout_at(deadline, call) => served,
                    () = shared.closing() => return Err(BalanceError::Closed),
                };
                let error = match served {
                    Ok(Ok(response)) => {
                        vitals.succeeded();
                        return Ok(Balanced { response, guard });
                    }
                    Ok(Err(error)) => error,
                    // The caller's deadline says nothing about the endpoint.
                    Err(_) => {
                        return Err(shared.timed_out(&request, started, last, Some(&vitals)));
                    }
                };
                drop(guard);
                let not_before = match error.class() {
                    Class::Fatal => return Err(BalanceError::Endpoint(error)),
                    Class::Failure => {
                        vitals.failed(error.to_string());
                        // The first time another endpoint may do; a second failure in one call
                        // means that there is none, and trying without a pause would storm it.
                        let again = tried
                            .iter()
                            .any(|entry| Arc::ptr_eq(&entry.vitals, &vitals));
                        again.then(|| Instant::now() + REPEAT_PAUSE.mul_f64(rand::random()))
                    }
                    Class::Overloaded => {
                        vitals.condemn(error.to_string());
                        None
                    }
                    Class::Unfit(pause) => {
                        vitals.note(error.to_string());
                        Some(Instant::now() + pause)
                    }
                };
                shared.trouble();
                tried.retain(|entry| !Arc::ptr_eq(&entry.vitals, &vitals));
                tried.push(Tried { vitals, not_before });
                last = Some(error);
            }
            Choice::Wait(until) => {
                shared.trouble();
                if place.is_none() {
                    place = Some(Place::take(&shared)?);
                }
                let until = until.map_or(deadline, |until| until.min(deadline));
                // Either way the loop looks again; a timeout here is no error.
                let _ = tokio::time::timeout_at(until, changed).await;
            }
        }
    }
}
