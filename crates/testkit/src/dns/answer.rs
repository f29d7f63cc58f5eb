//! The answers of cluster DNS: a function from a description and a question to an answer.
//!
//! This module owns what all answers have in common, and the path of a question through the server:
//! first its own zones, then the upstream. The content of the cluster's zone depends on the server
//! ([`coredns`], [`kubedns`]). This module must never read a clock, a socket or shared state, and
//! never know the size of a packet. The random generator is passed in.

mod coredns;
mod kubedns;
mod name;
mod plugins;
mod reverse;

use std::net::IpAddr;

use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use rand::Rng;

use super::options::{Flavor, Upstream};
use super::spec::Cluster;

pub(super) use self::plugins::load_balance;

/// The zone of the cluster.
const ZONE: [&str; 2] = ["cluster", "local"];
/// TTL of upstream answers.
const UPSTREAM_TTL: u32 = 300;

/// The sections and header fields of a response.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// The server that answers: each one fits a large answer into a packet differently.
    pub(super) flavor: Flavor,
    pub(super) response_code: ResponseCode,
    pub(super) authoritative: bool,
    pub(super) recursion_available: bool,
    /// Whether the response repeats the query's RD flag, as the protocol requires.
    pub(super) repeats_recursion_desired: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) additional: Vec<Record>,
}

/// The name does not exist. A name without a record of the type is an empty list of entries
/// instead.
#[derive(Debug)]
struct NoSuchName;

/// Answers one question, without the cache.
///
/// If DNS cannot express the description (a label of more than 63 octets), the answer is SERVFAIL.
pub(super) fn answer(
    cluster: &Cluster,
    name: &Name,
    kind: RecordType,
    chance: &mut dyn Rng,
) -> Answer {
    match cluster.options.flavor {
        Flavor::KubeDns => kubedns::answer(cluster, name, kind, chance),
        Flavor::CoreDns => match &cluster.options.autopath {
            Some(autopath) => plugins::autopath(autopath, cluster, name, kind, chance),
            None => coredns::answer(cluster, name, kind, chance),
        },
    }
}

/// Asks the upstream. Its answers are not authoritative.
fn forward(cluster: &Cluster, name: &Name, kind: RecordType) -> Answer {
    match &cluster.options.upstream {
        None => Answer::refused(),
        Some(upstream) => upstream
            .answer(name, kind)
            .unwrap_or_else(|_| Answer::failed_upstream()),
    }
}

fn zone() -> Result<Name, ProtoError> {
    Name::from_labels(ZONE.map(str::as_bytes))
}

/// The name of these labels in the cluster's zone.
fn in_zone<'a>(labels: impl IntoIterator<Item = &'a str>) -> Result<Name, ProtoError> {
    Name::from_labels(labels.into_iter().chain(ZONE).map(str::as_bytes))
}

/// Parses a name from a description, with or without the final dot.
fn full_name(text: &str) -> Result<Name, ProtoError> {
    let mut name = Name::from_ascii(text)?;
    name.set_fqdn(true);
    Ok(name)
}

fn address_record(owner: &Name, ttl: u32, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(owner.clone(), ttl, data)
}

fn alias_record(owner: &Name, ttl: u32, target: Name) -> Record {
    Record::from_rdata(owner.clone(), ttl, RData::CNAME(CNAME(target)))
}

/// Whether a record of this type can contain this address.
fn holds(kind: RecordType, address: &IpAddr) -> bool {
    match kind {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        _ => false,
    }
}

impl Answer {
    pub(super) fn positive(answers: Vec<Record>, additional: Vec<Record>) -> Self {
        Self {
            answers,
            additional,
            ..Self::bare(ResponseCode::NoError)
        }
    }

    /// SERVFAIL for a question that the server cannot answer.
    pub(super) fn server_failure(cluster: &Cluster) -> Self {
        match cluster.options.flavor {
            Flavor::CoreDns => Self {
                authority: coredns::soa(cluster).into_iter().collect(),
                ..Self::bare(ResponseCode::ServFail)
            },
            Flavor::KubeDns => kubedns::server_failure(),
        }
    }

    /// SERVFAIL passed on from the upstream, without a SOA record.
    fn failed_upstream() -> Self {
        Self {
            authoritative: false,
            ..Self::bare(ResponseCode::ServFail)
        }
    }

    /// REFUSED: the name is outside of the zones that the server has authority for.
    pub(super) fn refused() -> Self {
        Self {
            authoritative: false,
            ..Self::bare(ResponseCode::Refused)
        }
    }

    /// A header without records.
    pub(super) fn bare(response_code: ResponseCode) -> Self {
        Self {
            flavor: Flavor::CoreDns,
            response_code,
            authoritative: true,
            recursion_available: false,
            repeats_recursion_desired: true,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }
}

impl Upstream {
    fn answer(&self, name: &Name, kind: RecordType) -> Result<Answer, ProtoError> {
        let mut answer = Answer {
            authoritative: false,
            recursion_available: true,
            ..Answer::bare(ResponseCode::NoError)
        };
        if self.failing {
            return Ok(Answer::failed_upstream());
        }
        match self.hosts.get(&name.to_ascii().to_ascii_lowercase()) {
            None => answer.response_code = ResponseCode::NXDomain,
            Some(addresses) => {
                let fitting = addresses.iter().filter(|address| holds(kind, address));
                answer.answers = fitting
                    .map(|address| address_record(name, UPSTREAM_TTL, *address))
                    .collect();
            }
        }
        if answer.answers.is_empty() {
            let [primary, mailbox] =
                ["a.root-servers.net.", "nstld.verisign-grs.com."].map(Name::from_ascii);
            let data = SOA::new(primary?, mailbox?, 1, 1800, 900, 604_800, 86_400);
            let root = Record::from_rdata(Name::root(), UPSTREAM_TTL, RData::SOA(data));
            answer.authority = vec![root];
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
