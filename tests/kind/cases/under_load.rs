//! What the cases under load have in common: how they begin, and how they end.
//!
//! Owns the cluster, the table and the tasks of such a case. It must never say what the case allows
//! to fail.

use super::load::{Acknowledged, Load, Seen};
use super::report::Report;
use super::world::{Failure, Outcome, World, connect, replicated, table};
use headless_mysql::Cluster;

/// Enough operations for every pod to have had its share.
pub(crate) const SHARE: u64 = 300;

/// Reads and writes that go on, in a table of the case's own.
#[derive(Debug)]
pub(crate) struct UnderLoad {
    table: &'static str,
    acknowledged: Acknowledged,
    pub(crate) cluster: Cluster,
    pub(crate) reads: Load,
    pub(crate) writes: Load,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ended {
    table: &'static str,
    acknowledged: Acknowledged,
    cluster: Cluster,
    pub(crate) reads: Seen,
    pub(crate) writes: Seen,
}

// === impl UnderLoad ===

impl UnderLoad {
    pub(crate) async fn begin(world: &impl World, name: &'static str) -> Result<Self, Failure> {
        let cluster = connect(world).await?;
        table(world, &cluster, name).await?;
        let acknowledged = Acknowledged::default();
        Ok(Self {
            table: name,
            reads: Load::reads(&cluster),
            writes: Load::writes(&cluster, name, &acknowledged),
            acknowledged,
            cluster,
        })
    }

    /// Waits until every ready pod has what was written so far.
    pub(crate) async fn replicated(&self, world: &impl World) -> Outcome {
        replicated(world, &self.cluster, self.table).await
    }

    /// Stops the tasks and reports what they saw.
    pub(crate) async fn end(self, report: &mut Report) -> Result<Ended, Failure> {
        let (reads, writes) = (self.reads.stop().await?, self.writes.stop().await?);
        reads.say(report);
        writes.say(report);
        Ok(Ended {
            table: self.table,
            acknowledged: self.acknowledged,
            cluster: self.cluster,
            reads,
            writes,
        })
    }
}

// === impl Ended ===

impl Ended {
    /// No operation failed.
    pub(crate) fn flawless(&self) -> Outcome {
        self.reads.flawless()?;
        self.writes.flawless()
    }

    /// Every acknowledged write is on the primary.
    pub(crate) async fn nothing_lost(&self) -> Outcome {
        self.acknowledged.check(&self.cluster, self.table).await
    }

    /// Waits until every ready pod has what was written.
    pub(crate) async fn replicated(&self, world: &impl World) -> Outcome {
        replicated(world, &self.cluster, self.table).await
    }
}
