//! Replication between the lab's servers: configures replicas and waits for them.
//!
//! Owns every replication statement that is sent to a running server. It must only query replicas
//! that run and are not frozen. It must never wait without a deadline, because a stopped applier
//! would make the wait endless.

use std::sync::Arc;
use std::sync::atomic::Ordering;
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
    /// The ordinal of the primary: 0, or the server that was promoted last.
    pub fn primary(&self) -> u32 {
        self.primary.load(Ordering::Acquire)
    }

    /// Waits until every running replica has applied everything the primary has written so far.
    /// Replicas that are killed, stopped or frozen are left out.
    ///
    /// # Errors
    ///
    /// When a replica has not caught up within `deadline`; the error contains its replication
    /// status. When the primary does not run.
    pub async fn wait_for_replication(&self, deadline: Duration) -> Result<(), LabError> {
        let end = Instant::now() + deadline;
        let ordinal = self.primary();
        let mut primary = self.admin(ordinal).await?;
        let written: Option<String> = self
            .bounded(
                ordinal,
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

    /// Stops replication to a replica, until [`Lab::repoint_replicas`] or its next start.
    ///
    /// # Errors
    ///
    /// When the replica does not run or refuses.
    pub async fn stop_replication(&self, ordinal: u32) -> Result<(), LabError> {
        let stop = [self.dialect().stop_replication];
        self.run(ordinal, "stopping replication", &stop).await
    }

    /// Points every running replica at the primary's current address and waits until replication
    /// runs. A replica that starts later gets the address at its start.
    ///
    /// # Errors
    ///
    /// When replication does not run in time.
    pub async fn repoint_replicas(&self) -> Result<(), LabError> {
        let primary = self.node(self.primary())?.face().address;
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

    /// Makes another server the primary by a planned switchover that loses nothing: the primary
    /// becomes read-only, every running replica applies what it has written, `ordinal` becomes
    /// writable, and all others replicate from it. `ordinal` is then the primary for every
    /// operation. Servers that restart later follow it, including the old primary. Promoting the
    /// current primary does nothing.
    ///
    /// Operations that kill or restart one of the two servers wait until the promotion ends. The
    /// caller must not kill or restart other servers meanwhile.
    ///
    /// # Errors
    ///
    /// When one of the two servers does not run, or when replication is not established in time. No
    /// server may be writable then; `set_read_only(lab.primary(), false)` repairs that.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the promotion incomplete, as after an error.
    pub async fn promote(&self, ordinal: u32) -> Result<(), LabError> {
        let _scaling = self.scaling.lock().await;
        let old = self.primary();
        if old == ordinal {
            return Ok(());
        }
        let (node, old_node) = (self.node(ordinal)?, self.node(old)?);
        let _held = (node.hold().await, old_node.hold().await);
        for node in [&node, &old_node] {
            let face = node.face();
            if face.pid.is_none() || face.frozen {
                let pod = node.pod.clone();
                return Err(LabError::NotRunning { pod });
            }
        }
        self.set_read_only(old, true).await?;
        self.wait_for_replication(self.deadline()).await?;
        let dialect = self.dialect();
        let leave = [dialect.stop_replication, dialect.forget_primary];
        self.run(ordinal, "leaving the primary", &leave).await?;
        self.run(old, "becoming a replica", dialect.become_replica)
            .await?;
        self.primary.store(ordinal, Ordering::Release);
        self.repoint_replicas().await?;
        self.set_read_only(ordinal, false).await
    }

    async fn run(&self, ordinal: u32, what: &str, statements: &[&str]) -> Result<(), LabError> {
        let mut conn = self.admin(ordinal).await?;
        for &statement in statements {
            self.bounded(ordinal, what, conn.query_drop(statement))
                .await?;
        }
        self.part(conn).await;
        Ok(())
    }

    /// Waits until every running replica replicates. A replica whose first attempt came before the
    /// primary was up sleeps for a second, so it is woken.
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

    /// The columns of a replica's status that explain an error, as text.
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
            node.ordinal != self.primary() && face.pid.is_some() && !face.frozen
        });
        nodes
    }
}
