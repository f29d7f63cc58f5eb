//! Embedded pods: a StatefulSet of servers inside this process, with nothing to install.
//!
//! The servers speak the MySQL protocol. There is a primary and its replicas, each with its own
//! loopback address, port 3306, its pod's name as `@@hostname`, and a volume that outlives its
//! server. A test can kill, freeze, move and wipe them, delay their replication and cut their
//! connections while clients use them. A server starts in a millisecond. Use the
//! [`lab`](super::lab) when the behaviour of real servers matters. A test drives both through
//! [`Pods`](super::pods::Pods).
//!
//! This module owns the server side of the connection. It must never grow into an SQL engine: any
//! statement that is not in the table below is answered with error 1064. Do not pause tokio's clock
//! in a test that uses it: the sockets are real.
//!
//! ```
//! use headless_mysql_testkit::embedded::EmbeddedPods;
//! use mysql_async::prelude::Queryable;
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pods = EmbeddedPods::start(2).await?;
//! let mut primary = pods.connect(0).await?;
//! primary.query_drop("CREATE TABLE entries (id BIGINT PRIMARY KEY, pod VARCHAR(64))").await?;
//! primary.exec_drop("INSERT INTO entries VALUES (?, @@hostname)", (1,)).await?;
//! pods.wait_for_replication(Duration::from_secs(5)).await?;
//! let mut replica = pods.connect(1).await?;
//! let pod: Option<String> = replica.query_first("SELECT pod FROM entries").await?;
//! assert_eq!(pod.as_deref(), Some("mysql-0"));
//! pods.kill(1).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Statements
//!
//! | statement | remarks |
//! |---|---|
//! | `CREATE TABLE [IF NOT EXISTS] t (…)` | columns of whole numbers, `DOUBLE` or text; exactly one integer `PRIMARY KEY`, which may be `AUTO_INCREMENT` |
//! | `DROP TABLE [IF EXISTS] t`, `TRUNCATE [TABLE] t` | commit an open transaction, as `CREATE TABLE` does |
//! | `INSERT [IGNORE] [INTO] t [(…)] VALUES (…), …`, `REPLACE …` | a duplicate key is 1062; all rows or none |
//! | `UPDATE t SET c = e, … [WHERE e]`, `DELETE FROM t [WHERE e]` | |
//! | `SELECT e [AS n], … \| * [FROM t] [WHERE e] [GROUP BY e] [ORDER BY e [DESC], …] [LIMIT n [OFFSET m]] [FOR UPDATE]` | one table; no `JOIN`, `HAVING`, `DISTINCT`; the only sub-query is `FROM (SELECT e, …) AS n`, one row whose columns cannot be named |
//! | `BEGIN`, `START TRANSACTION [READ WRITE \| READ ONLY]`, `COMMIT`, `ROLLBACK` | `READ WRITE` on a read-only server is 1290 at once |
//! | `SET NAMES …`, `SET [SESSION] name = e`, `SET @name = e`, `SET [SESSION] TRANSACTION READ ONLY \| READ WRITE \| ISOLATION LEVEL …` | `SET GLOBAL` is 1227 |
//! | `DO e, …`, `USE db`, `KILL [QUERY \| CONNECTION] n` | |
//!
//! Expressions `e`: literals, `?`, columns, `@@[global.\|session.]name`, `@name`, `COUNT(*)`,
//! `COUNT`, `GROUP_CONCAT`, `MAX`, `MIN`, `SUM`, `COALESCE`, `IFNULL`, `IF(c, e, e)`, `CONCAT`,
//! `QUOTE`, `CONNECTION_ID()`, `LAST_INSERT_ID([n])`, `SLEEP(n)` (once per statement, ended by
//! `KILL QUERY`), `DATABASE()`, `USER()`, `CURRENT_USER()`, `CURRENT_ROLE()`, `VERSION()`, `+ - *`,
//! comparisons, `[NOT] IN (…)`, `IS [NOT] NULL`, `NOT`, `AND`, `OR`. Several statements may come in
//! one text. Version comments (`/*M! … */`, `/*!50708 … */`) are executed on pods of the flavour
//! they name. `(SELECT e FROM information_schema.session_status …)` is NULL, and so is a sub-query
//! on `global_variables` or `plugins`. Commands: query, ping, change of database, reset, prepared
//! statements.
//!
//! # What differs from a real server
//!
//! * Isolation: `READ COMMITTED`, and one writer at a time. A transaction holds the writer lock
//!   from its first write (or `FOR UPDATE`) to its end. Other writers wait for
//!   `innodb_lock_wait_timeout` and then get 1205. There are no deadlocks.
//! * One account ([`EmbeddedPods::user`]) with `mysql_native_password`, one database, no TLS.
//! * `stop` is the same as `kill`.
//! * Session variables other than `autocommit`, `tx_read_only` and `innodb_lock_wait_timeout` are
//!   stored and have no effect.
//! * A MySQL pod numbers the transactions of all servers in one sequence.
//!
//! # Why this module has its own protocol code
//!
//! `opensrv-mysql` 0.7 was evaluated first. It answers `COM_RESET_CONNECTION` with OK without
//! notifying the server, so a reset leaves the transaction open. Once the client deprecates EOF
//! packets, as `mysql_async` does, its result sets cannot carry the flags for "more results" and
//! "in transaction". It answers a wrong password with 1698. It depends on a second version of
//! `mysql_common`. Statements and data would be our own code in any case. So the protocol is 500
//! lines here, on the `mysql_common` that `mysql_async` already uses.

