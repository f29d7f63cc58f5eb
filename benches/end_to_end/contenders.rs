//! The contenders: different ways to read from two replicas, and to write to the primary.

use crate::ROWS;
use crate::haproxy::HaProxy;
use crate::sketch::Sketch;
use crate::staged::Staged as _;
use headless_mysql::Cluster;
use headless_mysql::prelude::*;
use headless_mysql_testkit::stage::Stage;
use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, TxOpts};
use std::ops::Range;
use std::sync::Arc;

/// What one operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Query {
    SelectOne,
    Prepared,
    Insert,
    PreparedInsert,
    /// 100 rows.
    Batch,
    /// An insert and a read, in a transaction.
    Transaction,
    PreparedTransaction,
}

impl Query {
    pub(crate) const READS: [Self; 2] = [Self::SelectOne, Self::Prepared];
    pub(crate) const WRITES: [Self; 5] = [
        Self::Insert,
        Self::PreparedInsert,
        Self::Batch,
        Self::Transaction,
        Self::PreparedTransaction,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SelectOne => "`SELECT 1`",
            Self::Prepared => "prepared point read",
            Self::Insert => "INSERT as text",
            Self::PreparedInsert => "prepared INSERT",
            Self::Batch => "INSERT of 100 rows, prepared",
            Self::Transaction => "transaction of INSERT and SELECT, as text",
            Self::PreparedTransaction => "transaction of INSERT and SELECT, prepared",
        }
    }
}

const POINT: &str = "SELECT value FROM points WHERE id = ?";
/// Into a table with AUTO_INCREMENT.
const INSERT: &str = "INSERT INTO written (value) VALUES (?)";

fn point(id: u64) -> String {
    format!("SELECT value FROM points WHERE id = {id}")
}

fn insert(id: u64) -> String {
    format!("INSERT INTO written (value) VALUES ({id})")
}

fn batch(id: u64) -> impl Iterator<Item = (u64,)> + Send {
    (id..id + 100).map(|id| (id,))
}

pub(crate) const PRIMARY: Range<u32> = 0..1;
pub(crate) const REPLICAS: Range<u32> = 1..3;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One contender.
#[derive(Clone)]
pub(crate) enum Contender {
    /// This crate.
    Ours(Cluster),
    /// One connection per task, held for the whole run: the upper limit.
    Held(Vec<Opts>),
    /// A minimal balancer.
    Sketch(Arc<Sketch>),
    /// One pool per replica, chosen at random for each read.
    Pools(Vec<Pool>),
}

/// The state of one task of a contender.
pub(crate) enum Reader {
    Ours(Cluster),
    Held(Conn),
    Sketch(Arc<Sketch>),
    Pools(Vec<Pool>),
}

impl Contender {
    pub(crate) async fn ours(stage: &Stage, connections: usize, read_retry: bool) -> Self {
        let config = stage.config().with_max_connections(connections);
        let cluster = Cluster::builder(config.with_read_retry(read_retry));
        Self::Ours(cluster.connect().await.unwrap())
    }

    pub(crate) fn held(stage: &Stage, pods: Range<u32>) -> Self {
        Self::Held(options(stage, pods).map(Opts::from).collect())
    }

    pub(crate) fn sketch(stage: &Stage, connections: usize) -> Self {
        let sketch = Sketch::new(options(stage, REPLICAS).map(Opts::from), connections);
        Self::Sketch(Arc::new(sketch))
    }

    /// Pools with explicit settings: large enough, so that no connection is opened or closed
    /// needlessly.
    pub(crate) fn random_pools(
        stage: &Stage,
        pods: Range<u32>,
        connections: usize,
        reset: bool,
    ) -> Self {
        let constraints = PoolConstraints::new(connections, connections).unwrap();
        let pool = PoolOpts::default()
            .with_constraints(constraints)
            .with_reset_connection(reset);
        let pools = options(stage, pods).map(|opts| Pool::new(opts.pool_opts(pool.clone())));
        Self::Pools(pools.collect())
    }

    /// Pools as in the driver's documentation.
    pub(crate) fn default_pools(stage: &Stage) -> Self {
        let pools = REPLICAS.map(|n| {
            let url = Opts::from_url(&stage.lab.url(n)).unwrap();
            // By default the driver switches to the server's unix socket and bypasses the network.
            Pool::new(OptsBuilder::from_opts(url).prefer_socket(false))
        });
        Self::Pools(pools.collect())
    }

    /// A pool with explicit settings, whose connections go through a proxy.
    pub(crate) fn behind(proxy: &HaProxy, stage: &Stage, connections: usize) -> Self {
        let constraints = PoolConstraints::new(connections, connections).unwrap();
        let pool = PoolOpts::default()
            .with_constraints(constraints)
            .with_reset_connection(false);
        let opts = opts(&stage.lab.url(1))
            .ip_or_hostname(proxy.address.ip().to_string())
            .tcp_port(proxy.address.port())
            .pool_opts(pool);
        Self::Pools(vec![Pool::new(opts)])
    }

