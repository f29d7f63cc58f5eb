//! The proxies in front of the servers, and the operations on them. DNS lists the proxies.
//!
//! There are also servers of another cluster with the same names and accounts (*strangers*), and an
//! empty server with the name of the first pod (*blank*). A pod's address may lead to one of these
//! for a while.

use crate::PATIENCE;
use crate::sessions::SETTLE;
use headless_mysql::prelude::*;
use headless_mysql_testkit::dns::{Fault as DnsFault, PodSpec};
use headless_mysql_testkit::lab::{Lab, LabBuilder, Nodes, ServerKind};
use headless_mysql_testkit::proxy::{FaultProxy, NetFault};
use headless_mysql_testkit::stage::Stage;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, timeout};

/// The content of the table `origin` on our servers, and on strangers.
pub(crate) const OURS: &str = "ours";
const THEIRS: &str = "theirs";

const NAMESPACE: &str = "default";

fn same_kind(stage: &Stage) -> LabBuilder {
    Lab::builder().server(stage.lab.server_kind())
}

/// A cluster with the same names, accounts and tables as ours. On MariaDB its transactions have
/// another GTID domain. With the same domain, only time distinguishes its replica from ours, and
/// the client would read from it while neither our primary nor our replicas serve.
async fn strangers(stage: &Stage) -> Lab {
    let mut lab = same_kind(stage).replicas(1);
    if stage.lab.server_kind() == ServerKind::MariaDb {
        lab = lab.server_option(Nodes::All, "--gtid-domain-id=7");
    }
    let lab = lab.start().await.unwrap();
    create_tables(&lab, THEIRS).await;
    lab
}

/// Creates the tables of the load, and a table that identifies the cluster.
pub(crate) async fn create_tables(lab: &Lab, origin: &str) {
    let mut root = lab.admin(0).await.unwrap();
    // No unique key on `id`, because it would hide a write that ran twice.
    let entries = "CREATE TABLE entries (id BIGINT NOT NULL, pod VARCHAR(64) NOT NULL, \
                   at BIGINT AUTO_INCREMENT PRIMARY KEY, KEY (id))";
    let statements = [
        format!("USE {}", lab.database()),
        entries.to_owned(),
        "CREATE TABLE origin (name VARCHAR(8) NOT NULL PRIMARY KEY)".to_owned(),
        format!("INSERT INTO origin VALUES ('{origin}')"),
    ];
    for statement in statements {
        root.query_drop(statement).await.unwrap();
    }
    lab.wait_for_replication(PATIENCE).await.unwrap();
}

/// The proxies, one for each server.
pub(crate) struct Doors {
    pub(crate) stage: Arc<Stage>,
    strangers: Lab,
    blank: Lab,
    proxies: Mutex<BTreeMap<u32, FaultProxy>>,
    /// The ordinals that have been the primary, in order.
    offices: Mutex<Vec<u32>>,
    /// For each server, the time until which its session count says nothing about the client.
    unsettled: Mutex<BTreeMap<u32, Instant>>,
    /// By pod, the newest connection id of the moment when its connections lost their flows.
    lost_flows: Mutex<BTreeMap<u32, u64>>,
    /// Held while a fault of DNS is active.
    dns: tokio::sync::Mutex<()>,
}

impl Doors {
    pub(crate) async fn open(stage: Arc<Stage>) -> Self {
        let blank = same_kind(&stage).replicas(0);
        let (strangers, blank) = tokio::join!(strangers(&stage), blank.start());
        let doors = Self {
            strangers,
            blank: blank.unwrap(),
            proxies: Mutex::default(),
            offices: Mutex::new(vec![stage.lab.primary()]),
            unsettled: Mutex::default(),
            lost_flows: Mutex::default(),
            dns: tokio::sync::Mutex::default(),
            stage,
        };
        for ordinal in doors.stage.lab.ordinals() {
            doors.move_pod(ordinal).await;
        }
        doors
    }

    fn server(&self, ordinal: u32) -> SocketAddr {
        (self.stage.lab.address(ordinal), self.stage.lab.port()).into()
    }

