//! A health check that queries the servers.
//!
//! For a health endpoint, or after a deployment:
//! `cluster.check(Duration::from_secs(1)).await.is_ok()`.
//!
//! Owns the queries of the check. It must never write.

use super::handle::Cluster;
use crate::conn::podconn::PodConn;
use crate::error::{Error, PodId};
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// The result of [`Cluster::check`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Check {
    /// The pod that began a read-write transaction, which was rolled back.
    pub primary: Result<PodId, Error>,
    /// The pod that answered on the replicas' route. It may be the primary; see
    /// [`ReplicaPolicy`](crate::config::ReplicaPolicy).
    pub replica: Result<PodId, Error>,
}

impl Check {
    /// Whether the cluster can be written to and read from.
    pub fn is_ok(&self) -> bool {
        self.primary.is_ok() && self.replica.is_ok()
    }
}

impl Cluster {
    /// Checks within `deadline` that the primary can be written to and a replica can be read from.
    /// Both checks run at the same time. Each is an ordinary call and waits in the same queues.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is written.
    pub async fn check(&self, deadline: Duration) -> Check {
        let (primary, replica) =
            futures_util::join!(self.check_primary(deadline), self.check_replica(deadline));
        Check { primary, replica }
    }

    async fn check_primary(&self, deadline: Duration) -> Result<PodId, Error> {
        let mut tx = self.primary().deadline(deadline).begin().await?;
        tx.begin_now().await?;
        let pod = tx.pod().clone();
        tx.rollback().await?;
        Ok(pod)
    }

    async fn check_replica(&self, deadline: Duration) -> Result<PodId, Error> {
        let route = self.replicas().deadline(deadline);
        match ask(route.clone().conn().await?).await {
            // The server may have gone while the connection was idle.
            Err(Error::ConnectionLost { .. }) => ask(route.conn().await?).await,
            answer => answer,
        }
    }
}

async fn ask(mut conn: PodConn) -> Result<PodId, Error> {
    conn.query_drop("SELECT 1").await?;
    Ok(conn.pod().clone())
}
