//! The ten hard problems of balancing connection pools, with at least one test each.

use super::waiting::{Pools, settle};
use super::*;
use tower::load::Load;

#[tokio::test(start_paused = true)]
async fn problem_1_removal_races_a_checkout() {
    let mut world = World::with(&["a"]).await;
    let (_, held) = world.balance.pick(&Ask::default()).unwrap();
    world.mood("a", Mood::Hangs);
    let waits = tokio::spawn(world.balance.clone().oneshot(Ask::default()));
    world.settle().await;
    world.remove("a");
    world.settle().await;
    assert!(!waits.is_finished(), "it may still be served where it is");
    world.insert("b");
    let moved = waits.await.unwrap().unwrap().into_parts().1;
    assert_eq!(moved, "b", "whoever waits picks again");
    // The checkout may finish, and its report harms no endpoint.
    held.failed("broke after the removal");
    drop(held);
    assert_eq!(world.balance.load(), 0);
    assert_eq!(world.balance.endpoints()[0].last_cause, None);
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(tasks, 1, "only the driver is left");
}

#[tokio::test(start_paused = true)]
async fn problem_2_cancellation_of_a_probe_gives_its_token_back() {
    let mut world = World::with(&["a", "b"]).await;
    world.mood("a", Mood::Fails);
    for _ in 0..100 {
        world.ask().await.unwrap();
    }
    world.mood("a", Mood::Hangs);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.balance.endpoints()[0].state, EndpointState::Probing);
    let before = Arc::clone(&world.balance.shared.snapshot.load().endpoints[0].vitals);
    // The probe ends with its endpoint.
    world.remove("a");
    world.settle().await;
    assert!(before.is_out());
    assert!(before.begin_probe().is_ok(), "the token is back");
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(tasks, 1);
    world.insert("c");
    world.settle().await;
    assert_eq!(world.balance.load(), 0);
}

#[tokio::test(start_paused = true)]
async fn problem_3_no_order_of_ends_leaks_or_underflows_the_count() {
    let world = World::with(&["a", "b", "c"]).await;
    let mut guards = Vec::new();
    for round in 0..2_000_u32 {
        let mood = [
            Mood::Works,
            Mood::Fails,
            Mood::Unfit,
            Mood::Overloaded,
            Mood::Hangs,
        ][rand::random_range(0..5)];
        world.mood(["a", "b", "c"][rand::random_range(0..3)], mood);
        let call = world.balance.clone().oneshot(Ask::default());
        let limit = Duration::from_millis(rand::random_range(0..30));
        if let Ok(Ok(served)) = tokio::time::timeout(limit, call).await {
            guards.push(served.into_parts().0);
        }
        if round % 3 == 0 && !guards.is_empty() {
            drop(guards.swap_remove(rand::random_range(0..guards.len())));
        }
        // Running probes count as well, and only probes may add to the count.
        assert!(world.in_flight() <= guards.len() + 3);
        assert!(world.in_flight() >= guards.len());
    }
    drop(guards);
    // A hanging probe counts until its time limit.
    for key in ["a", "b", "c"] {
        world.mood(key, Mood::Works);
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.balance.load(), 0);
}

