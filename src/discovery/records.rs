//! Turns DNS messages into pods. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record};

use super::{FoundPod, ResolveError};
use crate::name::ordinal_of;

/// An SRV target, with the records about it in the same message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// In lower case, without a trailing dot.
    pub(super) host: String,
    pub(super) port: u16,
    /// From the additional section; empty if it has no address of the target.
    pub(super) addresses: Vec<IpAddr>,
}

/// The shortest TTL of the records used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ttl(Option<u32>);

impl Ttl {
    pub(super) fn add(&mut self, seconds: u32) {
        self.0 = Some(self.0.map_or(seconds, |shortest| shortest.min(seconds)));
    }

    pub(super) fn join(&mut self, other: Self) {
        if let Some(seconds) = other.0 {
            self.add(seconds);
        }
    }

    pub(super) fn get(self) -> Option<Duration> {
        self.0.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// The targets in the answer to an SRV query for `asked`, one entry for each host.
///
/// Priority, weight and order are ignored. Port 0 (kube-dns) stands for `port`. If a host has
/// several ports, `port` is taken if it is among them, else the lowest.
///
/// # Errors
///
/// [`ResolveError::Foreign`] if `asked` does not own a record. [`ResolveError::NoData`] if there is
/// no SRV record.
pub(super) fn targets(
    asked: &str,
    message: &Message,
    port: u16,
) -> Result<(Vec<Target>, Ttl), ResolveError> {
    let mut ttl = Ttl::default();
    let mut found: BTreeMap<String, Target> = BTreeMap::new();
    for record in owned(asked, message)? {
        let RData::SRV(srv) = &record.data else {
            continue;
        };
        ttl.add(record.ttl);
        let host = text(&srv.target);
        let offered = if srv.port == 0 { port } else { srv.port };
        found
            .entry(host.clone())
            .and_modify(|known| {
                if known.port != port && (offered == port || offered < known.port) {
                    known.port = offered;
                }
            })
            .or_insert(Target {
                host,
                port: offered,
                addresses: Vec::new(),
            });
    }
    if found.is_empty() {
        return Err(ResolveError::NoData {
            name: asked.to_owned(),
        });
    }
    for record in message
        .additionals
        .iter()
        .filter(|record| record.dns_class == DNSClass::IN)
    {
        let (Some(address), Some(target)) =
            (record.data.ip_addr(), found.get_mut(&text(&record.name)))
        else {
            continue;
        };
        if !target.addresses.contains(&address) {
            target.addresses.push(address);
        }
        ttl.add(record.ttl);
    }
    Ok((found.into_values().collect(), ttl))
}

/// The addresses in the answer to an A or AAAA query for `asked`.
///
/// # Errors
///
/// As for [`targets`].
pub(super) fn addresses(
    asked: &str,
    message: &Message,
) -> Result<(Vec<IpAddr>, Ttl), ResolveError> {
    let mut ttl = Ttl::default();
    let mut found = Vec::new();
    for record in owned(asked, message)? {
        let Some(address) = record.data.ip_addr() else {
            continue;
        };
        ttl.add(record.ttl);
        found.push(address);
    }
    if found.is_empty() {
        return Err(ResolveError::NoData {
            name: asked.to_owned(),
        });
    }
    // Sorted, so that duplicates are adjacent.
    found.sort_unstable();
    found.dedup();
    Ok((found, ttl))
}

/// Turns the targets into pods. Returns our pods, and the pods that are not ours. Targets without
/// an address are left out.
///
/// Without a `statefulset`, targets of more than one StatefulSet are ambiguous, because two pods
/// would have ordinal 0. Then `default_set` (the Service's name) is our StatefulSet. Pods of
/// another StatefulSet are not ours. With a `statefulset`, pods without a StatefulSet are not ours
/// either.
pub(super) fn pods(
    service: &str,
    targets: Vec<Target>,
    statefulset: Option<&str>,
    default_set: &str,
) -> (Vec<FoundPod>, Vec<FoundPod>) {
    let named = |target: &Target, set: Option<&str>| ordinal_of(&target.host, service, set);
    let mut sets: Vec<String> = targets
        .iter()
        .filter_map(|target| named(target, statefulset))
        .filter_map(|(_, pod)| pod.rsplit_once('-').map(|(set, _)| set.to_owned()))
        .collect();
    sets.sort_unstable();
    sets.dedup();
    let ours = statefulset.or((sets.len() > 1).then_some(default_set));
    let is_ours = |target: &Target| {
        // A Service with a cluster IP gives its own name as target.
        named(target, ours).is_some()
            || target.host == service
            || (statefulset.is_none() && named(target, None).is_none())
    };
    let found = targets
        .into_iter()
        .filter(|target| !target.addresses.is_empty());
    let (kept, others): (Vec<Target>, Vec<Target>) = found.partition(is_ours);
    let pod = |target: Target| {
        let ordinal = named(&target, ours).map(|(ordinal, _)| ordinal);
        FoundPod::new(ordinal, target.host, target.addresses, target.port)
    };
    (
        kept.into_iter().map(pod).collect(),
        others.into_iter().map(pod).collect(),
    )
}

/// The records of the answer section. All of them must belong to `asked`: if a name does not exist,
/// cluster DNS with autopath continues to search, and may return another host behind a CNAME.
fn owned<'a>(
    asked: &str,
    message: &'a Message,
) -> Result<impl Iterator<Item = &'a Record>, ResolveError> {
    let wanted = asked.strip_suffix('.').unwrap_or(asked);
    for record in &message.answers {
        let owner = match &record.data {
            RData::CNAME(alias) => text(&alias.0),
            _ => text(&record.name),
        };
        let alias = matches!(record.data, RData::CNAME(_));
        if alias || !owner.eq_ignore_ascii_case(wanted) {
            return Err(ResolveError::Foreign {
                name: asked.to_owned(),
                owner,
            });
        }
    }
    Ok(message
        .answers
        .iter()
        .filter(|record| record.dns_class == DNSClass::IN))
}

