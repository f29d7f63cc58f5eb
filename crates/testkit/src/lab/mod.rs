//! A lab of real servers: one primary and its replicas, as in a StatefulSet.
//!
//! Each server is a child process with its own loopback address, port 3306, its pod's name as
//! `@@hostname` where the machine permits that, and a data directory that is deleted with the lab.
//! Ordinal 0 is the primary until another server is promoted. The others replicate from it by GTID
//! and are read only. A test can kill, freeze, move and wipe servers while clients use them.
//!
//! The lab owns its processes, directories and addresses. It must never leave any of them behind,
//! however the test ends: when this process is killed, the servers die with it (see `server.rs`).
//! It must never hold data that matters: nothing is synced to disk.
//!
//! ```no_run
//! use headless_mysql_testkit::lab::Lab;
//! use mysql_async::prelude::Queryable;
//! use std::time::Duration;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let lab = Lab::start(2).await?;
//! let mut primary = lab.connect(0).await?;
//! primary.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await?;
//! lab.wait_for_replication(Duration::from_secs(5)).await?;
//! lab.kill(1).await?;
//! lab.restart(1).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Requires an installed server. For MariaDB that is the distribution's package
//! (`apt-get install mariadb-server`). For MySQL it is the directory that `tests/fetch-mysql` of
//! this crate's repository unpacks, or a directory of the same layout named by
//! `HEADLESS_MYSQL_MYSQLD_PREFIX`. Root is not required.

mod address;
mod builder;
mod certificates;
mod error;
mod node;
mod operations;
mod process;
mod recipe;
mod replication;
mod server;
mod template;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use futures_util::future::try_join_all;
use mysql_async::{Conn, OptsBuilder};
use tempfile::TempDir;
use tokio::time::timeout;

// The embedded pods use the same addresses and the same account.
pub(super) use address::{Addresses, PORT};
pub use builder::{LabBuilder, Nodes};
use certificates::ServerTls;
pub use certificates::{Authority, Identity};
pub use error::LabError;
use node::{Node, Start, Tools};
use process::Hostnames;
pub use recipe::ServerKind;
pub(super) use recipe::{DATABASE, PASSWORD, USER};
use recipe::{Dialect, Recipe};
use template::Template;

/// A server that does not accept the lab's connection within this time is considered broken.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// A primary and its replicas. Dropping it ends every server and removes their data.
///
/// Every operation takes `&self`, so a test can create load and break servers at the same time.
/// Operations on one server wait for each other. Dropping blocks the thread for the few
/// milliseconds that the processes need to end.
#[derive(Debug)]
pub struct Lab {
    settings: LabBuilder,
    tools: Arc<Tools>,
    addresses: Mutex<Addresses>,
    nodes: RwLock<BTreeMap<u32, Arc<Node>>>,
    /// The ordinal of the primary. Only a promotion changes it.
    primary: AtomicU32,
    /// The certificate of each server, used from its next start on.
    tls: Mutex<BTreeMap<u32, ServerTls>>,
    /// Held while the set of nodes changes.
    scaling: tokio::sync::Mutex<()>,
    // Last field, so dropped last: the servers must have ended before the directories are deleted.
    root: TempDir,
}

impl Lab {
    /// Starts a primary with `replicas` replicas.
    ///
    /// # Errors
    ///
    /// See [`LabBuilder::start`].
    pub async fn start(replicas: u32) -> Result<Self, LabError> {
        Self::builder().replicas(replicas).start().await
    }

    /// A builder for a primary with two replicas.
    pub fn builder() -> LabBuilder {
        LabBuilder::new()
    }

    async fn launch(settings: LabBuilder) -> Result<Self, LabError> {
        let recipe = Recipe::of(settings.kind).await?;
        let template = Template::obtain(&recipe, settings.deadline).await?;
        let hostnames = Hostnames::detect().await;
        let root = tempfile::Builder::new()
            .prefix("headless-mysql-lab-")
            .tempdir()
            .map_err(LabError::io("making the lab's directory"))?;
        let lab = Self {
            tools: Arc::new(Tools {
                recipe,
                template,
                hostnames,
                deadline: settings.deadline,
            }),
            addresses: Mutex::new(Addresses::claim()?),
            nodes: RwLock::default(),
            primary: AtomicU32::new(0),
            tls: Mutex::new(settings.tls.clone()),
            scaling: tokio::sync::Mutex::default(),
            settings,
            root,
        };
        // The primary gets its address first, because the replicas need it.
        let nodes = (0..=lab.settings.replicas)
            .map(|ordinal| lab.new_node(ordinal))
            .collect::<Result<Vec<_>, _>>()?;
        try_join_all(nodes.iter().map(|node| lab.first_start(node))).await?;
        if lab.settings.replication {
            lab.all_replicate().await?;
        }
        Ok(lab)
    }