mod answer;
mod applier;
mod builder;
mod connection;
mod datum;
mod eval;
mod fault;
mod operations;
mod pod;
mod refusal;
mod server;
mod session;
mod sql;
mod store;
mod wire;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::{Conn, OptsBuilder};
use tokio::sync::watch;
use tokio::time::timeout;

use super::lab::{Addresses, DATABASE, LabError, PASSWORD, PORT, USER};
use super::pods::StatefulSetSpec;
use applier::{Knobs, Source};
pub use builder::{EmbeddedBuilder, Flavour};
pub use fault::Fault;
use pod::Pod;
use server::Identity;

/// A server that does not accept our connection within this time is considered broken.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// A primary and its replicas in this process. Dropping it ends every server.
///
/// Every operation takes `&self`, so a test can create load and break servers at the same time.
/// Operations on one server wait for each other. The servers live in the tokio runtime that
/// starts them.
#[derive(Debug)]
pub struct EmbeddedPods {
    settings: EmbeddedBuilder,
    addresses: Mutex<Addresses>,
    pods: RwLock<BTreeMap<u32, Arc<Pod>>>,
    /// The primary's state, as replicas see it.
    source: watch::Sender<Source>,
    /// Held while the set of pods changes.
    scaling: tokio::sync::Mutex<()>,
}

impl EmbeddedPods {
    /// Starts a primary with `replicas` replicas.
    ///
    /// # Errors
    ///
    /// See [`EmbeddedBuilder::start`].
    pub async fn start(replicas: u32) -> Result<Self, LabError> {
        Self::builder().replicas(replicas).start().await
    }

    /// A builder for a primary with two replicas.
    pub fn builder() -> EmbeddedBuilder {
        StatefulSetSpec::default().into()
    }

    async fn launch(settings: EmbeddedBuilder) -> Result<Self, LabError> {
        let mut addresses = Addresses::claim()?;
        let first = addresses.fresh()?;
        let replicas = settings.spec.replicas;
        let pods = Self {
            settings,
            addresses: Mutex::new(addresses),
            pods: RwLock::default(),
            source: watch::Sender::new(Source {
                address: first,
                answers: false,
                volume: Arc::new(store::Volume::empty()),
            }),
            scaling: tokio::sync::Mutex::default(),
        };
        let primary = pods.new_pod(0, first);
        pods.start_pod(&primary, first, false).await?;
        for ordinal in 1..=replicas {
            let address = pods.lock_addresses().fresh()?;
            let replica = pods.new_pod(ordinal, address);
            pods.start_pod(&replica, address, false).await?;
        }
        Ok(pods)
    }

    /// The number of servers, running or not.
    pub fn size(&self) -> usize {
        self.read_pods().len()
    }

    /// The ordinals of the servers, in order.
    pub fn ordinals(&self) -> Vec<u32> {
        self.read_pods().keys().copied().collect()
    }

    /// The current address of a server, or its last one if it does not run.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    #[track_caller]
    pub fn address(&self, ordinal: u32) -> IpAddr {
        match self.pod(ordinal) {
            Ok(pod) => IpAddr::V4(pod.face().address),
            Err(error) => panic!("{error}"),
        }
    }

    /// The port of every server.
    pub fn port(&self) -> u16 {
        PORT
    }