    fn proxies(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, FaultProxy>> {
        self.proxies.lock().unwrap()
    }

    /// Gives the pod a new address. Nothing listens at the old one.
    pub(crate) async fn move_pod(&self, ordinal: u32) {
        let address = self.stage.lab.fresh_address().unwrap();
        let listen = (address, self.stage.lab.port()).into();
        let proxy = FaultProxy::start(listen, self.server(ordinal))
            .await
            .unwrap();
        self.proxies().insert(ordinal, proxy);
        self.stage.publish_at(ordinal, address).unwrap();
    }

    /// Suspends the check of a server's session count for [`SETTLE`].
    pub(crate) fn unsettle(&self, ordinal: u32) {
        self.unsettle_for(ordinal, SETTLE);
    }

    fn unsettle_for(&self, ordinal: u32, time: Duration) {
        let mut unsettled = self.unsettled.lock().unwrap();
        unsettled.insert(ordinal, Instant::now() + time);
    }

    /// Suspends the check of all servers' session counts during `guest` and for [`SETTLE`] after
    /// it.
    pub(crate) async fn with_guest(&self, guest: impl Future<Output = ()>) {
        for ordinal in self.stage.lab.ordinals() {
            self.unsettle_for(ordinal, PATIENCE);
        }
        timeout(PATIENCE, guest).await.unwrap();
        for ordinal in self.stage.lab.ordinals() {
            self.unsettle(ordinal);
        }
    }

    /// Whether the server's sessions are exactly those that the client has.
    pub(crate) fn is_calm(&self, ordinal: u32) -> bool {
        let unsettled = self.unsettled.lock().unwrap();
        unsettled
            .get(&ordinal)
            .is_none_or(|until| Instant::now() > *until)
    }

    pub(crate) fn net(&self, ordinal: u32, fault: Option<NetFault>) {
        self.unsettle(ordinal);
        self.proxies()[&ordinal].set_fault(fault);
    }

    /// Cuts every connection to the pod.
    pub(crate) fn cut(&self, ordinal: u32) {
        self.proxies()[&ordinal].cut();
    }

    /// Keeps every connection to the pod open, but nothing arrives on it any more.
    pub(crate) async fn forget_flows(&self, ordinal: u32) {
        self.unsettle(ordinal);
        self.proxies()[&ordinal].forget_flows();
        let conn = self.stage.lab.admin(ordinal).await.unwrap();
        let newest = u64::from(conn.id());
        self.lost_flows.lock().unwrap().insert(ordinal, newest);
    }

    /// Whether the connection with this id has lost its flow.
    pub(crate) fn has_lost_flow(&self, ordinal: u32, id: u64) -> bool {
        let lost = self.lost_flows.lock().unwrap();
        lost.get(&ordinal).is_some_and(|newest| id <= *newest)
    }

    /// Points the pod's address at the server of the other cluster that has the same name. That
    /// cluster has two servers, so there is none for the third pod.
    pub(crate) fn lend_to_stranger(&self, ordinal: u32) {
        self.lend(ordinal, &self.strangers, ordinal % 2);
    }

    /// Points the pod's address at an empty server.
    pub(crate) fn lend_to_blank(&self, ordinal: u32) {
        self.lend(ordinal, &self.blank, 0);
    }

    fn lend(&self, ordinal: u32, lab: &Lab, other: u32) {
        let proxies = self.proxies();
        let server = (lab.address(other), lab.port()).into();
        proxies[&ordinal].set_target(server);
        proxies[&ordinal].cut();
    }

    /// The number of rows on one of our servers.
    pub(crate) async fn rows(&self, ordinal: u32) -> u64 {
        rows(&self.stage.lab, ordinal).await
    }

    /// The number of rows that were written to servers that are not ours.
    pub(crate) async fn rows_elsewhere(&self) -> u64 {
        let blank = tables(&self.blank, 0).await;
        rows(&self.strangers, 0).await + rows(&self.strangers, 1).await + blank
    }

    /// Makes DNS list an additional replica that does not serve yet. Returns its ordinal.
    pub(crate) async fn announce_replica(&self) -> u32 {
        let ordinal = u32::try_from(self.stage.lab.size()).unwrap();
        let address = self.stage.lab.fresh_address().unwrap();
        let listen = (address, self.stage.lab.port()).into();
        // Nothing listens on port 1.
        let proxy = FaultProxy::start(listen, (address, 1).into())
            .await
            .unwrap();
        self.proxies().insert(ordinal, proxy);
        let pod = PodSpec::ready(self.stage.lab.pod_name(ordinal), address);
        let service = self.stage.service();
        self.stage.dns.add_pod(NAMESPACE, service, pod).unwrap();
        ordinal
    }

    /// Starts the announced replica.
    pub(crate) async fn start_announced(&self, ordinal: u32) {
        assert_eq!(self.stage.lab.add_replica().await.unwrap(), ordinal);
        self.straighten();
    }

    pub(crate) async fn remove_replica(&self, ordinal: u32) {
        let pod = self.stage.lab.pod_name(ordinal);
        let service = self.stage.service();
        self.stage.dns.remove_pod(NAMESPACE, service, &pod).unwrap();
        self.proxies().remove(&ordinal);
        self.stage.lab.remove(ordinal).await.unwrap();
    }

    /// Swaps the servers behind two addresses and cuts their connections.
    pub(crate) fn swap(&self, one: u32, other: u32) {
        let proxies = self.proxies();
        proxies[&one].set_target(self.server(other));
        proxies[&other].set_target(self.server(one));
        proxies[&one].cut();
        proxies[&other].cut();
    }

    /// Points each address at its own server.
    pub(crate) fn straighten(&self) {
        for (ordinal, proxy) in &*self.proxies() {
            proxy.set_target(self.server(*ordinal));
        }
    }

    pub(crate) async fn kill(&self, ordinal: u32) {
        self.stage.lab.kill(ordinal).await.unwrap();
    }

    pub(crate) async fn restart(&self, ordinal: u32) {
        self.lost_flows.lock().unwrap().remove(&ordinal);
        self.stage.lab.restart(ordinal).await.unwrap();
    }

    /// Makes another server the primary, without losing acknowledged writes.
    pub(crate) async fn promote(&self, ordinal: u32) {
        self.stage.lab.promote(ordinal).await.unwrap();
        self.offices.lock().unwrap().push(ordinal);
    }

    pub(crate) fn offices(&self) -> Vec<u32> {
        self.offices.lock().unwrap().clone()
    }

    /// Exclusive use of DNS: the holder may inject a fault, or rely on there being none.
    pub(crate) async fn dns_turn(&self) -> MutexGuard<'_, ()> {
        self.dns.lock().await
    }

    pub(crate) fn dns_fault(&self, fault: Option<DnsFault>) {
        self.stage.dns.set_fault(fault);
    }

    /// Heals every fault.
    pub(crate) async fn heal(&self) {
        self.stage.dns.set_fault(None);
        self.stage.dns.thaw();
        self.straighten();
        for ordinal in self.stage.lab.ordinals() {
            self.net(ordinal, None);
            self.stage.set_ready(ordinal, true).unwrap();
        }
        let lab = &self.stage.lab;
        for ordinal in lab.ordinals() {
            let is_replica = ordinal != lab.primary();
            lab.set_read_only(ordinal, is_replica).await.unwrap();
        }
    }
}

async fn rows(lab: &Lab, ordinal: u32) -> u64 {
    let mut conn = lab.admin(ordinal).await.unwrap();
    let count = format!("SELECT COUNT(*) FROM {}.entries", lab.database());
    conn.query_first(count).await.unwrap().unwrap()
}

/// The number of tables in the application's database on a server.
async fn tables(lab: &Lab, ordinal: u32) -> u64 {
    let mut conn = lab.admin(ordinal).await.unwrap();
    let count = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = ?";
    let found = conn.exec_first(count, (lab.database(),)).await;
    found.unwrap().unwrap()
}
