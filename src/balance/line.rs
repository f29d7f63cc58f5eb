//! The line of waiting calls, in the order of their arrival.
//!
//! Owns the delivery of news to waiting calls. It must never run foreign code under its lock, and
//! must never lose a message: if a call goes away or has no use for a message, the next call gets
//! it.
//!
//! Two kinds of messages:
//! * *look again*: something changed for all calls (the set, an endpoint's health, the balancer
//!   closed). All calls are woken in order.
//! * *room*: one place became free at one endpoint. Only the first call that could use it is woken;
//!   calls that cannot use it do not block the calls behind them. Until that call has read its
//!   message, further places go to the calls behind it.
//!
//! Room is not reserved for the notified call: a new call may take it first. This cannot repeat
//! without end. If the notified call finds the room gone, it joins the endpoint's own queue, where
//! new calls are behind it; or it keeps the place in another endpoint's queue that it had all
//! along.

use super::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::task::{Context, Poll, Waker};

/// Whether a call could use room at this endpoint. Called without a lock held.
type Fits<K> = Box<dyn Fn(&K) -> bool + Send + Sync>;

/// A message to a waiting call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News<K> {
    LookAgain,
    Room(K),
}

/// See the module documentation. `K` names an endpoint.
pub(crate) struct Line<K> {
    calls: Mutex<Calls<K>>,
}

struct Calls<K> {
    next: u64,
    waiting: BTreeMap<u64, Arc<Call<K>>>,
}

struct Call<K> {
    fits: Fits<K>,
    letterbox: Mutex<Letterbox<K>>,
}

struct Letterbox<K> {
    news: Option<News<K>>,
    waker: Option<Waker>,
    /// The call has ended: its news must go to another call.
    gone: bool,
}

impl<K: Clone> Line<K> {
    pub(crate) fn new() -> Self {
        Self {
            calls: Mutex::new(Calls {
                next: 0,
                waiting: BTreeMap::new(),
            }),
        }
    }

    /// Joins the line at its end, until the seat is dropped.
    pub(crate) fn join(self: &Arc<Self>, fits: Fits<K>) -> Seat<K> {
        let call = Arc::new(Call {
            fits,
            letterbox: Mutex::new(Letterbox {
                news: None,
                waker: None,
                gone: false,
            }),
        });
        let mut calls = lock(&self.calls);
        let ticket = calls.next;
        calls.next += 1;
        calls.waiting.insert(ticket, Arc::clone(&call));
        drop(calls);
        Seat {
            line: Arc::clone(self),
            ticket,
            call,
        }
    }

    /// Tells all calls to look again.
    pub(crate) fn ring(&self) {
        let calls: Vec<_> = lock(&self.calls).waiting.values().cloned().collect();
        for call in calls {
            call.tell(News::LookAgain);
        }
    }

    /// Notifies the first call that could use room at `endpoint`.
    pub(crate) fn room(&self, endpoint: &K) {
        self.room_behind(Bound::Unbounded, endpoint);
    }

    fn room_behind(&self, mut last: Bound<u64>, endpoint: &K) {
        loop {
            let next = {
                let calls = lock(&self.calls);
                let mut behind = calls.waiting.range((last, Bound::Unbounded));
                behind
                    .next()
                    .map(|(ticket, call)| (*ticket, Arc::clone(call)))
            };
            let Some((ticket, call)) = next else { return };
            // A call with unread news will see the room when it looks, but it may take another
            // place.
            if !call.was_told() && (call.fits)(endpoint) && call.tell(News::Room(endpoint.clone()))
            {
                return;
            }
            last = Bound::Excluded(ticket);
        }
    }
}

impl<K> Call<K> {
    fn was_told(&self) -> bool {
        lock(&self.letterbox).news.is_some()
    }

    /// Returns whether the call has received this message.
    fn tell(&self, news: News<K>) -> bool {
        let mut letterbox = lock(&self.letterbox);
        if letterbox.gone {
            return false;
        }
        match (&letterbox.news, &news) {
            // A call gets one place at a time; this place is for another call.
            (Some(_), News::Room(_)) => return false,
            // The call is woken already: it looks at all endpoints, and passes on a place it does
            // not take.
            (Some(_), News::LookAgain) => return true,
            (None, _) => letterbox.news = Some(news),
        }
        let waker = letterbox.waker.take();
        drop(letterbox);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

/// A call's place in the line; dropping it leaves the line.
pub(crate) struct Seat<K: Clone> {
    line: Arc<Line<K>>,
    ticket: u64,
    call: Arc<Call<K>>,
}

impl<K: Clone> Seat<K> {
    /// The news since the last poll. If there are none, the task is woken when news arrive. Poll
    /// before looking at the endpoints, or a change in between could be missed.
    pub(crate) fn poll_news(&self, cx: &mut Context<'_>) -> Poll<News<K>> {
        let mut letterbox = lock(&self.call.letterbox);
        if let Some(news) = letterbox.news.take() {
            return Poll::Ready(news);
        }
        match &mut letterbox.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Passes room that this call was notified of to the calls behind it.
    pub(crate) fn pass_on(&self, endpoint: &K) {
        self.line
            .room_behind(Bound::Excluded(self.ticket), endpoint);
    }
}

impl<K: Clone> Drop for Seat<K> {
    fn drop(&mut self) {
        lock(&self.line.calls).waiting.remove(&self.ticket);
        // The call got news but ended before it read them.
        let news = {
            let mut letterbox = lock(&self.call.letterbox);
            letterbox.gone = true;
            letterbox.news.take()
        };
        if let Some(News::Room(endpoint)) = news {
            self.pass_on(&endpoint);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