    pub(crate) async fn reader(&self, task: usize) -> Reader {
        match self {
            Self::Ours(cluster) => Reader::Ours(cluster.clone()),
            Self::Held(opts) => {
                let opts = opts[task % opts.len()].clone();
                Reader::Held(Conn::new(opts).await.unwrap())
            }
            Self::Sketch(sketch) => Reader::Sketch(Arc::clone(sketch)),
            Self::Pools(pools) => Reader::Pools(pools.clone()),
        }
    }

    pub(crate) async fn end(self) {
        match self {
            Self::Ours(cluster) => drop(cluster),
            Self::Held(_) | Self::Sketch(_) => {}
            Self::Pools(pools) => {
                for pool in pools {
                    let _ = tokio::time::timeout(crate::outage::DEADLINE, pool.disconnect()).await;
                }
            }
        }
    }
}

fn options(stage: &Stage, pods: Range<u32>) -> impl Iterator<Item = OptsBuilder> {
    pods.map(|n| opts(&stage.lab.url(n)))
}

/// Options that avoid additional queries at each connect.
fn opts(url: &str) -> OptsBuilder {
    OptsBuilder::from_opts(Opts::from_url(url).unwrap())
        .prefer_socket(false)
        .max_allowed_packet(Some(1 << 24))
        .wait_timeout(Some(28_800))
}

impl Reader {
    /// One read within [`DEADLINE`](crate::outage::DEADLINE), as far as the contender supports
    /// deadlines.
    pub(crate) async fn read_in_time(&mut self) -> Result<(), Failure> {
        match self {
            Self::Ours(cluster) => {
                let route = cluster.replicas().deadline(crate::outage::DEADLINE);
                one(route.query_first("SELECT 1").await?)
            }
            other => other.run(Query::SelectOne).await,
        }
    }

    /// One operation. The answer of a read is checked.
    pub(crate) async fn run(&mut self, query: Query) -> Result<(), Failure> {
        let id = rand::random_range(0..ROWS);
        match (self, query) {
            (Self::Ours(cluster), query) => ours(cluster, query, id).await,
            (Self::Held(conn), query) => on(conn, query, id).await,
            (Self::Sketch(sketch), query) => {
                sketch.read(async |conn| on(conn, query, id).await).await
            }
            (Self::Pools(pools), query) => {
                let pool = &pools[rand::random_range(0..pools.len())];
                on(&mut pool.get_conn().await?, query, id).await
            }
        }
    }
}

async fn ours(cluster: &Cluster, query: Query, id: u64) -> Result<(), Failure> {
    match query {
        Query::SelectOne => one(cluster.replicas().query_first("SELECT 1").await?),
        Query::Prepared => some(cluster.replicas().exec_first(POINT, (id,)).await?),
        Query::Insert => Ok(cluster.primary().query_drop(insert(id)).await?),
        Query::PreparedInsert => Ok(cluster.primary().exec_drop(INSERT, (id,)).await?),
        Query::Batch => Ok(cluster.primary().exec_batch(INSERT, batch(id)).await?),
        Query::Transaction => {
            let mut tx = cluster.begin().await?;
            tx.query_drop(insert(id)).await?;
            some(tx.query_first(point(id)).await?)?;
            tx.commit().await?;
            Ok(())
        }
        Query::PreparedTransaction => {
            let mut tx = cluster.begin().await?;
            tx.exec_drop(INSERT, (id,)).await?;
            some(tx.exec_first(POINT, (id,)).await?)?;
            tx.commit().await?;
            Ok(())
        }
    }
}

async fn on(conn: &mut Conn, query: Query, id: u64) -> Result<(), Failure> {
    match query {
        Query::SelectOne => one(conn.query_first("SELECT 1").await?),
        Query::Prepared => some(conn.exec_first(POINT, (id,)).await?),
        Query::Insert => Ok(conn.query_drop(insert(id)).await?),
        Query::PreparedInsert => Ok(conn.exec_drop(INSERT, (id,)).await?),
        Query::Batch => Ok(conn.exec_batch(INSERT, batch(id)).await?),
        Query::Transaction => {
            let mut tx = conn.start_transaction(TxOpts::default()).await?;
            tx.query_drop(insert(id)).await?;
            some(tx.query_first(point(id)).await?)?;
            Ok(tx.commit().await?)
        }
        Query::PreparedTransaction => {
            let mut tx = conn.start_transaction(TxOpts::default()).await?;
            tx.exec_drop(INSERT, (id,)).await?;
            some(tx.exec_first(POINT, (id,)).await?)?;
            Ok(tx.commit().await?)
        }
    }
}

fn one(answer: Option<u64>) -> Result<(), Failure> {
    match answer {
        Some(1) => Ok(()),
        other => Err(format!("{other:?} is not 1").into()),
    }
}

fn some(answer: Option<String>) -> Result<(), Failure> {
    answer.map(drop).ok_or_else(|| "no such row".into())
}
