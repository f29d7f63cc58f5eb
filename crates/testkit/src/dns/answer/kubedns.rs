//! The cluster's zone, as kube-dns presents it.
//!
//! This module owns the tree of names and the way in which SkyDNS, the server inside kube-dns,
//! makes records of it. It must never imitate CoreDNS, not even where CoreDNS is better.
//!
//! Not implemented: wildcards, names of pods (`10-0-0-1.default.pod`) and federations.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::{PTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use rand::Rng;
use rand::seq::SliceRandom;

use super::super::options::Flavor;
use super::super::spec::{Cluster, ServiceKind, ServiceSpec};
use super::name::{Asked, Wanted, parse, port_labels};
use super::{
    Answer, NoSuchName, address_record, alias_record, forward, full_name, holds, in_zone, reverse,
    zone,
};

/// TTL of every record except the SOA.
const TTL: u32 = 30;
/// TTL of the SOA record in a negative answer, and its minimum.
const NEGATIVE_TTL: u32 = 60;
/// TTL of the SOA record in a positive answer.
const SOA_TTL: u32 = 3600;
const PRIORITY: u16 = 10;
/// The longest chain of aliases inside the cluster that is followed.
const MAX_ALIASES: usize = 8;

/// One entry of the tree: an address or another name.
#[derive(Clone, Debug)]
struct Entry {
    leads_to: Target,
    port: u16,
    /// The entry's own name; the target of its SRV record if the entry is an address.
    key: Name,
}

#[derive(Clone, Debug)]
enum Target {
    Address(IpAddr),
    Name(Name),
}

/// Answers from the cluster, or forwards the question.
pub(super) fn answer(
    cluster: &Cluster,
    name: &Name,
    kind: RecordType,
    chance: &mut dyn Rng,
) -> Answer {
    if kind == RecordType::ANY || !cluster.options.synced {
        return Answer {
            repeats_recursion_desired: false,
            ..signed(Answer::refused())
        };
    }
    let answer = match parse(name) {
        Some(asked) => own_answer(cluster, &asked, name, kind, chance),
        None if kind == RecordType::PTR => pointer(cluster, name),
        None => Ok(forwarded(cluster, name, kind)),
    };
    signed(answer.unwrap_or_else(|_| server_failure()))
}

/// SERVFAIL without a SOA record.
pub(super) fn server_failure() -> Answer {
    signed(Answer::failed_upstream())
}

fn signed(answer: Answer) -> Answer {
    Answer {
        flavor: Flavor::KubeDns,
        ..answer
    }
}

/// Forwards a question. Without an upstream, the answer is SERVFAIL rather than REFUSED.
fn forwarded(cluster: &Cluster, name: &Name, kind: RecordType) -> Answer {
    match &cluster.options.upstream {
        None => server_failure(),
        Some(_) => forward(cluster, name, kind),
    }
}

fn own_answer(
    cluster: &Cluster,
    asked: &Asked,
    name: &Name,
    kind: RecordType,
    chance: &mut dyn Rng,
) -> Result<Answer, ProtoError> {
    if (asked, kind) == (&Asked::Apex, RecordType::SOA) {
        return Ok(found(vec![soa(SOA_TTL)?], Vec::new()));
    }
    let entries = match (kind, find(cluster, asked)?) {
        // Only leaves of the tree can be aliases, and a Service with pods is a branch.
        (RecordType::CNAME, Ok(entries)) if is_branch(cluster, asked) && !entries.is_empty() => {
            Err(NoSuchName)
        }
        (_, found) => found,
    };
    let Ok(mut entries) = entries else {
        return Ok(Answer {
            authoritative: false,
            authority: vec![soa(NEGATIVE_TTL)?],
            ..Answer::bare(ResponseCode::NXDomain)
        });
    };
    // kube-dns keeps entries in a Go map, whose order is random for each query.
    entries.shuffle(chance);
    let (answers, additional) = match kind {
        RecordType::A | RecordType::AAAA => {
            let records = addresses(cluster, name, kind, &entries, &mut Vec::new())?;
            (shuffled(records, chance), Vec::new())
        }
        RecordType::SRV => services(cluster, name, &entries)?,
        RecordType::CNAME => {
            let aliases = entries.iter().filter_map(|entry| match &entry.leads_to {
                Target::Name(target) => Some(alias_record(name, TTL, target.clone())),
                Target::Address(_) => None,
            });
            (aliases.take(1).collect(), Vec::new())
        }
        _ => (Vec::new(), Vec::new()),
    };
    let mut answer = found(answers, additional);
    if answer.answers.is_empty() {
        answer.authority = vec![soa(NEGATIVE_TTL)?];
    }
    Ok(answer)
}

