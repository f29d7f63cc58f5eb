//! Calls that wait at an endpoint that may no longer serve them.

use super::waiting::{Pools, Read, give_back, settle};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_call_leaves_the_line_of_an_endpoint_that_loses_its_role_or_becomes_a_reserve() {
    for role in [Eligibility::No, RESERVE] {
        let world = Pools::with(&[("a", 1)]).await;
        let a = world.hold("a").await;
        let mut waiter = world.waiter(None);
        assert!(waiter.poll().is_none());
        world.insert("b", 1).await;
        let b = world.hold("b").await;
        assert!(waiter.poll().is_none());
        assert_eq!(world.in_flight(), [2, 1], "it stands at a");

        world.set_role("a", role);
        world.balance.wake();
        assert!(waiter.poll().is_none());
        assert_eq!(world.in_flight(), [1, 2], "{role:?}: it moved to b's line");
        give_back(b);
        give_back(waiter.poll().unwrap());
        give_back(a);
        assert_eq!(world.in_flight(), [0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_at_once_to_who_has_room_when_its_endpoint_loses_its_role() {
    let world = Pools::with(&[("a", 1), ("b", 1)]).await;
    world.set_role("b", Eligibility::No);
    let _a = world.hold("a").await;
    let mut waiter = world.waiter(None);
    assert!(waiter.poll().is_none());
    assert_eq!(world.in_flight(), [2, 0]);
    // This happens when the primary moves.
    world.set_role("a", Eligibility::No);
    world.set_role("b", YES);
    world.balance.wake();
    let held = waiter.poll().unwrap();
    assert_eq!(world.in_flight(), [1, 1]);
    give_back(held);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_served_by_an_endpoint_that_lost_its_role_also_if_nobody_said_so() {
    for is_told in [true, false] {
        let world = Pools::with(&[("a", 1)]).await;
        let a = world.hold("a").await;
        let mut waiter = world.waiter(None);
        assert!(waiter.poll().is_none());
        world.set_role("a", Eligibility::No);
        if is_told {
            world.balance.wake();
            assert!(waiter.poll().is_none());
            assert_eq!(world.in_flight(), [1], "it is nowhere");
        }
        give_back(a);
        assert!(waiter.poll().is_none(), "told: {is_told}");
        assert_eq!(world.in_flight(), [0]);
        // The call waits for the next endpoint with the role; here, the same one again.
        world.set_role("a", YES);
        assert!(waiter.poll().is_none());
        world.balance.wake();
        give_back(waiter.poll().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_only_endpoint_lost_its_role_fails_at_its_deadline() {
    let world = Pools::with(&[("a", 1)]).await;
    let a = world.hold("a").await;
    let began = Instant::now();
    let call = tokio::spawn(world.balance.clone().oneshot(Read::default()));
    settle().await;
    world.set_role("a", Eligibility::No);
    world.balance.wake();
    settle().await;
    // The place that becomes free is of no use to the call.
    give_back(a);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(began.elapsed(), BalanceConfig::default().checkout_timeout);
    match error {
        BalanceError::Timeout { endpoints, .. } => assert!(endpoints.is_empty(), "{endpoints:?}"),
        other => panic!("{other}"),
    }
    assert_eq!(world.in_flight(), [0]);
    assert_eq!(tower::load::Load::load(&world.balance), 0);
}

/// A notification of room that arrives while a call releases its endpoint is not lost.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_told_of_room_as_its_endpoint_loses_its_role_takes_it() {
    let world = Pools::with(&[("a", 1), ("b", 1)]).await;
    let (_a, b) = (world.hold("a").await, world.hold("b").await);
    let spare = world.balance.pick(&Read::named("b")).unwrap().1;
    let mut first = world.waiter(None);
    assert!(first.poll().is_none());
    let mut second = world.waiter(Some("b"));
    assert_eq!(world.in_flight(), [2, 2], "the first one stands at a");
    drop(spare);
    world.set_role("a", Eligibility::No);
    give_back(b);
    assert_eq!(first.woken(), 1);
    let held = first.poll().unwrap();
    assert!(second.poll().is_none());
    give_back(held);
    give_back(second.poll().unwrap());
}
