//! The largest possible options, under the paused clock.

use super::*;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn health() -> HealthConfig {
    HealthConfig::default()
        .with_memory(Duration::MAX)
        .with_base(Duration::MAX)
        .with_cap(Duration::MAX)
        .with_relapse_cap(Duration::MAX)
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_limit_waits_as_long_as_it_takes() {
    let config = BalanceConfig::default().with_checkout_timeout(Duration::MAX);
    let mut world = World::new(config);
    let balance = world.balance.clone();
    let call = tokio::spawn(balance.oneshot(Ask::default()));
    tokio::time::sleep(YEAR).await;
    assert!(!call.is_finished());
    world.insert("a");
    assert_eq!(call.await.unwrap().unwrap().into_parts().1, "a");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_without_a_limit_to_its_ejections_is_taken_out_and_hurried_back() {
    let config = BalanceConfig::default()
        .with_checkout_timeout(Duration::MAX)
        .with_health(health());
    let mut world = World::new(config);
    world.insert("a");
    world.settle().await;
    world.mood("a", Mood::Fails);
    let failed = tokio::time::timeout(Duration::from_secs(10), world.ask()).await;
    assert!(failed.is_err(), "{failed:?}");
    let report = &world.balance.endpoints()[0];
    assert!(report.in_flight <= 1, "{report:?}");
    world.mood("a", Mood::Works);
    assert_eq!(
        world.ask().await.unwrap(),
        "a",
        "calls that wait cut it short"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_limits_how_long_an_ejection_may_be_hurried_to() {
    let health = health().with_urgent_cap(Duration::MAX);
    let mut world = World::new(BalanceConfig::default().with_health(health));
    world.insert("a");
    world.settle().await;
    world.mood("a", Mood::Fails);
    let error = world.ask().await.unwrap_err();
    assert!(matches!(error, BalanceError::Timeout { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_unfit_for_ever_is_not_asked_again() {
    let world = World::with(&["a"]).await;
    world.mood("a", Mood::UnfitForEver);
    let error = world.ask().await.unwrap_err();
    assert!(matches!(error, BalanceError::Timeout { .. }), "{error}");
    assert_eq!(world.calls("a"), 1);
}

/// The endpoint answered the probe, so it is alive, even if it does not serve this request.
#[tokio::test(start_paused = true)]
async fn a_probe_that_meets_an_endpoint_unfit_for_ever_brings_it_back() {
    let world = World::with(&["a"]).await;
    let (guard, _) = world
        .balance
        .clone()
        .oneshot(Ask::default())
        .await
        .unwrap()
        .into_parts();
    guard.condemn("proven dead");
    drop(guard);
    world.mood("a", Mood::UnfitForEver);
    let error = world.ask().await.unwrap_err();
    assert!(matches!(error, BalanceError::Timeout { .. }), "{error}");
    assert_eq!(
        world.calls("a"),
        3,
        "the first call, one probe, and the call that waited for it"
    );
}
