//! What cluster DNS answers: a pure function from a description and a question to an answer.
//!
//! This module owns the naming scheme of the CoreDNS `kubernetes` plugin: the grammar of names,
//! what each of them resolves to, and the difference between "no such name" and "no such type".
//! It must never read a clock, a socket or shared state, and never know how large a packet is.

use std::collections::HashSet;
use std::net::IpAddr;

use hickory_server::proto::ProtoError;
use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::rdata::{A, AAAA, SOA, SRV, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};

use super::spec::{Cluster, PodSpec, Protocol, ServicePort, ServiceSpec};

/// The zone of every answer.
const ZONE: [&str; 2] = ["cluster", "local"];
/// CoreDNS caps the TTL of the SOA record, though not of the others.
const MAX_SOA_TTL: u32 = 300;
/// TTL of the `dns-version` record, fixed in CoreDNS.
const VERSION_TTL: u32 = 28_800;
/// The version of the naming scheme, as `dns-version` states it.
const VERSION: &str = "1.1.0";

/// The sections of a response and what its header says of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) response_code: ResponseCode,
    pub(super) authoritative: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) additional: Vec<Record>,
}

/// A name of the zone, taken apart.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// `cluster.local.`.
    Apex,
    /// `svc.cluster.local.` and `pod.cluster.local.`: nothing of their own, names below.
    EmptyNonTerminal,
    /// `dns-version.cluster.local.`.
    Version,
    /// `<namespace>.svc.cluster.local.`.
    Namespace(String),
    /// `[..]<service>.<namespace>.svc.cluster.local.`.
    Service {
        namespace: String,
        service: String,
        wanted: Wanted,
    },
    /// In the zone, but not in its grammar.
    Invalid,
}

/// Which endpoints of a Service a name means.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    /// One label before the Service.
    Endpoint(String),
    /// Two labels before the Service, their underscores taken off.
    Port {
        name: String,
        protocol: String,
    },
}

/// One (address × port) of a Service: what weights are counted in, before anything is merged.
#[derive(Debug)]
struct Entry {
    /// First label of the endpoint's own name.
    label: String,
    address: IpAddr,
    /// None if the Service has no ports.
    port: Option<u16>,
}

/// "No such name", as opposed to an empty list of entries: "no such type".
#[derive(Debug)]
struct NoSuchName;

/// Answers one question.
///
/// A description that is not expressible in DNS (a label of more than 63 octets) is SERVFAIL.
pub(super) fn answer(cluster: &Cluster, name: &Name, kind: RecordType) -> Answer {
    let Some(asked) = parse(name) else {
        return Answer::refused();
    };
    positive_or_negative(cluster, &asked, name, kind)
        .unwrap_or_else(|_| Answer::server_failure(cluster))
}

fn positive_or_negative(
    cluster: &Cluster,
    asked: &Asked,
    name: &Name,
    kind: RecordType,
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
        _ => {}
    }

    let Ok(entries) = entries(cluster, asked) else {
        return Answer::negative(cluster, ResponseCode::NXDomain);
    };
    let (answers, additional) = match kind {
        RecordType::A => (addresses(cluster, name, &entries, IpAddr::is_ipv4), vec![]),
        RecordType::AAAA => (addresses(cluster, name, &entries, IpAddr::is_ipv6), vec![]),
        RecordType::SRV => services(cluster, asked, name, &entries)?,
        _ => (vec![], vec![]),
    };
    if answers.is_empty() {
        return Answer::negative(cluster, ResponseCode::NoError);
    }
    Ok(Answer::positive(answers, additional))
}

