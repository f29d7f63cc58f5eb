//! The balancer under tower's layers, and as an endpoint of tower's own balancer.

use super::*;
use tower::ServiceBuilder;
use tower::load::Load;
use tower::retry::Policy;

#[tokio::test(start_paused = true)]
async fn under_timeout_a_call_that_is_cut_off_leaves_nothing_behind() {
    let world = World::with(&["a"]).await;
    world.mood("a", Mood::Hangs);
    let mut limited = ServiceBuilder::new()
        .timeout(Duration::from_millis(300))
        .service(world.balance.clone());
    let started = Instant::now();
    for _ in 0..3 {
        let ready = limited.ready().await.unwrap();
        assert!(ready.call(Ask::default()).await.is_err());
    }
    assert_eq!(started.elapsed(), Duration::from_millis(900));
    assert_eq!(world.balance.load(), 0);
    // A timeout of the caller is not a failure of the endpoint.
    assert_eq!(world.balance.endpoints()[0].state, EndpointState::Ready);
}

#[tokio::test(start_paused = true)]
async fn under_concurrency_limit_idle_clones_that_are_ready_hold_nothing_of_an_endpoint() {
    let world = World::with(&["a"]).await;
    let limited = ServiceBuilder::new()
        .concurrency_limit(2)
        .service(world.balance.clone());
    let mut clones = [limited.clone(), limited.clone(), limited];
    clones[0].ready().await.unwrap();
    clones[1].ready().await.unwrap();
    assert_eq!(world.balance.load(), 0);
    let blocked = tokio::time::timeout(Duration::from_secs(1), clones[2].ready()).await;
    assert!(
        blocked.is_err(),
        "the limit's permits are taken, as tower has it"
    );
    assert!(clones[0].call(Ask::default()).await.is_ok());
    assert!(clones[2].ready().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn under_load_shed_it_is_a_limit_that_sheds_and_never_the_balancer() {
    let world = World::with(&["a"]).await;
    world.mood("a", Mood::Hangs);
    let shed = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(1)
        .service(world.balance.clone());
    let waits = tokio::spawn(shed.clone().oneshot(Ask::default()));
    world.settle().await;
    let error = shed.oneshot(Ask::default()).await.unwrap_err();
    assert!(error.is::<tower::load_shed::error::Overloaded>(), "{error}");
    waits.abort();

    // Without a limit no call is shed, although the endpoint is busy: the call waits until its
    // deadline.
    let all = ServiceBuilder::new()
        .load_shed()
        .service(world.balance.clone());
    let error = all.oneshot(Ask::default()).await.unwrap_err();
    let error = error.downcast::<BalanceError<Refusal>>().unwrap();
    assert!(matches!(*error, BalanceError::Timeout { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn behind_a_buffer_neither_errors_nor_slow_calls_harm_the_other_handles() {
    let world = World::with(&["a"]).await;
    let buffered = ServiceBuilder::new()
        .buffer(8)
        .service(world.balance.clone());
    world.mood("a", Mood::Fatal);
    let error = buffered.clone().oneshot(Ask::default()).await.unwrap_err();
    assert!(error.is::<BalanceError<Refusal>>(), "{error}");
    world.mood("a", Mood::Hangs);
    let slow = tokio::spawn(buffered.clone().oneshot(Ask::default()));
    world.settle().await;
    world.mood("a", Mood::Works);
    let served = buffered.clone().oneshot(Ask::default()).await;
    assert!(
        served.is_ok(),
        "neither the error nor the slow call stops the worker"
    );
    assert!(!slow.is_finished());
    slow.abort();
    // Only `close` is terminal.
    world.balance.close();
    assert!(buffered.clone().oneshot(Ask::default()).await.is_err());
}

#[derive(Clone)]
struct Twice(usize);

impl<T, E> Policy<Ask, T, E> for Twice {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Ask, result: &mut Result<T, E>) -> Option<Self::Future> {
        let again = result.is_err() && self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        again.then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Ask) -> Option<Ask> {
        Some(request.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn under_retry_each_attempt_is_a_call_of_its_own() {
    let world = World::with(&["a"]).await;
    world.mood("a", Mood::Fatal);
    let retried = ServiceBuilder::new()
        .retry(Twice(2))
        .service(world.balance.clone());
    assert!(retried.clone().oneshot(Ask::default()).await.is_err());
    assert_eq!(world.calls("a"), 3);
    assert_eq!(world.balance.load(), 0, "no guard of an attempt is left");
    world.mood("a", Mood::Works);
    let (guard, _) = retried.oneshot(Ask::default()).await.unwrap().into_parts();
    assert_eq!(world.balance.load(), 1);
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn as_an_endpoint_of_towers_balance_its_load_decides() {
    let worlds = [World::with(&["a"]).await, World::with(&["a"]).await];
    let (_, _guard) = worlds[0].balance.pick(&Ask::default()).unwrap();
    let list = tower::discover::ServiceList::new(worlds.each_ref().map(|w| w.balance.clone()));
    let mut outer = tower::balance::p2c::Balance::new(list);
    for _ in 0..20 {
        let ready = ServiceExt::<Ask>::ready(&mut outer).await.unwrap();
        drop(ready.call(Ask::default()).await.unwrap());
    }
    assert_eq!((worlds[0].calls("a"), worlds[1].calls("a")), (0, 20));
}
