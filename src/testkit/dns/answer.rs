//! What cluster DNS answers: a function from a description and a question to an answer.
//!
//! This module owns what all answers have in common, and the way of a question through the server:
//! its own zones first, then the world outside. What the zone of a cluster holds is a matter of the
//! server ([`coredns`], [`kubedns`]). It must never read a clock, a socket or shared state, and
//! never know how large a packet is. Chance is passed in.

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
/// TTL of what the world outside says.
const UPSTREAM_TTL: u32 = 300;

/// The sections of a response and what its header says of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// Who says so: servers differ in how they fit an answer into a packet.
    pub(super) flavor: Flavor,
    pub(super) response_code: ResponseCode,
    pub(super) authoritative: bool,
    pub(super) recursion_available: bool,
    /// Whether the response has the client's wish for recursion in it, as it should.
    pub(super) repeats_recursion_desired: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) additional: Vec<Record>,
}

/// "No such name", as opposed to an empty list of entries: "no such type".
#[derive(Debug)]
struct NoSuchName;

/// Answers one question, as the server does behind its cache.
///
/// A description that is not expressible in DNS (a label of more than 63 octets) is SERVFAIL.
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

/// Asks the world outside. Its answers are not the server's own.
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

/// A name in the zone of the cluster.
fn in_zone<'a>(labels: impl IntoIterator<Item = &'a str>) -> Result<Name, ProtoError> {
    Name::from_labels(labels.into_iter().chain(ZONE).map(str::as_bytes))
}

/// A name as somebody wrote it into a description.
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

/// Whether a record of this type can hold this address.
fn holds(kind: RecordType, address: &IpAddr) -> bool {
    match kind {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        _ => false,
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn positive(answers: Vec<Record>, additional: Vec<Record>) -> Self {
        Self {
            answers,
            additional,
            ..Self::bare(ResponseCode::NoError)
        }
    }

    /// SERVFAIL as the server says it when it does not know.
    pub(super) fn server_failure(cluster: &Cluster) -> Self {
        match cluster.options.flavor {
            Flavor::CoreDns => Self {
                authority: coredns::soa(cluster).into_iter().collect(),
                ..Self::bare(ResponseCode::ServFail)
            },
            Flavor::KubeDns => kubedns::server_failure(),
        }
    }

    /// SERVFAIL as it is passed on, without a word of whose zone it is.
    fn failed_upstream() -> Self {
        Self {
            authoritative: false,
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

// === impl Upstream ===

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
