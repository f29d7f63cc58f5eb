//! The cluster's zone, as the `kubernetes` plugin of CoreDNS presents it.
//!
//! This module owns what each name resolves to, and the difference between a name that does not
//! exist and a name without a record of the type. It must never shuffle, cache or expand names:
//! other plugins do that.

use std::collections::HashSet;
use std::net::IpAddr;

use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::{SOA, SRV, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use rand::Rng;
use rand::seq::SliceRandom;

use super::super::spec::{Cluster, PodSpec, ServiceKind, ServiceSpec};
use super::name::{Asked, Wanted, parse};
use super::{
    Answer, NoSuchName, address_record, alias_record, forward, full_name, holds, in_zone, reverse,
    zone,
};

/// CoreDNS limits the TTL of the SOA record, but not of other records.
const MAX_SOA_TTL: u32 = 300;
/// TTL of the `dns-version` record.
const VERSION_TTL: u32 = 28_800;
/// The version of the naming scheme, the content of the `dns-version` record.
const VERSION: &str = "1.1.0";
/// The longest chain of aliases inside the cluster that is followed.
const MAX_ALIASES: usize = 8;

/// What a name resolves to.
#[derive(Debug)]
enum Found {
    Entries(Vec<Entry>),
    Alias(Name),
}

/// One combination of address and port of a Service. Weights are computed from the number of these
/// entries, before duplicates are removed.
#[derive(Debug)]
struct Entry {
    /// First label of the endpoint's own name. `None`: a virtual address, whose name is the
    /// Service's.
    label: Option<String>,
    address: IpAddr,
    /// `None` if the Service has no ports.
    port: Option<u16>,
}

/// Answers from the cluster, or forwards the question.
pub(super) fn answer(
    cluster: &Cluster,
    name: &Name,
    kind: RecordType,
    chance: &mut dyn Rng,
) -> Answer {
    if let Some(answer) = reverse::answer(cluster, name, kind, chance) {
        return answer;
    }
    let Some(asked) = parse(name) else {
        return forward(cluster, name, kind);
    };
    positive_or_negative(cluster, &asked, name, kind, chance)
        .unwrap_or_else(|_| Answer::server_failure(cluster))
}

fn positive_or_negative(
    cluster: &Cluster,
    asked: &Asked,
    name: &Name,
    kind: RecordType,
    chance: &mut dyn Rng,
) -> Result<Answer, ProtoError> {
    match (asked, kind) {
        (Asked::Apex, RecordType::SOA) => {
            return Ok(Answer::positive(vec![soa(cluster)?], Vec::new()));
        }
        (Asked::Version, RecordType::TXT) => {
            let text = RData::TXT(TXT::new(vec![VERSION.to_owned()]));
            let record = Record::from_rdata(name.clone(), VERSION_TTL, text);
            return Ok(Answer::positive(vec![record], Vec::new()));
        }
        // TXT is never looked up, so no name is NXDOMAIN for this type.
        (_, RecordType::TXT) => return negative(cluster, &zone()?, ResponseCode::NoError),
        _ => {}
    }

    let Ok(found) = find(cluster, asked, chance)? else {
        return no_such_name(cluster, &zone()?);
    };
    let (answers, additional) = match (kind, &found) {
        (RecordType::A | RecordType::AAAA, _) => {
            let records = addresses(cluster, name, kind, &found, &mut Vec::new(), chance)?;
            (records, vec![])
        }
        (RecordType::SRV, Found::Entries(entries)) => services(cluster, asked, name, entries)?,
        (RecordType::CNAME, Found::Alias(target)) => {
            let alias = alias_record(name, seconds(cluster), target.clone());
            (vec![alias], vec![])
        }
        _ => (vec![], vec![]),
    };
    if answers.is_empty() {
        return negative(cluster, &zone()?, ResponseCode::NoError);
    }
    Ok(Answer::positive(answers, additional))
}

/// Resolves a name.
///
/// A headless Service without endpoints is NXDOMAIN: cluster DNS does not distinguish a Service
/// without ready pods from one that does not exist.
fn find(
    cluster: &Cluster,
    asked: &Asked,
    chance: &mut dyn Rng,
) -> Result<Result<Found, NoSuchName>, ProtoError> {
    let nothing = Ok(Ok(Found::Entries(Vec::new())));
    let (namespace, service, wanted) = match asked {
        Asked::Apex | Asked::EmptyNonTerminal => return nothing,
        Asked::Version | Asked::Invalid => return Ok(Err(NoSuchName)),
        Asked::Namespace(namespace) if cluster.namespaces.contains(namespace) => return nothing,
        Asked::Namespace(_) => return Ok(Err(NoSuchName)),
        Asked::Service {
            namespace,
            service,
            wanted,
        } => (namespace, service, wanted),
    };
    let key = (namespace.clone(), service.clone());
    let Some(spec) = cluster.services.get(&key) else {
        return Ok(Err(NoSuchName));
    };
    let of_endpoint = matches!(wanted, Wanted::Endpoint(_));
    let entries = match &spec.kind {
        // An alias has no endpoints, and an IP address is not a valid alias.
        ServiceKind::ExternalName(_) if of_endpoint => Vec::new(),
        ServiceKind::ExternalName(target) if target.parse::<IpAddr>().is_ok() => Vec::new(),
        ServiceKind::ExternalName(target) => return Ok(Ok(Found::Alias(full_name(target)?))),
        ServiceKind::ClusterIp(_)
            if cluster.options.ignore_empty_services && spec.published_pods().next().is_none() =>
        {
            Vec::new()
        }
        ServiceKind::ClusterIp(addresses) if !of_endpoint => {
            let ports = wanted.ports(&spec.ports);
            let of_port = |port| {
                addresses.iter().map(move |address| Entry {
                    label: None,
                    address: *address,
                    port,
                })
            };
            ports.flat_map(of_port).collect()
        }
        ServiceKind::ClusterIp(_) | ServiceKind::Headless => {
            endpoints(cluster, spec, wanted, chance)
        }
    };
    if entries.is_empty() {
        return Ok(Err(NoSuchName));
    }
    Ok(Ok(Found::Entries(entries)))
}

/// The endpoints of a Service, one for each address and port.
fn endpoints(
    cluster: &Cluster,
    spec: &ServiceSpec,
    wanted: &Wanted,
    chance: &mut dyn Rng,
) -> Vec<Entry> {
    let mut slices = slices(spec);
    // CoreDNS keeps slices in a Go map, whose order is random for each query.
    slices.shuffle(chance);
    let mut found = Vec::new();
    for (pod, address) in slices.into_iter().flatten() {
        let label = label(cluster, pod, address);
        if spec.publishes(pod) && wanted.includes_endpoint(&label) {
            found.extend(wanted.ports(&spec.ports).map(|port| Entry {
                label: Some(label.clone()),
                address,
                port,
            }));
        }
    }
    found
}

/// The EndpointSlices of a Service as the control plane creates them: one address family each.
fn slices(spec: &ServiceSpec) -> Vec<Vec<(&PodSpec, IpAddr)>> {
    let mut slices = Vec::new();
    for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        let mut endpoints = Vec::new();
        for pod in &spec.pods {
            let in_family = pod.addresses.iter().filter(|address| family(address));
            endpoints.extend(in_family.map(|address| (pod, *address)));
        }
        let size = spec.slice_size.unwrap_or(endpoints.len()).max(1);
        slices.extend(endpoints.chunks(size).map(<[_]>::to_vec));
    }
    slices
}