/// Whether a name is a branch of the tree rather than an entry.
fn is_branch(cluster: &Cluster, asked: &Asked) -> bool {
    let Asked::Service {
        namespace,
        service,
        wanted,
    } = asked
    else {
        return true;
    };
    let spec = cluster.services.get(&(namespace.clone(), service.clone()));
    let is_alias = spec.is_some_and(|spec| matches!(spec.kind, ServiceKind::ExternalName(_)));
    !is_alias && !matches!(wanted, Wanted::Endpoint(_))
}

/// The entries of a name.
fn find(cluster: &Cluster, asked: &Asked) -> Result<Result<Vec<Entry>, NoSuchName>, ProtoError> {
    let Asked::Service {
        namespace,
        service,
        wanted,
    } = asked
    else {
        return Ok(Err(NoSuchName));
    };
    let spec = cluster.services.get(&(namespace.clone(), service.clone()));
    let Some(spec) = spec else {
        return Ok(Err(NoSuchName));
    };
    let own_name = in_zone([service, namespace, "svc"])?;
    let entries = match &spec.kind {
        ServiceKind::ExternalName(target) => match wanted {
            Wanted::All => vec![Entry {
                leads_to: match target.parse() {
                    Ok(address) => Target::Address(address),
                    Err(_) => Target::Name(full_name(target)?),
                },
                port: 0,
                key: own_name,
            }],
            Wanted::Endpoint(_) | Wanted::Port { .. } => Vec::new(),
        },
        ServiceKind::ClusterIp(addresses) => {
            // kube-dns supports one address family only.
            let labelled = addresses.first().map(|address| (hash(*address), *address));
            let own = labelled.into_iter().collect();
            entries_of(spec, &own, wanted, &own_name, |_| Ok(own_name.clone()))?
        }
        ServiceKind::Headless => {
            // Keyed by label: of two pods with one hostname, the last one replaces the first.
            let labelled = spec.published_pods().filter_map(|pod| {
                let address = *pod.addresses.first()?;
                let hostname = pod.hostname.clone();
                Some((hostname.unwrap_or_else(|| hash(address)), address))
            });
            let own = labelled.collect();
            let target = |label: &str| own_name.prepend_label(label);
            entries_of(spec, &own, wanted, &own_name, target)?
        }
    };
    Ok(match entries.is_empty() {
        true => Err(NoSuchName),
        false => Ok(entries),
    })
}

/// The entries of a Service with addresses. Only named ports have their own entries, and only these
/// entries have a port number.
fn entries_of(
    spec: &ServiceSpec,
    own: &BTreeMap<String, IpAddr>,
    wanted: &Wanted,
    own_name: &Name,
    target: impl Fn(&str) -> Result<Name, ProtoError>,
) -> Result<Vec<Entry>, ProtoError> {
    let mut entries = Vec::new();
    for (label, address) in own {
        match wanted {
            Wanted::Endpoint(wanted) if !wanted.eq_ignore_ascii_case(label) => {}
            Wanted::All | Wanted::Endpoint(_) => entries.push(Entry {
                leads_to: Target::Address(*address),
                port: 0,
                key: own_name.prepend_label(label.as_str())?,
            }),
            Wanted::Port { name, protocol } => {
                let is_wanted = |labels: &(String, &str)| {
                    labels.0.eq_ignore_ascii_case(name) && labels.1 == protocol
                };
                let ports = spec.ports.iter();
                for port in ports.filter(|port| port_labels(port).as_ref().is_some_and(is_wanted)) {
                    let leads_to = Target::Name(target(label)?);
                    entries.push(Entry {
                        leads_to,
                        port: port.number,
                        key: own_name.clone(),
                    });
                }
            }
        }
    }
    Ok(entries)
}

/// The label of an endpoint without a hostname: the hexadecimal digits of a hash, each digit
/// encoded in hexadecimal again.
fn hash(address: IpAddr) -> String {
    // FNV-1a of the entry in Go's print format.
    let printed = format!("&{{{address} 0 10 10  false {TTL} 0  }}");
    let hash = printed.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let digits = format!("{hash:x}");
    digits.bytes().map(|digit| format!("{digit:x}")).collect()
}

