//! Decides what happens to an operation whose answer is late.
//!
//! The operation first waits for a third of its time, but at least 200 ms and at most a second.
//! Then it asks its pod (`inquiry`). A pod that does not answer is dead. If the pod answers, but
//! the thread of the operation runs nothing, the connection's flow is lost. A running statement
//! continues. Owns the decision ([`Patience::judge`], which is pure) and the wait. It must never
//! let an operation run past its deadline, and never give up an operation that still receives data.

use crate::conn::deadline::Deadline;
use crate::pool::inquiry::Found;
use crate::pool::state::Pool;
use crate::pool::threads::Activity;
use futures_util::task::AtomicWaker;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// The shortest and the longest wait of an operation before its pod is asked.
pub(crate) const BOUNDS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// The longest pause between two questions about one statement.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long an operation waits before its pod is asked. `time` is the operation's whole time, or
/// `None` without a deadline.
pub(crate) fn patience(time: Option<Duration>) -> Duration {
    let [least, most] = BOUNDS;
    time.map_or(most, |time| (time / 3).clamp(least, most))
}

/// Why an operation is given up before its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The pod does not answer.
    Pod,
    /// The pod answers, but runs nothing for this connection.
    Flow,
}

/// How the wait for an operation ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended<T> {
    Done(T),
    TimedOut,
    Silent(Silence),
}

/// The decision after one inquiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    GiveUp(Silence),
    AskAgainIn(Duration),
}

/// The state of one operation whose answer is late.
#[derive(Debug)]
struct Patience {
    /// The pause after an inquiry that found the statement running. It doubles.
    pause: Duration,
    /// The pause after an inquiry that found the thread idle: the answer may be on the way.
    recheck: Duration,
    was_idle: bool,
}

impl Patience {
    fn new(patience: Duration) -> Self {
        Self {
            pause: patience,
            recheck: patience / 4,
            was_idle: false,
        }
    }

    /// `found` is the activity of the operation's thread, `None` if the pod could not be asked, or
    /// an error if it did not answer. `received`: data for the operation has arrived since the last
    /// inquiry began.
    fn judge(&mut self, found: Result<Option<Activity>, Silence>, received: bool) -> Verdict {
        match found {
            Err(silence) if !received => return Verdict::GiveUp(silence),
            Ok(Some(Activity::Idle | Activity::Gone)) if !received => {
                if std::mem::replace(&mut self.was_idle, true) {
                    return Verdict::GiveUp(Silence::Flow);
                }
                return Verdict::AskAgainIn(self.recheck);
            }
            _ => {}
        }
        self.was_idle = false;
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Verdict::AskAgainIn(pause)
    }
}

/// Waits for an operation of the connection `id` after its first wait is over. `may_move`: the
/// operation may be given up if its flow is lost.
pub(crate) async fn wait_longer<T, F: Future<Output = T>>(
    pool: Arc<Pool>,
    id: u32,
    deadline: Deadline,
    may_move: bool,
    operation: Pin<&mut F>,
) -> Ended<T> {
    let limit = patience(deadline.time());
    let mut patience = Patience::new(limit);
    let receipt = Arc::new(Receipt::default());
    let mut operation = Noting {
        operation,
        receipt: Arc::clone(&receipt),
    };
    let asking = async {
        loop {
            receipt.take();
            let found = match pool.inquire(limit).await {
                Found::Threads(threads) => Ok(Some(threads.activity(id))),
                Found::Nothing => Err(Silence::Pod),
                Found::NotAsked => Ok(None),
            };
            match patience.judge(found, receipt.take()) {
                Verdict::GiveUp(Silence::Flow) if !may_move => std::future::pending().await,
                Verdict::GiveUp(silence) => return silence,
                Verdict::AskAgainIn(pause) => sleep(pause).await,
            }
        }
    };
    tokio::select! {
        biased;
        done = &mut operation => Ended::Done(done),
        silence = asking => Ended::Silent(silence),
        () = over(deadline.at) => Ended::TimedOut,
    }
}

async fn over(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Notes whether data has arrived for an operation: its socket has woken it.
#[derive(Default)]
struct Receipt {
    received: AtomicBool,
    task: AtomicWaker,
}

impl Receipt {
    fn take(&self) -> bool {
        self.received.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Receipt {
    fn wake(self: Arc<Self>) {
        self.received.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// An operation that notes when it is woken.
struct Noting<'a, F> {
    operation: Pin<&'a mut F>,
    receipt: Arc<Receipt>,
}

impl<F: Future> Future for Noting<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.receipt.task.register(cx.waker());
        let waker = Waker::from(Arc::clone(&self.receipt));
        self.operation
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_pod_is_asked_after_a_third_of_the_time_within_bounds() {
        for (time, after) in [
            (Some(300), 200),
            (Some(600), 200),
            (Some(900), 300),
            (Some(30_000), 1_000),
            (None, 1_000),
        ] {
            let time = time.map(|time| MS * time);
            assert_eq!(patience(time), MS * after, "{time:?}");
        }
    }

    #[test]
    fn what_follows_from_an_answer() {
        use Activity::{Gone, Idle, Running, Unknown};
        let silent = || Err(Silence::Pod);
        let lost = Verdict::GiveUp(Silence::Flow);
        let dead = Verdict::GiveUp(Silence::Pod);
        let again = |ms| Verdict::AskAgainIn(MS * ms);
        type Case<'a> = (
            &'a str,
            &'a [(Result<Option<Activity>, Silence>, bool, Verdict)],
        );
        let cases: [Case<'_>; 8] = [
            ("no answer", &[(silent(), false, dead)]),
            (
                "rows come",
                &[(silent(), true, again(400)), (silent(), false, dead)],
            ),
            (
                "a slow statement is asked about ever less often",
                &[
                    (Ok(Some(Running)), false, again(400)),
                    (Ok(Some(Running)), false, again(800)),
                    (Ok(Some(Running)), false, again(1600)),
                ],
            ),
            (
                "the flow is lost",
                &[
                    (Ok(Some(Idle)), false, again(100)),
                    (Ok(Some(Idle)), false, lost),
                ],
            ),
            (
                "the session is gone",
                &[
                    (Ok(Some(Gone)), false, again(100)),
                    (Ok(Some(Gone)), false, lost),
                ],
            ),
            (
                "the answer was on its way",
                &[
                    (Ok(Some(Idle)), false, again(100)),
                    (Ok(Some(Idle)), true, again(400)),
                    (Ok(Some(Idle)), false, again(100)),
                ],
            ),
            (
                "the statement began late",
                &[
                    (Ok(Some(Idle)), false, again(100)),
                    (Ok(Some(Running)), false, again(400)),
                    (Ok(Some(Idle)), false, again(100)),
                ],
            ),
            (
                "nothing can be told",
                &[
                    (Ok(None), false, again(400)),
                    (Ok(Some(Unknown)), false, again(800)),
                ],
            ),
        ];
        for (name, answers) in cases {
            let mut patience = Patience::new(MS * 400);
            for (found, received, verdict) in answers {
                assert_eq!(patience.judge(*found, *received), *verdict, "{name}");
            }
        }
    }
}
