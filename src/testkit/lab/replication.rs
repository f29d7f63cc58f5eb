//! Replication between the lab's servers: pointing replicas, waiting for them.
//!
//! Owns every statement about replication that is made on a running server. It asks only replicas
//! that run and are not frozen, and must never wait without a deadline, for a stopped applier
//! would be waited for for ever.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tokio::time::{Instant, sleep, timeout};

use super::Lab;
use super::error::LabError;
use super::node::Node;

const POLL: Duration = Duration::from_millis(5);

impl Lab {
    /// Waits until every running replica has applied everything the primary has written so far.
    /// Replicas that are killed, stopped or frozen are left out.
    ///
    /// # Errors
    ///
    /// When that is not so within `deadline`; the error has the replica's own account of it. When
    /// the primary does not run.
    pub async fn wait_for_replication(&self, deadline: Duration) -> Result<(), LabError> {
        let end = Instant::now() + deadline;
        let mut primary = self.admin(0).await?;
        let written: Option<String> = self
            .bounded(
                0,
                "reading the position",
                primary.query_first(self.dialect().written),
            )
            .await?;
        self.part(primary).await;
        let written = written.unwrap_or_default();
        let waits = self.live_replicas().into_iter().map(|replica| {
            let written = &written;
            async move {
                let left = end.saturating_duration_since(Instant::now());
                let mut conn = self.admin(replica.ordinal).await?;
                let wait = (self.dialect().caught_up)(written, left.as_secs_f64());
                let waited = timeout(left, conn.query_first::<i64, _>(wait)).await;
                match waited {
                    Ok(Ok(Some(0))) => {
                        self.part(conn).await;
                        Ok(())
                    }
                    Ok(Err(error)) => Err(
                        LabError::query(&replica.pod, "waiting for replication")(error),
                    ),
                    Ok(Ok(_)) | Err(_) => {
                        let what = format!("replication of {written} to {}", replica.pod);
                        let last = self.replication_status(&replica).await;
                        Err(LabError::Timeout {
                            what,
                            after: deadline,
                            last,
                        })
                    }
                }
            }
        });
        try_join_all(waits).await.map(drop)
    }

    /// Points every running replica at the address the primary has now and waits until
    /// replication runs. Replicas that start later find the primary by themselves.
    ///
    /// # Errors
    ///
    /// When replication does not run in time.
    pub async fn repoint_replicas(&self) -> Result<(), LabError> {
        let primary = self.node(0)?.face().address;
        let turns = self.live_replicas().into_iter().map(|replica| async move {
            let mut conn = self.admin(replica.ordinal).await?;
            let stop = [self.dialect().stop_replication.to_owned()];
            for statement in stop.into_iter().chain((self.dialect().follow)(primary)) {
                let done = conn.query_drop(statement);
                self.bounded(replica.ordinal, "pointing it at the primary", done)
                    .await?;
            }
            self.part(conn).await;
            self.replicates(&replica).await
        });
        try_join_all(turns).await.map(drop)
    }

    /// Waits until every running replica replicates. One that tried before the primary was there
    /// sleeps for a second; it is woken.
    pub(super) async fn all_replicate(&self) -> Result<(), LabError> {
        let turns = self.live_replicas().into_iter().map(|replica| async move {
            let mut conn = self.admin(replica.ordinal).await?;
            if !self.runs(&replica, &mut conn).await? {
                for statement in self.dialect().wake_replication {
                    let done = conn.query_drop(statement);
                    self.bounded(replica.ordinal, "waking replication", done)
                        .await?;
                }
            }
            self.part(conn).await;
            self.replicates(&replica).await
        });
        try_join_all(turns).await.map(drop)
    }

    pub(super) async fn replicates(&self, replica: &Node) -> Result<(), LabError> {
        let mut conn = self.admin(replica.ordinal).await?;
        let end = Instant::now() + self.deadline();
        while !self.runs(replica, &mut conn).await? {
            if Instant::now() >= end {
                return Err(LabError::Timeout {
                    what: format!("replication on {}", replica.pod),
                    after: self.deadline(),
                    last: self.replication_status(replica).await,
                });
            }
            sleep(POLL).await;
        }
        self.part(conn).await;
        Ok(())
    }

    async fn runs(&self, replica: &Node, conn: &mut Conn) -> Result<bool, LabError> {
        let row = conn.query_first::<i64, _>(self.dialect().replication_runs);
        let row = self
            .bounded(replica.ordinal, "asking for replication", row)
            .await?;
        Ok(row.is_some())
    }

    /// The telling columns of a replica's status, as text for an error.
    async fn replication_status(&self, replica: &Node) -> String {
        let asked = async {
            let mut conn = self.admin(replica.ordinal).await?;
            let row = conn.query_first::<Row, _>(self.dialect().replication_status);
            self.bounded(replica.ordinal, "asking for the status", row)
                .await
        };
        match asked.await {
            Ok(Some(row)) => self
                .dialect()
                .trouble
                .iter()
                .map(|&column| {
                    let value: Option<Option<String>> = row.get(column);
                    format!("{column}: {}\n", value.flatten().unwrap_or_default())
                })
                .collect(),
            Ok(None) => "it is no replica of anything".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn live_replicas(&self) -> Vec<Arc<Node>> {
        let mut nodes = self.nodes();
        nodes.retain(|node| {
            let face = node.face();
            node.ordinal != 0 && face.pid.is_some() && !face.frozen
        });
        nodes
    }
}
