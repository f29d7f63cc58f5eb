//! What embedded pods are made of.

use std::time::Duration;

use super::EmbeddedPods;
use crate::testkit::lab::{Lab, LabError};
use crate::testkit::pods::StatefulSetSpec;

/// As which kind of server the pods present themselves.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavour {
    /// MariaDB 10.11: `@@gtid_binlog_pos` and its kin, `--read-only`.
    #[default]
    MariaDb,
    /// MySQL 9: `@@gtid_executed`, `@@server_uuid`, `@@super_read_only`, `@@offline_mode`.
    MySql,
}

/// Describes [`EmbeddedPods`]. Made by [`EmbeddedPods::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct EmbeddedBuilder {
    pub(super) spec: StatefulSetSpec,
    pub(super) flavour: Flavour,
    pub(super) lag: Duration,
}

// === impl EmbeddedBuilder ===

impl EmbeddedBuilder {
    /// How many replicas the primary has; 2 unless said otherwise.
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.spec = self.spec.replicas(replicas);
        self
    }

    /// The name of the StatefulSet, the part of a pod's name before the ordinal; `mysql` unless
    /// said otherwise.
    pub fn statefulset(mut self, name: impl Into<String>) -> Self {
        self.spec = self.spec.statefulset(name);
        self
    }

    /// The kind of server; MariaDB unless said otherwise.
    pub fn flavour(mut self, flavour: Flavour) -> Self {
        self.flavour = flavour;
        self
    }

    /// How long each replica waits before it applies a transaction; not at all unless said
    /// otherwise. See also [`EmbeddedPods::set_lag`].
    pub fn lag(mut self, lag: Duration) -> Self {
        self.lag = lag;
        self
    }

    /// Starts the servers.
    ///
    /// # Errors
    ///
    /// When the StatefulSet's name is none, or when this machine has no free loopback addresses.
    pub async fn start(self) -> Result<EmbeddedPods, LabError> {
        // What is a name is the same for both.
        Lab::builder()
            .statefulset(self.spec.statefulset.as_str())
            .validate()?;
        EmbeddedPods::launch(self).await
    }
}

impl From<StatefulSetSpec> for EmbeddedBuilder {
    fn from(spec: StatefulSetSpec) -> Self {
        Self {
            spec,
            flavour: Flavour::default(),
            lag: Duration::ZERO,
        }
    }
}