/// The label by which CoreDNS names an endpoint.
pub(super) fn label(cluster: &Cluster, pod: &PodSpec, address: IpAddr) -> String {
    if let Some(hostname) = &pod.hostname {
        return hostname.clone();
    }
    if cluster.options.endpoint_pod_names && pod.name.len() < 64 {
        return pod.name.clone();
    }
    let dashed = address.to_string().replace(['.', ':'], "-");
    // A label must not end in a dash.
    if dashed.ends_with('-') {
        return dashed + "0";
    }
    dashed
}

/// A or AAAA records, each address once, with the queried name as owner. For an alias, the alias
/// record comes first.
fn addresses(
    cluster: &Cluster,
    owner: &Name,
    kind: RecordType,
    found: &Found,
    aliases: &mut Vec<Name>,
    chance: &mut dyn Rng,
) -> Result<Vec<Record>, ProtoError> {
    let target = match found {
        Found::Entries(entries) => {
            let mut seen = HashSet::new();
            let addresses = entries.iter().map(|entry| entry.address);
            return Ok(addresses
                .filter(|address| holds(kind, address) && seen.insert(*address))
                .map(|address| address_record(owner, seconds(cluster), address))
                .collect());
        }
        Found::Alias(target) => target,
    };
    if owner == target || aliases.contains(target) || aliases.len() >= MAX_ALIASES {
        return Ok(Vec::new());
    }
    let mut records = vec![alias_record(owner, seconds(cluster), target.clone())];
    match parse(target) {
        // The upstream's records, which are none if it fails.
        None => records.extend(forward(cluster, target, kind).answers),
        Some(asked) => {
            aliases.push(target.clone());
            let further = match find(cluster, &asked, chance)? {
                Ok(found) => addresses(cluster, target, kind, &found, aliases, chance)?,
                Err(NoSuchName) => Vec::new(),
            };
            if further.is_empty() {
                return Ok(Vec::new());
            }
            records.extend(further);
        }
    }
    Ok(records)
}