/// Takes a name apart; `None` outside of the zone.
///
/// The record type is not looked at, and the underscores are optional: `A mysql.tcp.<service>…`
/// has an answer, as it does in CoreDNS.
fn parse(name: &Name) -> Option<Asked> {
    let labels: Vec<String> = name
        .iter()
        .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase())
        .collect();
    let in_zone = labels.strip_suffix(&ZONE.map(str::to_owned))?;
    let own: Vec<&str> = in_zone.iter().map(String::as_str).collect();

    let service = |service: &str, namespace: &str, wanted| Asked::Service {
        namespace: namespace.to_owned(),
        service: service.to_owned(),
        wanted,
    };
    let bare = |label: &str| label.strip_prefix('_').unwrap_or(label).to_owned();
    Some(match own.as_slice() {
        [] => Asked::Apex,
        ["svc" | "pod"] => Asked::EmptyNonTerminal,
        ["dns-version"] => Asked::Version,
        [namespace, "svc"] => Asked::Namespace((*namespace).to_owned()),
        [name, namespace, "svc"] => service(name, namespace, Wanted::All),
        [endpoint, name, namespace, "svc"] => {
            service(name, namespace, Wanted::Endpoint((*endpoint).to_owned()))
        }
        [port, protocol, name, namespace, "svc"] => {
            let (name_of_port, protocol) = (bare(port), bare(protocol));
            let wanted = Wanted::Port {
                name: name_of_port,
                protocol,
            };
            service(name, namespace, wanted)
        }
        _ => Asked::Invalid,
    })
}

/// The endpoints a name means, one for each address and port.
///
/// No endpoint at all is "no such name": cluster DNS cannot tell a Service without ready pods from
/// one that does not exist.
fn entries(cluster: &Cluster, asked: &Asked) -> Result<Vec<Entry>, NoSuchName> {
    let (namespace, service, wanted) = match asked {
        Asked::Apex | Asked::EmptyNonTerminal => return Ok(Vec::new()),
        Asked::Version | Asked::Invalid => return Err(NoSuchName),
        Asked::Namespace(namespace) if cluster.namespaces.contains(namespace) => {
            return Ok(Vec::new());
        }
        Asked::Namespace(_) => return Err(NoSuchName),
        Asked::Service {
            namespace,
            service,
            wanted,
        } => (namespace, service, wanted),
    };
    let spec = cluster
        .services
        .get(&(namespace.clone(), service.clone()))
        .ok_or(NoSuchName)?;

    // One EndpointSlice per family, as the control plane makes them.
    let mut found = Vec::new();
    for in_slice in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        for pod in spec.published_pods() {
            for address in pod.addresses.iter().filter(|address| in_slice(address)) {
                let label = label(cluster, pod, *address);
                if !wanted.includes_endpoint(&label) {
                    continue;
                }
                found.extend(wanted.ports(spec).map(|port| Entry {
                    label: label.clone(),
                    address: *address,
                    port,
                }));
            }
        }
    }
    if found.is_empty() {
        return Err(NoSuchName);
    }
    Ok(found)
}

/// What CoreDNS calls an endpoint.
fn label(cluster: &Cluster, pod: &PodSpec, address: IpAddr) -> String {
    if let Some(hostname) = &pod.hostname {
        return hostname.clone();
    }
    if cluster.endpoint_pod_names && pod.name.len() < 64 {
        return pod.name.clone();
    }
    let dashed = address.to_string().replace(['.', ':'], "-");
    // A label must not end in a dash.
    if dashed.ends_with('-') {
        return dashed + "0";
    }
    dashed
}

/// A or AAAA records, each address once, owned by the name as it was asked.
fn addresses(
    cluster: &Cluster,
    owner: &Name,
    entries: &[Entry],
    family: fn(&IpAddr) -> bool,
) -> Vec<Record> {
    let mut seen = HashSet::new();
    entries
        .iter()
        .map(|entry| entry.address)
        .filter(|address| family(address) && seen.insert(*address))
        .map(|address| address_record(cluster, owner, address))
        .collect()
}

