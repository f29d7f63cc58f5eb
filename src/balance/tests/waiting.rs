//! Waiting calls: the order of wake-ups, moves between endpoints, and cancellation.

use super::*;
use futures_util::task::{ArcWake, waker};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An endpoint with a limited number of places, whose callers wait in its own fair queue.
#[derive(Clone)]
pub(super) struct Pool {
    name: &'static str,
    places: Arc<Semaphore>,
    roles: Roles,
}

/// Roles that override the default role of endpoints.
type Roles = Arc<Mutex<HashMap<&'static str, Eligibility>>>;

impl Service<Read> for Pool {
    type Response = OwnedSemaphorePermit;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, Refusal>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Read) -> Self::Future {
        let places = Arc::clone(&self.places);
        let refusal = Refusal { mood: Mood::Fails };
        Box::pin(async move { places.acquire_owned().await.map_err(|_| refusal) })
    }
}

/// A request for the named pools, or for any pool.
#[derive(Debug, Clone, Default)]
pub(super) struct Read(Option<&'static str>);

impl Read {
    pub(super) fn named(names: &'static str) -> Self {
        Self(Some(names))
    }
}

impl Eligible<Pool> for Read {
    fn eligible(&self, pool: &Pool) -> Eligibility {
        let role = pool.roles.lock().unwrap().get(pool.name).copied();
        let role = role.unwrap_or(YES);
        match role {
            _ if self.0.is_some_and(|names| !names.contains(pool.name)) => Eligibility::No,
            Eligibility::Yes { tier, .. } => Eligibility::Yes {
                tier,
                room: pool.places.available_permits() > 0,
            },
            Eligibility::No => Eligibility::No,
        }
    }
}

pub(super) type Held = (OwnedSemaphorePermit, Guard);

/// Permit first: a tuple drops its fields in order.
fn held(served: Balanced<OwnedSemaphorePermit>) -> Held {
    let (guard, permit) = served.into_parts();
    (permit, guard)
}

pub(super) struct Pools {
    pub(super) balance: Balance<Pool>,
    roles: Roles,
    changes: mpsc::UnboundedSender<Result<Change<&'static str, Pool>, String>>,
}

impl Pools {
    pub(super) async fn with(pools: &[(&'static str, usize)]) -> Self {
        let (changes, mut source) = mpsc::unbounded_channel();
        let source = futures_util::stream::poll_fn(move |cx| source.poll_recv(cx));
        let handle = tokio::runtime::Handle::current();
        let balance = Balance::new(source, BalanceConfig::default(), &handle);
        let world = Self {
            balance,
            roles: Roles::default(),
            changes,
        };
        for (name, places) in pools {
            world.insert(name, *places).await;
        }
        world
    }

    pub(super) async fn insert(&self, name: &'static str, places: usize) {
        let places = Arc::new(Semaphore::new(places));
        let roles = Arc::clone(&self.roles);
        let pool = Pool {
            name,
            places,
            roles,
        };
        let change = Change::Insert(name, pool);
        self.changes.send(Ok(change)).unwrap();
        settle().await;
    }

    async fn remove(&self, name: &'static str) {
        self.changes.send(Ok(Change::Remove(name))).unwrap();
        settle().await;
    }

    pub(super) fn set_role(&self, name: &'static str, role: Eligibility) {
        self.roles.lock().unwrap().insert(name, role);
    }

    pub(super) async fn hold(&self, name: &'static str) -> Held {
        let served = self.balance.clone().oneshot(Read(Some(name))).await;
        held(served.unwrap())
    }

    pub(super) fn waiter(&self, names: Option<&'static str>) -> Waiter {
        Waiter {
            call: Box::pin(self.balance.clone().call(Read(names))),
            woken: Arc::default(),
        }
    }

    pub(super) fn in_flight(&self) -> Vec<usize> {
        let reports = self.balance.endpoints();
        reports.iter().map(|report| report.in_flight).collect()
    }
}

pub(super) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[derive(Default)]
pub(super) struct Woken(AtomicUsize);

impl ArcWake for Woken {
    fn wake_by_ref(woken: &Arc<Self>) {
        woken.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A call that is polled by hand.
pub(super) struct Waiter {
    call: Pin<Box<ResponseFuture<Pool, Read>>>,
    woken: Arc<Woken>,
}

impl Waiter {
    /// Polls the call; `None`: it waits.
    pub(super) fn poll(&mut self) -> Option<Held> {
        let waker = waker(Arc::clone(&self.woken));
        match self.call.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(served) => Some(held(served.unwrap())),
            Poll::Pending => None,
        }
    }

    /// Number of wake-ups since the last query.
    pub(super) fn woken(&self) -> usize {
        self.woken.0.swap(0, Ordering::SeqCst)
    }
}

/// As a connection pool does: the permit is free before the count goes down.
pub(super) fn give_back((permit, guard): Held) {
    drop(permit);
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_call_in_the_line_of_a_full_endpoint_moves_when_another_one_has_room() {
    let world = Pools::with(&[("a", 1), ("b", 1)]).await;
    let (a, b) = (world.hold("a").await, world.hold("b").await);
    let mut waiter = world.waiter(None);
    assert!(waiter.poll().is_none());
    // The call may wait at either endpoint; room at the other one serves it.
    let waits_at_a = world.in_flight() == [2, 1];
    give_back(if waits_at_a { b } else { a });
    assert_eq!(waiter.woken(), 1);
    let held = waiter.poll().unwrap();
    assert_eq!(world.in_flight(), [1, 1]);
    give_back(held);
    assert_eq!(world.in_flight().iter().sum::<usize>(), 1);
}

#[tokio::test(start_paused = true)]
async fn room_at_one_endpoint_wakes_the_first_call_that_can_use_it_and_no_other() {
    let world = Pools::with(&[("a", 1), ("b", 1)]).await;
    let (_a, b) = (world.hold("a").await, world.hold("b").await);
    let spare = world.balance.pick(&Read(Some("b"))).unwrap().1;
    // The first two wait at `a`, because `b` looks busier.
    let mut waiters = [
        world.waiter(Some("a")),
        world.waiter(None),
        world.waiter(None),
    ];
    for waiter in &mut waiters {
        assert!(waiter.poll().is_none());
        waiter.woken();
    }
    assert_eq!(world.in_flight()[1], 3, "the third one stands at b");
    drop(spare);
    let woken: Vec<usize> = waiters.iter().map(Waiter::woken).collect();
    assert_eq!(woken, [0, 0, 0], "there is no room yet");
    // The call in b's own queue comes first; other calls get room only after it has gone.
    let [first, mut second, third] = waiters;
    drop(third);
    give_back(b);
    assert_eq!((first.woken(), second.woken()), (0, 1));
    assert!(second.poll().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_no_endpoint_can_serve_does_not_stand_in_the_way_of_those_behind_it() {
    let world = Pools::with(&[("a", 1), ("b", 1)]).await;
    let _a = world.hold("a").await;
    let mut stuck = world.waiter(Some("c"));
    assert!(stuck.poll().is_none());
    let b = world.hold("b").await;
    let mut behind = world.waiter(Some("b"));
    assert!(behind.poll().is_none());
    give_back(b);
    assert!(behind.poll().is_some());
    assert_eq!(stuck.woken(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_when_it_was_woken_leaves_the_room_to_the_next() {
    let world = Pools::with(&[("a", 1)]).await;
    let _a = world.hold("a").await;
    let mut waiters = [world.waiter(Some("ab")), world.waiter(Some("ab"))];
    for waiter in &mut waiters {
        assert!(waiter.poll().is_none());
    }
    // `b` is full already when the calls learn of it.
    world.insert("b", 0).await;
    for waiter in &mut waiters {
        assert!(waiter.poll().is_none());
        waiter.woken();
    }
    let busy = world.balance.pick(&Read(Some("b"))).unwrap();
    busy.0.places.add_permits(1);
    drop(busy);
    let [first, mut second] = waiters;
    assert_eq!((first.woken(), second.woken()), (1, 0));
    drop(first);
    assert_eq!(second.woken(), 1);
    drop(second.poll().unwrap());
    assert_eq!(world.in_flight(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn calls_are_served_in_the_order_in_which_they_came() {
    let world = Pools::with(&[]).await;
    let served = Arc::new(Mutex::new(Vec::new()));
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let (balance, served) = (world.balance.clone(), Arc::clone(&served));
            tokio::spawn(async move {
                let held = held(balance.oneshot(Read(None)).await.unwrap());
                served.lock().unwrap().push(n);
                tokio::time::sleep(Duration::from_millis(1)).await;
                give_back(held);
            })
        })
        .collect();
    settle().await;
    world.insert("a", 1).await;
    for call in calls {
        call.await.unwrap();
    }
    let expected: Vec<i32> = (0..20).collect();
    assert_eq!(*served.lock().unwrap(), expected);
    assert_eq!(world.in_flight(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_leave_its_line_for_another_full_endpoint() {
    let world = Pools::with(&[("a", 1)]).await;
    let a = world.hold("a").await;
    let mut waiters = [world.waiter(None), world.waiter(None)];
    for waiter in &mut waiters {
        assert!(waiter.poll().is_none());
    }
    world.insert("b", 0).await;
    for waiter in &mut waiters {
        assert!(waiter.poll().is_none());
    }
    assert_eq!(world.in_flight(), [3, 0]);
    give_back(a);
    assert!(waiters[1].poll().is_none(), "the first one is first");
    assert!(waiters[0].poll().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_call_leaves_an_endpoint_that_becomes_suspect_is_ejected_or_goes() {
    let world = Pools::with(&[("a", 1)]).await;
    let a = world.hold("a").await;
    for step in 0..3 {
        let mut waiter = world.waiter(None);
        assert!(waiter.poll().is_none());
        world.insert("b", 1).await;
        let b = world.hold("b").await;
        assert!(waiter.poll().is_none(), "full, both of them");
        let suspicion = a.1.suspect();
        match step {
            0 => {
                assert!(waiter.poll().is_none());
                assert_eq!(world.in_flight(), [1, 2], "suspect: it moved to b's line");
            }
            1 => {
                suspicion.confirmed("silent");
                assert!(waiter.poll().is_none());
                assert_eq!(world.in_flight(), [1, 2], "ejected: it moved to b's line");
                tokio::time::sleep(Duration::from_secs(8)).await;
                // The prober of `a` waits for the held place, so there is no verdict yet.
            }
            _ => {
                world.remove("a").await;
                assert!(waiter.poll().is_none());
                assert_eq!(world.in_flight(), [2], "gone: it moved to b's line");
            }
        }
        if step != 1 {
            give_back(b);
            assert!(waiter.poll().is_some());
        }
        drop(waiter);
        world.remove("b").await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_when_the_cap_is_reached_goes_on_waiting() {
    let world = Pools::with(&[("a", 1)]).await;
    let a = world.hold("a").await;
    let mut waiter = world.waiter(None);
    assert!(waiter.poll().is_none());
    let more: Vec<_> = (1..BalanceConfig::default().max_waiters)
        .map(|_| {
            let mut waiter = world.waiter(None);
            assert!(waiter.poll().is_none());
            waiter
        })
        .collect();
    let refused = world.balance.clone().oneshot(Read(None)).await;
    assert!(
        matches!(refused, Err(BalanceError::QueueFull { waiting: 1024 })),
        "{refused:?}"
    );
    give_back(a);
    assert!(waiter.poll().is_some());
    drop(more);
    assert_eq!(tower::load::Load::load(&world.balance), 0);
}

/// A call is dropped after each possible number of polls.
#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_poll_leaves_no_count_no_place_and_no_wish() {
    for polls in 0..8 {
        let world = Pools::with(&[("a", 1), ("b", 1)]).await;
        let (a, b) = (world.hold("a").await, world.hold("b").await);
        let mut held = vec![a, b];
        let mut waiter = world.waiter(None);
        for poll in 0..polls {
            if let Some(taken) = waiter.poll() {
                held.push(taken);
                break;
            }
            match poll {
                // A different event happens between two polls.
                0 => drop(held[0].1.suspect()),
                1 => world.balance.wake(),
                2 => world.insert("c", 0).await,
                3 => held[0].1.condemn("dead"),
                4 => world.remove("c").await,
                5 => give_back(held.swap_remove(0)),
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        let busy = held.len();
        drop(waiter);
        settle().await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(
            world.in_flight().iter().sum::<usize>(),
            busy,
            "{polls} polls"
        );
        held.into_iter().for_each(give_back);
        settle().await;
        assert_eq!(tower::load::Load::load(&world.balance), 0, "{polls} polls");
        for endpoint in &world.balance.shared.snapshot.load().endpoints {
            assert!(!endpoint.vitals.counts.is_wanted(), "{polls} polls");
        }
    }
}
