//! From topology to pools.
//!
//! Owns the pools, one per incarnation (ordinal and address), and tells the balancer of them. It
//! must never close a pool because of what one answer lacks: the topology keeps an address for a
//! grace period, and only then it goes.

use super::changes::Changes;
use super::roles::Roles;
use crate::balance::{Balance, EndpointState, Paces};
use crate::config::Config;
use crate::mysql::{Dialler, History, Hooks, Login, PodPool, Pool};
use crate::name::Ordinal;
use crate::topology::{Pod, Topology};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tower::discover::Change;

/// How often connections are looked at that have been idle for too long.
const PRUNE_INTERVAL: Duration = Duration::from_secs(10);

/// How often healthy pools are looked at for connections that should be there.
const WARM_INTERVAL: Duration = Duration::from_secs(1);

/// An incarnation of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PodKey {
    /// Unknown ordinals last.
    order: u64,
    address: SocketAddr,
    name: String,
}

impl PodKey {
    #[cfg(test)]
    pub(super) fn of(ordinal: u32, address: SocketAddr) -> Self {
        Self {
            order: u64::from(ordinal),
            address,
            name: format!("mysql-{ordinal}"),
        }
    }

    pub(super) fn ordinal(&self) -> Option<Ordinal> {
        u32::try_from(self.order).ok().map(Ordinal::new)
    }

    fn new(pod: &Pod, address: SocketAddr) -> Self {
        let label = pod.host().split('.').next().unwrap_or_default();
        Self {
            order: pod.ordinal().map_or(u64::MAX, |n| u64::from(n.get())),
            address,
            name: label.to_owned(),
        }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

type Map = BTreeMap<PodKey, Arc<Pool>>;

/// Every pool of the cluster.
pub(super) struct Pools {
    config: Config,
    login: Arc<Login>,
    history: Arc<History>,
    roles: Arc<Roles>,
    /// How fast the pods answer reads, compared with each other.
    paces: Option<Paces>,
    /// Told when a slot is free that no checkout held, so that the balancer does not know.
    freed: Arc<Notify>,
    handle: Handle,
    map: Arc<Mutex<Map>>,
    /// Pools whose address is gone, for as long as somebody has a connection of theirs.
    gone: Arc<Mutex<Vec<Weak<Pool>>>>,
}

impl Pools {
    pub(super) fn new(
        config: Config,
        login: Arc<Login>,
        history: Arc<History>,
        roles: Arc<Roles>,
        handle: Handle,
    ) -> Self {
        Self {
            paces: config.pace.then(|| Paces::new(Instant::now())),
            config,
            login,
            history,
            roles,
            freed: Arc::default(),
            handle,
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

    /// Those whose address is gone, but not their connections.
    pub(super) fn gone(&self) -> Vec<Arc<Pool>> {
        living(&self.gone)
    }

    /// Closes every pool; connections in use may finish.
    pub(super) fn close(&self) {
        for (_, pool) in self.all() {
            pool.close();
        }
    }

    fn open(&self, pod: &Pod, address: SocketAddr) -> Arc<Pool> {
        let dialler = Dialler::new(
            &self.config,
            pod.host(),
            pod.ordinal(),
            address,
            Arc::clone(&self.login),
        );
        // Weak: the pools are in the map that the callback looks into.
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
            self.paces.as_ref().map(Paces::join),
            hooks,
            self.handle.clone(),
        )
    }

    /// Opens what is missing of the configured minimum on pods that are well.
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

    /// Brings the pools in line with `topology` and tells the balancer of additions and removals.
    fn apply(&self, topology: &Topology, changes: &Changes) {
        let mut told = Vec::new();
        let primary = self.roles.primary_ordinal();
        let mut map = lock(&self.map);
        let mut gone: Map = std::mem::take(&mut map);
        for pod in topology.pods() {
            let last_known = last_known(pod, primary);
            // Also when DNS lost sight of both at once.
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
                pool.set_contested(contested);
                map.insert(key, pool);
            }
        }
        let mut all: Vec<Arc<Pool>> = map.values().cloned().collect();
        drop(map);
        for (key, pool) in gone {
            told.push(Change::Remove(key));
            pool.set_listed(false);
            pool.close();
            let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
            gone.push(Arc::downgrade(&pool));
        }
        changes.tell(told);
        all.extend(self.gone());
        // DNS may drop the old address only after the new one has proven itself.
        for pool in all.iter().filter(|pool| pool.is_confirmed()) {
            supersede_siblings(&all, pool);
        }
    }
}

/// Where a primary that DNS does not show was last: not to be in DNS is not to be dead, and writes
/// have nowhere else to go.
fn last_known(pod: &Pod, primary: Option<Ordinal>) -> Option<SocketAddr> {
    if pod.ordinal().is_none() || pod.ordinal() != primary || pod.listed().next().is_some() {
        return None;
    }
    let mut addresses = pod.addresses().iter();
    let last = addresses.find(|address| address.absent_since() == newest(pod));
    last.map(|address| address.socket())
}

/// When the address that DNS listed last went absent.
fn newest(pod: &Pod) -> Option<tokio::time::Instant> {
    let absent = pod.addresses().iter();
    absent.filter_map(|address| address.absent_since()).max()
}

/// A pod has one living incarnation. When one has proven to be the pod, those that DNS does not
/// list any more must not run another statement.
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
    let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
    pools.retain(|pool| pool.strong_count() > 0);
    pools.iter().filter_map(Weak::upgrade).collect()
}

fn lock(map: &Mutex<Map>) -> MutexGuard<'_, Map> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Turns waiting calls away when the task is gone, however it went: with its runtime, for one.
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
    // The first answer may have come before the subscription, which counts it as seen.
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
                // Whether an endpoint is listed may have changed without any change of the set.
                balance.0.wake();
            }
            () = pools.freed.notified() => balance.0.wake(),
            _ = prune.tick() => {
                for (_, pool) in pools.all() {
                    pool.prune();
                }
            }
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
    use crate::topology::merge;

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
            Roles::new(&Config::new("mysql", "app")),
            handle,
        ));
        let follower = reconcile(
            publish.subscribe(),
            Arc::clone(&pools),
            changes,
            balance.clone(),
        );
        // The clock is paused: the time is over once there is nothing left to do.
        let _ = tokio::time::timeout(Duration::from_secs(1), follower).await;
        assert_eq!(pools.all().len(), 1);
    }
}
