//! Logins that the server has accepted but not yet answered.
//!
//! A login can hang after the server has accepted the account, for example if `init_connect`
//! commits and no replica acknowledges the commit. The server does not notice that the client
//! closes such a connection, so each further attempt would leave one more session on the server.
//! Therefore a login continues in a task after its caller gives up, and the number of these tasks
//! is limited. Once the server answers a later login, the earlier one is closed: its answer was
//! most likely lost on the way. A server may also hang in some logins and answer others, so the
//! number of logins that are closed in this way is limited, too.
//!
//! Owns these logins; they end when it is dropped. It must never begin a login.

use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The most logins at a time. Normally at most four are under way: two of the pool, one of its side
/// connection and one of its monitor. The limit is twice that number, so that logins cut off by a
/// network failure do not block new ones.
const MOST_LOGINS: usize = 8;

/// The most logins that are closed within [`CLOSING_PERIOD`] because a later one was answered. The
/// server may keep a session for each of them.
const MOST_CLOSED: usize = MOST_LOGINS;

/// See [`MOST_CLOSED`].
const CLOSING_PERIOD: Duration = Duration::from_secs(60);

/// Limits the unanswered logins of one pod; see the module documentation.
#[derive(Debug)]
pub(crate) struct LoginLimiter {
    places: Arc<Semaphore>,
    /// A permit is taken when a login is closed early, and comes back after [`CLOSING_PERIOD`].
    closings: Arc<Semaphore>,
    logins: Mutex<JoinSet<()>>,
    begun: AtomicU64,
    /// The number of the latest login that was answered.
    answered: watch::Sender<u64>,
}

/// A place for one login.
#[derive(Debug)]
pub(crate) struct LoginPermit {
    /// Counts the logins in the order in which they began.
    number: u64,
    permit: Option<OwnedSemaphorePermit>,
}

/// The longest time that a login keeps its place. A connection whose flow was lost never ends by
/// itself.
const LONGEST: Duration = Duration::from_secs(15 * 60);

impl Default for LoginLimiter {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MOST_LOGINS)),
            closings: Arc::new(Semaphore::new(MOST_CLOSED)),
            logins: Mutex::default(),
            begun: AtomicU64::new(0),
            answered: watch::Sender::new(0),
        }
    }
}

impl LoginLimiter {
    /// Waits for a place. Call it before the server is dialled.
    pub(crate) async fn place(&self) -> LoginPermit {
        let permit = Arc::clone(&self.places).acquire_owned().await;
        LoginPermit {
            number: self.begun.fetch_add(1, Ordering::Relaxed) + 1,
            // The semaphore is never closed.
            permit: permit.ok(),
        }
    }

    /// Returns the server's first answer. The wait for the answer goes on even if the caller drops
    /// this future. `None` if the wait ended without an answer.
    pub(crate) async fn see_through<T, E>(
        &self,
        place: LoginPermit,
        answer: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Option<Result<T, E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (mut tell, told) = oneshot::channel();
        let answered = self.answered.clone();
        let mut later = answered.subscribe();
        let closings = Arc::clone(&self.closings);
        self.go_on(async move {
            let LoginPermit { number, permit } = place;
            let given_up = async {
                tell.closed().await;
                // Neither the sender nor the semaphore is closed while this task runs.
                let _ = later.wait_for(|latest| *latest > number).await;
                closings.acquire_owned().await
            };
            let answer = tokio::select! {
                biased;
                answer = timeout(LONGEST, answer) => answer,
                closing = given_up => {
                    // The connection is closed here.
                    drop(permit);
                    sleep(CLOSING_PERIOD).await;
                    drop(closing);
                    return;
                }
            };
            if let Ok(Ok(_)) = answer {
                answered.send_if_modified(|latest| {
                    let is_later = number > *latest;
                    *latest = number.max(*latest);
                    is_later
                });
            }
            // An error means that the caller has left. The connection is then closed here.
            let _ = answer.map(|answer| tell.send(answer));
        });
        told.await.ok()
    }

