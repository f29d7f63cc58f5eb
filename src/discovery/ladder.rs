//! Which questions to ask of DNS, in which order, until the pods are known.
//!
//! For each candidate name of the Service: SRV, which names the pods; else A or AAAA, and then the
//! same for each pod by name until every address has its ordinal. The first candidate that answers
//! is remembered and asked alone from then on.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::RecordType;

use super::records::{self, Target, Ttl};
use super::{Answer, FoundPod, ResolveError};
use crate::name::{Ordinal, pod_host};

/// Queries in flight at once when pods are asked for one by one.
const CONCURRENCY: usize = 8;
/// How many ordinals beyond the number of addresses are tried, for gaps and a start above 0.
const SPARE_ORDINALS: usize = 8;

/// One query to DNS: the one thing the ladder does not do itself.
pub(super) trait Ask: Send + Sync {
    /// Asks for records of an absolute name. `NotFound` is NXDOMAIN, `NoData` an empty answer.
    fn ask(
        &self,
        name: &str,
        kind: RecordType,
    ) -> impl Future<Output = Result<Message, ResolveError>> + Send;
}

/// The names to ask, and what was learnt about them.
#[derive(Debug)]
pub(super) struct Ladder {
    /// The Service's name as configured.
    pub(super) service: String,
    /// What it may stand for: absolute, best first, at least one.
    pub(super) candidates: Vec<String>,
    /// The index of the one that answered last; none if out of range.
    pub(super) winner: AtomicUsize,
    pub(super) port: u16,
    pub(super) statefulset: Option<String>,
    /// What the StatefulSet is called if nothing says otherwise: like the Service.
    pub(super) default_set: String,
}

/// No candidate has won yet.
pub(super) const NONE: usize = usize::MAX;

// === impl Ladder ===

impl Ladder {
    /// One look-up.
    pub(super) async fn look_up(&self, dns: &impl Ask) -> Result<Answer, ResolveError> {
        let order = self.order();
        let mut empty = None;
        let mut asked = Vec::with_capacity(order.len());
        for i in order {
            asked.push(self.candidates[i].clone());
            match self.climb(dns, &self.candidates[i]).await {
                Ok(answer) => {
                    self.remember(i);
                    return Ok(answer);
                }
                Err(ResolveError::NotFound { .. }) => {}
                Err(error) if error.is_absence() => {
                    empty.get_or_insert(error);
                }
                // The right name may be this one: no other may answer in its place.
                Err(error) => return Err(error),
            }
        }
        Err(empty.unwrap_or_else(|| ResolveError::NotFound {
            name: self.service.clone(),
            asked,
        }))
    }

    /// The candidates to ask: the last winner first, then the others. Once the name of a
    /// Kubernetes Service has answered, only such names: when its last pod goes, a host of the
    /// same name elsewhere on the search list (or a wildcard there) must not step in.
    fn order(&self) -> Vec<usize> {
        let winner = self.winner.load(Ordering::Relaxed);
        let strict = self
            .candidates
            .get(winner)
            .is_some_and(|name| is_service(name));
        let rest = (0..self.candidates.len()).filter(|i| *i != winner);
        let rest = rest.filter(|i| !strict || is_service(&self.candidates[*i]));
        self.candidates
            .get(winner)
            .map(|_| winner)
            .into_iter()
            .chain(rest)
            .collect()
    }

    /// Remembers who answered, unless the name of a Kubernetes Service was passed over for another
    /// kind of name: the Service may only not exist yet.
    fn remember(&self, i: usize) {
        let passed_over = || self.candidates[..i].iter().any(|name| is_service(name));
        if is_service(&self.candidates[i]) || !passed_over() {
            self.winner.store(i, Ordering::Relaxed);
        }
    }

    /// All rungs for one candidate.
    async fn climb(&self, dns: &impl Ask, name: &str) -> Result<Answer, ResolveError> {
        match dns.ask(name, RecordType::SRV).await {
            Ok(message) => {
                let answer = self.by_targets(dns, name, &message).await?;
                if !answer.is_empty() {
                    return Ok(answer);
                }
            }
            Err(error) if error.is_absence() => {}
            Err(error) => return Err(error),
        }
        self.by_addresses(dns, name).await
    }

    /// SRV: each target names its pod.
    async fn by_targets(
        &self,
        dns: &impl Ask,
        name: &str,
        message: &Message,
    ) -> Result<Answer, ResolveError> {
        let (targets, mut ttl) = match records::targets(name, message, self.port) {
            Ok(found) => found,
            Err(error) if error.is_absence() => (Vec::new(), Ttl::default()),
            Err(error) => return Err(error),
        };
        let completed: Vec<(Target, Ttl)> = stream::iter(targets)
            .map(|target| with_addresses(dns, target))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        let mut targets = Vec::with_capacity(completed.len());
        for (target, more) in completed {
            ttl.join(more);
            targets.push(target);
        }
        let service = undotted(name);
        let pods = records::pods(
            service,
            targets,
            self.statefulset.as_deref(),
            &self.default_set,
        );
        Ok(Answer::new(service, pods, ttl.get()))
    }

