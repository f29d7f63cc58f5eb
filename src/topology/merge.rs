//! The pure step from one snapshot to the next; the time is passed in.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::{Change, Pod, PodAddress, Topology};
use crate::discovery::{Answer, FoundPod};
use crate::name::Ordinal;

/// The identity of a pod: its ordinal, or its address if it has none. Sorts as [`Topology::pods`]
/// does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Ordinal(Ordinal),
    Address(SocketAddr),
}

/// For each address of an answer, the pods it is given to; includes addresses that are not used.
type Owners = BTreeMap<SocketAddr, BTreeSet<Option<Ordinal>>>;

/// The part of an answer about one pod.
#[derive(Default)]
struct Wanted {
    host: String,
    sockets: BTreeSet<SocketAddr>,
}

/// Returns the snapshot after a good look-up, and the changes; both in the order of
/// [`Topology::pods`].
///
/// * An answer without addresses changes nothing.
/// * An address in the answer is listed. IPv6 addresses of a pod are used only if the pod has no
///   IPv4 address. For this rule, all pods without an ordinal in the answer count as one pod.
/// * An address without an ordinal in the answer stays with the pod it is known to belong to,
///   unless the answer has that pod at another address.
/// * A known address that is missing from the answer is absent from `now` on. It is removed once it
///   has been absent for `grace`, or at once if the answer gives it to another pod.
/// * If a pod is missing from an incomplete answer, nothing changes for it, unless the answer gives
///   its address to another pod.
/// * If the primary has no listed address, the address that was listed last is never removed.
///
/// The version grows by one if anything changed.
pub fn merge(
    old: &Topology,
    answer: &Answer,
    now: Instant,
    grace: Duration,
) -> (Topology, Vec<Change>) {
    let nameless = answer.pods.iter().filter(|pod| pod.ordinal.is_none());
    let v4 = nameless.flat_map(sockets).any(|socket| socket.is_ipv4());
    let answer = &*attributed(old, answer);
    let mut wanted = read(answer, v4);
    if wanted.is_empty() {
        return (old.clone(), Vec::new());
    }
    let owners = owners(answer);

    let mut changes = Vec::new();
    if let Some(from) = old.service.as_ref().filter(|from| **from != answer.service) {
        let (from, to) = (from.clone(), answer.service.clone());
        changes.push(Change::Service { from, to });
    }
    let mut pods = BTreeMap::new();
    for pod in &old.pods {
        let found = wanted.remove(&key(pod)).unwrap_or_else(|| Wanted {
            host: pod.host.clone(),
            sockets: BTreeSet::new(),
        });
        let next = if found.sockets.is_empty() && !answer.complete {
            keep(pod, &owners, &mut changes)
        } else {
            relist(pod, found, &owners, now, &mut changes)
        };
        pods.insert(key(pod), next);
    }
    for (key, found) in wanted {
        let ordinal = match key {
            Key::Ordinal(ordinal) => Some(ordinal),
            Key::Address(_) => None,
        };
        let unknown = Pod {
            ordinal,
            host: found.host.clone(),
            addresses: Vec::new(),
        };
        pods.insert(key, relist(&unknown, found, &owners, now, &mut changes));
    }
    let mut pods: Vec<Pod> = pods.into_values().collect();
    remove_expired(&mut pods, old.primary, now, grace, &mut changes);
    (
        next(old, Some(answer.service.clone()), pods, &changes),
        changes,
    )
}

/// Returns the snapshot without the addresses that have been absent for `grace`, and the removals:
/// the part of [`merge`] that needs no answer.
pub fn expire(old: &Topology, now: Instant, grace: Duration) -> (Topology, Vec<Change>) {
    let mut pods = old.pods.clone();
    let mut changes = Vec::new();
    remove_expired(&mut pods, old.primary, now, grace, &mut changes);
    (next(old, old.service.clone(), pods, &changes), changes)
}

impl Topology {
    /// When [`expire`] removes the next address; `None` if no address will expire.
    pub fn next_expiry(&self, grace: Duration) -> Option<Instant> {
        let due = |pod: &Pod| next_expiry(pod, self.primary, grace);
        self.pods.iter().filter_map(due).min()
    }
}

