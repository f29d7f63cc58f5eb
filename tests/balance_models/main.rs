//! The concurrency of the balancer, explored by shuttle.
//!
//! The files under `src/balance` are compiled here once more, with shuttle's locks and atomics in
//! place of std's: what is checked is the code that runs. Each model is small, and is run under
//! many schedules. One that never ends is reported by shuttle as a deadlock, so a lost wake-up
//! fails the test.
//!
//! ```text
//! cargo test --test balance_models
//! ```
#![allow(dead_code, unreachable_pub, unused_imports, missing_docs)]

mod balance;

use balance::guard::{Guard, InLine, Wishes};
use balance::health::HealthConfig;
use balance::line::{News, Seat};
use balance::sync::{Arc, AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError};
use balance::vitals::{Announcer, Vitals};
use shuttle::future::block_on;
use shuttle::thread;
use std::task::Poll;
use std::time::Duration;

const SCHEDULES: usize = 3_000;

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let model = std::sync::Arc::new(model);
    let again = std::sync::Arc::clone(&model);
    shuttle::check_random(move || model(), SCHEDULES);
    shuttle::check_pct(move || again(), SCHEDULES, 3);
}

fn endpoint(bell: &Arc<Announcer>, name: &str) -> Arc<Vitals> {
    // A probe is due at once.
    let config = HealthConfig::default().with_base(Duration::ZERO);
    Arc::new(Vitals::new(name.to_owned(), config, None, Arc::clone(bell)))
}

/// What endpoints hand out: so many places. Read and written in two steps of its own, as the
/// balancer knows nothing of how an endpoint counts.
#[derive(Clone)]
struct Room(Arc<Mutex<usize>>);

impl Room {
    fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(places)))
    }

    fn places(&self) -> MutexGuard<'_, usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_there(&self) -> bool {
        *self.places() > 0
    }

    fn take(&self) -> bool {
        let mut places = self.places();
        let taken = *places > 0;
        *places -= usize::from(taken);
        taken
    }

    fn give(&self) {
        *self.places() += 1;
    }
}

/// A call as in `wait.rs`: joins, then in each round asks for news, wishes and looks.
struct Waiter {
    vitals: Arc<Vitals>,
    room: Room,
    seat: Seat<Arc<Vitals>>,
}

impl Waiter {
    fn join(vitals: &Arc<Vitals>, room: &Room) -> Self {
        let fits = {
            let room = room.clone();
            move |_: &Arc<Vitals>| room.is_there()
        };
        Self {
            vitals: Arc::clone(vitals),
            room: room.clone(),
            seat: vitals.bell.line.join(Box::new(fits)),
        }
    }

    fn poll(&self, wishes: &mut Option<Wishes>, cx: &mut std::task::Context<'_>) -> Poll<Guard> {
        let mut look = wishes.is_none();
        loop {
            let news = self.seat.poll_news(cx);
            if !std::mem::take(&mut look) && news.is_pending() {
                return Poll::Pending;
            }
            *wishes = Some(Wishes::new(vec![Arc::clone(&self.vitals)]));
            if self.room.take() {
                return Poll::Ready(Guard::new(&self.vitals));
            }
            if let Poll::Ready(News::Room(vitals)) = news {
                self.seat.pass_on(&vitals);
            }
        }
    }

    async fn served(self) -> (Room, Guard) {
        let mut wishes = None;
        let guard = std::future::poll_fn(|cx| self.poll(&mut wishes, cx)).await;
        (self.room.clone(), guard)
    }
}

/// The order that `Guard` asks for: first what was checked out, then the guard.
fn give_back(room: &Room, guard: Guard) {
    room.give();
    drop(guard);
}

#[test]
fn counter_and_line_room_that_is_given_back_reaches_every_call_that_waits() {
    explore(|| {
        let bell = Arc::new(Announcer::new());
        let (vitals, room) = (endpoint(&bell, "a"), Room::new(0));
        let held = Guard::new(&vitals);
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let (vitals, room) = (Arc::clone(&vitals), room.clone());
                thread::spawn(move || {
                    let (room, guard) = block_on(Waiter::join(&vitals, &room).served());
                    give_back(&room, guard);
                })
            })
            .collect();
        give_back(&room, held);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(vitals.counts.in_flight(), 0);
        assert!(!vitals.counts.is_wanted());
    });
}

