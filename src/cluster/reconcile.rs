//! Keeps the pools in line with the topology.
//!
//! Owns the pools, one per incarnation (ordinal and address), and sends their additions and
//! removals to the balancer. It must never close a pool because a single answer lacks its address:
//! the topology keeps an address for a grace period, and the pool is closed only after it.

use super::changes::Changes;
use super::key::PodKey;
use super::roles::Roles;
use crate::balance::{Balance, EndpointState, Paces};
use crate::checkout::endpoint::PodPool;
use crate::config::Config;
use crate::gtid::history::History;
use crate::pool::evidence::Evidence;
use crate::pool::state::{Hooks, Pool};
use crate::server::dialler::Dialler;
use crate::server::login::Login;
use crate::server::names::Names;
use crate::topology::{Pod, Topology};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tower::discover::Change;

/// Interval at which pools close connections that have been idle for too long.
const PRUNE_INTERVAL: Duration = Duration::from_secs(10);

/// Interval at which healthy pools open missing connections of the minimum.
const WARM_INTERVAL: Duration = Duration::from_secs(1);

/// Interval at which the primary's new address is dialled while connections to its old address are
/// in use.
const PROVE_INTERVAL: Duration = Duration::from_secs(1);

type Map = BTreeMap<PodKey, Arc<Pool>>;

/// Every pool of the cluster.
pub(super) struct Pools {
    config: Config,
    login: Arc<Login>,
    history: Arc<History>,
    names: Arc<Names>,
    evidence: Arc<Evidence>,
    roles: Arc<Roles>,
    /// Compares how fast the pods answer reads; `None` if `pace` is off.
    paces: Option<Paces>,
    /// Notified when a slot becomes free that no checkout held: the balancer does not learn of it
    /// otherwise.
    freed: Arc<Notify>,
    handle: Handle,
    /// The version of the topology that was applied to the pools.
    applied: watch::Sender<u64>,
    map: Arc<Mutex<Map>>,
    /// Pools whose address was removed, while their connections are in use.
    gone: Arc<Mutex<Vec<Weak<Pool>>>>,
}

impl Pools {
    pub(super) fn new(
        config: Config,
        login: Arc<Login>,
        history: Arc<History>,
        evidence: Arc<Evidence>,
        roles: Arc<Roles>,
        handle: Handle,
    ) -> Self {
        Self {
            paces: config.pace.then(|| Paces::new(Instant::now())),
            config,
            login,
            history,
            names: Arc::default(),
            evidence,
            roles,
            freed: Arc::default(),
            handle,
            applied: watch::Sender::default(),
            map: Arc::default(),
            gone: Arc::default(),
        }
    }

    pub(super) fn all(&self) -> Vec<(PodKey, Arc<Pool>)> {
        let map = lock(&self.map);
        let pools = map.iter();
        pools
            .map(|(key, pool)| (key.clone(), Arc::clone(pool)))
            .collect()
    }

    /// The pools whose address was removed and whose connections are in use.
    pub(super) fn gone(&self) -> Vec<Arc<Pool>> {
        living(&self.gone)
    }

    /// Closes every pool; connections in use may finish.
    pub(super) fn close(&self) {
        for (_, pool) in self.all() {
            pool.retire();
        }
    }

    fn open(&self, pod: &Pod, address: SocketAddr) -> Arc<Pool> {
        let dialler = Dialler::new(
            &self.config,
            pod.host(),
            pod.ordinal(),
            address,
            Arc::clone(&self.login),
            Arc::clone(&self.names),
        );
        // Weak, because the map owns the pools and the pools own this callback.
        let siblings = Arc::downgrade(&self.map);
        let gone = Arc::clone(&self.gone);
        let confirmed = move |confirmed: &Pool| {
            let mut others = living(&gone);
            if let Some(map) = siblings.upgrade() {
                others.extend(lock(&map).values().cloned());
            }
            supersede_siblings(&others, confirmed);
        };
        let roles = Arc::clone(&self.roles);
        let hooks = Hooks {
            confirmed: Box::new(confirmed),
            demoted: Box::new(move || roles.poke()),
            freed: {
                let freed = Arc::clone(&self.freed);
                Box::new(move || freed.notify_one())
            },
        };
        Pool::new(
            dialler,
            &self.config,
            Arc::clone(&self.history),
            Arc::clone(&self.evidence),
            self.paces.as_ref().map(Paces::join),
            hooks,
            self.handle.clone(),
        )
    }

