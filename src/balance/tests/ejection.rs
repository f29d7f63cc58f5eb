//! Endpoints that fail are left alone, probed, and used again.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_failing_endpoint_is_never_seen_by_callers_while_another_works() {
    let world = World::with(&["a", "b"]).await;
    world.mood("a", Mood::Fails);
    for _ in 0..1000 {
        assert_eq!(world.ask().await.unwrap(), "b");
    }
    assert!(world.calls("a") < 10, "{} calls", world.calls("a"));
}

#[tokio::test(start_paused = true)]
async fn a_suspect_is_passed_over_until_it_is_cleared_and_out_at_once_when_confirmed() {
    let world = World::with(&["a", "b"]).await;
    let (guard, _) = world
        .balance
        .clone()
        .oneshot(only("a"))
        .await
        .unwrap()
        .into_parts();
    let suspicions = [guard.suspect(), guard.suspect()];
    drop(guard);
    for _ in 0..50 {
        assert_eq!(world.ask().await.unwrap(), "b");
    }
    assert_eq!(world.balance.endpoints()[0].state, EndpointState::Suspect);
    assert_eq!(world.ask_for(only("a")).await.unwrap(), "a", "nobody else");
    let [first, second] = suspicions;
    first.cleared();
    assert_eq!(world.balance.endpoints()[0].state, EndpointState::Suspect);
    drop(second);
    assert_eq!(world.balance.endpoints()[0].state, EndpointState::Ready);

    let (_, guard) = world.balance.pick(&only("a")).unwrap();
    let (first, second) = (guard.suspect(), guard.suspect());
    first.confirmed("no answer within 1s");
    let state = world.balance.endpoints()[0].state.clone();
    assert!(matches!(state, EndpointState::Ejected(_)), "{state:?}");
    let cause = world.balance.endpoints()[0].last_cause.clone();
    assert_eq!(cause.as_deref(), Some("no answer within 1s"));
    tokio::time::advance(Duration::from_secs(1)).await;
    world.ask().await.unwrap();
    world.settle().await;
    second.confirmed("the same event, told late");
    assert_eq!(world.balance.endpoints()[0].state, EndpointState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_recovered_endpoint_is_used_again_after_one_probe() {
    let world = World::with(&["a", "b"]).await;
    world.mood("a", Mood::Fails);
    for _ in 0..100 {
        world.ask().await.unwrap();
    }
    world.mood("a", Mood::Works);
    let before = world.calls("a");
    assert_eq!(
        world.ask().await.unwrap(),
        "b",
        "nobody waits for the probe"
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    world.settle().await;
    assert_eq!(
        world.calls("a"),
        before + 1,
        "one probe, which needs no call"
    );
    for _ in 0..100 {
        world.ask().await.unwrap();
    }
    assert!(world.calls("a") > before + 20);
}

#[tokio::test(start_paused = true)]
async fn with_all_ejected_one_probe_at_a_time_runs_and_everyone_is_served_on_recovery() {
    let world = Arc::new(World::with(&["a"]).await);
    world.mood("a", Mood::Fails);
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.ask().await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Each caller asked at most once before the ejection; after it, only probes asked.
    assert!(world.calls("a") < 50 + 40, "{} calls", world.calls("a"));
    world.mood("a", Mood::Works);
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), "a");
    }
    assert_eq!(world.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_probe_ends_and_a_later_one_finds_the_endpoint_again() {
    let world = World::with(&["a", "b"]).await;
    world.mood("a", Mood::Fails);
    for _ in 0..100 {
        world.ask().await.unwrap();
    }
    world.mood("a", Mood::Hangs);
    tokio::time::advance(Duration::from_secs(1)).await;
    world.ask().await.unwrap();
    world.settle().await;
    world.mood("a", Mood::Works);
    // The hanging probe takes `checkout_timeout`; its backoff follows, then a new probe.
    for _ in 0..20 {
        tokio::time::advance(Duration::from_millis(500)).await;
        world.ask().await.unwrap();
        world.settle().await;
    }
    let before = world.calls("a");
    for _ in 0..100 {
        world.ask().await.unwrap();
    }
    assert!(world.calls("a") > before + 20);
    assert_eq!(world.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_endpoint_is_left_alone_at_once() {
    let world = World::with(&["a", "b"]).await;
    world.mood("a", Mood::Overloaded);
    let mut rounds = 0;
    while world.calls("a") == 0 {
        world.ask().await.unwrap();
        rounds += 1;
        assert!(rounds < 1000);
    }
    for _ in 0..100 {
        assert_eq!(world.ask().await.unwrap(), "b");
    }
    assert_eq!(world.calls("a"), 1);
}