    /// The name of a pod, such as `mysql-0`.
    pub fn pod_name(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.statefulset())
    }

    /// The name of the StatefulSet.
    pub fn statefulset(&self) -> &str {
        &self.settings.spec.statefulset
    }

    /// The kind of server that the pods imitate.
    pub fn flavour(&self) -> Flavour {
        self.settings.flavour
    }

    /// The application's account, the same as the [`Lab`](super::lab::Lab)'s.
    pub fn user(&self) -> &str {
        USER
    }

    /// The password of [`EmbeddedPods::user`].
    pub fn password(&self) -> &str {
        PASSWORD
    }

    /// The only database, empty in a new volume.
    pub fn database(&self) -> &str {
        DATABASE
    }

    /// The URL of a server.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    #[track_caller]
    pub fn url(&self, ordinal: u32) -> String {
        let address = self.address(ordinal);
        format!("mysql://{USER}:{PASSWORD}@{address}:{PORT}/{DATABASE}?prefer_socket=false")
    }

    /// Connects through the driver alone, without the client under test.
    ///
    /// # Errors
    ///
    /// When the server does not accept the connection within ten seconds.
    pub async fn connect(&self, ordinal: u32) -> Result<Conn, LabError> {
        let pod = self.pod(ordinal)?;
        let opts = OptsBuilder::default()
            .ip_or_hostname(pod.face().address.to_string())
            .tcp_port(PORT)
            .user(Some(USER))
            .pass(Some(PASSWORD))
            .db_name(Some(DATABASE))
            .prefer_socket(false)
            .max_allowed_packet(Some(16 << 20))
            .wait_timeout(Some(28_800));
        match timeout(CONNECT_DEADLINE, Conn::new(opts)).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(source)) => Err(LabError::Query {
                pod: pod.name().to_owned(),
                what: format!("connecting as {USER}"),
                source: Box::new(source),
            }),
            Err(_) => Err(LabError::Timeout {
                what: format!("a connection to {}", pod.name()),
                after: CONNECT_DEADLINE,
                last: String::new(),
            }),
        }
    }

    /// The GTID position of a server's volume, in the format of its flavour (`0-1-42`,
    /// `uuid:1-42`); empty in a new volume. It is known even when the server does not run.
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub fn position(&self, ordinal: u32) -> Result<String, LabError> {
        let volume = self.pod(ordinal)?.face().volume;
        let state = volume.lock();
        Ok(match self.settings.flavour {
            Flavour::MariaDb => state.gtid(),
            Flavour::MySql => state.gtid_set(),
        })
    }

    fn pod(&self, ordinal: u32) -> Result<Arc<Pod>, LabError> {
        let pod = self.read_pods().get(&ordinal).map(Arc::clone);
        pod.ok_or(LabError::UnknownOrdinal { ordinal })
    }

    fn new_pod(&self, ordinal: u32, address: Ipv4Addr) -> Arc<Pod> {
        let identity = Identity {
            ordinal,
            name: self.pod_name(ordinal),
            flavour: self.settings.flavour,
            version: self.settings.version.clone(),
        };
        let knobs = Knobs {
            lag: self.settings.lag,
            runs: true,
            source: self.source.borrow().address,
        };
        let pod = Arc::new(Pod::new(identity, address, knobs));
        self.write_pods().insert(ordinal, Arc::clone(&pod));
        pod
    }

    /// Publishes the primary's state to the replicas. Does nothing for other ordinals.
    fn publish_source(&self, ordinal: u32) {
        if ordinal != 0 {
            return;
        }
        if let Ok(primary) = self.pod(0) {
            let face = primary.face();
            self.source.send_replace(Source {
                address: face.address,
                answers: face.runs && !face.frozen,
                volume: face.volume,
            });
        }
    }

    fn live_replicas(&self) -> Vec<Arc<Pod>> {
        let mut pods: Vec<_> = self.read_pods().values().map(Arc::clone).collect();
        pods.retain(|pod| {
            let face = pod.face();
            pod.identity.ordinal != 0 && face.runs && !face.frozen
        });
        pods
    }

    fn read_pods(&self) -> RwLockReadGuard<'_, BTreeMap<u32, Arc<Pod>>> {
        self.pods.read()
    }

    fn write_pods(&self) -> RwLockWriteGuard<'_, BTreeMap<u32, Arc<Pod>>> {
        self.pods.write()
    }

    fn lock_addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock()
    }
}
