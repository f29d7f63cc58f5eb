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

/// Changes of the set of pods. Labels: `service`, `change` (`added`, `returned`, `absent`,
/// `removed`, `renamed`, `service`).
pub const TOPOLOGY_CHANGES: &str = "headless_mysql_topology_changes_total";

/// Times at which more than one pod was found writable. Label: `service`.
pub const TWO_PRIMARIES: &str = "headless_mysql_two_primaries_total";

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
