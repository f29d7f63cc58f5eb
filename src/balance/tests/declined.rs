//! Calls that an endpoint declines, and what that says about the endpoint.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_fatal_error_reaches_the_caller_at_once() {
    let world = World::with(&["a", "b"]).await;
    world.mood("a", Mood::Fatal);
    world.mood("b", Mood::Fatal);
    let error = world.ask().await.unwrap_err();
    assert!(matches!(error, BalanceError::Endpoint(_)), "{error}");
    assert_eq!(world.calls("a") + world.calls("b"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_an_endpoint_declines_is_served_by_another() {
    let world = World::with(&["a", "b"]).await;
    world.mood("a", Mood::Declines);
    for _ in 0..20 {
        assert_eq!(world.ask().await.unwrap(), "b");
    }
    let reports = world.balance.endpoints();
    assert_eq!(reports[0].state, EndpointState::Ready, "it is not ill");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_every_endpoint_declines_ends_at_once() {
    let world = World::with(&["a", "b", "z"]).await;
    for name in ["a", "b", "z"] {
        world.mood(name, Mood::Declines);
    }
    let started = Instant::now();
    let error = world.ask().await.unwrap_err();
    assert!(matches!(error, BalanceError::Endpoint(_)), "{error}");
    assert_eq!(started.elapsed(), Duration::ZERO);
    let calls = ["a", "b", "z"].map(|name| world.calls(name));
    assert_eq!(calls, [1; 3], "each was asked, and none twice");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_out_does_not_keep_a_declined_call_waiting() {
    let world = World::with(&["a", "b"]).await;
    world.mood("a", Mood::Fails);
    world.mood("b", Mood::Fails);
    let _ = world.ask().await;
    assert!(
        world
            .balance
            .endpoints()
            .iter()
            .all(|e| e.state != EndpointState::Ready)
    );
    world.mood("b", Mood::Declines);
    let error = world.ask().await.unwrap_err();
    assert!(matches!(error, BalanceError::Endpoint(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_turns_out_to_be_full_is_not_ill() {
    let world = World::with(&["a", "b"]).await;
    world.mood("a", Mood::Full);
    for _ in 0..20 {
        assert_eq!(world.ask().await.unwrap(), "b");
    }
    assert!(world.calls("a") > 0);
    let reports = world.balance.endpoints();
    assert_eq!(reports[0].state, EndpointState::Ready);
    assert_eq!(reports[0].last_cause, None);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_finds_an_endpoint_unfit_for_its_request_has_found_it_alive() {
    let world = World::with(&["a"]).await;
    world.mood("a", Mood::Fails);
    assert!(world.ask().await.is_err());
    assert_ne!(world.balance.endpoints()[0].state, EndpointState::Ready);
    // This call starts the next probe.
    world.mood("a", Mood::Unfit);
    let error = world.ask().await.unwrap_err();
    let BalanceError::Timeout { last, .. } = &error else {
        panic!("{error}");
    };
    let told = last.as_ref().map(|refusal| refusal.mood);
    assert_eq!(told, Some(Mood::Unfit), "the call was told why");
    assert_eq!(world.balance.endpoints()[0].state, EndpointState::Ready);
    world.mood("a", Mood::Works);
    assert_eq!(world.ask().await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn an_unfit_endpoint_is_asked_again_without_being_ejected() {
    let world = Arc::new(World::with(&["a"]).await);
    world.mood("a", Mood::Unfit);
    let caller = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.ask().await })
    };
    tokio::time::sleep(Duration::from_millis(1050)).await;
    let reports = world.balance.endpoints();
    assert_eq!(reports[0].state, EndpointState::Ready);
    assert_eq!(reports[0].last_cause.as_deref(), Some("Unfit"));
    assert_eq!(world.calls("a"), 11, "every 100 ms");
    world.mood("a", Mood::Works);
    assert_eq!(caller.await.unwrap().unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_unfit_for_no_time_does_not_keep_the_thread() {
    let world = World::with(&["a"]).await;
    world.mood("a", Mood::UnfitForNoTime);
    let started = Instant::now();
    assert!(world.ask().await.is_err());
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    assert!(world.calls("a") <= 5_001, "{} calls", world.calls("a"));
}