/// When the next address of this pod expires.
fn next_expiry(pod: &Pod, primary: Ordinal, grace: Duration) -> Option<Instant> {
    let kept = kept_for_ever(pod, primary);
    let absent = pod
        .addresses
        .iter()
        .filter_map(|address| address.absent_since);
    absent
        .filter(|since| Some(*since) != kept)
        .filter_map(|since| since.checked_add(grace))
        .min()
}

fn next(old: &Topology, service: Option<String>, pods: Vec<Pod>, changes: &[Change]) -> Topology {
    let changed = u64::from(!changes.is_empty());
    Topology {
        version: old.version + changed,
        primary: old.primary,
        service,
        pods,
    }
}

fn key(pod: &Pod) -> Key {
    match (pod.ordinal, pod.addresses.first()) {
        (Some(ordinal), _) => Key::Ordinal(ordinal),
        (None, Some(address)) => Key::Address(address.socket),
        // No snapshot holds such a pod.
        (None, None) => Key::Address(SocketAddr::from(([0, 0, 0, 0], 0))),
    }
}

/// The used addresses of the answer, by pod. `v4`: pods without an ordinal use IPv4; determined
/// before [`attributed`] gave some of them an ordinal.
fn read(answer: &Answer, v4: bool) -> BTreeMap<Key, Wanted> {
    let mut wanted: BTreeMap<Key, Wanted> = BTreeMap::new();
    for pod in &answer.pods {
        let Some(ordinal) = pod.ordinal else { continue };
        let entry = wanted.entry(Key::Ordinal(ordinal)).or_default();
        if entry.sockets.is_empty() {
            entry.host.clone_from(&pod.host);
        }
        entry.sockets.extend(sockets(pod));
    }
    for pod in wanted.values_mut() {
        let v4 = pod.sockets.iter().any(SocketAddr::is_ipv4);
        pod.sockets.retain(|socket| socket.is_ipv4() == v4);
    }
    wanted.retain(|_, pod| !pod.sockets.is_empty());

    let named: BTreeSet<SocketAddr> = wanted
        .values()
        .flat_map(|pod| pod.sockets.iter().copied())
        .collect();
    let nameless = answer.pods.iter().filter(|pod| pod.ordinal.is_none());
    for pod in nameless {
        for socket in sockets(pod) {
            if socket.is_ipv4() == v4 && !named.contains(&socket) {
                let entry = wanted.entry(Key::Address(socket)).or_default();
                entry.host.clone_from(&pod.host);
                entry.sockets.insert(socket);
            }
        }
    }
    wanted
}

/// The answer, with each nameless address that is known to belong to a pod moved to that pod: if
/// DNS loses the names for a moment, pods must not lose their ordinals.
fn attributed<'a>(old: &Topology, answer: &'a Answer) -> Cow<'a, Answer> {
    if answer.pods.iter().all(|pod| pod.ordinal.is_some()) {
        return Cow::Borrowed(answer);
    }
    let named = || answer.pods.iter().filter(|pod| pod.ordinal.is_some());
    let ordinals: BTreeSet<Option<Ordinal>> = named().map(|pod| pod.ordinal).collect();
    let named: BTreeSet<SocketAddr> = named().flat_map(sockets).collect();
    // Several pods if answers gave one address to several: a nameless answer does not settle which
    // is right.
    let mut known: BTreeMap<SocketAddr, Vec<&Pod>> = BTreeMap::new();
    // A pod that the answer names has the addresses that the answer gives.
    let lost = |pod: &&Pod| pod.ordinal.is_some() && !ordinals.contains(&pod.ordinal);
    for pod in old.pods.iter().filter(lost) {
        for address in &pod.addresses {
            known.entry(address.socket).or_default().push(pod);
        }
    }
    let mut answer = answer.clone();
    let mut found = Vec::new();
    for nameless in answer.pods.iter_mut().filter(|pod| pod.ordinal.is_none()) {
        let port = nameless.port;
        nameless.addresses.retain(|address| {
            let socket = SocketAddr::new(*address, port);
            let Some(pods) = known.get(&socket).filter(|_| !named.contains(&socket)) else {
                return true;
            };
            found.extend(
                pods.iter()
                    .map(|pod| FoundPod::new(pod.ordinal, &pod.host, [*address], port)),
            );
            false
        });
    }
    answer.pods.extend(found);
    Cow::Owned(answer)
}

