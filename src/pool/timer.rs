//! The timer for the operations of one connection.
//!
//! [`Timer::until`] runs an operation until a deadline. The module owns one timer of the runtime,
//! which stays registered from one operation to the next. It must never let an operation run past
//! its own deadline.
//!
//! A new timer per operation would be registered and removed each time, under a lock that all
//! threads of the runtime share, although hardly any timer ever fires. This timer is reset only
//! when the next deadline is earlier, or when it fires too early. On a busy connection that is
//! about once per timeout.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::runtime::{self, Handle};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Timer(Option<Armed>);

struct Armed {
    /// The runtime of `sleep`. A timer must not be polled after its runtime has ended.
    runtime: runtime::Id,
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    /// Runs `operation` until `deadline`. `None` if the deadline passes first.
    pub(crate) async fn until<T>(
        &mut self,
        deadline: Instant,
        operation: impl Future<Output = T>,
    ) -> Option<T> {
        let mut operation = pin!(operation);
        let mut ours = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = operation.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            if !ours {
                self.begin(deadline);
                ours = true;
            }
            self.poll_over(deadline, cx).map(|()| None)
        })
        .await
    }

    /// Ensures that a timer exists, belongs to the caller's runtime, and fires by `deadline`.
    fn begin(&mut self, deadline: Instant) {
        let runtime = Handle::current().id();
        match &mut self.0 {
            Some(armed) if armed.runtime == runtime => {
                if armed.sleep.deadline() > deadline {
                    armed.sleep.as_mut().reset(deadline);
                }
            }
            none => {
                let sleep = Box::pin(sleep_until(deadline));
                *none = Some(Armed { runtime, sleep });
            }
        }
    }

    fn poll_over(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Armed { sleep, .. }) = &mut self.0 else {
            return Poll::Ready(());
        };
        loop {
            // Unconstrained: the deadline must also end an operation whose task has used up its
            // budget.
            let fired = pin!(unconstrained(sleep.as_mut())).poll(cx);
            if fired.is_pending() {
                return Poll::Pending;
            }
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    async fn ends_after(timer: &mut Timer, timeout: Duration) -> Duration {
        let begun = Instant::now();
        let over = timer.until(begun + timeout, std::future::pending::<()>());
        assert_eq!(over.await, None);
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn each_operation_ends_at_its_own_deadline() {
        let mut timer = Timer::default();
        let millisecond = Duration::from_millis(1);
        for seconds in [3, 1, 1, 5, 2, 0, 4] {
            let took = ends_after(&mut timer, SECOND * seconds).await;
            let late = took.checked_sub(SECOND * seconds);
            assert!(late.is_some_and(|late| late <= millisecond), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_left_from_a_shorter_operation_does_not_end_a_longer_one() {
        let mut timer = Timer::default();
        let quick = async {
            tokio::task::yield_now().await;
            1
        };
        assert_eq!(timer.until(Instant::now() + SECOND, quick).await, Some(1));
        let slow = async {
            tokio::time::sleep(SECOND * 3).await;
            2
        };
        let deadline = Instant::now() + SECOND * 4;
        assert_eq!(timer.until(deadline, slow).await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_fired_between_two_operations_is_used_again() {
        let mut timer = Timer::default();
        let quick = tokio::task::yield_now();
        assert!(timer.until(Instant::now() + SECOND, quick).await.is_some());
        tokio::time::sleep(SECOND * 2).await;
        assert!(ends_after(&mut timer, SECOND * 3).await >= SECOND * 3);
    }

    #[test]
    fn a_timer_of_a_runtime_that_ended_is_replaced() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().build().unwrap()
        };
        let mut timer = Timer::default();
        let timeout = Duration::from_millis(5);
        runtime().block_on(ends_after(&mut timer, timeout));
        let took = runtime().block_on(ends_after(&mut timer, timeout));
        assert!(took >= timeout);
    }
}
