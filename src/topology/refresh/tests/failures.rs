//! The effects of each kind of failure: on the set, the status, the log and the metric.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use tracing::{Dispatch, Level};

use super::*;

/// Collects log lines.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

/// A subscriber that accepts all events and stores none. With a single subscriber, tracing asks
/// only the subscriber of the thread that meets an event first, and caches its answer. If that is
/// the thread of another test, the answer is "not interested". With two subscribers, tracing asks
/// both.
static COMPANY: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

impl Log {
    /// Collects the lines of this thread while the guard exists.
    pub(super) fn listen(&self, level: Level) -> tracing::subscriber::DefaultGuard {
        LazyLock::force(&COMPANY);
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_max_level(level)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The lines since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The next kind of failure. A new kind does not compile until it is listed here.
fn after(error: &ResolveError) -> Option<ResolveError> {
    let name = || "mysql".to_owned();
    let server = Some(([10, 96, 0, 10], 53).into());
    let message = || "told so".to_owned();
    Some(match error {
        ResolveError::NotFound { .. } => ResolveError::NoData { name: name() },
        ResolveError::NoData { .. } => ResolveError::ServerFailure {
            name: name(),
            code: "Server Failure".to_owned(),
            server,
        },
        ResolveError::ServerFailure { .. } => ResolveError::Timeout {
            name: name(),
            after: Duration::from_secs(1),
            server,
        },
        ResolveError::Timeout { .. } => ResolveError::Truncated {
            name: name(),
            server,
        },
        ResolveError::Truncated { .. } => ResolveError::Foreign {
            name: name(),
            owner: "stranger.".to_owned(),
        },
        ResolveError::Foreign { .. } => ResolveError::Io {
            name: name(),
            server,
            message: message(),
        },
        ResolveError::Io { .. } => ResolveError::NoServer { name: name() },
        ResolveError::NoServer { .. } => ResolveError::Config {
            name: name(),
            message: message(),
        },
        ResolveError::Config { .. } => ResolveError::Other {
            name: name(),
            message: message(),
        },
        ResolveError::Other { .. } => ResolveError::Search {
            name: name(),
            tried: vec![ResolveError::NoData { name: name() }, after_search()],
        },
        ResolveError::Search { .. } => ResolveError::NotOurs {
            name: name(),
            statefulset: Some("orders".to_owned()),
            found: vec!["mysql-0.mysql".to_owned()],
        },
        ResolveError::NotOurs { .. } => return None,
    })
}

/// The error that ended the search: its kind counts for the whole search.
fn after_search() -> ResolveError {
    ResolveError::Other {
        name: "mysql.".to_owned(),
        message: "told so".to_owned(),
    }
}

fn every_kind() -> Vec<ResolveError> {
    let first = ResolveError::NotFound {
        name: "mysql".to_owned(),
        asked: vec!["mysql.default.svc.cluster.local.".to_owned()],
    };
    std::iter::successors(Some(first), after).collect()
}

/// Number of lines with this level that contain `part`.
pub(super) fn count(lines: &[String], level: &str, part: &str) -> usize {
    let so = |line: &&String| line.starts_with(level) && line.contains(part);
    lines.iter().filter(so).count()
}

#[tokio::test(start_paused = true)]
async fn every_failure_keeps_the_set_and_is_told_once_and_counted() {
    #[cfg(feature = "metrics")]
    let recorder = crate::observe::testing::Recorder::default();
    #[cfg(feature = "metrics")]
    let _recording = metrics::set_default_local_recorder(&recorder);
    let log = Log::default();
    let _listening = log.listen(Level::DEBUG);

    let fake = Fake::new(Reply::Pods(vec![0, 1], 0));
    let discovery = fake.start();
    let known = discovery.first_answer().await;
    let mut by_kind = BTreeMap::new();
    let mut failed = 0;
    for error in every_kind() {
        let kind = error.kind();
        pass(20_000).await;
        let well = discovery.status();
        assert_eq!((well.failures_in_a_row, well.failing_since), (0, None));
        log.take();

        fake.set(Reply::Error(error.clone()));
        pass(60_000).await;
        let status = discovery.status();
        let failures = status.failures - failed;
        failed = status.failures;
        assert!(failures > 10, "{kind}: {failures}");
        assert_eq!(discovery.topology(), known, "{kind}");
        assert_eq!(status.failures_in_a_row, failures, "{kind}");
        assert_eq!(status.look_ups - well.look_ups, failures, "{kind}");
        assert_eq!(status.last_ok, well.last_ok, "{kind}");
        assert_eq!(status.last_error, Some(error.clone()), "{kind}");
        // A search with several errors counts as the last of them.
        *by_kind.entry(kind).or_insert(0) += failures;
        assert_eq!(status.failures_by_kind, by_kind, "{kind}");
        let since = status.failing_since.unwrap().elapsed();
        let regular = Duration::from_millis(5_500);
        let range = Duration::from_secs(60) - regular..Duration::from_secs(60);
        assert!(range.contains(&since), "{kind}: {since:?}");

        let lines = log.take();
        let said = error.to_string();
        assert_eq!(count(&lines, "WARN", &said), 1, "{kind}: {lines:#?}");
        let quiet = usize::try_from(failures).unwrap() - 1;
        assert_eq!(count(&lines, "DEBUG", &said), quiet, "{kind}: {lines:#?}");
        assert_eq!(lines.len(), quiet + 1, "{kind}: {lines:#?}");
        #[cfg(feature = "metrics")]
        {
            let counters = recorder.counters();
            let metric = crate::observe::LOOK_UPS;
            let counter = format!("{metric}{{service=mysql,outcome={kind}}}");
            assert_eq!(counters.get(&counter), by_kind.get(kind), "{counters:#?}");
            let counter = format!("{metric}{{service=mysql,outcome=ok}}");
            let ok = status.look_ups - status.failures;
            assert_eq!(counters.get(&counter), Some(&ok), "{counters:#?}");
            let metric = crate::observe::TOPOLOGY_CHANGES;
            let counter = format!("{metric}{{service=mysql,change=added}}");
            assert_eq!(counters.get(&counter), Some(&2), "{counters:#?}");
            // One counter per kind so far, plus `ok` and `added`: no other counter moved.
            assert_eq!(counters.len(), by_kind.len() + 2, "{counters:#?}");
        }

        fake.set(Reply::Pods(vec![0, 1], 0));
        pass(6_000).await;
        let lines = log.take();
        assert_eq!(
            count(&lines, "INFO", "discovery works again"),
            1,
            "{lines:#?}"
        );
        assert_eq!(count(&lines, "WARN", ""), 0, "{kind}: {lines:#?}");
    }
    assert_eq!(by_kind.len(), 11);
    assert_eq!(discovery.topology().version(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_a_panic_and_a_hang_are_failures_of_their_kind() {
    let fake = Fake::new(Reply::Pods(vec![0], 0));
    let discovery = fake.start();
    let known = discovery.first_answer().await;
    for (reply, kind) in [
        (Reply::Pods(vec![], 0), "no_data"),
        (Reply::Panic, "other"),
        (Reply::Hang, "timeout"),
    ] {
        fake.set(reply);
        pass(20_000).await;
        let status = discovery.status();
        assert_eq!(status.last_error.map(|error| error.kind()), Some(kind));
        assert!(status.failures_by_kind[kind] > 0);
        assert_eq!(discovery.topology(), known, "{kind}");
    }
    assert_eq!(discovery.status().failures_by_kind.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn operators_are_told_once() {
    let log = Log::default();
    let _listening = log.listen(Level::INFO);
    let fake = Fake::new(Reply::Pods(vec![0], 0));
    let discovery = fake.start();
    discovery.first_answer().await;
    fake.set(Reply::Fail);
    pass(60_000).await;
    fake.set(Reply::Pods(vec![0], 0));
    pass(10_000).await;

    let lines = log.take();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert_eq!(
        count(&lines[..1], "INFO", "mysql-0 at 10.0.0.0:3306 added"),
        1
    );
    assert!(lines[0].contains("from=0 to=1"), "{lines:#?}");
    assert_eq!(count(&lines[1..2], "WARN", "no ready pod"), 1, "{lines:#?}");
    assert_eq!(count(&lines[2..], "INFO", "works again"), 1, "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_changes_are_not_hundreds_of_lines() {
    let log = Log::default();
    let _listening = log.listen(Level::DEBUG);
    let discovery = Fake::new(Reply::Pods((0..200).collect(), 0)).start();
    discovery.first_answer().await;
    let lines = log.take();
    assert_eq!(count(&lines, "INFO", "topology changed service="), LOGGED);
    assert_eq!(count(&lines, "INFO", "more=180"), 1, "{lines:?}");
}