/// The end of the chain of aliases that begins at `asked`, without a trailing dot; `None` if
/// `asked` is not an alias.
///
/// # Errors
///
/// [`ResolveError::Foreign`] if a record does not belong to a name of the chain, or if the chain
/// does not end.
pub(super) fn alias(asked: &str, message: &Message) -> Result<Option<String>, ResolveError> {
    let foreign = |owner: String| ResolveError::Foreign {
        name: asked.to_owned(),
        owner,
    };
    let mut aliases: BTreeMap<String, String> = BTreeMap::new();
    for record in &message.answers {
        if let RData::CNAME(target) = &record.data {
            let (owner, target) = (text(&record.name), text(&target.0));
            // One name has two aliases, so it is not known which one is meant.
            if aliases.insert(owner.clone(), target).is_some() {
                return Err(foreign(owner));
            }
        }
    }
    if aliases.is_empty() {
        return Ok(None);
    }
    let mut chain = vec![
        asked
            .strip_suffix('.')
            .unwrap_or(asked)
            .to_ascii_lowercase(),
    ];
    while let Some(target) = chain.last().and_then(|name| aliases.remove(name)) {
        if chain.contains(&target) {
            return Err(foreign(target));
        }
        chain.push(target);
    }
    let stranger = message.answers.iter().map(|record| text(&record.name));
    match stranger.into_iter().find(|owner| !chain.contains(owner)) {
        Some(owner) => Err(foreign(owner)),
        None => Ok(chain.pop()),
    }
}

/// The addresses in an answer for the end of its chain of [`alias`]es; `None` if there are none.
pub(super) fn behind_alias(end: &str, message: &Message) -> Option<(Vec<IpAddr>, Ttl)> {
    let (mut found, mut ttl) = (Vec::new(), Ttl::default());
    for record in &message.answers {
        // The TTL of the aliases counts too.
        ttl.add(record.ttl);
        let address = record.data.ip_addr();
        let address = address.filter(|address| !found.contains(address));
        found.extend(address.filter(|_| text(&record.name) == end));
    }
    (!found.is_empty()).then_some((found, ttl))
}

/// The name in lower case, without a trailing dot.
fn text(name: &Name) -> String {
    let mut text = name.to_ascii();
    if text.ends_with('.') {
        text.pop();
    }
    text.make_ascii_lowercase();
    text
}

#[cfg(test)]
mod tests;
