//! Calls that are served without a future, with scripted endpoints.

use super::*;

impl World {
    /// A world after a first call, which looks for ejected endpoints without a prober.
    async fn warm(names: &[&'static str]) -> Self {
        let world = Self::with(names).await;
        world.ask().await.unwrap();
        world
    }

    fn serve_now(&self) -> Option<Balanced<&'static str>> {
        let serve = |endpoint: &Scripted| Some(endpoint.name);
        self.balance.serve_now(&Ask::default(), serve)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_served_at_once_counts_until_its_guard_is_dropped() {
    let world = World::warm(&["a", "b"]).await;
    let (guard, busy) = world.serve_now().unwrap().into_parts();
    assert_eq!(world.in_flight(), 1);
    for _ in 0..50 {
        assert_ne!(world.serve_now().unwrap().into_parts().1, busy);
    }
    drop(guard);
    assert_eq!(world.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_has_nothing_ready_leaves_the_call_to_be_made() {
    let world = World::warm(&["a"]).await;
    let nothing = world.balance.serve_now(&Ask::default(), |_| None::<()>);
    assert!(nothing.is_none());
    assert_eq!(world.in_flight(), 0);
    assert_eq!(world.ask().await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_to_start_a_prober_is_not_served_at_once() {
    let world = World::warm(&["a", "b"]).await;
    let (guard, dead) = world.serve_now().unwrap().into_parts();
    guard.condemn("proven dead");
    drop(guard);
    assert!(world.serve_now().is_none());
    let alive = world.ask().await.unwrap();
    assert_ne!(alive, dead);
    assert_eq!(world.serve_now().unwrap().into_parts().1, alive);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_served_once_the_balancer_is_closed() {
    let world = World::warm(&["a"]).await;
    world.balance.close();
    assert!(world.serve_now().is_none());
}