    /// Opens missing connections of the configured minimum, on healthy pods.
    fn keep_warm(&self, balance: &Balance<PodPool>) {
        let reports = balance.endpoints();
        let well = reports
            .iter()
            .filter(|report| report.state == EndpointState::Ready && report.last_cause.is_none());
        let well: BTreeSet<&str> = well.map(|report| report.key.as_str()).collect();
        for (key, pool) in self.all() {
            if well.contains(key.to_string().as_str()) {
                pool.keep_warm();
            }
        }
    }

    /// Dials the primary's new address while connections to its old one are in use. Once confirmed,
    /// the new pool supersedes the old connections.
    fn prove(&self) {
        for pool in unproven(&self.with_gone()) {
            pool.prove();
        }
    }

    fn has_unproven(&self) -> bool {
        !unproven(&self.with_gone()).is_empty()
    }

    /// All pools, including those whose address was removed and whose connections are in use.
    fn with_gone(&self) -> Vec<Arc<Pool>> {
        let all = self.all().into_iter().map(|(_, pool)| pool);
        all.chain(self.gone()).collect()
    }

    /// Brings the pools in line with `topology` and sends additions and removals to the balancer.
    fn apply(&self, topology: &Topology, changes: &Changes) {
        let mut told = Vec::new();
        let mut map = lock(&self.map);
        let mut gone: Map = std::mem::take(&mut map);
        for pod in topology.pods() {
            let last_known = last_known(pod, self.roles.is_primary(pod));
            // The pod is contested as well if both addresses became absent at the same time.
            let last_seen = pod.addresses().iter().filter(|address| {
                address.absent_since().is_some() && address.absent_since() == newest(pod)
            });
            let contested = match pod.listed().count() {
                0 => last_seen.count() > 1,
                listed => listed > 1,
            };
            for address in pod.addresses() {
                let key = PodKey::new(pod, address.socket());
                let pool = gone.remove(&key).unwrap_or_else(|| {
                    let pool = self.open(pod, address.socket());
                    let endpoint = PodPool(Arc::clone(&pool));
                    told.push(Change::Insert(key.clone(), endpoint));
                    pool
                });
                pool.set_listed(address.is_listed() || last_known == Some(address.socket()));
                pool.disputes.set_contested(contested);
                map.insert(key, pool);
            }
        }
        let mut all: Vec<Arc<Pool>> = map.values().cloned().collect();
        drop(map);
        for (key, pool) in gone {
            told.push(Change::Remove(key));
            pool.set_listed(false);
            // A write session is stopped only now: DNS alone may be wrong for a while.
            pool.disputes.set_replaced();
            pool.retire();
            let mut gone = self.gone.lock();
            gone.push(Arc::downgrade(&pool));
        }
        changes.tell(told);
        all.extend(self.gone());
        // DNS may drop the old address after the new one was confirmed.
        for pool in all.iter().filter(|pool| pool.is_confirmed()) {
            supersede_siblings(&all, pool);
        }
        self.prove();
        self.applied.send_replace(topology.version());
    }

    /// Returns when this version of the topology, or a later one, was applied to the pools.
    pub(super) async fn applied(&self, version: u64) {
        let mut applied = self.applied.subscribe();
        // The sender lives in `self`.
        let _ = applied.wait_for(|applied| *applied >= version).await;
    }
}

/// The pools at the primary's listed addresses that are not confirmed, while connections to an old
/// address are in use. A worker that keeps its old connection makes no call that would dial the new
/// address, and only a dial shows whether the address belongs to the primary.
fn unproven(pools: &[Arc<Pool>]) -> Vec<Arc<Pool>> {
    let left = |new: &Arc<Pool>| {
        let same = pools.iter().filter(|old| old.ordinal() == new.ordinal());
        let mut old = same.filter(|old| !old.is_listed());
        old.any(|old| old.in_use() > 0)
    };
    let primaries = pools.iter().filter(|pool| {
        pool.is_primary()
            && pool.is_listed()
            && !pool.disputes.is_contested()
            && !pool.is_confirmed()
    });
    primaries.filter(|new| left(new)).cloned().collect()
}

/// The last address of a primary that DNS does not list: an unlisted primary may be alive, and
/// writes have no other target.
fn last_known(pod: &Pod, is_primary: bool) -> Option<SocketAddr> {
    if !is_primary || pod.listed().next().is_some() {
        return None;
    }
    let mut addresses = pod.addresses().iter();
    let last = addresses.find(|address| address.absent_since() == newest(pod));
    last.map(|address| address.socket())
}

/// When the address that was listed last became absent.
fn newest(pod: &Pod) -> Option<tokio::time::Instant> {
    let absent = pod.addresses().iter();
    absent.filter_map(|address| address.absent_since()).max()
}

