//! The servers behind proxies that DNS lists in their place, and what can be done to them.

use headless_mysql::testkit::dns::Fault as DnsFault;
use headless_mysql::testkit::proxy::{FaultProxy, NetFault};
use headless_mysql::testkit::stage::Stage;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::MutexGuard;

/// One proxy for each server.
pub(crate) struct Doors {
    pub(crate) stage: Arc<Stage>,
    proxies: Mutex<BTreeMap<u32, FaultProxy>>,
    /// Who has been the primary, in this order.
    offices: Mutex<Vec<u32>>,
    /// Held while something is wrong with DNS.
    dns: tokio::sync::Mutex<()>,
}

impl Doors {
    pub(crate) async fn open(stage: Arc<Stage>) -> Self {
        let doors = Self {
            proxies: Mutex::default(),
            offices: Mutex::new(vec![stage.lab.primary()]),
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

    /// The pod has another address from now on; nobody is at the old one.
    pub(crate) async fn move_pod(&self, ordinal: u32) {
        let address = self.stage.lab.fresh_address().unwrap();
        let listen = (address, self.stage.lab.port()).into();
        let proxy = FaultProxy::start(listen, self.server(ordinal))
            .await
            .unwrap();
        self.proxies().insert(ordinal, proxy);
        self.stage.publish_at(ordinal, address).unwrap();
    }

    pub(crate) fn net(&self, ordinal: u32, fault: Option<NetFault>) {
        self.proxies()[&ordinal].set_fault(fault);
    }

    /// Each of the two addresses leads to the other server, and whoever was there has to dial.
    pub(crate) fn swap(&self, one: u32, other: u32) {
        let proxies = self.proxies();
        proxies[&one].set_target(self.server(other));
        proxies[&other].set_target(self.server(one));
        proxies[&one].cut();
        proxies[&other].cut();
    }

    /// Each address leads to its own server.
    pub(crate) fn straighten(&self) {
        for (ordinal, proxy) in &*self.proxies() {
            proxy.set_target(self.server(*ordinal));
        }
    }

    pub(crate) async fn kill(&self, ordinal: u32) {
        self.stage.lab.kill(ordinal).await.unwrap();
    }

    pub(crate) async fn restart(&self, ordinal: u32) {
        self.stage.lab.restart(ordinal).await.unwrap();
    }

    /// Makes another server the primary; nothing that was acknowledged is lost by that.
    pub(crate) async fn promote(&self, ordinal: u32) {
        self.stage.lab.promote(ordinal).await.unwrap();
        self.offices.lock().unwrap().push(ordinal);
    }

    pub(crate) fn offices(&self) -> Vec<u32> {
        self.offices.lock().unwrap().clone()
    }

    /// Whoever holds this is the only one to trouble DNS, or sees it untroubled.
    pub(crate) async fn dns_turn(&self) -> MutexGuard<'_, ()> {
        self.dns.lock().await
    }

    pub(crate) fn dns_fault(&self, fault: Option<DnsFault>) {
        self.stage.dns.set_fault(fault);
    }

    /// Puts everything right.
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