fn owners(answer: &Answer) -> Owners {
    let mut owners = Owners::new();
    for pod in &answer.pods {
        for socket in sockets(pod) {
            owners.entry(socket).or_default().insert(pod.ordinal);
        }
    }
    owners
}

/// Whether the answer gives this address of `pod` to another pod. An owner with an ordinal takes
/// precedence over an owner without one.
fn is_another_pods(owners: &Owners, pod: Option<Ordinal>, address: SocketAddr) -> bool {
    owners.get(&address).is_some_and(|owners| match pod {
        Some(_) => !owners.contains(&pod),
        None => owners.iter().any(Option::is_some),
    })
}

fn sockets(pod: &FoundPod) -> impl Iterator<Item = SocketAddr> {
    pod.addresses
        .iter()
        .map(|address| SocketAddr::new(*address, pod.port))
}

/// The pod after an answer that contains `found` about it.
fn relist(
    pod: &Pod,
    mut found: Wanted,
    owners: &Owners,
    now: Instant,
    changes: &mut Vec<Change>,
) -> Pod {
    let (ordinal, host) = (pod.ordinal, found.host);
    if pod.host != host {
        changes.push(Change::Renamed {
            ordinal,
            from: pod.host.clone(),
            to: host.clone(),
        });
    }
    let mut addresses = Vec::with_capacity(pod.addresses.len().max(found.sockets.len()));
    for known in &pod.addresses {
        let (host, address) = (host.clone(), known.socket);
        if found.sockets.remove(&address) {
            if !known.is_listed() {
                changes.push(Change::Returned {
                    ordinal,
                    host,
                    address,
                });
            }
            addresses.push(PodAddress {
                socket: address,
                absent_since: None,
            });
        } else if is_another_pods(owners, ordinal, address) {
            changes.push(Change::Removed {
                ordinal,
                host,
                address,
            });
        } else {
            if known.is_listed() {
                changes.push(Change::Absent {
                    ordinal,
                    host,
                    address,
                });
            }
            let absent_since = known.absent_since.or(Some(now));
            addresses.push(PodAddress {
                socket: address,
                absent_since,
            });
        }
    }
    for address in found.sockets {
        changes.push(Change::Added {
            ordinal,
            host: host.clone(),
            address,
        });
        addresses.push(PodAddress {
            socket: address,
            absent_since: None,
        });
    }
    addresses.sort_unstable_by_key(|address| address.socket);
    Pod {
        ordinal,
        host,
        addresses,
    }
}

/// The pod after an incomplete answer that lacks it.
fn keep(pod: &Pod, owners: &Owners, changes: &mut Vec<Change>) -> Pod {
    let mut kept = pod.clone();
    kept.addresses.retain(|known| {
        let taken = is_another_pods(owners, pod.ordinal, known.socket);
        if taken {
            changes.push(Change::Removed {
                ordinal: pod.ordinal,
                host: pod.host.clone(),
                address: known.socket,
            });
        }
        !taken
    });
    kept
}

/// The `absent_since` of the addresses that are never removed: those of the primary that were
/// listed last, if none is listed now. Without them writes would have no target.
fn kept_for_ever(pod: &Pod, primary: Ordinal) -> Option<Instant> {
    let lost = pod.ordinal == Some(primary) && pod.listed().next().is_none();
    lost.then(|| {
        pod.addresses
            .iter()
            .filter_map(|address| address.absent_since)
            .max()
    })?
}

fn remove_expired(
    pods: &mut Vec<Pod>,
    primary: Ordinal,
    now: Instant,
    grace: Duration,
    changes: &mut Vec<Change>,
) {
    for pod in pods.iter_mut() {
        let kept = kept_for_ever(pod, primary);
        let (ordinal, host) = (pod.ordinal, &pod.host);
        pod.addresses.retain(|known| {
            let stays = known.absent_since.is_none_or(|since| {
                Some(since) == kept || now.saturating_duration_since(since) < grace
            });
            if !stays {
                let (host, address) = (host.clone(), known.socket);
                changes.push(Change::Removed {
                    ordinal,
                    host,
                    address,
                });
            }
            stays
        });
    }
    pods.retain(|pod| !pod.addresses.is_empty());
}

#[cfg(test)]
mod tests;
