//! DNS messages to pods. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record};

use super::{FoundPod, ResolveError};
use crate::name::ordinal_of;

/// An SRV target with what the same message says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Lower case, without a trailing dot.
    pub(super) host: String,
    pub(super) port: u16,
    /// From the additional section; empty if that has none.
    pub(super) addresses: Vec<IpAddr>,
}

/// The shortest TTL of the records used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ttl(Option<u32>);

// === impl Ttl ===

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
/// Priority, weight and order mean nothing here. Port 0 (kube-dns) stands for `port`; of several
/// ports of one host `port` is taken if it is among them, else the lowest.
///
/// # Errors
///
/// [`ResolveError::Foreign`] if a record is not owned by `asked`, [`ResolveError::NoData`] if there
/// is no SRV record.
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
/// As [`targets`].
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
        if !found.contains(&address) {
            found.push(address);
        }
    }
    if found.is_empty() {
        return Err(ResolveError::NoData {
            name: asked.to_owned(),
        });
    }
    Ok((found, ttl))
}

/// Names the pods behind the targets; targets without an address are left out.
///
/// Without a `statefulset`, targets of more than one StatefulSet are ambiguous: two pods would have
/// ordinal 0. Then only the one called `default_set` (like the Service) has ordinals.
pub(super) fn pods(
    service: &str,
    targets: Vec<Target>,
    statefulset: Option<&str>,
    default_set: &str,
) -> Vec<FoundPod> {
    let named = |target: &Target, set: Option<&str>| ordinal_of(&target.host, service, set);
    let mut sets: Vec<String> = targets
        .iter()
        .filter_map(|target| named(target, statefulset))
        .filter_map(|(_, pod)| pod.rsplit_once('-').map(|(set, _)| set.to_owned()))
        .collect();
    sets.sort_unstable();
    sets.dedup();
    let statefulset = statefulset.or((sets.len() > 1).then_some(default_set));
    targets
        .into_iter()
        .filter(|target| !target.addresses.is_empty())
        .map(|target| {
            let ordinal = named(&target, statefulset).map(|(ordinal, _)| ordinal);
            FoundPod::new(ordinal, target.host, target.addresses, target.port)
        })
        .collect()
}

/// The records of the answer section, all of which must belong to `asked`: cluster DNS with
/// autopath goes on searching where a name does not exist, and may return someone else's host
/// behind a CNAME.
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

