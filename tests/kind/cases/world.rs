//! What a case may ask of the cluster around it, and do to it.
//!
//! Owns the trait between the cases and their two worlds, and what can be said with it alone. It
//! must never promise what one of the worlds cannot do. Every operation is over when it returns:
//! the pods are ready again and cluster DNS lists them.

use headless_mysql::discovery::DnsResolver;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::mysql_async::{Conn, OptsBuilder};
use headless_mysql::{Cluster, Config};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Why a case failed: for a person.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How a case ends.
pub(crate) type Outcome = Result<(), Failure>;

/// How many pods there are when a case begins, and when it ends.
pub(crate) const PODS: u32 = 3;

/// The namespace of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    /// That of the servers.
    Same,
    /// Another one.
    Elsewhere,
}

/// How long things take here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long a pod may take from its end to being listed again, or a change to be seen.
    pub(crate) patience: Duration,
    /// How long DNS is away when it is.
    pub(crate) outage: Duration,
}

/// The account of the application, and its database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) database: &'a str,
    pub(crate) port: u16,
}

/// A pod that was replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replaced {
    /// When it was sent to its end.
    pub(crate) ended: Instant,
    /// When cluster DNS first listed its successor.
    pub(crate) shown: Instant,
    pub(crate) address: IpAddr,
}

/// A StatefulSet of MySQL behind a headless Service, and the DNS of its cluster.
pub(crate) trait World {
    fn pace(&self) -> Pace;
    /// The namespace of the Service.
    fn namespace(&self) -> &str;
    /// The Service's name, which is the StatefulSet's too.
    fn service(&self) -> &str;
    /// The zone of the cluster, such as `cluster.local`.
    fn zone(&self) -> &str;
    fn account(&self) -> Account<'_>;
    /// Options for the Service by this name, as an application in that namespace has them.
    fn config(&self, seat: Seat, name: &str) -> Config;
    /// What the name resolves to, asked as an application in that namespace does.
    fn resolver(&self, seat: Seat, name: &str) -> Result<DnsResolver, Failure>;

    /// The addresses of the ready pods, by ordinal.
    async fn addresses(&self) -> Result<BTreeMap<u32, IpAddr>, Failure>;
    /// Deletes a pod as `kubectl delete pod` does, and waits for its successor.
    async fn delete_pod(&self, ordinal: u32) -> Result<Replaced, Failure>;
    /// Gives the StatefulSet another number of pods.
    async fn scale(&self, pods: u32) -> Outcome;
    /// Restarts all pods, highest ordinal first, as `kubectl rollout restart` does.
    async fn rolling_restart(&self) -> Outcome;
    /// Makes a pod fail its readiness probe, or pass it again.
    async fn set_ready(&self, ordinal: u32, ready: bool) -> Outcome;
    /// Takes cluster DNS away, or brings it back.
    async fn set_dns(&self, there: bool) -> Outcome;
}

/// A cluster connected to the Service from its own namespace, by its short name.
pub(crate) async fn connect(world: &impl World) -> Result<Cluster, Failure> {
    let config = world.config(Seat::Same, world.service());
    Ok(Cluster::builder(config).connect().await?)
}

/// Waits until something holds, or fails with what was waited for.
pub(crate) async fn eventually(
    what: &str,
    patience: Duration,
    mut holds: impl AsyncFnMut() -> Result<bool, Failure>,
) -> Result<Duration, Failure> {
    let began = Instant::now();
    while !holds().await? {
        ensure!(
            began.elapsed() < patience,
            "in vain within {patience:?}: {what}"
        );
        sleep(Duration::from_millis(10)).await;
    }
    Ok(began.elapsed())
}

/// A connection to a pod without the crate under test.
pub(crate) async fn direct(world: &impl World, address: IpAddr) -> Result<Conn, Failure> {
    let account = world.account();
    let opts = OptsBuilder::default()
        .ip_or_hostname(address.to_string())
        .tcp_port(account.port)
        .user(Some(account.user))
        .pass(Some(account.password))
        .db_name(Some(account.database))
        .prefer_socket(false);
    Ok(timeout(world.pace().patience, Conn::new(opts)).await??)
}

/// Makes a table of the case's own, and waits until every pod has it.
pub(crate) async fn table(world: &impl World, cluster: &Cluster, name: &str) -> Outcome {
    let drop = format!("DROP TABLE IF EXISTS {name}");
    cluster.primary().query_drop(drop).await?;
    let create = format!("CREATE TABLE {name} (id BIGINT PRIMARY KEY, server INT NOT NULL)");
    cluster.primary().query_drop(create).await?;
    replicated(world, cluster, name).await
}

/// Waits until every ready pod has what is in the table of the primary now.
pub(crate) async fn replicated(world: &impl World, cluster: &Cluster, table: &str) -> Outcome {
    let count = format!("SELECT COUNT(*) FROM {table}");
    let wanted: Option<u64> = cluster.primary().query_first(count.clone()).await?;
    for (ordinal, address) in world.addresses().await? {
        let what = format!("pod {ordinal} has the {wanted:?} rows of {table}");
        let mut conn = direct(world, address).await?;
        eventually(&what, world.pace().patience, async || {
            // Until it is replicated, there is no such table.
            let found: Option<u64> = conn.query_first(&count).await.unwrap_or(None);
            Ok(found >= wanted)
        })
        .await?;
        conn.disconnect().await?;
    }
    Ok(())
}
