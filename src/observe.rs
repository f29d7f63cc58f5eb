//! Counters for dashboards.
//!
//! With the feature `metrics`, each count goes to the recorder that the application installed for
//! the [`metrics`](https://docs.rs/metrics) facade. Without the feature, counting costs nothing.
//!
//! Owns the names of the metrics and the one function that counts. It must never record a secret, a
//! statement, or a label with an unbounded set of values.
//!
//! Only rare events are counted: a call that succeeds at once counts nothing. The current state
//! (pods, connections, ejections) is in [`Cluster::status`](crate::Cluster::status).

/// Look-ups that ended. Labels: `service`, `outcome` (`ok`, or the kind of failure from
/// [`ResolveError::kind`](crate::discovery::ResolveError::kind)).
pub const LOOK_UPS: &str = "headless_mysql_look_ups_total";

/// Queries sent to name servers; one look-up sends one or more. Labels: `protocol` (`UDP`, `TCP`),
/// `outcome` (`ok`, `no_data`, `not_found`, `server_failure`, `timeout`, `truncated`, `io`).
pub const DNS_QUERIES: &str = "headless_mysql_dns_queries_total";

/// Changes of the set of pods. Labels: `service`, `change` (`added`, `returned`, `absent`,
/// `removed`, `renamed`, `service`).
pub const TOPOLOGY_CHANGES: &str = "headless_mysql_topology_changes_total";

/// How often more than one pod was found writable. Label: `service`.
pub const TWO_PRIMARIES: &str = "headless_mysql_two_primaries_total";

/// Connects that failed. Labels: `pod` (its full name), `reason` (from
/// [`ConnectError::kind`](crate::error::ConnectError::kind)). A refused login counts for each
/// attempt to connect, even where the login is not sent again.
pub const CONNECTS_FAILED: &str = "headless_mysql_connects_failed_total";
/// How often a pod's address turned out to lead to another server. Label: `pod`.
pub const SERVERS_REPLACED: &str = "headless_mysql_servers_replaced_total";
/// How often a pod proved to be at another address, so that the connections to the old address were
/// closed. Label: `pod`.
pub const ADDRESSES_SUPERSEDED: &str = "headless_mysql_addresses_superseded_total";
/// How often a primary became read-only. Label: `pod`.
pub const DEMOTIONS: &str = "headless_mysql_demotions_total";
/// Statements that were given up. Labels: `pod`, `outcome`:
/// - `stopped`: the server stopped the statement;
/// - `ended`: the statement had already ended by itself;
/// - `refused`: the server refused to stop it;
/// - `not_sure`: the server may be another one, so nothing was sent;
/// - `unreachable`: at first no side connection could be opened.
pub const STATEMENTS_STOPPED: &str = "headless_mysql_statements_stopped_total";
/// Sessions that a server did not end within a second after their statement was given up. Each one
/// keeps its slot of the pool until it ends. Label: `pod`. The current number is in
/// [`PodStatus::stuck_sessions`](crate::cluster::PodStatus::stuck_sessions).
pub const SESSIONS_STUCK: &str = "headless_mysql_sessions_stuck_total";
/// How often a pool became smaller than configured. Labels: `pod`, `reason` (`share`: the server
/// takes too few connections for all clients; `full`: the server had no room for one more
/// connection).
pub const SLOTS_WITHHELD: &str = "headless_mysql_slots_withheld_total";

/// Adds one to a metric.
#[cfg(feature = "metrics")]
pub(crate) fn count(metric: &'static str, labels: &[(&'static str, &str)]) {
    let labels = labels
        .iter()
        .map(|(name, value)| metrics::Label::new(*name, (*value).to_owned()));
    metrics::counter!(metric, labels.collect::<Vec<_>>()).increment(1);
}

/// Does nothing: the feature `metrics` is off.
#[cfg(not(feature = "metrics"))]
pub(crate) fn count(_: &'static str, _: &[(&'static str, &str)]) {}

/// A recorder for tests.
#[cfg(all(test, feature = "metrics"))]
pub(crate) mod testing {
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

    /// Keeps every counter. Install it with `metrics::set_default_local_recorder`.
    #[derive(Debug, Default)]
    pub(crate) struct Recorder(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Recorder {
        /// Every counter, as `name{label=value,label=value}`.
        pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
            let counters = self.0.lock();
            let value = |counter: &Arc<AtomicU64>| counter.load(Ordering::Relaxed);
            counters
                .iter()
                .map(|(key, counter)| (key.clone(), value(counter)))
                .collect()
        }
    }

    impl metrics::Recorder for Recorder {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let labels = key
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()));
            let labels = labels.collect::<Vec<_>>().join(",");
            let key = format!("{}{{{labels}}}", key.name());
            let mut counters = self.0.lock();
            Counter::from_arc(Arc::clone(counters.entry(key).or_default()))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }
}
