//! Tests of the hooks and the metrics of a pool.

use crate::pool::state::{Pool, Standing};
use crate::pool::testing;
use crate::server::session_kind::SessionKind;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;

#[tokio::test(start_paused = true)]
async fn all_writers_that_a_demoted_primary_refuses_are_one_demotion() {
    let (pool, told) = testing::pool(&testing::config(), Handle::current());
    let era = pool.era.load(Ordering::Relaxed);
    for _ in 0..8 {
        pool.demoted(era);
    }
    assert_eq!(told.demoted.load(Ordering::Relaxed), 1);
    assert_eq!(pool.era.load(Ordering::Relaxed), era + 1);
    // A connection of the new era reports it again.
    pool.demoted(era + 1);
    assert_eq!(told.demoted.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn connections_that_a_server_has_room_for_again_are_announced() {
    let config = testing::config().with_max_connections(16);
    let (pool, told) = testing::pool(&config, Handle::current());
    pool.fit_into(10);
    assert_eq!(pool.growth.book().most(), 5);
    assert_eq!(told.freed.load(Ordering::Relaxed), 0);
    pool.fit_into(1000);
    assert_eq!(pool.growth.book().most(), 16);
    assert_eq!(told.freed.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pool_takes_calls_while_it_is_listed_and_open_and_an_aborted_one_stays_aborted() {
    let (pool, _) = testing::pool(&testing::config(), Handle::current());
    for listed in [false, false, true, true] {
        pool.set_listed(listed);
        assert_eq!((pool.takes_calls(), pool.is_retired()), (listed, false));
    }
    for (end, standing) in [
        (Pool::retire as fn(&Pool), Standing::Retired),
        (Pool::abort, Standing::Aborted),
        (Pool::retire, Standing::Aborted),
    ] {
        end(&pool);
        assert!(pool.is_listed(), "its address is still the pod's");
        assert_eq!(pool.standing(), standing);
        assert!(!pool.takes_calls() && pool.is_retired());
    }
}

#[test]
fn a_pool_whose_runtime_has_ended_makes_no_connection_and_returns() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    let (pool, _) = testing::pool(&testing::config(), runtime.handle().clone());
    drop(runtime);
    let turn = pool.idle.pop_or_wait(SessionKind::ReadWrite);
    pool.grow();
    assert_eq!(pool.growth.connections(), 0);
    drop(turn);
}

/// On the real clock, because the test dials.
#[cfg(feature = "metrics")]
#[tokio::test]
async fn what_a_dashboard_should_show_is_counted_with_the_pods_full_name() {
    use crate::observe::testing::Recorder;
    use crate::pool::growth::Slot;

    let recorder = Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let config = testing::config().with_max_connections(16);
    let (pool, _) = testing::pool(&config, Handle::current());
    let slot = Slot::begin(&pool.growth).unwrap();
    let dialled = pool.dial(SessionKind::ReadWrite, slot).await;
    assert!(dialled.is_err());
    pool.fit_into(10);
    pool.demoted(pool.era.load(Ordering::Relaxed));
    pool.confirm();
    pool.supersede();

    let counted: Vec<String> = recorder.counters().into_keys().collect();
    let pod = "pod=mysql-0.mysql.default.svc.cluster.local";
    let expected = [
        format!("headless_mysql_addresses_superseded_total{{{pod}}}"),
        format!("headless_mysql_connects_failed_total{{{pod},reason=unreachable}}"),
        format!("headless_mysql_demotions_total{{{pod}}}"),
        format!("headless_mysql_slots_withheld_total{{{pod},reason=share}}"),
    ];
    assert_eq!(counted, expected);
}
