//! The last rung: the Service's addresses, and the pod of each address.
//!
//! Every pod is asked for by name, with a limited number of concurrent queries, until each address
//! has its pod. An address has no ordinal if its pod is not found, or not found in time.
//!
//! Reverse look-ups (PTR) are no alternative. They need as many queries, they name every Service of
//! a pod, a typical cluster forwards those it does not know, and their answers would need a forward
//! check.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::{StreamExt, stream};
use hickory_resolver::proto::rr::RecordType;

use super::super::records::{self, Ttl};
use super::{Ask, CONCURRENCY, Climb, any_family, is_gone, told, undotted};
use crate::discovery::candidates::is_kubernetes;
use crate::discovery::{Answer, FoundPod, ResolveError};
use crate::name::{Ordinal, ordinal_of, pod_host, service_of_pod};

/// How many more ordinals than addresses are tried, for gaps and a start above 0.
const SPARE_ORDINALS: usize = 8;

/// The results so far of asking for pods by name.
#[derive(Default)]
struct Attribution {
    unnamed: BTreeSet<IpAddr>,
    /// The ordinals that DNS has answered for, including "there is no such pod".
    settled: BTreeSet<Ordinal>,
    pods: Vec<FoundPod>,
    ttl: Ttl,
    /// The last reason why a pod could not be asked for.
    failed: Option<ResolveError>,
}