#[test]
fn a_call_that_goes_away_while_it_is_told_of_room_leaves_it_to_the_next() {
    explore(|| {
        let bell = Arc::new(Announcer::new());
        let (vitals, room) = (endpoint(&bell, "a"), Room::new(0));
        let held = Guard::new(&vitals);
        let first = Waiter::join(&vitals, &room);
        let second = Waiter::join(&vitals, &room);
        let leaves = thread::spawn(move || {
            // One poll, then the future is dropped.
            block_on(async move {
                let mut wishes = None;
                let polled = std::future::poll_fn(|cx| Poll::Ready(first.poll(&mut wishes, cx)));
                let polled = polled.await;
                if let Poll::Ready(guard) = polled {
                    give_back(&first.room, guard);
                }
                drop(wishes);
                drop(first);
            });
        });
        let stays = thread::spawn(move || {
            let (room, guard) = block_on(second.served());
            give_back(&room, guard);
        });
        give_back(&room, held);
        leaves.join().unwrap();
        stays.join().unwrap();
        assert_eq!(vitals.counts.in_flight(), 0);
    });
}

#[test]
fn room_that_an_endpoints_own_line_does_not_need_reaches_a_call_outside_it() {
    explore(|| {
        let bell = Arc::new(Announcer::new());
        let (vitals, room) = (endpoint(&bell, "a"), Room::new(0));
        let held = Guard::new(&vitals);
        let other = Guard::new(&vitals);
        // In the endpoint's own line, which takes one of the two places.
        let lined = (InLine::new(&vitals), Guard::new(&vitals));
        let outside = Waiter::join(&vitals, &room);
        let outside = thread::spawn(move || {
            let (room, guard) = block_on(outside.served());
            give_back(&room, guard);
        });
        let served = {
            let room = room.clone();
            thread::spawn(move || {
                let (line, guard) = lined;
                while !room.take() {
                    thread::yield_now();
                }
                drop(line);
                guard
            })
        };
        give_back(&room, held);
        give_back(&room, other);
        outside.join().unwrap();
        drop(served.join().unwrap());
        assert_eq!(vitals.counts.in_flight(), 0);
    });
}

#[test]
fn a_call_that_gives_up_in_an_endpoints_own_line_leaves_the_room_to_a_call_outside_it() {
    explore(|| {
        let bell = Arc::new(Announcer::new());
        let (vitals, room) = (endpoint(&bell, "a"), Room::new(0));
        let held = Guard::new(&vitals);
        let lined = (InLine::new(&vitals), Guard::new(&vitals));
        let outside = Waiter::join(&vitals, &room);
        let outside = thread::spawn(move || {
            let (room, guard) = block_on(outside.served());
            give_back(&room, guard);
        });
        // As `Held` is dropped: the line is left first.
        let cancelled = thread::spawn(move || {
            let (line, guard) = lined;
            drop(line);
            drop(guard);
        });
        give_back(&room, held);
        outside.join().unwrap();
        cancelled.join().unwrap();
        assert_eq!(vitals.counts.in_flight(), 0);
        assert!(!vitals.counts.is_wanted());
    });
}

#[test]
fn snapshot_a_set_published_while_a_call_looks_is_seen() {
    explore(|| {
        let bell = Arc::new(Announcer::new());
        let set: Arc<Mutex<Vec<Arc<Vitals>>>> = Arc::default();
        let waiter = {
            let (bell, set) = (Arc::clone(&bell), Arc::clone(&set));
            thread::spawn(move || {
                let seat = bell.line.join(Box::new(|_| false));
                let mut first = true;
                block_on(std::future::poll_fn(|cx| {
                    loop {
                        // Registered before the set is read.
                        let news = seat.poll_news(cx);
                        if !std::mem::take(&mut first) && news.is_pending() {
                            return Poll::Pending;
                        }
                        let set = set.lock().unwrap().clone();
                        if let Some(vitals) = set.first() {
                            return Poll::Ready(Guard::new(vitals));
                        }
                    }
                }))
            })
        };
        let found = endpoint(&bell, "a");
        *set.lock().unwrap() = vec![Arc::clone(&found)];
        bell.line.ring();
        let guard = waiter.join().unwrap();
        assert!(Arc::ptr_eq(guard.vitals(), &found));
    });
}

