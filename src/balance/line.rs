//! The line of calls that wait, in the order in which they came.
//!
//! Owns who is told of what. It must never run foreign code under its lock, and never lose a
//! message: one that reaches a call which goes away, or which has no use for it, goes on to the
//! next.
//!
//! Two kinds of messages:
//! * *look again*: something changed for everybody (the set, an endpoint's health, the end). All are
//!   woken, the first first.
//! * *room*: one place came free at one endpoint. The first call that could use it is woken, and
//!   nobody else; a call that could not does not stand in the way of those behind it. While that
//!   one is on its way it is not told of another place: the next one is.
//!
//! Room is not kept for the call that was told of it: a call that comes meanwhile may take it. It
//! cannot do so for ever. The call that finds the room gone lines up at the endpoint itself, where
//! newcomers are behind it, or has a place in another endpoint's line, which it kept all the time.

use super::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::task::{Context, Poll, Waker};

/// Whether a call could use room at this endpoint. Asked without a lock held.
type Fits<K> = Box<dyn Fn(&K) -> bool + Send + Sync>;

/// What a waiting call was told.
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
    /// The call is gone: news for it are for somebody else.
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

    /// A place at the end of the line, until it is dropped.
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

    /// Tells everybody to look again.
    pub(crate) fn ring(&self) {
        let calls: Vec<_> = lock(&self.calls).waiting.values().cloned().collect();
        for call in calls {
            call.tell(News::LookAgain);
        }
    }

    /// Tells the first call that could use room at `endpoint`.
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
            // Who was told to look will see the room by itself, but may take another place.
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

    /// Returns whether this is the news the call will get.
    fn tell(&self, news: News<K>) -> bool {
        let mut letterbox = lock(&self.letterbox);
        if letterbox.gone {
            return false;
        }
        match (&letterbox.news, &news) {
            // One place each: this one is for somebody else.
            (Some(_), News::Room(_)) => return false,
            // It is woken already, looks at everything, and passes on the place it does not take.
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
    /// What the call was told since it last asked; else it is woken when it is told. To be asked
    /// before looking at what the news are about.
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

    /// Leaves room that this call was told of to those behind it.
    pub(crate) fn pass_on(&self, endpoint: &K) {
        self.line
            .room_behind(Bound::Excluded(self.ticket), endpoint);
    }
}

impl<K: Clone> Drop for Seat<K> {
    fn drop(&mut self) {
        lock(&self.line.calls).waiting.remove(&self.ticket);
        // Told, and gone before it asked.
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