/// SRV records, each combination of target and port once, and the addresses of the targets.
fn services(
    cluster: &Cluster,
    asked: &Asked,
    owner: &Name,
    entries: &[Entry],
) -> Result<(Vec<Record>, Vec<Record>), ProtoError> {
    let Asked::Service {
        namespace, service, ..
    } = asked
    else {
        return Ok((Vec::new(), Vec::new()));
    };
    // Computed before duplicates are removed, so dual stack halves every weight.
    let weight = u16::try_from(100 / entries.len().max(1))
        .unwrap_or(100)
        .max(1);
    let (mut answers, mut additional) = (Vec::new(), Vec::new());
    let (mut seen_targets, mut seen_addresses) = (HashSet::new(), HashSet::new());
    for entry in entries {
        let Some(port) = entry.port else {
            continue;
        };
        let labels = entry.label.iter().chain([service, namespace]);
        let target = in_zone(labels.map(String::as_str).chain(["svc"]))?;
        if seen_targets.insert((&entry.label, port)) {
            let data = RData::SRV(SRV::new(0, weight, port, target.clone()));
            answers.push(Record::from_rdata(owner.clone(), seconds(cluster), data));
        }
        if seen_addresses.insert((&entry.label, entry.address)) {
            additional.push(address_record(&target, seconds(cluster), entry.address));
        }
    }
    Ok((answers, additional))
}

/// NXDOMAIN, or SERVFAIL before the API server has delivered its complete data.
pub(super) fn no_such_name(cluster: &Cluster, zone: &Name) -> Result<Answer, ProtoError> {
    let code = match cluster.options.synced {
        true => ResponseCode::NXDomain,
        false => ResponseCode::ServFail,
    };
    negative(cluster, zone, code)
}

/// NXDOMAIN, or NODATA with [`ResponseCode::NoError`].
pub(super) fn negative(
    cluster: &Cluster,
    zone: &Name,
    response_code: ResponseCode,
) -> Result<Answer, ProtoError> {
    Ok(Answer {
        authority: vec![soa_of(cluster, zone)?],
        ..Answer::bare(response_code)
    })
}

pub(super) fn soa(cluster: &Cluster) -> Result<Record, ProtoError> {
    soa_of(cluster, &zone()?)
}

pub(super) fn soa_of(cluster: &Cluster, zone: &Name) -> Result<Record, ProtoError> {
    let minimum = seconds(cluster);
    let primary = zone.prepend_label("dns")?.prepend_label("ns")?;
    let mailbox = zone.prepend_label("hostmaster")?;
    let data = SOA::new(
        primary,
        mailbox,
        cluster.serial,
        7200,
        1800,
        86_400,
        minimum,
    );
    let ttl = minimum.min(MAX_SOA_TTL);
    Ok(Record::from_rdata(zone.clone(), ttl, RData::SOA(data)))
}

pub(super) fn seconds(cluster: &Cluster) -> u32 {
    u32::try_from(cluster.options.ttl.as_secs()).unwrap_or(u32::MAX)
}
