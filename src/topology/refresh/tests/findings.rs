//! One warning for each problem in the set-up.

use tracing::Level;

use super::failures::{Log, count};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_wrong_set_up_is_warned_of_once_and_bars_calls() {
    let log = Log::default();
    let _listening = log.listen(Level::WARN);
    let not_ours = ResolveError::NotOurs {
        name: "mysql.".to_owned(),
        statefulset: Some("orders".to_owned()),
        found: vec!["mysql-0.mysql".to_owned()],
    };
    let fake = Fake::new(Reply::Error(not_ours));
    let discovery = fake.start();
    discovery
        .barred(|bars| bars == BlockedCalls::Everything)
        .await;
    pass(20_000).await;
    let lines = log.take();
    assert_eq!(count(&lines, "WARN", "is called `orders-0`"), 1);
    assert_eq!(lines.len(), 1, "{lines:#?}");

    fake.set(Reply::Pods(vec![1], 0));
    pass(20_000).await;
    let lines = log.take();
    assert_eq!(count(&lines, "WARN", "ordinal 0 is not listed"), 1);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(discovery.findings().len(), 1);
    fake.set(Reply::Pods(vec![0, 1], 0));
    pass(20_000).await;
    assert!(discovery.findings().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_was_listed_once_is_not_warned_of_when_it_is_away() {
    let log = Log::default();
    let _listening = log.listen(Level::WARN);
    let fake = Fake::new(Reply::Pods(vec![0, 1], 0));
    let discovery = fake.start();
    pass(20_000).await;
    fake.set(Reply::Pods(vec![1], 0));
    pass(20_000).await;
    let findings = discovery.findings();
    assert!(matches!(findings[..], [Finding::PrimaryNotListed { .. }]));
    assert_eq!(log.take(), [] as [String; 0]);
}
