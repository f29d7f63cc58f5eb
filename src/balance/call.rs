//! The response future of one call: pick an endpoint, ask it, and if necessary wait and try again.
//!
//! As long as an endpoint is found and answers at once, the future allocates nothing, registers
//! nothing and reads no clock. The state needed for waiting is in a box of its own. The future must
//! hold neither a lock nor a snapshot across a poll.

use super::balanced::Balanced;
use super::choose::Held;
use super::eligible::{Classify, Eligible};
use super::error::BalanceError;
use super::shared::Shared;
use super::wait::{Slow, Step};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use tower::Service;

pin_project! {
    /// The future of a call; [`Balance`](super::Balance) documents its cancel safety.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, R>
    where
        S: Service<R>,
    {
        shared: Arc<Shared<S>>,
        request: R,
        // Declared before `held`, so dropped before it: the endpoint's resources are free when the
        // count of checkouts goes down.
        #[pin]
        asking: Asking<S, S::Future>,
        held: Option<Held>,
        slow: Option<Box<Slow<S::Error>>>,
    }
}

pin_project! {
    #[project = AskingProjection]
    enum Asking<S, F> {
        Nobody,
        Readying { service: S },
        Waiting { #[pin] answer: F },
    }
}

impl<S: Service<R>, R> ResponseFuture<S, R> {
    pub(super) fn new(shared: Arc<Shared<S>>, request: R) -> Self {
        Self {
            shared,
            request,
            asking: Asking::Nobody,
            held: None,
            slow: None,
        }
    }
}

impl<S: Service<R>, R> fmt::Debug for ResponseFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

fn poll_answer<S, R>(
    mut asking: Pin<&mut Asking<S, S::Future>>,
    request: &R,
    cx: &mut Context<'_>,
) -> Poll<Result<S::Response, S::Error>>
where
    S: Service<R>,
    R: Clone,
{
    loop {
        match asking.as_mut().project() {
            AskingProjection::Nobody => return Poll::Pending,
            AskingProjection::Readying { service } => {
                ready!(service.poll_ready(cx))?;
                let answer = service.call(request.clone());
                asking.set(Asking::Waiting { answer });
            }
            AskingProjection::Waiting { answer } => return answer.poll(cx),
        }
    }
}

impl<S, R> Future for ResponseFuture<S, R>
where
    S: Service<R> + Clone + Send + Sync + 'static,
    S::Error: Classify + Send,
    S::Future: Send + 'static,
    S::Response: Send,
    R: Eligible<S> + Clone + Send + Sync + 'static,
{
    type Output = Result<Balanced<S::Response>, BalanceError<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let mut chosen = None;
            if let Some(held) = this.held.take() {
                match poll_answer(this.asking.as_mut(), this.request, cx) {
                    Poll::Pending => *this.held = Some(held),
                    Poll::Ready(answer) => {
                        this.asking.set(Asking::Nobody);
                        match answer {
                            // The call has waited, and the endpoint may no longer serve it.
                            Ok(response)
                                if this.slow.is_some()
                                    && this.shared.standing(this.request, &held).is_lost() =>
                            {
                                Slow::of(this.slow, this.shared, this.request).look_again();
                                // Response first: its resources are free when the count of
                                // checkouts goes down.
                                drop(response);
                                drop(held);
                            }
                            Ok(response) => {
                                *this.slow = None;
                                let guard = held.guard;
                                guard.served();
                                return Poll::Ready(Ok(Balanced { response, guard }));
                            }
                            Err(error) => {
                                let slow = Slow::of(this.slow, this.shared, this.request);
                                slow.refused(held, error)?;
                                this.shared.trouble();
                            }
                        }
                    }
                }
            } else if this.slow.is_none() {
                if this.shared.closed.load(Ordering::Acquire) {
                    return Poll::Ready(Err(BalanceError::Closed));
                }
                this.shared.start_probers(this.request);
                let begun = this.shared.choose_first(this.request, |endpoint, rank| {
                    let held = || Held::new(&endpoint.vitals, rank);
                    (!rank.is_full()).then(|| (endpoint.service.clone(), held()))
                });
                if let Some(Some((service, held))) = begun {
                    *this.held = Some(held);
                    this.asking.set(Asking::Readying { service });
                    continue;
                }
            }
            if chosen.is_none() {
                let slow = Slow::of(this.slow, this.shared, this.request);
                match slow.wait(this.shared, this.request, this.held.as_ref(), cx) {
                    Step::Pending => return Poll::Pending,
                    Step::Failed(error) => return Poll::Ready(Err(error)),
                    Step::LetGo => {
                        this.asking.set(Asking::Nobody);
                        *this.held = None;
                        continue;
                    }
                    Step::Use(endpoint, rank) => chosen = Some((endpoint, rank)),
                }
            }
            if let Some((endpoint, rank)) = chosen {
                // Release the old endpoint first, and with it the place in its queue.
                this.asking.set(Asking::Nobody);
                *this.held = None;
                *this.held = Some(Held::new(&endpoint.vitals, rank));
                let service = endpoint.service.clone();
                this.asking.set(Asking::Readying { service });
            }
        }
    }
}