#[test]
fn probe_token_one_at_a_time_and_back_when_it_is_dropped() {
    explore(|| {
        let bell = Arc::new(Announcer::new());
        let vitals = endpoint(&bell, "a");
        vitals.condemn(vitals.term(), "dead".to_owned());
        let probing = Arc::new(AtomicUsize::new(0));
        let probers: Vec<_> = (0..3)
            .map(|n| {
                let (vitals, probing) = (Arc::clone(&vitals), Arc::clone(&probing));
                thread::spawn(move || {
                    let Ok(token) = vitals.begin_probe() else {
                        return;
                    };
                    assert_eq!(probing.fetch_add(1, Ordering::SeqCst), 0, "two probes");
                    thread::yield_now();
                    probing.fetch_sub(1, Ordering::SeqCst);
                    match n {
                        0 => drop(token),
                        1 => token.failed("still dead".to_owned()),
                        _ => token.overloaded("no room".to_owned()),
                    }
                })
            })
            .collect();
        for prober in probers {
            prober.join().unwrap();
        }
        let Ok(token) = vitals.begin_probe() else {
            panic!("the token is lost");
        };
        token.succeeded();
        assert!(!vitals.is_out());
    });
}

#[test]
fn a_call_that_comes_while_a_prober_ends_starts_the_next_one() {
    explore(|| {
        let bell = Arc::new(Announcer::new());
        let vitals = endpoint(&bell, "a");
        vitals.condemn(vitals.term(), "dead".to_owned());
        let claim = vitals.claim_prober().expect("nobody else probes");
        let caller = {
            let vitals = Arc::clone(&vitals);
            thread::spawn(move || {
                let seat = vitals.bell.line.join(Box::new(|_| false));
                let _wishes = Wishes::new(vec![Arc::clone(&vitals)]);
                let mut first = true;
                block_on(std::future::poll_fn(|cx| {
                    loop {
                        let news = seat.poll_news(cx);
                        if !std::mem::take(&mut first) && news.is_pending() {
                            return Poll::Pending;
                        }
                        if let Some(claim) = vitals.claim_prober() {
                            drop(claim);
                            return Poll::Ready(());
                        }
                    }
                }));
            })
        };
        // As the prober does after a probe that failed: it ends unless somebody waits.
        if !vitals.counts.is_wanted() {
            thread::yield_now();
        }
        drop(claim);
        caller.join().unwrap();
    });
}

#[test]
fn suspicions_and_failures_of_one_event_eject_once() {
    explore(|| {
        let bell = Arc::new(Announcer::new());
        let vitals = endpoint(&bell, "a");
        let guards: Vec<_> = (0..3).map(|_| Guard::new(&vitals)).collect();
        let before = vitals.term();
        let reporters: Vec<_> = guards
            .into_iter()
            .enumerate()
            .map(|(n, guard)| {
                thread::spawn(move || match n {
                    0 => guard.suspect().confirmed("silent"),
                    1 => guard.condemn("dead"),
                    _ => {
                        let suspicion = guard.suspect();
                        drop(guard);
                        suspicion.confirmed("silent");
                    }
                })
            })
            .collect();
        for reporter in reporters {
            reporter.join().unwrap();
        }
        assert_eq!(vitals.term(), before + 1);
        assert_eq!(vitals.counts.in_flight(), 0);
    });
}

#[test]
fn no_more_calls_wait_than_may() {
    explore(|| {
        let bell = Arc::new(Announcer::new());
        let held = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let (bell, held) = (Arc::clone(&bell), Arc::clone(&held));
                thread::spawn(move || {
                    let Ok(place) = bell.take_place(2) else {
                        return;
                    };
                    assert!(held.fetch_add(1, Ordering::SeqCst) < 2);
                    thread::yield_now();
                    held.fetch_sub(1, Ordering::SeqCst);
                    drop(place);
                })
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
        assert_eq!(bell.waiting(), 0);
    });
}
