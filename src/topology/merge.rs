//! The step from one snapshot to the next. Pure: the time is passed in.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::{Change, Pod, PodAddress, Topology};
use crate::discovery::{Answer, FoundPod};
use crate::name::Ordinal;

/// What makes a pod the same pod: its ordinal, or its address if it has none. Sorts as
/// [`Topology::pods`] does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Ordinal(Ordinal),
    Address(SocketAddr),
}

/// Whose an answer says each address is, also those that are not used.
type Owners = BTreeMap<SocketAddr, BTreeSet<Option<Ordinal>>>;

/// What an answer says of one pod.
#[derive(Default)]
struct Wanted {
    host: String,
    sockets: BTreeSet<SocketAddr>,
}

/// The snapshot after a good look-up, and what changed; both in the order of
/// [`Topology::pods`].
///
/// * An answer without addresses changes nothing.
/// * An address in the answer is listed. Of one pod (for pods that the answer gives no ordinal: of
///   all of them together) IPv6 addresses are used only if there is no IPv4 address.
/// * An address that the answer gives no ordinal stays with the pod it is known to be, unless the
///   answer has that pod elsewhere.
/// * A known address that the answer lacks is absent from `now` on, and removed once it has been
///   absent for `grace`; at once if the answer gives it to another pod.
/// * Of a pod that an incomplete answer lacks, nothing changes, unless the answer gives its address
///   to another pod.
/// * Of a pod with ordinal 0 that has no listed address, the address that was listed last is never
///   removed.
///
/// The version grows by one if anything changed, else it stays.
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
    remove_expired(&mut pods, now, grace, &mut changes);
    (
        next(old, Some(answer.service.clone()), pods, &changes),
        changes,
    )
}

/// The snapshot without the addresses that have been absent for `grace`, and what was removed: the
/// part of [`merge`] that needs no answer.
pub fn expire(old: &Topology, now: Instant, grace: Duration) -> (Topology, Vec<Change>) {
    let mut pods = old.pods.clone();
    let mut changes = Vec::new();
    remove_expired(&mut pods, now, grace, &mut changes);
    (next(old, old.service.clone(), pods, &changes), changes)
}

/// When an address of this pod is to be removed next.
pub(super) fn next_expiry(pod: &Pod, grace: Duration) -> Option<Instant> {
    let kept = kept_for_ever(pod);
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

/// What the answer says, by pod, of the address families that are used; `v4` is for the pods
/// without an ordinal, as many as came without.
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

/// The answer with every address that it gives no name, but that is known as a pod's, under that
/// pod: DNS that has lost the names for a moment must not take the ordinals away.
fn attributed<'a>(old: &Topology, answer: &'a Answer) -> Cow<'a, Answer> {
    if answer.pods.iter().all(|pod| pod.ordinal.is_some()) {
        return Cow::Borrowed(answer);
    }
    let named = || answer.pods.iter().filter(|pod| pod.ordinal.is_some());
    let ordinals: BTreeSet<Option<Ordinal>> = named().map(|pod| pod.ordinal).collect();
    let named: BTreeSet<SocketAddr> = named().flat_map(sockets).collect();
    // More than one if an address was said to be two pods': a nameless answer does not settle that.
    let mut known: BTreeMap<SocketAddr, Vec<&Pod>> = BTreeMap::new();
    // A pod that the answer does name is where the answer says.
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

/// Whether the answer gives the address of this pod to another one. An owner with an ordinal counts
/// more than one without.
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

/// The pod as it is after an answer that says `found` of it.
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

/// The pod as it is after an answer that may not know of it.
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

/// Since when the addresses are absent that stay however long that is: those of ordinal 0 that
/// were listed last. Without the primary's last address nobody could say where writes would go.
fn kept_for_ever(pod: &Pod) -> Option<Instant> {
    let primary = pod.ordinal == Some(Ordinal::PRIMARY);
    let lost = primary && pod.listed().next().is_none();
    lost.then(|| {
        pod.addresses
            .iter()
            .filter_map(|address| address.absent_since)
            .max()
    })?
}

fn remove_expired(pods: &mut Vec<Pod>, now: Instant, grace: Duration, changes: &mut Vec<Change>) {
    for pod in pods.iter_mut() {
        let kept = kept_for_ever(pod);
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
