//! The age of snapshots: TTL, jitter, and stale answers.

use super::*;

/// The gaps between look-ups over 10 minutes, in ms, for answers with this TTL.
async fn gaps(ttl: Option<u64>, config: RefreshConfig) -> Vec<u64> {
    let fake = Fake::new(Reply::Pods(vec![0], 0));
    *fake.ttl.lock() = ttl.map(Duration::from_secs);
    let resolve = Arc::clone(&fake) as Arc<dyn Resolve>;
    let discovery = Discovery::start(resolve, config, &Runtime::current());
    pass(600_000).await;
    drop(discovery);
    let asked = fake.asked();
    asked.windows(2).map(|two| two[1] - two[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn the_ttl_is_a_hint_within_bounds() {
    let usual = RefreshConfig::default;
    let (ms, second) = (Duration::from_millis, Duration::from_secs);
    for (ttl, config, expected) in [
        (Some(0), usual(), 1_000),
        (Some(1), usual(), 1_000),
        (Some(3), usual(), 3_000),
        (Some(5), usual(), 5_000),
        (Some(30), usual(), 5_000),
        (Some(u64::MAX), usual(), 5_000),
        (None, usual(), 5_000),
        (Some(30), usual().with_max_interval(second(20)), 20_000),
        (Some(0), usual().with_min_interval(ms(300)), 300),
        // If the bounds contradict each other, the lower bound counts.
        (Some(1), usual().with_min_interval(second(8)), 8_000),
    ] {
        let seen = gaps(ttl, config).await;
        let range = expected * 9 / 10..=expected * 11 / 10 + 1;
        assert!(
            seen.iter().all(|gap| range.contains(gap)),
            "TTL {ttl:?}: {seen:?} outside of {range:?}"
        );
        let mean = seen.iter().sum::<u64>() / u64::try_from(seen.len()).unwrap();
        let near = expected * 96 / 100..=expected * 104 / 100;
        assert!(
            near.contains(&mean),
            "TTL {ttl:?}: {mean} is not {expected}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_jitter_uses_its_whole_range() {
    let seen = gaps(Some(5), RefreshConfig::default()).await;
    let (least, most) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
    assert!(*least < 4_700 && *most > 5_300, "{least} to {most}");
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_alternates_between_old_and_new_takes_nobody_away() {
    let fake = Fake::new(Reply::Pods(vec![0, 1], 0));
    let discovery = fake.start();
    discovery.first_answer().await;
    let mut absent = 0;
    for n in 0..60 {
        let pods = if n % 2 == 0 {
            vec![0, 1, 2]
        } else {
            vec![0, 1]
        };
        fake.set(Reply::Pods(pods, 0));
        pass(5_600).await;
        assert_eq!(ordinals(&discovery.topology()), [0, 1, 2]);
        let topology = discovery.topology();
        absent += topology.pods()[2].listed().count() ^ 1;
    }
    assert!(
        absent > 20,
        "it was absent at times, and never gone: {absent}"
    );
}

#[tokio::test(start_paused = true)]
async fn resolve_now_reaches_what_the_ttl_would_hide() {
    let fake = Fake::new(Reply::Pods(vec![0], 0));
    let discovery = fake.start();
    discovery.first_answer().await;
    pass(500).await;
    fake.set(Reply::Pods(vec![0, 1], 0));
    discovery.resolve_now();
    let mut snapshots = discovery.subscribe();
    snapshots.changed().await.unwrap();
    let waited = fake.start.elapsed().as_millis();
    assert!((500..510).contains(&waited), "at once: {waited}");
    assert_eq!(ordinals(&snapshots.borrow_and_update()), [0, 1]);
}