/// A pod has one live incarnation. Once an incarnation is confirmed, those that DNS no longer lists
/// must not run another statement.
fn supersede_siblings(pools: &[Arc<Pool>], confirmed: &Pool) {
    if confirmed.ordinal().is_none() || !confirmed.is_listed() {
        return;
    }
    for pool in pools {
        if pool.ordinal() == confirmed.ordinal()
            && pool.pod().address() != confirmed.pod().address()
            && !pool.is_listed()
        {
            pool.supersede();
        }
    }
}

fn living(pools: &Mutex<Vec<Weak<Pool>>>) -> Vec<Arc<Pool>> {
    let mut pools = pools.lock();
    pools.retain(|pool| pool.strong_count() > 0);
    pools.iter().filter_map(Weak::upgrade).collect()
}

fn lock(map: &Mutex<Map>) -> MutexGuard<'_, Map> {
    map.lock()
}

/// Closes the balancer when the task ends for any reason, for example with its runtime.
struct CloseOnDrop(Balance<PodPool>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Follows the topology until discovery is gone.
pub(super) async fn reconcile(
    mut topologies: watch::Receiver<Arc<Topology>>,
    pools: Arc<Pools>,
    changes: Changes,
    balance: Balance<PodPool>,
) {
    let balance = CloseOnDrop(balance);
    let mut prune = tokio::time::interval(PRUNE_INTERVAL);
    prune.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut warm = tokio::time::interval(WARM_INTERVAL);
    warm.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut prove = tokio::time::interval(PROVE_INTERVAL);
    prove.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first answer may be older than the subscription, which then counts it as seen.
    topologies.mark_changed();
    loop {
        tokio::select! {
            changed = topologies.changed() => {
                if changed.is_err() {
                    return;
                }
                let topology = Arc::clone(&topologies.borrow_and_update());
                pools.apply(&topology, &changes);
                pools.roles.poke();
                pools.evidence.set_changed();
                // Whether an endpoint is listed may change without a change of the set.
                balance.0.wake();
            }
            () = pools.freed.notified() => balance.0.wake(),
            _ = prune.tick() => {
                for (_, pool) in pools.all() {
                    pool.prune();
                }
            }
            _ = prove.tick(), if pools.has_unproven() => pools.prove(),
            _ = warm.tick(), if pools.config.min_connections > 0 => {
                pools.keep_warm(&balance.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::BalanceConfig;
    use crate::cluster::changes::changes;
    use crate::discovery::{Answer, FoundPod};
    use crate::name::Ordinal;
    use crate::pool::testing;
    use crate::topology::merge;

    #[tokio::test(start_paused = true)]
    async fn a_new_address_that_is_proven_supersedes_the_old_one_also_during_a_shutdown() {
        let pool = || testing::pool(&testing::config(), Handle::current()).0;
        let pools = [pool(), pool()];
        let [old, new] = &pools;
        old.set_listed(false);
        for pool in &pools {
            pool.confirm();
            pool.retire();
        }
        supersede_siblings(&pools, new);
        let banned = pools.each_ref().map(|pool| pool.is_banned(1));
        assert_eq!(banned, [true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_came_before_the_subscription_is_not_missed() {
        let host = "mysql-0.mysql.default.svc.cluster.local";
        let address = "10.0.0.1".parse().unwrap();
        let pod = FoundPod::new(Some(Ordinal::PRIMARY), host, [address], 3306);
        let answer = Answer::new("mysql.default.svc.cluster.local", [pod], None);
        let now = tokio::time::Instant::now();
        let (topology, _) = merge(&Topology::default(), &answer, now, Duration::ZERO);
        let (publish, _) = watch::channel(Arc::new(Topology::default()));
        publish.send_replace(Arc::new(topology));

        let handle = Handle::current();
        let (changes, source) = changes();
        let balance = Balance::new(source, BalanceConfig::default(), &handle);
        let pools = Arc::new(Pools::new(
            Config::new("mysql", "app"),
            Arc::new(Login::new(&Config::new("mysql", "app"))),
            Arc::default(),
            Arc::default(),
            Roles::new(&Config::new("mysql", "app")),
            handle,
        ));
        let follower = reconcile(
            publish.subscribe(),
            Arc::clone(&pools),
            changes,
            balance.clone(),
        );
        // The clock is paused: the timeout ends once no task can make progress.
        let _ = tokio::time::timeout(Duration::from_secs(1), follower).await;
        assert_eq!(pools.all().len(), 1);
    }
}
