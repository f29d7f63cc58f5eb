//! One endpoint of the set: its service, and the task that probes it.
//!
//! Owns the probing. A probe runs in its own task: callers do not wait for a dead endpoint while a
//! live one could serve them, and a caller that gives up does not end the probe. The task must not
//! outlive the endpoint's place in the set.

use super::eligible::{Class, Classify, Eligible};
use super::guard::Guard;
use super::vitals::{ProbeToken, Vitals};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tower::Service;

/// An endpoint of the set.
pub(crate) struct Endpoint<S> {
    pub(crate) service: S,
    pub(crate) vitals: Arc<Vitals>,
    prober: Mutex<Option<AbortHandle>>,
}

impl<S> Endpoint<S> {
    pub(crate) fn new(service: S, vitals: Arc<Vitals>) -> Self {
        Self {
            service,
            vitals,
            prober: Mutex::new(None),
        }
    }

    pub(crate) fn stop_probing(&self) {
        let mut prober = self.prober.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prober) = prober.take() {
            prober.abort();
        }
    }

    /// Starts a task that probes the endpoint as soon as its ejection is over. Does nothing if the
    /// endpoint is not ejected, or has a prober.
    ///
    /// The prober runs until the endpoint is back, as long as calls that could use the endpoint
    /// wait. If it ends earlier, the next such call starts another prober, with its own request:
    /// the old request may ask for something that no call needs any more.
    pub(crate) fn probe<R>(&self, request: &R, limit: Duration, handle: &Handle)
    where
        S: Service<R> + Clone + Send + Sync + 'static,
        S::Error: Classify + Send,
        S::Future: Send + 'static,
        S::Response: Send,
        R: Eligible<S> + Clone + Send + 'static,
    {
        let Some(claim) = self.vitals.claim_prober() else {
            return;
        };
        let (vitals, service) = (Arc::clone(&self.vitals), self.service.clone());
        let request = request.probe();
        let task = handle.spawn(async move {
            let _claim = claim;
            loop {
                match vitals.begin_probe() {
                    Ok(token) => {
                        let guard = Guard::new(&vitals);
                        probe_once(service.clone(), request.clone(), limit, token).await;
                        drop(guard);
                        if !vitals.counts.is_wanted() {
                            return;
                        }
                    }
                    Err(Some(until)) => {
                        let until = vitals.next_probe(until);
                        // After a timeout or a hurry, `begin_probe` decides again.
                        let hurried = vitals.hurry.notified();
                        let _ = tokio::time::timeout_at(until, hurried).await;
                    }
                    Err(None) => return,
                }
            }
        });
        let mut prober = self.prober.lock().unwrap_or_else(PoisonError::into_inner);
        *prober = Some(task.abort_handle());
    }
}

impl<S> Drop for Endpoint<S> {
    fn drop(&mut self) {
        self.stop_probing();
    }
}

async fn probe_once<S, R>(mut service: S, request: R, limit: Duration, token: ProbeToken)
where
    S: Service<R>,
    S::Error: Classify,
{
    let call = async {
        std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await
    };
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => {
            // Response first: its resources are free when waiting calls look.
            drop(response);
            token.succeeded();
        }
        Ok(Err(error)) => match error.class() {
            Class::Failure => token.failed(error.to_string()),
            Class::Overloaded => token.overloaded(error.to_string()),
            // The endpoint answered, so it is alive.
            Class::Unfit(_) | Class::Full | Class::Declined | Class::Fatal => token.succeeded(),
        },
        Err(_) => token.failed(format!("no answer to a probe within {limit:.1?}")),
    }
}