    /// No SRV: the addresses at the Service's name, then each pod's by name, until it is clear
    /// whose every address is.
    async fn by_addresses(&self, dns: &impl Ask, name: &str) -> Result<Answer, ResolveError> {
        let (kind, found, mut ttl) = any_family(dns, name).await?;
        let service = undotted(name);
        let set = self.statefulset.as_deref().unwrap_or(&self.default_set);
        let end = found.len() + SPARE_ORDINALS;
        let mut unnamed: BTreeSet<IpAddr> = found.into_iter().collect();
        let mut pods = Vec::new();
        let mut begin = 0;
        while !unnamed.is_empty() && begin < end {
            let next = (begin + unnamed.len().min(CONCURRENCY)).min(end);
            let answers: Vec<_> = stream::iter(begin..next)
                .map(|n| pod_addresses(dns, set, n, service, kind))
                .buffer_unordered(CONCURRENCY)
                .try_collect()
                .await?;
            for (ordinal, host, addresses, more) in answers {
                if addresses.is_empty() {
                    continue;
                }
                ttl.join(more);
                unnamed.retain(|address| !addresses.contains(address));
                pods.push(FoundPod::new(Some(ordinal), host, addresses, self.port));
            }
            begin = next;
        }
        let nameless = |address| FoundPod::new(None, service, [address], self.port);
        pods.extend(unnamed.into_iter().map(nameless));
        pods.sort_by_key(|pod| (pod.ordinal.is_none(), pod.ordinal));
        Ok(Answer::new(service, pods, ttl.get()))
    }
}

/// The target with its addresses, asked for if the SRV answer had none; a name that is gone by now
/// has none.
async fn with_addresses(dns: &impl Ask, mut target: Target) -> Result<(Target, Ttl), ResolveError> {
    if !target.addresses.is_empty() {
        return Ok((target, Ttl::default()));
    }
    let name = format!("{}.", target.host);
    match any_family(dns, &name).await {
        Ok((_, addresses, ttl)) => {
            target.addresses = addresses;
            Ok((target, ttl))
        }
        Err(error) if is_gone(&error) => Ok((target, Ttl::default())),
        Err(error) => Err(error),
    }
}

/// The addresses of the pod with ordinal `n`; none if there is no such pod.
async fn pod_addresses(
    dns: &impl Ask,
    set: &str,
    n: usize,
    service: &str,
    kind: RecordType,
) -> Result<(Ordinal, String, Vec<IpAddr>, Ttl), ResolveError> {
    let ordinal = Ordinal::new(u32::try_from(n).unwrap_or(u32::MAX));
    let host = pod_host(set, ordinal, service);
    let name = format!("{host}.");
    let answer = dns.ask(&name, kind).await;
    match answer.and_then(|message| records::addresses(&name, &message)) {
        Ok((addresses, ttl)) => Ok((ordinal, host, addresses, ttl)),
        Err(error) if is_gone(&error) => Ok((ordinal, host, Vec::new(), Ttl::default())),
        Err(error) => Err(error),
    }
}

/// IPv4 addresses, or if the name has none, IPv6 ones. AAAA is not asked for where A answers: in a
/// cluster without IPv6 each such query would count as a failure in hickory's statistics.
async fn any_family(
    dns: &impl Ask,
    name: &str,
) -> Result<(RecordType, Vec<IpAddr>, Ttl), ResolveError> {
    for kind in [RecordType::A, RecordType::AAAA] {
        let answer = dns.ask(name, kind).await;
        match answer.and_then(|message| records::addresses(name, &message)) {
            Ok((addresses, ttl)) => return Ok((kind, addresses, ttl)),
            Err(ResolveError::NoData { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ResolveError::NoData {
        name: name.to_owned(),
    })
}

/// Whether there is no such pod. Cluster DNS with autopath says so with a stranger's records.
fn is_gone(error: &ResolveError) -> bool {
    error.is_absence() || matches!(error, ResolveError::Foreign { .. })
}

/// Whether the name has the form `<service>.<namespace>.svc.<zone>.`
fn is_service(name: &str) -> bool {
    let mut labels = undotted(name).split('.').skip(2);
    labels.next() == Some("svc") && labels.next().is_some()
}

fn undotted(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests;
