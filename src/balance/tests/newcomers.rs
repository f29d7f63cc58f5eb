//! New calls that arrive after another call was woken for the same room.

use super::waiting::{Pools, give_back};
use super::*;

#[tokio::test(start_paused = true)]
async fn newcomers_that_take_what_a_call_was_woken_for_pass_it_once_and_no_more() {
    let world = Pools::with(&[("a", 1)]).await;
    world.set_role("a", Eligibility::No);
    let mut waiter = world.waiter(None);
    assert!(waiter.poll().is_none());
    assert_eq!(world.in_flight(), [0], "it waits for an endpoint");
    world.set_role("a", YES);
    world.balance.wake();
    let mut taken = world.waiter(None).poll().unwrap();
    assert!(waiter.poll().is_none());
    for n in 0..100 {
        give_back(taken);
        let mut newcomer = world.waiter(None);
        match newcomer.poll() {
            Some(held) => taken = held,
            None => {
                assert_eq!(n, 0, "passed {} times", n + 1);
                give_back(waiter.poll().unwrap());
                assert!(newcomer.poll().is_some());
                return;
            }
        }
    }
    panic!("passed a hundred times");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_passed_where_it_would_move_to_keeps_its_place_where_it_is() {
    let world = Pools::with(&[("a", 1), ("b", 1)]).await;
    let (a, b) = (world.hold("a").await, world.hold("b").await);
    let mut waiter = world.waiter(Some("ab"));
    assert!(waiter.poll().is_none());
    let waits_at_a = world.in_flight() == [2, 1];
    let (own, mut other, there) = match waits_at_a {
        true => (a, b, "b"),
        false => (b, a, "a"),
    };
    for _ in 0..100 {
        give_back(other);
        other = world.waiter(Some(there)).poll().unwrap();
        assert!(waiter.poll().is_none());
    }
    give_back(own);
    let mut newcomer = world.waiter(Some("ab"));
    assert!(newcomer.poll().is_none());
    assert!(waiter.poll().is_some());
}