    fn go_on(&self, login: impl Future<Output = ()> + Send + 'static) {
        let mut logins = self.logins.lock();
        while logins.try_join_next().is_some() {}
        logins.spawn(login);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    async fn slow() -> Result<(), ()> {
        sleep(SECOND * 60).await;
        Ok(())
    }

    async fn pending() -> Result<(), ()> {
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn logins_that_were_given_up_keep_their_places_until_the_server_answers() {
        let limiter = LoginLimiter::default();
        let begun = Instant::now();
        let hang = || async {
            let place = limiter.place().await;
            limiter.see_through(place, slow()).await
        };
        for _ in 0..2 * MOST_LOGINS {
            assert!(timeout(SECOND, hang()).await.is_err());
        }
        assert_eq!(limiter.places.available_permits(), 0);
        let place = limiter.place().await;
        assert!(begun.elapsed() >= SECOND * 60);
        let answer = std::future::ready(Ok::<_, ()>(7));
        assert_eq!(limiter.see_through(place, answer).await, Some(Ok(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_keeps_a_place_for_some_time_only() {
        let limiter = LoginLimiter::default();
        for _ in 0..MOST_LOGINS {
            let place = limiter.place().await;
            let hang = limiter.see_through(place, pending());
            assert!(timeout(SECOND, hang).await.is_err());
        }
        let begun = Instant::now();
        let _place = limiter.place().await;
        assert!(begun.elapsed() <= LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn logins_that_were_given_up_leave_their_places_once_a_later_one_is_answered() {
        let limiter = LoginLimiter::default();
        let slow = limiter.see_through(limiter.place().await, slow());
        for _ in 0..2 {
            let hang = limiter.see_through(limiter.place().await, pending());
            assert!(timeout(SECOND, hang).await.is_err());
        }
        let still_there = async {
            let refused = std::future::ready(Err::<(), ()>(()));
            let refused = limiter.see_through(limiter.place().await, refused);
            assert_eq!(refused.await, Some(Err(())));
            sleep(SECOND).await;
            assert_eq!(limiter.places.available_permits(), MOST_LOGINS - 3);
            let answered = std::future::ready(Ok::<_, ()>(7));
            let answered = limiter.see_through(limiter.place().await, answered);
            assert_eq!(answered.await, Some(Ok(7)));
            sleep(SECOND).await;
            assert_eq!(limiter.places.available_permits(), MOST_LOGINS - 1);
        };
        let (slow, ()) = tokio::join!(slow, still_there);
        assert_eq!(slow, Some(Ok(())), "its caller is waiting");
    }

    #[tokio::test(start_paused = true)]
    async fn where_some_logins_hang_and_others_are_answered_few_are_closed_per_period() {
        let limiter = LoginLimiter::default();
        let open = Arc::new(());
        let begun = Instant::now();
        let mut most = 0;
        // Counts the logins that were closed without an answer: the server may keep their sessions.
        let mut hung = 0;
        while begun.elapsed() < CLOSING_PERIOD * 3 {
            if let Ok(place) = timeout(SECOND, limiter.place()).await {
                let held = Arc::clone(&open);
                let hang = limiter.see_through(place, async move {
                    let _held = held;
                    pending().await
                });
                assert!(timeout(SECOND, hang).await.is_err());
                hung += 1;
            }
            if let Ok(place) = timeout(SECOND, limiter.place()).await {
                let answered = std::future::ready(Ok::<_, ()>(7));
                assert_eq!(limiter.see_through(place, answered).await, Some(Ok(7)));
            }
            most = most.max(Arc::strong_count(&open) - 1);
        }
        assert!(most <= MOST_LOGINS, "{most} are open");
        assert!(
            (MOST_CLOSED..=MOST_LOGINS + 3 * MOST_CLOSED).contains(&hung),
            "{hung} began"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn logins_end_with_their_owner() {
        let limiter = LoginLimiter::default();
        let (held, gone) = oneshot::channel::<()>();
        let hang = async move {
            let _held = held;
            pending().await
        };
        let place = limiter.place().await;
        let given_up = timeout(SECOND, limiter.see_through(place, hang)).await;
        assert!(given_up.is_err());
        drop(limiter);
        assert!(gone.await.is_err());
    }
}
