//! The effect of two plugins of CoreDNS on answers: `autopath` and `loadbalance`.
//!
//! This module owns the walk along the search list and the shuffling. It must never read the
//! description itself.

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use rand::Rng;
use rand::seq::SliceRandom;

use super::super::options::Autopath;
use super::super::spec::Cluster;
use super::{Answer, alias_record, coredns, in_zone};

/// Walks the search list until a name exists, and answers under the queried name.
///
/// This applies to a full name as well, if it is below the first entry of the list.
pub(super) fn autopath(
    autopath: &Autopath,
    cluster: &Cluster,
    name: &Name,
    kind: RecordType,
    chance: &mut dyn Rng,
) -> Answer {
    let first = coredns::answer(cluster, name, kind, chance);
    let Some(base) = autopath.base(name) else {
        return first;
    };
    if first.response_code != ResponseCode::NXDomain {
        return first;
    }
    for suffix in autopath.rest_of_list() {
        let Ok(candidate) = base.clone().append_domain(&suffix) else {
            continue;
        };
        let mut found = match coredns::answer(cluster, &candidate, kind, chance) {
            // There is no upstream to ask, which is an error and ends the walk.
            answer if answer.response_code == ResponseCode::Refused => Answer::failed_upstream(),
            answer => answer,
        };
        if found.response_code == ResponseCode::NXDomain {
            continue;
        }
        let alias = found.answers.iter().find(|record| record.name != *name);
        let alias = alias.map(|record| alias_record(name, record.ttl, record.name.clone()));
        found.answers.splice(0..0, alias);
        return found;
    }
    first
}

/// Shuffles the addresses of each section. Aliases come first; other records keep their order.
pub(in super::super) fn load_balance(answer: &mut Answer, chance: &mut dyn Rng) {
    if answer.response_code != ResponseCode::NoError {
        return;
    }
    let sections = [
        &mut answer.answers,
        &mut answer.authority,
        &mut answer.additional,
    ];
    for section in sections {
        let rank = |record: &Record| match record.record_type() {
            RecordType::CNAME => 0,
            RecordType::A | RecordType::AAAA => 2,
            _ => 1,
        };
        section.sort_by_key(rank);
        let addresses = section.partition_point(|record| rank(record) < 2);
        section[addresses..].shuffle(chance);
    }
}

impl Autopath {
    /// The name before the client appended the first entry of its search list; `None` if it did
    /// not.
    fn base(&self, name: &Name) -> Option<Name> {
        let first = in_zone([self.namespace.as_str(), "svc"]).ok()?;
        if !first.zone_of(name) || name.num_labels() == first.num_labels() {
            return None;
        }
        let own = usize::from(name.num_labels() - first.num_labels());
        Name::from_labels(name.iter().take(own))
            .ok()
            .map(|mut base| {
                base.set_fqdn(false);
                base
            })
    }

    /// The search list after its first entry. The last element is the root: the name without a
    /// suffix.
    fn rest_of_list(&self) -> Vec<Name> {
        let cluster = [in_zone(["svc"]), in_zone([])];
        let host = self.search.iter().map(Name::from_ascii);
        let list = cluster.into_iter().chain(host);
        list.flatten().chain([Name::root()]).collect()
    }
}