impl<A: Ask> Climb<'_, A> {
    /// The addresses at a name, each with its pod if the pod can be found.
    pub(super) async fn by_addresses(
        &self,
        name: &str,
        aliases: usize,
    ) -> Result<Answer, ResolveError> {
        let (kind, message) = any_family(self.dns, name, self.notes).await?;
        if let Some(target) = self.alias(name, &message, aliases)? {
            // Behind an ExternalName there is a single host, unless the name is in Kubernetes'
            // form: only Kubernetes has pods with names.
            let start = match is_kubernetes(&target) {
                true => super::Rung::TOP,
                false => super::Rung::Addresses,
            };
            let (_, answer) = self.climb(&target, start, aliases - 1).await?;
            return Ok(answer);
        }
        let (listed, ttl) = records::addresses(name, &message)?;
        let service = undotted(name);
        if let Some(parent) = service_of_pod(name) {
            let ordinal = ordinal_of(name, parent, self.wanted.statefulset.as_deref());
            let ordinal = ordinal.map(|(ordinal, _)| ordinal);
            let pod = FoundPod::new(ordinal, service, listed, self.wanted.port);
            let answer = Answer::new(service, [pod], ttl.get());
            self.notes.conclude(|| told(&answer, None));
            return Ok(answer);
        }
        let listed: BTreeSet<IpAddr> = listed.into_iter().collect();
        if aliases < super::MAX_ALIASES && !is_kubernetes(name) {
            let pods = listed
                .into_iter()
                .map(|address| self.nameless(service, address));
            let answer = Answer::new(service, pods, ttl.get());
            self.notes.conclude(|| told(&answer, None));
            return Ok(answer);
        }
        if let Some(pods) = self.memory.recall(name, &listed) {
            let (pods, others) = self.split(pods);
            let answer = self.answer(service, pods, others, ttl);
            if answer.is_empty() {
                return Err(self.not_ours(answer));
            }
            self.notes
                .conclude(|| format!("{}; the addresses are those of before", told(&answer, None)));
            return Ok(answer);
        }
        self.attribute(name, kind, listed, ttl).await
    }

    async fn attribute(
        &self,
        name: &str,
        kind: RecordType,
        listed: BTreeSet<IpAddr>,
        ttl: Ttl,
    ) -> Result<Answer, ResolveError> {
        let service = undotted(name);
        let known = self.memory.last_known(name);
        let mut found = Attribution {
            unnamed: listed.clone(),
            ttl,
            ..Attribution::default()
        };
        let mut ordinals = self.ordinals(&known, listed.len());
        while !found.unnamed.is_empty() && !ordinals.is_empty() && found.failed.is_none() {
            if self.began.elapsed() >= self.wanted.patience {
                found.failed = Some(ResolveError::Timeout {
                    name: name.to_owned(),
                    after: self.wanted.patience,
                    server: None,
                });
                break;
            }
            let next = found.unnamed.len().min(CONCURRENCY).min(ordinals.len());
            let batch: Vec<Ordinal> = ordinals.drain(..next).collect();
            self.ask_for(batch, kind, service, &mut found).await;
        }
        // A pod that could not be asked for is assumed to be where it was.
        if found.failed.is_some() {
            for pod in known {
                let open = pod.ordinal.is_some_and(|n| !found.settled.contains(&n));
                if open && pod.addresses.iter().all(|a| found.unnamed.contains(a)) {
                    found.take(pod);
                }
            }
        }
        if let (true, Some(error)) = (found.pods.is_empty(), &found.failed) {
            return Err(error.clone());
        }
        let unnamed = std::mem::take(&mut found.unnamed).into_iter();
        let unnamed = unnamed.map(|address| self.nameless(service, address));
        found.pods.extend(unnamed);
        found
            .pods
            .sort_by_key(|pod| (pod.ordinal.is_none(), pod.ordinal));
        if found.failed.is_some() {
            let answer = Answer::new(service, found.pods, found.ttl.get());
            self.notes.conclude(|| told(&answer, found.failed.as_ref()));
            return Ok(answer.partial());
        }
        self.memory.learn(name, listed, found.pods.clone());
        let (pods, others) = self.split(found.pods);
        let answer = self.answer(service, pods, others, found.ttl);
        if answer.is_empty() {
            return Err(self.not_ours(answer));
        }
        self.notes.conclude(|| told(&answer, None));
        Ok(answer)
    }

    /// Our pods, and those that do not belong to the StatefulSet. If the StatefulSet's name was
    /// given and all pods could be asked for, an address without a pod's name does not belong to
    /// it.
    fn split(&self, pods: Vec<FoundPod>) -> (Vec<FoundPod>, Vec<FoundPod>) {
        let named = |pod: &FoundPod| pod.ordinal.is_some() || self.wanted.statefulset.is_none();
        pods.into_iter().partition(named)
    }

    fn nameless(&self, service: &str, address: IpAddr) -> FoundPod {
        FoundPod::new(None, service, [address], self.wanted.port)
    }

    /// The ordinals to try: first the known ones, then those from the StatefulSet's first ordinal.
    fn ordinals(&self, known: &[FoundPod], addresses: usize) -> Vec<Ordinal> {
        let mut ordinals: Vec<Ordinal> = known.iter().filter_map(|pod| pod.ordinal).collect();
        let known: BTreeSet<Ordinal> = ordinals.iter().copied().collect();
        let count = u32::try_from(addresses + SPARE_ORDINALS).unwrap_or(u32::MAX);
        let first = self.wanted.first_ordinal.get();
        let others = (first..first.saturating_add(count)).map(Ordinal::new);
        ordinals.extend(others.filter(|ordinal| !known.contains(ordinal)));
        ordinals
    }

    async fn ask_for(
        &self,
        ordinals: Vec<Ordinal>,
        kind: RecordType,
        service: &str,
        found: &mut Attribution,
    ) {
        let set = self.wanted.statefulset.as_deref();
        let set = set.unwrap_or(&self.wanted.default_set);
        let answers: Vec<_> = stream::iter(ordinals)
            .map(|ordinal| async move {
                let host = pod_host(set, ordinal, service);
                let name = format!("{host}.");
                let answer = self.dns.ask(&name, kind, self.notes).await;
                let addresses = answer.and_then(|message| records::addresses(&name, &message));
                (ordinal, host, addresses)
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        for (ordinal, host, addresses) in answers {
            match addresses {
                Ok((addresses, ttl)) => {
                    found.ttl.join(ttl);
                    found.settled.insert(ordinal);
                    let port = self.wanted.port;
                    found.take(FoundPod::new(Some(ordinal), host, addresses, port));
                }
                Err(error) if is_gone(&error) => {
                    found.settled.insert(ordinal);
                }
                Err(error) => found.failed = Some(error),
            }
        }
    }
}

impl Attribution {
    fn take(&mut self, pod: FoundPod) {
        for address in &pod.addresses {
            self.unnamed.remove(address);
        }
        self.pods.push(pod);
    }
}
