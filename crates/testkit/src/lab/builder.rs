//! The builder of a lab.
//!
//! Owns the settings and their validation. It must never leave anything running when a start fails:
//! an unfinished lab is dropped like a finished one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Lab;
use super::certificates::{Identity, ServerTls};
use super::error::LabError;
use super::recipe::ServerKind;

/// A pod's host name is the StatefulSet's name plus a suffix, so the name has at most 52
/// characters.
const LONGEST_NAME: usize = 52;

/// The servers that an option applies to.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    /// Every server, including those added later.
    All,
    /// The server with this ordinal.
    Ordinal(u32),
}

/// Describes a [`Lab`]. Made by [`Lab::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct LabBuilder {
    pub(super) replicas: u32,
    pub(super) replication: bool,
    pub(super) statefulset: String,
    pub(super) kind: ServerKind,
    pub(super) options: Vec<(Nodes, String)>,
    pub(super) deadline: Duration,
    pub(super) tls: BTreeMap<u32, ServerTls>,
}

impl Nodes {
    pub(super) fn contains(self, ordinal: u32) -> bool {
        match self {
            Self::All => true,
            Self::Ordinal(only) => only == ordinal,
        }
    }
}

impl From<u32> for Nodes {
    fn from(ordinal: u32) -> Self {
        Self::Ordinal(ordinal)
    }
}

impl LabBuilder {
    pub(super) fn new() -> Self {
        Self {
            replicas: 2,
            replication: true,
            statefulset: "mysql".to_owned(),
            kind: ServerKind::default(),
            options: Vec::new(),
            deadline: Duration::from_secs(30),
            tls: BTreeMap::new(),
        }
    }

    /// The number of replicas; 2 by default.
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Whether to set up replication; on by default. Without it, every server starts writable, like
    /// a StatefulSet whose replication was never configured. [`Lab::repoint_replicas`] can set it
    /// up later, for each server until its next restart.
    pub fn replication(mut self, replication: bool) -> Self {
        self.replication = replication;
        self
    }

    /// The name of the StatefulSet, the part of a pod's name before the ordinal; `mysql` by
    /// default.
    pub fn statefulset(mut self, name: impl Into<String>) -> Self {
        self.statefulset = name.into();
        self
    }

    /// The kind of server.
    pub fn server(mut self, kind: ServerKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds a command-line option to one server or to all, such as `--init-connect=SET @x = 1`. It
    /// comes last, so it overrides the lab's own options.
    pub fn server_option(mut self, nodes: impl Into<Nodes>, option: impl Into<String>) -> Self {
        self.options.push((nodes.into(), option.into()));
        self
    }

    /// Sets the certificate of one server, which then accepts TLS connections, and the authority
    /// (PEM) for the client certificates that the server accepts. Without a certificate, MariaDB
    /// offers no TLS. MySQL creates a self-signed one, unless it gets the option `--tls-version=`.
    pub fn tls(mut self, ordinal: u32, identity: Identity, clients: &str) -> Self {
        let tls = ServerTls {
            identity,
            clients: clients.to_owned(),
        };
        self.tls.insert(ordinal, tls);
        self
    }

    /// The deadline of each single wait (a server's start, its end, replication); 30 seconds by
    /// default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts the servers and waits until every replica replicates.
    ///
    /// # Errors
    ///
    /// When the machine has no server, or when a server does not start in time or at all (the error
    /// contains the end of its log). Nothing is left running.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends everything that was started.
    pub async fn start(self) -> Result<Lab, LabError> {
        self.validate()?;
        Lab::launch(self).await
    }

    pub(crate) fn validate(&self) -> Result<(), LabError> {
        let name = &self.statefulset;
        let fits = (1..=LONGEST_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !fits {
            return Err(LabError::Config(format!(
                "`{name}` is no name for a StatefulSet"
            )));
        }
        match self
            .options
            .iter()
            .find(|(_, option)| !option.starts_with("--"))
        {
            Some((_, option)) => Err(LabError::Config(format!(
                "server options start with `--`, unlike `{option}`"
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_host_names_are_refused() {
        for good in ["mysql", "db-1", "a"] {
            assert!(
                LabBuilder::new().statefulset(good).validate().is_ok(),
                "{good}"
            );
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "$(x)", &"a".repeat(53)] {
            assert!(
                LabBuilder::new().statefulset(bad).validate().is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn options_for_one_server_are_for_no_other() {
        assert!(Nodes::All.contains(7));
        assert!(Nodes::from(1).contains(1) && !Nodes::from(1).contains(2));
        assert!(
            LabBuilder::new()
                .server_option(Nodes::All, "read-only")
                .validate()
                .is_err()
        );
    }
}
