//! Findings of look-ups about the set-up: for the status, for errors, and for calls that would wait
//! in vain.
//!
//! Owns the findings of the last look-up and the memory of findings that were logged. It must never
//! decide what a finding means: `discovery` does.

use parking_lot::Mutex;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;

use super::Topology;
use crate::discovery::{BlockedCalls, Finding};

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Findings of the last look-up.
    latest: watch::Sender<Arc<[Finding]>>,
    /// Findings that were logged as warnings.
    warned: Mutex<Vec<Finding>>,
}

impl Findings {
    pub(super) fn latest(&self) -> Arc<[Finding]> {
        Arc::clone(&self.latest.borrow())
    }

    /// Logs a warning once for each finding that is about the set-up.
    pub(super) fn warn_of(&self, found: &[Finding], topology: &Topology, service: &str) {
        let known = topology.pod(topology.primary()).is_some();
        let mut warned = self.warned.lock();
        for finding in found {
            // A known primary that is not listed is restarting.
            let absent = matches!(finding, Finding::PrimaryNotListed { .. }) && !known;
            if (finding.is_set_up() || absent) && !warned.contains(finding) {
                warn!(service, "{finding}");
                warned.push(finding.clone());
            }
        }
    }

    /// Call after the topology was published: calls read the topology when findings arrive.
    pub(super) fn publish(&self, found: Vec<Finding>) {
        self.latest.send_if_modified(|last| {
            let changed = **last != *found;
            if changed {
                *last = found.into();
            }
            changed
        });
    }

    /// Returns when a look-up has a finding that bars calls and for which `concerns` is true.
    pub(super) async fn barred(&self, concerns: impl Fn(BlockedCalls) -> bool) {
        let mut latest = self.latest.subscribe();
        let bars = |all: &Arc<[Finding]>| all.iter().any(|finding| concerns(finding.bars()));
        // The sender lives in `self`.
        let _ = latest.wait_for(bars).await;
    }
}
