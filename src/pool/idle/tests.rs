//! Which waiting call gets a connection that is returned to the pool.

use super::*;
use crate::pool::testing;
use futures_util::FutureExt;
use std::time::Duration;

/// Connections without a socket, distinguished by their generation.
struct World {
    pool: Arc<crate::pool::state::Pool>,
}

impl World {
    fn new() -> Self {
        let handle = tokio::runtime::Handle::current();
        let (pool, _) = testing::pool(&testing::config(), handle);
        Self { pool }
    }

    fn idle(&self, generation: u64) -> Idle {
        let mut slot = Slot::begin(&self.pool.growth).unwrap();
        slot.completed();
        let now = Instant::now();
        Idle {
            raw: ClosingConn::empty(),
            slot,
            since: now,
            kept: Kept {
                generation,
                era: 1,
                kind: SessionKind::ReadWrite,
                origin: Arc::default(),
                alive: now,
                expires: None,
                diagnostics: false,
                statements: Statements::default(),
                timer: Timer::default(),
            },
        }
    }

    fn put(&self, generation: u64) {
        self.pool.idle.put(self.idle(generation), || true);
    }

    fn wait(&self) -> Turn<'_> {
        match self.pool.idle.pop_or_wait(SessionKind::ReadWrite) {
            Some(Err(turn)) => turn,
            _ => panic!("there is nothing to wait for"),
        }
    }
}

fn given(turn: &mut Turn<'_>) -> Option<u64> {
    let given = turn.given().now_or_never().flatten();
    given.map(|idle| idle.kept.generation)
}

#[tokio::test(start_paused = true)]
async fn calls_are_served_in_the_order_in_which_they_came_and_before_newcomers() {
    let world = World::new();
    let (mut first, mut second) = (world.wait(), world.wait());
    world.put(1);
    let list = &world.pool.idle;
    assert_eq!(list.len(), 0, "it is not for a newcomer");
    assert!(list.pop(SessionKind::ReadWrite).is_none());
    assert_eq!((given(&mut second), given(&mut first)), (None, Some(1)));
    world.put(2);
    assert_eq!(given(&mut second), Some(2));
    world.put(3);
    assert_eq!(list.len(), 1, "no call waits any more");
}

#[tokio::test(start_paused = true)]
async fn a_connection_given_to_a_call_that_has_left_goes_to_the_next() {
    let world = World::new();
    let (first, mut second, third) = (world.wait(), world.wait(), world.wait());
    world.put(1);
    drop(first);
    assert_eq!(given(&mut second), Some(1));
    drop(third);
    world.put(2);
    assert_eq!(world.pool.idle.len(), 1, "who left is not in the line");
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_closes_tells_those_who_wait() {
    let world = World::new();
    let mut turn = world.wait();
    let list = &world.pool.idle;
    list.close();
    let told = tokio::time::timeout(Duration::from_secs(1), turn.given()).await;
    assert!(told.unwrap().is_none());
    assert!(list.pop_or_wait(SessionKind::ReadWrite).is_none());
    world.put(1);
    assert_eq!(list.len(), 0);
    assert_eq!(world.pool.growth.connections(), 0, "it was closed");
}