/// An endpoint whose connects take 5 ms. Two connects may run at once; then it has no room.
#[derive(Clone)]
struct Door {
    open: Arc<std::sync::atomic::AtomicBool>,
    connecting: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Enter;

impl Eligible<Door> for Enter {
    fn eligible(&self, door: &Door) -> Eligibility {
        match door.connecting.load(Ordering::SeqCst) {
            0 | 1 => YES,
            _ => FULL,
        }
    }
}

impl Service<Enter> for Door {
    type Response = ();
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Enter) -> Self::Future {
        let door = self.clone();
        let now = door.connecting.fetch_add(1, Ordering::SeqCst) + 1;
        door.most.fetch_max(now, Ordering::SeqCst);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            door.connecting.fetch_sub(1, Ordering::SeqCst);
            match door.open.load(Ordering::SeqCst) {
                true => Ok(()),
                false => Err(Refusal { mood: Mood::Fails }),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn problem_4_a_recovered_endpoint_is_not_stormed() {
    let door = |open: bool| Door {
        open: Arc::new(open.into()),
        connecting: Arc::default(),
        most: Arc::default(),
    };
    let (back, other) = (door(false), door(true));
    let set = [("a", back.clone()), ("b", other.clone())];
    let inserts = set.map(|(key, door)| Ok::<_, Infallible>(Change::Insert(key, door)));
    let balance = Balance::new(
        futures_util::stream::iter(inserts),
        BalanceConfig::default(),
        &tokio::runtime::Handle::current(),
    );
    settle().await;
    for _ in 0..20 {
        balance.clone().oneshot(Enter).await.unwrap();
    }
    // Ejected or probing: the time of the probe is random.
    assert_ne!(balance.endpoints()[0].state, EndpointState::Ready);
    back.most.store(0, Ordering::SeqCst);
    // While the endpoint is down there is one probe at a time, regardless of the number of calls.
    for _ in 0..200 {
        let calls: Vec<_> = (0..2)
            .map(|_| tokio::spawn(balance.clone().oneshot(Enter)))
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
    assert_eq!(back.most.load(Ordering::SeqCst), 1);
    // Once it is back and idle, all calls would prefer it.
    back.open.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    balance.clone().oneshot(Enter).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(balance.endpoints()[0].state, EndpointState::Ready);
    let calls: Vec<_> = (0..4)
        .map(|_| tokio::spawn(balance.clone().oneshot(Enter)))
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(
        back.most.load(Ordering::SeqCst),
        2,
        "the others go elsewhere"
    );
}

async fn eject(world: &World, name: &str) {
    world.mood(name, Mood::Fails);
    while world.balance.endpoints()[0].state == EndpointState::Ready {
        world.ask().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn problem_5_stale_or_flapping_dns_resurrects_nobody_without_a_probe() {
    let mut world = World::with(&["a", "b"]).await;
    eject(&world, "a").await;
    let old = world.balance.endpoints()[0].last_cause.clone();
    // The endpoint is removed and added again; its address is still dead.
    world.remove("a");
    world.settle().await;
    tokio::time::sleep(Duration::from_secs(59)).await;
    world.insert("a");
    world.mood("a", Mood::Fails);
    world.settle().await;
    assert_eq!(
        world.balance.endpoints()[0].state,
        EndpointState::Probing,
        "due"
    );
    assert_eq!(world.balance.endpoints()[0].last_cause, old);
    for _ in 0..100 {
        assert_eq!(world.ask().await.unwrap(), "b");
    }
    world.settle().await;
    assert_eq!(world.calls("a"), 1, "the probe, and nobody's call");
    world.mood("a", Mood::Works);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.ask().await.unwrap();
    }
    assert_eq!(world.balance.endpoints()[0].state, EndpointState::Ready);

    // A failure is forgotten after a minute; a healthy endpoint is used at once.
    eject(&world, "a").await;
    world.remove("a");
    world.remove("b");
    world.settle().await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    world.insert("a");
    world.insert("b");
    world.settle().await;
    for report in world.balance.endpoints() {
        assert_eq!(report.state, EndpointState::Ready);
    }
}

#[tokio::test(start_paused = true)]
async fn problem_6_what_broke_of_an_old_incarnation_does_not_hurt_the_new_one() {
    let mut world = World::with(&["a"]).await;
    let guards: Vec<_> = (0..5)
        .map(|_| world.balance.pick(&Ask::default()).unwrap().1)
        .collect();
    let suspicion = guards[0].suspect();
    // A different server gets the same key.
    world.insert("a");
    world.settle().await;
    for guard in &guards {
        guard.failed("reset by peer");
    }
    guards[0].condemn("dead");
    suspicion.confirmed("silent");
    let report = &world.balance.endpoints()[0];
    assert_eq!(
        (&report.state, report.in_flight),
        (&EndpointState::Ready, 0)
    );
    assert_eq!(world.ask().await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn problem_7_everything_ejected_waits_for_one_probe_and_names_every_endpoint() {
    let world = Arc::new(World::with(&["a", "b"]).await);
    world.mood("a", Mood::Fails);
    world.mood("b", Mood::Fails);
    let error = world.ask().await.unwrap_err().to_string();
    for name in ["a: ", "b: "] {
        assert!(error.contains(name), "{error}");
    }
    assert!(error.contains("last failure: Fails"), "{error}");
    let before = world.calls("a") + world.calls("b");
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.ask().await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let probes = world.calls("a") + world.calls("b") - before;
    // A tenth of a second between probes on average, for each of the two.
    assert!((30..160).contains(&probes), "{probes} probes");
    world.mood("a", Mood::Works);
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), "a");
    }
}

#[tokio::test(start_paused = true)]
async fn problem_8_a_deadline_in_the_past_and_equal_stamps_do_no_harm() {
    let world = World::with(&["a"]).await;
    let late = Ask {
        within: Some(Duration::ZERO),
        started: Some(Instant::now()),
        ..Ask::default()
    };
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(
        world.ask_for(late.clone()).await.unwrap(),
        "a",
        "what is there at once is not refused"
    );
    world.mood("a", Mood::Hangs);
    let started = Instant::now();
    let error = world.ask_for(late).await.unwrap_err();
    assert!(matches!(error, BalanceError::Timeout { .. }), "{error}");
    assert_eq!(started.elapsed(), Duration::ZERO);
    // All in one instant: ejected, probe due, probed, back.
    let (_, guard) = world.balance.pick(&Ask::default()).unwrap();
    guard.condemn("dead");
    guard.condemn("dead");
    guard.failed("dead");
    let now = Instant::now();
    let report = guard.vitals().report(now + Duration::from_secs(5));
    assert_eq!(report.state, EndpointState::Probing, "due");
    let _ = guard.vitals().report(now);
}

#[tokio::test(start_paused = true)]
async fn problem_9_idle_endpoints_get_equal_shares_by_chi_square() {
    for (count, limit) in [(2, 15.2), (5, 23.6), (8, 29.9), (9, 31.9)] {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let world = World::with(&names[..count]).await;
        let rounds = 2_000 * count;
        for _ in 0..rounds {
            world.ask().await.unwrap();
        }
        let chi: f64 = names[..count]
            .iter()
            .map(|name| (world.calls(name) as f64 - 2_000.0).powi(2) / 2_000.0)
            .sum();
        // 99.99 % of fair draws are below the limit.
        assert!(chi < limit, "{count} endpoints: chi-square {chi}");
    }
}

#[tokio::test(start_paused = true)]
async fn problem_10_neither_probation_nor_a_waiter_starves() {
    let world = World::with(&["a", "b"]).await;
    eject(&world, "a").await;
    world.ask().await.unwrap();
    world.mood("a", Mood::Works);
    // It is probed even without calls.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.balance.endpoints()[0].state, EndpointState::Ready);

    // A waiting call is served although new calls keep arriving and take the room they find.
    let pools = Pools::with(&[("a", 1), ("b", 1)]).await;
    let (a, b) = (pools.hold("a").await, pools.hold("b").await);
    let mut waiter = pools.waiter(Some("a"));
    assert!(waiter.poll().is_none());
    let (mut a, mut b) = (Some(a), Some(b));
    for _ in 0..10 {
        for held in [&mut a, &mut b] {
            let (permit, guard) = held.take().unwrap();
            drop(permit);
            drop(guard);
            let mut newcomer = pools.waiter(None);
            *held = newcomer.poll();
            if held.is_none() {
                // The waiting call got the place, though it was not polled yet.
                assert!(waiter.poll().is_some());
                return;
            }
        }
    }
    panic!("the waiter was passed over");
}

fn patient() -> Ask {
    Ask {
        within: Some(Duration::from_secs(60)),
        started: Some(Instant::now()),
        ..Ask::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_endpoint_that_is_back_serves_who_waits_within_a_quarter_of_a_second() {
    for _ in 0..10 {
        let world = World::with(&["a"]).await;
        world.mood("a", Mood::Fails);
        let ask = patient();
        let waits = tokio::spawn(world.balance.clone().oneshot(ask));
        tokio::time::sleep(Duration::from_secs(10)).await;
        // Probes are more frequent, but not a flood.
        let calls = world.calls("a");
        assert!(calls < 200, "{calls}");
        world.mood("a", Mood::Works);
        let back = Instant::now();
        waits.await.unwrap().unwrap();
        assert!(
            back.elapsed() <= Duration::from_millis(250),
            "{:?}",
            back.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_has_no_room_is_not_hurried() {
    let world = World::with(&["a"]).await;
    world.mood("a", Mood::Overloaded);
    let ask = patient();
    assert!(world.balance.clone().oneshot(ask).await.is_err());
    // One probe per half second on average; hurried, there would be 600.
    let calls = world.calls("a");
    assert!((60..250).contains(&calls), "{calls}");
}

#[test]
fn a_call_from_another_runtime_survives_the_end_of_the_balancers() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap()
    };
    let (mine, theirs) = (runtime(), runtime());
    let world = theirs.block_on(World::with(&[]));
    let mut call = Box::pin(world.ask());
    mine.block_on(async {
        assert!(futures_util::poll!(&mut call).is_pending());
        theirs.shutdown_background();
        // Whatever wakes the call in between.
        let _ = futures_util::poll!(&mut call).map(|end| assert!(end.is_err()));
    });
    world.balance.close();
    let end = mine.block_on(world.ask());
    assert!(matches!(end, Err(BalanceError::Closed)), "{end:?}");
}