/// A or AAAA records with the queried name as owner. For an alias, the alias record comes first.
fn addresses(
    cluster: &Cluster,
    owner: &Name,
    kind: RecordType,
    entries: &[Entry],
    aliases: &mut Vec<Name>,
) -> Result<Vec<Record>, ProtoError> {
    let mut records: Vec<Record> = Vec::new();
    for entry in entries {
        let target = match &entry.leads_to {
            Target::Address(address) if holds(kind, address) => {
                records.push(address_record(owner, TTL, *address));
                continue;
            }
            Target::Address(_) => continue,
            Target::Name(target) => target,
        };
        if owner == target || aliases.contains(target) || aliases.len() >= MAX_ALIASES {
            continue;
        }
        aliases.push(target.clone());
        let further = match parse(target) {
            Some(asked) => match find(cluster, &asked)? {
                Ok(entries) => addresses(cluster, target, kind, &entries, aliases)?,
                Err(NoSuchName) => Vec::new(),
            },
            None => forwarded(cluster, target, kind).answers,
        };
        if !further.is_empty() {
            // The removal of duplicates leaves one alias per owner.
            if !records
                .iter()
                .any(|record| record.record_type() == RecordType::CNAME)
            {
                records.push(alias_record(owner, TTL, target.clone()));
            }
            records.extend(further);
        }
    }
    Ok(records)
}

/// Shuffles the records, unless they contain an alias, which must stay first.
fn shuffled(mut records: Vec<Record>, chance: &mut dyn Rng) -> Vec<Record> {
    let is_alias = |record: &Record| record.record_type() == RecordType::CNAME;
    if !records.iter().any(is_alias) {
        records.shuffle(chance);
    }
    records
}

/// SRV records and the addresses of their targets.
fn services(
    cluster: &Cluster,
    owner: &Name,
    entries: &[Entry],
) -> Result<(Vec<Record>, Vec<Record>), ProtoError> {
    // No lower bound: with more than a hundred entries the weight is 0.
    let weight = u16::try_from(100 / entries.len().max(1)).unwrap_or(100);
    let (mut answers, mut additional) = (Vec::new(), Vec::new());
    for entry in entries {
        let target = match &entry.leads_to {
            Target::Address(address) => {
                additional.push(address_record(&entry.key, TTL, *address));
                &entry.key
            }
            Target::Name(target) => {
                let lead = [entry.clone()];
                for kind in [RecordType::A, RecordType::AAAA] {
                    let records = addresses(cluster, owner, kind, &lead, &mut Vec::new())?;
                    let is_own_alias = |record: &Record| {
                        record.record_type() == RecordType::CNAME && record.name == *owner
                    };
                    additional.extend(records.into_iter().filter(|r| !is_own_alias(r)));
                }
                target
            }
        };
        let data = RData::SRV(SRV::new(PRIORITY, weight, entry.port, target.clone()));
        let record = Record::from_rdata(owner.clone(), TTL, data);
        if !answers.contains(&record) {
            answers.push(record);
        }
    }
    Ok((answers, additional))
}

/// The answer to a reverse query. Only virtual addresses have names.
fn pointer(cluster: &Cluster, name: &Name) -> Result<Answer, ProtoError> {
    let address = reverse::address_of(name);
    for spec in cluster.services.values() {
        if let ServiceKind::ClusterIp(own) = &spec.kind
            && own.first().copied() == address
        {
            let target = in_zone([&*spec.name, &*spec.namespace, "svc"])?;
            let record = Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target)));
            return Ok(found(vec![record], Vec::new()));
        }
    }
    Ok(forwarded(cluster, name, RecordType::PTR))
}

fn found(answers: Vec<Record>, additional: Vec<Record>) -> Answer {
    Answer {
        recursion_available: true,
        ..Answer::positive(answers, additional)
    }
}

fn soa(ttl: u32) -> Result<Record, ProtoError> {
    let (primary, mailbox) = (in_zone(["ns", "dns"])?, in_zone(["hostmaster"])?);
    let data = SOA::new(primary, mailbox, 1, 28_800, 7200, 604_800, NEGATIVE_TTL);
    Ok(Record::from_rdata(zone()?, ttl, RData::SOA(data)))
}