    /// The number of servers, running or not.
    pub fn size(&self) -> usize {
        self.read_nodes().len()
    }

    /// The ordinals of the servers, in order.
    pub fn ordinals(&self) -> Vec<u32> {
        self.read_nodes().keys().copied().collect()
    }

    /// The current address of a server, or its last one if it does not run.
    ///
    /// # Panics
    ///
    /// When the lab has no such server.
    #[track_caller]
    pub fn address(&self, ordinal: u32) -> IpAddr {
        match self.node(ordinal) {
            Ok(node) => IpAddr::V4(node.face().address),
            Err(error) => panic!("{error}"),
        }
    }

    /// The port of every server.
    pub fn port(&self) -> u16 {
        address::PORT
    }

    /// The name of a pod, such as `mysql-0`.
    pub fn pod_name(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.settings.statefulset)
    }

    /// The name of the StatefulSet.
    pub fn statefulset(&self) -> &str {
        &self.settings.statefulset
    }

    /// The application's account: all privileges on [`Lab::database`], none elsewhere.
    pub fn user(&self) -> &str {
        recipe::USER
    }

    /// The password of [`Lab::user`].
    pub fn password(&self) -> &str {
        recipe::PASSWORD
    }

    /// The application's database, empty in a new volume.
    pub fn database(&self) -> &str {
        recipe::DATABASE
    }

    /// An account with all privileges, usable over TCP.
    pub fn root_user(&self) -> &str {
        recipe::ROOT
    }

    /// The password of [`Lab::root_user`].
    pub fn root_password(&self) -> &str {
        recipe::ROOT_PASSWORD
    }

    /// The URL of a server for the application's account.
    ///
    /// # Panics
    ///
    /// When the lab has no such server.
    #[track_caller]
    pub fn url(&self, ordinal: u32) -> String {
        self.url_for(ordinal, recipe::USER, recipe::PASSWORD)
    }

    /// The URL of a server for [`Lab::root_user`].
    ///
    /// # Panics
    ///
    /// When the lab has no such server.
    #[track_caller]
    pub fn root_url(&self, ordinal: u32) -> String {
        self.url_for(ordinal, recipe::ROOT, recipe::ROOT_PASSWORD)
    }

    #[track_caller]
    fn url_for(&self, ordinal: u32, user: &str, password: &str) -> String {
        let (address, port) = (self.address(ordinal), self.port());
        format!(
            "mysql://{user}:{password}@{address}:{port}/{}?prefer_socket=false",
            self.database()
        )
    }

    /// Whether each server shows its pod's name as `@@hostname`. If not, this machine permits no
    /// UTS namespace, and every server shows the machine's name.
    pub fn own_hostnames(&self) -> bool {
        self.tools.hostnames != Hostnames::Shared
    }

    /// The kind of server.
    pub fn server_kind(&self) -> ServerKind {
        self.settings.kind
    }

    /// The version the servers report on their command line.
    pub fn server_version(&self) -> &str {
        &self.tools.recipe.version
    }

    /// The process id of a server; `None` if the lab has ended it.
    pub fn process_id(&self, ordinal: u32) -> Option<u32> {
        let pid = self.node(ordinal).ok()?.face().pid?;
        u32::try_from(pid.as_raw_nonzero().get()).ok()
    }

    /// The directory of the servers' data and logs (`mysql-0/error.log`). It exists as long as the
    /// lab.
    pub fn directory(&self) -> &Path {
        self.root.path()
    }

    /// Connects over TCP with all privileges. On MariaDB this account can write to read-only
    /// servers.
    ///
    /// # Errors
    ///
    /// When the server does not accept the connection within ten seconds.
    pub async fn admin(&self, ordinal: u32) -> Result<Conn, LabError> {
        self.conn(ordinal, recipe::ROOT, recipe::ROOT_PASSWORD)
            .await
    }

    /// Connects over TCP with the application's account.
    ///
    /// # Errors
    ///
    /// When the server does not accept the connection within ten seconds.
    pub async fn connect(&self, ordinal: u32) -> Result<Conn, LabError> {
        self.conn(ordinal, recipe::USER, recipe::PASSWORD).await
    }

    async fn conn(&self, ordinal: u32, user: &str, password: &str) -> Result<Conn, LabError> {
        let node = self.node(ordinal)?;
        let opts = OptsBuilder::default()
            .ip_or_hostname(node.face().address.to_string())
            .tcp_port(address::PORT)
            .user(Some(user))
            .pass(Some(password))
            .db_name(Some(recipe::DATABASE))
            // By default the driver switches from TCP to a local socket, which may be another
            // server's.
            .prefer_socket(false)
            // Given here, so that the driver does not query them.
            .max_allowed_packet(Some(16 << 20))
            .wait_timeout(Some(28_800));
        match timeout(CONNECT_DEADLINE, Conn::new(opts)).await {
            Ok(conn) => conn.map_err(LabError::query(&node.pod, format!("connecting as {user}"))),
            Err(_) => Err(LabError::Timeout {
                what: format!("a connection to {}", node.pod),
                after: CONNECT_DEADLINE,
                last: String::new(),
            }),
        }
    }

    /// Awaits the answer to a statement that the lab sends, within the lab's deadline.
    async fn bounded<T>(
        &self,
        ordinal: u32,
        what: &str,
        answer: impl Future<Output = mysql_async::Result<T>>,
    ) -> Result<T, LabError> {
        match timeout(self.deadline(), answer).await {
            Ok(answer) => answer.map_err(LabError::query(self.pod_name(ordinal), what)),
            Err(_) => Err(LabError::Timeout {
                what: format!("{what} on {}", self.pod_name(ordinal)),
                after: self.deadline(),
                last: "no answer".to_owned(),
            }),
        }
    }

    /// Closes a connection of the lab cleanly, so that the server logs no aborted client.
    async fn part(&self, conn: Conn) {
        // An error means that the server no longer answers. The connection is closed in any case.
        let _ = timeout(self.deadline(), conn.disconnect()).await;
    }

    fn dialect(&self) -> &'static Dialect {
        self.tools.recipe.dialect
    }

    fn deadline(&self) -> Duration {
        self.settings.deadline
    }

    fn node(&self, ordinal: u32) -> Result<Arc<Node>, LabError> {
        let node = self.read_nodes().get(&ordinal).map(Arc::clone);
        node.ok_or(LabError::UnknownOrdinal { ordinal })
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        self.read_nodes().values().map(Arc::clone).collect()
    }

    fn read_nodes(&self) -> RwLockReadGuard<'_, BTreeMap<u32, Arc<Node>>> {
        self.nodes.read()
    }

    fn write_nodes(&self) -> RwLockWriteGuard<'_, BTreeMap<u32, Arc<Node>>> {
        self.nodes.write()
    }

    fn lock_addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock()
    }

    fn new_node(&self, ordinal: u32) -> Result<Arc<Node>, LabError> {
        let pod = self.pod_name(ordinal);
        let (directory, address) = (self.root.path().join(&pod), self.lock_addresses().fresh()?);
        let node = Arc::new(Node::new(
            ordinal,
            pod,
            directory,
            address,
            Arc::clone(&self.tools),
        ));
        self.write_nodes().insert(ordinal, Arc::clone(&node));
        Ok(node)
    }

    async fn first_start(&self, node: &Node) -> Result<(), LabError> {
        let mut held = node.hold().await;
        held.fill().await?;
        held.start(self.start_of(node, node.face().address)?).await
    }

    fn start_of(&self, node: &Node, address: Ipv4Addr) -> Result<Start, LabError> {
        let primary = match self.primary() {
            primary if primary == node.ordinal || !self.settings.replication => None,
            primary => Some(self.node(primary)?.face().address),
        };
        let options = self.settings.options.iter();
        let options = options.filter(|(nodes, _)| nodes.contains(node.ordinal));
        let tls = self.tls.lock();
        Ok(Start {
            address,
            primary,
            tls: tls.get(&node.ordinal).cloned(),
            options: options.map(|(_, o)| o.clone()).collect(),
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // First signal all servers at once. Dropping each one then waits for its end.
        let nodes = std::mem::take(&mut *self.write_nodes());
        for node in nodes.values() {
            node.doom();
        }
    }
}
