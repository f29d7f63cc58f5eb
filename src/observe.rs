//! What is counted for dashboards.
//!
//! Owns the names of the metrics and the one way to count. With the feature `metrics` counts go to
//! the recorder that the application installed for the [`metrics`](https://docs.rs/metrics) facade;
//! without it they cost nothing. It must never carry a secret, a statement, or a label whose values
//! have no bound.
//!
//! Only events that are rare are counted: nothing here is on the way of a call that goes well. What
//! holds now (pods, connections, ejections) is in [`Cluster::status`](crate::Cluster::status).

/// Look-ups that ended. Labels: `service`, `outcome` (`ok`, or the kind of failure as
/// [`ResolveError::kind`](crate::discovery::ResolveError::kind) says it).
pub const LOOK_UPS: &str = "headless_mysql_look_ups_total";

/// Queries sent to name servers: a look-up is one or more. Labels: `protocol` (`UDP`, `TCP`),
/// `outcome` (`ok`, `no_data`, `not_found`, `server_failure`, `timeout`, `truncated`, `io`).
pub const DNS_QUERIES: &str = "headless_mysql_dns_queries_total";

/// Changes of the set of pods. Labels: `service`, `change` (`added`, `returned`, `absent`,
/// `removed`, `renamed`, `service`).
pub const TOPOLOGY_CHANGES: &str = "headless_mysql_topology_changes_total";

/// Times at which more than one pod was found writable. Label: `service`.
pub const TWO_PRIMARIES: &str = "headless_mysql_two_primaries_total";

/// Connects that gave nothing to use. Labels: `pod` (its full name), `reason` (as
/// [`ConnectError::kind`](crate::error::ConnectError::kind) says it). A refused login counts for
/// each attempt to connect, also where it is not sent again.
pub const CONNECTS_FAILED: &str = "headless_mysql_connects_failed_total";
/// Times at which another server was found behind a pod's address. Label: `pod`.
pub const SERVERS_REPLACED: &str = "headless_mysql_servers_replaced_total";
/// Times at which another address proved to be a pod, so that the old one's connections ended.
/// Label: `pod`.
pub const ADDRESSES_SUPERSEDED: &str = "headless_mysql_addresses_superseded_total";
/// Times at which a primary became read-only. Label: `pod`.
pub const DEMOTIONS: &str = "headless_mysql_demotions_total";
/// Statements that were given up. Labels: `pod`, `outcome` (`stopped`; `refused`: the server said
/// no, most often because the connection is gone already; `not_sure`: the server may be another
/// one, so nothing was sent; `unreachable`: there was no side connection to be had).
pub const STATEMENTS_STOPPED: &str = "headless_mysql_statements_stopped_total";
/// Times at which a pool became smaller than configured. Labels: `pod`, `reason` (`share`: the
/// server takes too few connections for all; `full`: it had no room for one more).
pub const SLOTS_WITHHELD: &str = "headless_mysql_slots_withheld_total";

/// Adds one to a metric.
#[cfg(feature = "metrics")]
pub(crate) fn count(metric: &'static str, labels: &[(&'static str, &str)]) {
    let labels = labels
        .iter()
        .map(|(name, value)| metrics::Label::new(*name, (*value).to_owned()));
    metrics::counter!(metric, labels.collect::<Vec<_>>()).increment(1);
}

/// Adds one to a metric: to none, without the feature `metrics`.
#[cfg(not(feature = "metrics"))]
pub(crate) fn count(_: &'static str, _: &[(&'static str, &str)]) {}

/// A recorder for tests.
#[cfg(all(test, feature = "metrics"))]
pub(crate) mod testing {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

    /// Keeps every counter; set it with `metrics::set_default_local_recorder`.
    #[derive(Debug, Default)]
    pub(crate) struct Recorder(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Recorder {
        /// Every counter, as `name{label=value,label=value}`.
        pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
            let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
            let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
