//! The life of a call, with scripted endpoints.

use super::*;

#[tokio::test(start_paused = true)]
async fn idle_endpoints_get_equal_shares() {
    let world = World::with(&["a", "b"]).await;
    for _ in 0..10_000 {
        world.ask().await.unwrap();
    }
    // Six standard deviations of a fair coin.
    assert!(
        world.calls("a").abs_diff(5_000) < 300,
        "{}",
        world.calls("a")
    );
    assert_eq!(world.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_failed_an_earlier_call_for_the_same_work_is_asked_last() {
    let mut world = World::with(&["a", "z"]).await;
    let again = |tried| Ask {
        tried: Some(tried),
        ..Ask::default()
    };
    for _ in 0..20 {
        assert_eq!(world.ask_for(again("a")).await.unwrap(), "z", "a reserve");
        assert_eq!(world.ask_for(again("z")).await.unwrap(), "a");
    }
    world.remove("z");
    world.settle().await;
    assert_eq!(
        world.ask_for(again("a")).await.unwrap(),
        "a",
        "there is no other"
    );
    world.insert("b");
    world.settle().await;
    assert_eq!(world.ask_for(again("a")).await.unwrap(), "b");
}

/// Records on drop how many checkouts are in flight.
struct Last<'a>(&'a World, &'a AtomicUsize);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.1.store(self.0.in_flight(), Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_checked_out_is_dropped_before_the_guard_that_counts_it() {
    let world = World::with(&["a"]).await;
    let in_flight = AtomicUsize::new(9);
    for parts in [true, false] {
        in_flight.store(9, Ordering::SeqCst);
        let served = world.balance.clone().oneshot(Ask::default()).await;
        let Balanced { guard, .. } = served.unwrap();
        let response = Last(&world, &in_flight);
        let served = Balanced { response, guard };
        if parts {
            let (_guard, _response) = served.into_parts();
        } else {
            drop(served);
        }
        assert_eq!(in_flight.load(Ordering::SeqCst), 1);
        assert_eq!(world.in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_checkout_counts_as_load_until_its_guard_is_dropped() {
    let world = World::with(&["a", "b"]).await;
    let first = world.balance.clone().oneshot(Ask::default()).await.unwrap();
    let (guard, busy) = first.into_parts();
    for _ in 0..50 {
        assert_ne!(world.ask().await.unwrap(), busy);
    }
    assert_eq!(world.in_flight(), 1);
    drop(guard);
    assert_eq!(world.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_set_fails_at_the_deadline_and_says_so() {
    let world = World::with(&[]).await;
    let started = Instant::now();
    let error = world.ask().await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    assert!(
        error.to_string().contains("no endpoint is known"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_requests_own_deadline_wins_and_the_error_names_endpoint_state_and_cause() {
    let world = World::with(&["a"]).await;
    world.mood("a", Mood::Fails);
    let ask = Ask {
        within: Some(Duration::from_millis(700)),
        started: Some(Instant::now()),
        ..only("a")
    };
    let started = Instant::now();
    let error = world.ask_for(ask).await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::from_millis(700));
    let text = error.to_string();
    assert!(
        text.contains("a: ") && text.contains("last failure: Fails"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hanging_endpoint_costs_its_caller_the_deadline_and_no_more() {
    let world = World::with(&["a"]).await;
    world.mood("a", Mood::Hangs);
    let started = Instant::now();
    assert!(world.ask().await.is_err());
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    assert_eq!(world.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_are_served_as_soon_as_an_endpoint_appears() {
    let mut world = World::with(&[]).await;
    let waiting = tokio::spawn(world.balance.clone().oneshot(Ask::default()));
    world.settle().await;
    world.insert("a");
    let started = Instant::now();
    assert_eq!(waiting.await.unwrap().unwrap().into_parts().1, "a");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn one_waiter_too_many_is_turned_away_at_once() {
    let world = World::new(BalanceConfig::default().with_max_waiters(2));
    let waiting: Vec<_> = (0..2)
        .map(|_| tokio::spawn(world.balance.clone().oneshot(Ask::default())))
        .collect();
    world.settle().await;
    let started = Instant::now();
    let error = world.ask().await.unwrap_err();
    assert!(
        matches!(error, BalanceError::QueueFull { waiting: 2 }),
        "{error}"
    );
    assert_eq!(started.elapsed(), Duration::ZERO);
    // A place that is given up can be taken again.
    waiting[0].abort();
    world.settle().await;
    let next = tokio::spawn(world.balance.clone().oneshot(Ask::default()));
    world.settle().await;
    assert!(!next.is_finished());
}

#[tokio::test(start_paused = true)]
async fn the_reserve_serves_when_the_others_are_out_and_not_before() {
    let world = World::with(&["a", "z"]).await;
    for _ in 0..100 {
        assert_eq!(world.ask().await.unwrap(), "a");
    }
    world.mood("a", Mood::Fails);
    assert_eq!(world.ask().await.unwrap(), "z");
    world.remove("a");
    world.settle().await;
    assert_eq!(world.ask().await.unwrap(), "z");
}

#[tokio::test(start_paused = true)]
async fn an_error_or_the_end_of_discovery_leaves_the_set_as_it_is() {
    let mut world = World::with(&["a"]).await;
    world.changes.send(Err("SERVFAIL".to_owned())).unwrap();
    world.insert("b");
    world.settle().await;
    assert_eq!(world.balance.endpoints().len(), 2);
    let (closed, _) = mpsc::unbounded_channel();
    world.changes = closed;
    world.settle().await;
    assert!(world.ask().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn closing_ends_waiting_and_new_calls() {
    let world = World::with(&[]).await;
    let waiting = tokio::spawn(world.balance.clone().oneshot(Ask::default()));
    world.settle().await;
    world.balance.close();
    assert!(matches!(waiting.await.unwrap(), Err(BalanceError::Closed)));
    assert!(matches!(world.ask().await, Err(BalanceError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn trouble_is_told_without_data() {
    let world = World::with(&["a", "b"]).await;
    let told = Arc::new(AtomicUsize::new(0));
    let hook = Arc::clone(&told);
    world.balance.on_trouble(move || {
        hook.fetch_add(1, Ordering::SeqCst);
    });
    world.ask().await.unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 0);
    world.mood("a", Mood::Fails);
    world.mood("b", Mood::Fails);
    let _ = world.ask().await;
    assert!(told.load(Ordering::SeqCst) > 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_poll_leaves_nothing_in_flight() {
    let world = World::with(&["a", "b"]).await;
    for mood in [
        Mood::Works,
        Mood::Hangs,
        Mood::Fails,
        Mood::Unfit,
        Mood::Declines,
    ] {
        for polls in 0..6 {
            world.mood("a", mood);
            world.mood("b", mood);
            let mut call = Box::pin(world.balance.clone().oneshot(Ask::default()));
            for _ in 0..polls {
                if futures_util::poll!(&mut call).is_ready() {
                    break;
                }
                tokio::time::advance(Duration::from_millis(40)).await;
            }
            drop(call);
            world.mood("a", Mood::Works);
            world.mood("b", Mood::Works);
            tokio::time::advance(Duration::from_secs(6)).await;
            world.settle().await;
            assert_eq!(world.in_flight(), 0, "{mood:?} dropped after {polls} polls");
            world.ask().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_driver_ends_with_the_last_clone() {
    let world = World::with(&["a"]).await;
    let alive = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(alive, 1);
    let World {
        balance, changes, ..
    } = world;
    drop(balance);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(changes.is_closed(), "the source is dropped with its task");
}
