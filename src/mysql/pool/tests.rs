//! What a pool tells others of.

use super::super::testing;
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
    // A connection made since says it again.
    pool.demoted(era + 1);
    assert_eq!(told.demoted.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn slots_that_a_server_has_room_for_again_are_announced() {
    let config = testing::config().with_max_connections(16);
    let (pool, told) = testing::pool(&config, Handle::current());
    pool.fit_into(10);
    assert!(pool.slots.available_permits() < 16);
    assert_eq!(told.freed.load(Ordering::Relaxed), 0);
    pool.fit_into(1000);
    assert_eq!(pool.slots.available_permits(), 16);
    assert_eq!(told.freed.load(Ordering::Relaxed), 1);
}

/// On the clock: somebody is dialled.
#[cfg(feature = "metrics")]
#[tokio::test]
async fn what_a_dashboard_should_show_is_counted_with_the_pods_full_name() {
    use super::super::connect::SessionKind;
    use crate::observe::testing::Recorder;
    use std::sync::Arc;

    let recorder = Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let config = testing::config().with_max_connections(16);
    let (pool, _) = testing::pool(&config, Handle::current());
    let slot = Arc::clone(&pool.slots).acquire_owned().await.unwrap();
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