/// The end of the chain of aliases that begins at `asked`, without a trailing dot; none if `asked`
/// is no alias.
///
/// # Errors
///
/// [`ResolveError::Foreign`] if a record belongs to no name of the chain, or the chain has no end.
pub(super) fn alias(asked: &str, message: &Message) -> Result<Option<String>, ResolveError> {
    let foreign = |owner: String| ResolveError::Foreign {
        name: asked.to_owned(),
        owner,
    };
    let mut aliases: BTreeMap<String, String> = BTreeMap::new();
    for record in &message.answers {
        if let RData::CNAME(target) = &record.data {
            let (owner, target) = (text(&record.name), text(&target.0));
            // Two aliases of one name: nobody can say which is meant.
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

/// The addresses that an answer has for the end of its chain of [`alias`]es, if it has any.
pub(super) fn behind_alias(end: &str, message: &Message) -> Option<(Vec<IpAddr>, Ttl)> {
    let (mut found, mut ttl) = (Vec::new(), Ttl::default());
    for record in &message.answers {
        // The alias, too, holds no longer than this.
        ttl.add(record.ttl);
        if let Some(address) = record.data.ip_addr().filter(|_| text(&record.name) == end) {
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    (!found.is_empty()).then_some((found, ttl))
}

/// Lower case, without a trailing dot.
fn text(name: &Name) -> String {
    let mut text = name.to_ascii();
    if text.ends_with('.') {
        text.pop();
    }
    text.make_ascii_lowercase();
    text
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::super::testing::*;
    use super::*;
    use crate::name::Ordinal;

    const SERVICE: &str = "mysql.default.svc.cluster.local.";

    fn pod(n: u32) -> String {
        format!("mysql-{n}.{SERVICE}")
    }

    fn read(message: &Message) -> Vec<FoundPod> {
        let (targets, _) = targets(SERVICE, message, 3306).unwrap();
        pods(undot(SERVICE), targets, None, "mysql")
    }

    fn undot(name: &str) -> &str {
        name.strip_suffix('.').unwrap()
    }

    #[test]
    fn srv_with_glue_names_pods_and_addresses() {
        let message = message(
            vec![
                srv(SERVICE, 30, 3306, &pod(1)),
                srv(SERVICE, 30, 3306, &pod(0)),
            ],
            vec![
                a(&pod(0), 28, [10, 244, 1, 5]),
                a(&pod(1), 30, [10, 244, 2, 6]),
            ],
        );
        let (_, ttl) = targets(SERVICE, &message, 3306).unwrap();
        assert_eq!(ttl.get(), Some(Duration::from_secs(28)));
        assert_eq!(
            read(&message),
            [
                FoundPod::new(
                    Some(Ordinal::new(0)),
                    undot(&pod(0)),
                    [[10, 244, 1, 5].into()],
                    3306
                ),
                FoundPod::new(
                    Some(Ordinal::new(1)),
                    undot(&pod(1)),
                    [[10, 244, 2, 6].into()],
                    3306
                ),
            ]
        );
    }

    #[test]
    fn case_of_the_owner_and_of_names_does_not_matter() {
        let upper = "MySQL.default.SVC.cluster.local.";
        let message = message(
            vec![srv(
                upper,
                5,
                3306,
                "MYSQL-2.MySQL.default.svc.cluster.local.",
            )],
            vec![a(
                "mysql-2.mysql.DEFAULT.svc.cluster.local.",
                5,
                [10, 0, 0, 1],
            )],
        );
        let found = read(&message);
        assert_eq!(found[0].ordinal, Some(Ordinal::new(2)));
        assert_eq!(found[0].host, undot(&pod(2)));
        assert_eq!(found[0].addresses.len(), 1);
    }

    #[test]
    fn port_zero_is_the_configured_one_and_several_are_narrowed() {
        let ports = |offered: &[u16]| {
            let records = offered
                .iter()
                .map(|port| srv(SERVICE, 5, *port, &pod(0)))
                .collect();
            let (found, _) = targets(SERVICE, &message(records, vec![]), 3306).unwrap();
            assert_eq!(found.len(), 1);
            found[0].port
        };
        assert_eq!(ports(&[0]), 3306);
        assert_eq!(ports(&[33060, 3306]), 3306);
        assert_eq!(ports(&[3306, 33060]), 3306);
        assert_eq!(ports(&[3306, 1]), 3306);
        assert_eq!(ports(&[3307]), 3307);
        assert_eq!(ports(&[33060, 3307]), 3307);
    }

    #[test]
    fn two_addresses_under_one_name_are_one_pod() {
        let message = message(
            vec![srv(SERVICE, 5, 3306, &pod(0))],
            vec![
                a(&pod(0), 5, [10, 0, 0, 1]),
                a(&pod(0), 5, [10, 0, 0, 2]),
                a(&pod(0), 5, [10, 0, 0, 2]),
                aaaa(&pod(0), 5, Ipv6Addr::LOCALHOST),
                a("stranger.example.", 1, [10, 66, 66, 66]),
            ],
        );
        let found = read(&message);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].addresses.len(), 3);
        assert_eq!(
            targets(SERVICE, &message, 3306).unwrap().1.get(),
            Some(Duration::from_secs(5))
        );
    }

    #[test]
    fn a_name_without_ordinal_is_a_pod_without_ordinal() {
        for label in ["10-244-1-5", "6333656336343065"] {
            let target = format!("{label}.{SERVICE}");
            let message = message(
                vec![srv(SERVICE, 5, 3306, &target)],
                vec![a(&target, 5, [10, 244, 1, 5])],
            );
            let found = read(&message);
            assert_eq!(found[0].ordinal, None, "{label}");
            assert_eq!(found[0].host, undot(&target));
        }
    }

    #[test]
    fn two_statefulsets_do_not_share_ordinals() {
        let router = format!("router-0.{SERVICE}");
        let both = message(
            vec![
                srv(SERVICE, 5, 3306, &pod(0)),
                srv(SERVICE, 5, 3306, &router),
            ],
            vec![a(&pod(0), 5, [10, 0, 0, 1]), a(&router, 5, [10, 0, 0, 2])],
        );
        let ordinals = |set, default_set| {
            let (targets, _) = targets(SERVICE, &both, 3306).unwrap();
            let found = pods(undot(SERVICE), targets, set, default_set);
            found
                .iter()
                .map(|pod| pod.ordinal.map(Ordinal::get))
                .collect::<Vec<_>>()
        };
        assert_eq!(ordinals(None, "mysql"), [Some(0), None]);
        assert_eq!(ordinals(None, "headless"), [None, None]);
        assert_eq!(ordinals(Some("router"), "mysql"), [None, Some(0)]);
    }

    #[test]
    fn records_of_another_name_are_foreign() {
        let foreign = |result: Result<_, ResolveError>, whose: &str| match result {
            Err(ResolveError::Foreign { name, owner }) => {
                assert_eq!((&*name, &*owner), (SERVICE, whose));
            }
            other => panic!("{other:?}"),
        };
        let alias = message(
            vec![cname(SERVICE, "zero."), a("zero.", 5, [10, 66, 66, 66])],
            vec![],
        );
        foreign(addresses(SERVICE, &alias).map(|_| ()), "zero");
        foreign(targets(SERVICE, &alias, 3306).map(|_| ()), "zero");
        let other = message(vec![a("mysql.example.", 5, [10, 0, 0, 1])], vec![]);
        foreign(addresses(SERVICE, &other).map(|_| ()), "mysql.example");
    }

    #[test]
    fn a_chain_of_aliases_begins_at_the_name_asked_and_ends() {
        let end = |records| alias(SERVICE, &message(records, vec![]));
        let upper = SERVICE.to_ascii_uppercase();
        assert_eq!(end(vec![a(SERVICE, 5, [10, 0, 0, 1])]).unwrap(), None);
        assert_eq!(end(vec![]).unwrap(), None);
        let chain = vec![
            cname("db.example.", "DB.eu.example."),
            cname(&upper, "db.example."),
            a("db.eu.example.", 5, [10, 0, 0, 1]),
        ];
        assert_eq!(end(chain).unwrap().as_deref(), Some("db.eu.example"));
        // Upstream did not answer: the alias alone.
        let bare = vec![cname(SERVICE, "db.example.")];
        assert_eq!(end(bare).unwrap().as_deref(), Some("db.example"));
        for (records, whose) in [
            (vec![cname("x.example.", "db.example.")], "x.example"),
            (
                vec![cname(SERVICE, "db.example."), a("x.example.", 5, [6; 4])],
                "x.example",
            ),
            (
                vec![cname(SERVICE, "db.example."), cname("db.example.", SERVICE)],
                undot(SERVICE),
            ),
            (
                vec![cname(SERVICE, "db.example."), cname(SERVICE, "x.example.")],
                undot(SERVICE),
            ),
        ] {
            match end(records) {
                Err(ResolveError::Foreign { owner, .. }) => assert_eq!(owner, whose),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn addresses_are_unique_and_none_is_no_data() {
        let twice = message(
            vec![a(SERVICE, 9, [10, 0, 0, 1]), a(SERVICE, 7, [10, 0, 0, 1])],
            vec![],
        );
        let (found, ttl) = addresses(SERVICE, &twice).unwrap();
        assert_eq!((found.len(), ttl.get()), (1, Some(Duration::from_secs(7))));
        let none = message(vec![], vec![]);
        assert!(addresses(SERVICE, &none).unwrap_err().is_absence());
        assert!(targets(SERVICE, &none, 3306).unwrap_err().is_absence());
    }
}
