//! Runs an inquiry: asks whether a pod is alive, and which of our statements it still runs.
//!
//! Each pool runs one inquiry at a time, which all waiting operations share. The inquiry asks on an
//! idle connection first. If no answer comes at once, it asks on the side connection as well: the
//! flow of the idle connection can be lost, and a new connection can be refused. Owns the rule what
//! counts as an answer: anything that the server says, even a refusal. It must never treat a
//! failure of our own machine as a failure of the pod.

use crate::pool::idle::Idle;
use crate::pool::inquiry::Found;
use crate::pool::side::Failed;
use crate::pool::state::Pool;
use crate::pool::threads::Threads;
use futures_util::future::{Either, select};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

/// How long the inquiry asks on the idle connection alone.
const HEAD_START: Duration = Duration::from_millis(50);

impl Pool {
    /// Asks the pod, and waits `limit` for the answer, or twice the time of the last login if that
    /// is longer. A call that joins a running inquiry uses the limit of that inquiry.
    pub(crate) fn inquire(
        self: &Arc<Self>,
        limit: Duration,
    ) -> impl Future<Output = Found> + use<> {
        let mut asked = self.join_inquiry(limit);
        async move {
            let found = asked.wait_for(Option::is_some).await;
            // This fails only if the runtime shuts down.
            found.map_or(Found::NotAsked, |found| {
                found.clone().unwrap_or(Found::NotAsked)
            })
        }
    }

    fn join_inquiry(self: &Arc<Self>, limit: Duration) -> watch::Receiver<Option<Found>> {
        let mut inquiry = self.inquiry.asked.lock();
        if let Some(asked) = &*inquiry
            && asked.has_changed().is_ok()
            && asked.borrow().is_none()
        {
            return asked.clone();
        }
        let (tell, asked) = watch::channel(None);
        *inquiry = Some(asked.clone());
        self.inquiry.open();
        let pool = Arc::clone(self);
        self.handle.spawn(async move {
            let found = pool.ask_twice(limit).await;
            pool.inquiry.close();
            tracing::debug!(pod = %pool.pod(), ?found, "an answer is late; the pod was asked");
            tell.send_replace(Some(found));
        });
        asked
    }

    async fn ask_twice(self: &Arc<Self>, limit: Duration) -> Found {
        let limit = self.dialler.sign_of_life(limit);
        let idle = self.borrow_idle();
        let head_start = match idle {
            Some(_) => HEAD_START,
            None => Duration::ZERO,
        };
        let aside = async {
            sleep(head_start).await;
            self.ask_aside().await
        };
        let asked = first_answer(ask_idle(idle), aside);
        match timeout(limit, asked).await.unwrap_or(Found::Nothing) {
            // The pod answered an operation meanwhile: only new connections may be lost on the way.
            Found::Nothing if self.inquiry.has_heard() => {
                Found::Threads(Arc::new(Threads::UNKNOWN))
            }
            found => found,
        }
    }

    fn borrow_idle(self: &Arc<Self>) -> Option<Borrowed> {
        let idle = self.idle.take(|_| true)?;
        Some(Borrowed {
            idle: Some(idle),
            pool: Arc::clone(self),
        })
    }

    async fn ask_aside(self: &Arc<Self>) -> Found {
        let (reply, answer) = oneshot::channel();
        self.ask_on_side(reply);
        match answer.await {
            Ok(Ok(threads)) => Found::Threads(threads),
            Ok(Err(Failed::Refused(_))) => Found::Threads(Arc::new(Threads::UNKNOWN)),
            Ok(Err(Failed::Dead(_))) => Found::Nothing,
            Ok(Err(Failed::NotAsked(_))) | Err(_) => Found::NotAsked,
        }
    }
}

/// Asks on the idle connection. `None` if there is none or it does not answer.
async fn ask_idle(borrowed: Option<Borrowed>) -> Option<Found> {
    let mut borrowed = borrowed?;
    let asked = Instant::now();
    let conn = borrowed.idle.as_mut()?.raw.get().ok()?;
    let threads = Threads::ask(conn).await.ok()?;
    borrowed.give_back(asked);
    Some(Found::Threads(Arc::new(threads)))
}

/// The first answer of the two. If neither answers, the result of `aside`.
async fn first_answer(
    idle: impl Future<Output = Option<Found>>,
    aside: impl Future<Output = Found>,
) -> Found {
    match select(pin!(idle), pin!(aside)).await {
        Either::Left((Some(found), _)) => found,
        Either::Left((None, aside)) => aside.await,
        Either::Right((found @ Found::Threads(_), _)) => found,
        Either::Right((failed, idle)) => idle.await.unwrap_or(failed),
    }
}

/// An idle connection in use by an inquiry. Dropping it closes the connection, unless it was given
/// back.
struct Borrowed {
    idle: Option<Idle>,
    pool: Arc<Pool>,
}

impl Borrowed {
    fn give_back(mut self, asked: Instant) {
        if let Some(mut idle) = self.idle.take() {
            idle.kept.alive = asked;
            self.pool.give_back(idle);
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(idle) = self.idle.take() {
            self.pool.bury(idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn after<T>(seconds: u32, found: T) -> T {
        sleep(SECOND * seconds).await;
        found
    }

    #[tokio::test(start_paused = true)]
    async fn any_answer_is_life_and_what_our_own_machine_lacks_decides_nothing() {
        let threads = || Found::Threads(Arc::new(Threads::UNKNOWN));
        let (nothing, not_asked) = (|| Found::Nothing, || Found::NotAsked);
        for (idle, aside, found) in [
            (after(1, Some(threads())), after(2, nothing()), threads()),
            (after(2, Some(threads())), after(1, nothing()), threads()),
            (after(2, Some(threads())), after(1, not_asked()), threads()),
            (after(2, None), after(1, threads()), threads()),
            (after(1, None), after(2, threads()), threads()),
            (after(1, None), after(2, nothing()), nothing()),
            (after(2, None), after(1, nothing()), nothing()),
            (after(2, None), after(1, not_asked()), not_asked()),
        ] {
            assert_eq!(first_answer(idle, aside).await, found);
        }
    }
}
