//! Reverse names: `in-addr.arpa.` and `ip6.arpa.`.
//!
//! This module finds the Services and pods that have an address. It must never answer for an
//! address outside of the configured reverse zones.

use std::net::IpAddr;

use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::PTR;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use rand::Rng;
use rand::seq::SliceRandom;

use super::super::options::ReverseZones;
use super::super::spec::{Cluster, ServiceKind};
use super::coredns::{label, negative, no_such_name, seconds, soa_of};
use super::{Answer, forward, in_zone};

/// Answers for a reverse name; `None` if the name is not in a reverse zone of the cluster.
pub(super) fn answer(
    cluster: &Cluster,
    name: &Name,
    kind: RecordType,
    chance: &mut dyn Rng,
) -> Option<Answer> {
    let zone = zone_of(name)?;
    if cluster.options.reverse == ReverseZones::Absent {
        return None;
    }
    let answer = own_answer(cluster, &zone, name, kind, chance);
    Some(match answer {
        Ok(Some(answer)) => answer,
        Ok(None) => match &cluster.options.upstream {
            // Falling through without an upstream is SERVFAIL, not REFUSED.
            None => Answer::failed_upstream(),
            Some(_) => forward(cluster, name, kind),
        },
        Err(_) => Answer::server_failure(cluster),
    })
}

/// The cluster's own answer; `None` if the address is unknown and the question falls through.
fn own_answer(
    cluster: &Cluster,
    zone: &Name,
    name: &Name,
    kind: RecordType,
    chance: &mut dyn Rng,
) -> Result<Option<Answer>, ProtoError> {
    if name == zone {
        return match kind {
            RecordType::SOA => {
                let records = vec![soa_of(cluster, zone)?];
                Ok(Some(Answer::positive(records, Vec::new())))
            }
            _ => negative(cluster, zone, ResponseCode::NoError).map(Some),
        };
    }
    let mut targets = match (kind, address_of(name)) {
        (RecordType::PTR, Some(address)) => targets(cluster, address)?,
        _ => Vec::new(),
    };
    if targets.is_empty() {
        return match cluster.options.reverse {
            ReverseZones::Fallthrough => Ok(None),
            ReverseZones::Authoritative | ReverseZones::Absent => {
                no_such_name(cluster, zone).map(Some)
            }
        };
    }
    targets.shuffle(chance);
    let record =
        |target| Record::from_rdata(name.clone(), seconds(cluster), RData::PTR(PTR(target)));
    let records = targets.into_iter().map(record).collect();
    Ok(Some(Answer::positive(records, Vec::new())))
}

/// The names of an address. A virtual address has only its Service's name; a pod's address has one
/// name for each Service of the pod.
fn targets(cluster: &Cluster, address: IpAddr) -> Result<Vec<Name>, ProtoError> {
    let mut targets: Vec<Name> = Vec::new();
    for spec in cluster.services.values() {
        if matches!(&spec.kind, ServiceKind::ClusterIp(own) if own.contains(&address)) {
            return Ok(vec![in_zone([&*spec.name, &*spec.namespace, "svc"])?]);
        }
    }
    for spec in cluster.services.values() {
        for pod in spec.published_pods() {
            if pod.addresses.contains(&address) {
                let label = label(cluster, pod, address);
                let target = in_zone([&*label, &*spec.name, &*spec.namespace, "svc"])?;
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
    }
    Ok(targets)
}

fn zone_of(name: &Name) -> Option<Name> {
    ["in-addr.arpa.", "ip6.arpa."]
        .into_iter()
        .filter_map(|zone| Name::from_ascii(zone).ok())
        .find(|zone| zone.zone_of(name))
}

/// The address in a complete reverse name.
pub(super) fn address_of(name: &Name) -> Option<IpAddr> {
    let mut name = name.clone();
    name.set_fqdn(true);
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}
