//! The builder of embedded pods.

use std::time::Duration;

use super::EmbeddedPods;
use crate::lab::{Lab, LabError};
use crate::pods::StatefulSetSpec;

/// The kind of server that the pods imitate.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavour {
    /// MariaDB 10.11: `@@gtid_binlog_pos` and related variables, `--read-only`.
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
    pub(super) version: Option<String>,
}

impl EmbeddedBuilder {
    /// The number of replicas; 2 by default.
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.spec = self.spec.replicas(replicas);
        self
    }

    /// The name of the StatefulSet, the part of a pod's name before the ordinal; `mysql` by
    /// default.
    pub fn statefulset(mut self, name: impl Into<String>) -> Self {
        self.spec = self.spec.statefulset(name);
        self
    }

    /// The kind of server; MariaDB by default.
    pub fn flavour(mut self, flavour: Flavour) -> Self {
        self.flavour = flavour;
        self
    }

    /// The version that the servers report, in the greeting and as `@@version`. The default is a
    /// version of their flavour.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// How long each replica waits before it applies a transaction; zero by default. See also
    /// [`EmbeddedPods::set_lag`].
    pub fn lag(mut self, lag: Duration) -> Self {
        self.lag = lag;
        self
    }

    /// Starts the servers.
    ///
    /// # Errors
    ///
    /// When the StatefulSet's name is invalid, or when this machine has no free loopback addresses.
    pub async fn start(self) -> Result<EmbeddedPods, LabError> {
        // The lab's builder validates the name: the rule is the same for both.
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
            version: None,
        }
    }
}