/// SRV records, each target and port once, and the addresses of their targets.
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
    // Counted before duplicates go, which is why dual stack halves every weight.
    let weight = u16::try_from(100 / entries.len().max(1))
        .unwrap_or(100)
        .max(1);
    let (mut answers, mut additional) = (Vec::new(), Vec::new());
    let (mut seen_targets, mut seen_addresses) = (HashSet::new(), HashSet::new());
    for entry in entries {
        let Some(port) = entry.port else {
            continue;
        };
        let labels = [&entry.label, service, namespace, "svc"];
        let target = Name::from_labels(labels.into_iter().chain(ZONE).map(str::as_bytes))?;
        if seen_targets.insert((&entry.label, port)) {
            let data = RData::SRV(SRV::new(0, weight, port, target.clone()));
            answers.push(Record::from_rdata(owner.clone(), seconds(cluster), data));
        }
        if seen_addresses.insert((&entry.label, entry.address)) {
            additional.push(address_record(cluster, &target, entry.address));
        }
    }
    Ok((answers, additional))
}

fn address_record(cluster: &Cluster, owner: &Name, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(owner.clone(), seconds(cluster), data)
}

fn soa(cluster: &Cluster) -> Result<Record, ProtoError> {
    let zone = Name::from_labels(ZONE.map(str::as_bytes))?;
    let ttl = seconds(cluster).min(MAX_SOA_TTL);
    let primary = zone.prepend_label("dns")?.prepend_label("ns")?;
    let mailbox = zone.prepend_label("hostmaster")?;
    let data = SOA::new(primary, mailbox, cluster.serial, 7200, 1800, 86_400, ttl);
    Ok(Record::from_rdata(zone, ttl, RData::SOA(data)))
}

fn seconds(cluster: &Cluster) -> u32 {
    u32::try_from(cluster.ttl.as_secs()).unwrap_or(u32::MAX)
}

// === impl Answer ===

impl Answer {
    fn positive(answers: Vec<Record>, additional: Vec<Record>) -> Self {
        Self {
            answers,
            additional,
            ..Self::bare(ResponseCode::NoError)
        }
    }

    /// NXDOMAIN, or NODATA with [`ResponseCode::NoError`].
    fn negative(cluster: &Cluster, response_code: ResponseCode) -> Result<Self, ProtoError> {
        Ok(Self {
            authority: vec![soa(cluster)?],
            ..Self::bare(response_code)
        })
    }

    /// SERVFAIL as CoreDNS says it before it has heard from the API server.
    pub(super) fn server_failure(cluster: &Cluster) -> Self {
        Self {
            authority: soa(cluster).into_iter().collect(),
            ..Self::bare(ResponseCode::ServFail)
        }
    }

    /// REFUSED: outside of the zone, where the server has no authority.
    pub(super) fn refused() -> Self {
        Self {
            authoritative: false,
            ..Self::bare(ResponseCode::Refused)
        }
    }

    /// A header without records.
    pub(super) fn bare(response_code: ResponseCode) -> Self {
        Self {
            response_code,
            authoritative: true,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }
}

// === impl Wanted ===

impl Wanted {
    fn includes_endpoint(&self, label: &str) -> bool {
        match self {
            Self::All | Self::Port { .. } => true,
            Self::Endpoint(wanted) => wanted.eq_ignore_ascii_case(label),
        }
    }

    /// Numbers of the ports meant. A Service without ports counts as having one without a number,
    /// so that its addresses are found and its SRV records are not.
    fn ports<'a>(&'a self, service: &'a ServiceSpec) -> impl Iterator<Item = Option<u16>> + 'a {
        let portless = service.ports.is_empty() && !matches!(self, Self::Port { .. });
        let numbered = service.ports.iter().filter(|port| self.includes_port(port));
        portless
            .then_some(None)
            .into_iter()
            .chain(numbered.map(|port| Some(port.number)))
    }

    /// An empty label (`_._tcp.<service>…`) includes everything.
    fn includes_port(&self, port: &ServicePort) -> bool {
        let Self::Port { name, protocol } = self else {
            return true;
        };
        let includes = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        let transport = match port.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        };
        includes(protocol, transport) && includes(name, port.name.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
