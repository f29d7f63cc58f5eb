//! What the result of a look-up says about the set-up, for people. Pure.
//!
//! [`findings`] is called after each look-up. Its result is shown in `Cluster::status()`, in the
//! errors of calls that found no pod, and in one WARN. [`of`] adds what the single queries show,
//! for a [`Transcript`](super::Transcript).
//!
//! Owns the sentences, and the decision which findings cannot be cured by waiting
//! ([`BlockedCalls`]).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use super::transcript::Step;
use super::{Answer, FoundPod, ResolveError};
use crate::name::{Ordinal, service_of_pod};

/// Something that a person should know about the set-up or the state of DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The only address belongs to the Service's own name, not to a pod.
    ServiceAddress,
    /// The configured name belongs to one pod, which is not the primary.
    OnePod {
        /// The pod's ordinal.
        ordinal: Ordinal,
        /// The primary's ordinal.
        first: Ordinal,
    },
    /// The configured name belongs to the primary alone.
    PrimaryAlone,
    /// There are pods, but DNS gives none of them an ordinal.
    NoOrdinals,
    /// There are pods, but none of them belongs to the StatefulSet.
    NotOurs {
        /// The StatefulSet's name, if one was configured.
        statefulset: Option<String>,
    },
    /// The number of pods that do not belong to the StatefulSet and are not used.
    OthersUnused(usize),
    /// Some pods have an ordinal and some do not.
    SomeWithoutOrdinal,
    /// Pods have ordinals, but the primary's ordinal is not listed.
    PrimaryNotListed {
        /// The primary's ordinal.
        first: Ordinal,
        /// The lowest ordinal that is listed.
        lowest: Ordinal,
    },
    /// One ordinal has several addresses.
    SeveralAddresses,
    /// The look-up failed. Holds what a person should check.
    Failed(&'static str),
}

/// Which calls cannot be served, however long they wait, unless a suitable pod is already known.
///
/// Names and subdomains of pods, the kind of a Service, and options of this process do not change
/// while the process runs. Everything else may change: pods become ready, DNS answers again, an old
/// address goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BlockedCalls {
    Nothing,
    /// Writes, if the primary is identified by its ordinal.
    WritesByOrdinal,
    /// Writes, even if the primary is detected by asking the pods.
    Writes,
    /// Every call.
    Everything,
}

impl Finding {
    pub(crate) fn bars(&self) -> BlockedCalls {
        match self {
            // Each connection through the Service's address may lead to another pod.
            Self::ServiceAddress => BlockedCalls::Writes,
            Self::OnePod { .. } | Self::NoOrdinals => BlockedCalls::WritesByOrdinal,
            // If several StatefulSets share a Service, one without a ready pod looks like one that
            // does not exist. The error is retryable, and pods that are already known stay in use.
            Self::NotOurs { .. } => BlockedCalls::Everything,
            Self::PrimaryAlone
            | Self::OthersUnused(_)
            | Self::SomeWithoutOrdinal
            | Self::PrimaryNotListed { .. }
            | Self::SeveralAddresses
            | Self::Failed(_) => BlockedCalls::Nothing,
        }
    }

    /// Whether the finding is about the set-up and not about a passing state. Only then is it worth
    /// a warning.
    pub(crate) fn is_set_up(&self) -> bool {
        match self {
            Self::PrimaryAlone | Self::SomeWithoutOrdinal => true,
            other => other.bars() > BlockedCalls::Nothing,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAddress => f.write_str(
                "one address at the Service's own name: is the Service headless (clusterIP: None)? \
                 A cluster IP leads to any pod, so it is never written to",
            ),
            Self::OnePod { ordinal, first } => write!(
                f,
                "the host is one pod's name, with ordinal {ordinal}; writes go to ordinal {first}: \
                 give the Service's name"
            ),
            Self::PrimaryAlone => f.write_str(
                "the host is the primary's own name, so it gets all reads too: give the Service's \
                 name to read from replicas",
            ),
            Self::NoOrdinals => f.write_str(
                "no ordinals: the StatefulSet's serviceName is another Service, or the pods are of \
                 no StatefulSet; without ordinals pods serve reads only, unless the primary is \
                 detected (primary=detected)",
            ),
            Self::NotOurs {
                statefulset: Some(name),
            } => write!(
                f,
                "no pod behind the Service is called `{name}-0` or the like: the option \
                 `statefulset` is wrong, this Service is not the StatefulSet's serviceName, or none \
                 of its pods is ready"
            ),
            Self::NotOurs { statefulset: None } => f.write_str(
                "the Service selects pods of several StatefulSets, and none is called like the \
                 Service: set the StatefulSet's name (option `statefulset`)",
            ),
            Self::OthersUnused(count) => write!(
                f,
                "{count} pods behind the Service are not of the StatefulSet and are not used \
                 (option `read_other_pods`)"
            ),
            Self::SomeWithoutOrdinal => f.write_str(
                "some pods have no ordinal: the Service selects pods that are of no StatefulSet; \
                 they are read from, unless the StatefulSet's name is set (option `statefulset`)",
            ),
            Self::PrimaryNotListed { first, lowest } => {
                write!(f, "ordinal {first} is not listed: it is not ready, or the ")?;
                match lowest > first {
                    true => write!(
                        f,
                        "StatefulSet's ordinals start above it (then set first_ordinal, to \
                         {lowest} perhaps); writes have to wait"
                    ),
                    false => write!(
                        f,
                        "option `first_ordinal` is not the StatefulSet's `.spec.ordinals.start`; \
                         writes have to wait"
                    ),
                }
            }
            Self::SeveralAddresses => f.write_str(
                "a pod has several addresses of one family: an old pod and its replacement are both \
                 listed; writes to such a primary wait until one is gone",
            ),
            Self::Failed(check) => f.write_str(check),
        }
    }
}

/// What the result of a look-up shows, the most important first. `first` is the ordinal of the
/// primary.
pub(crate) fn findings(result: Result<&Answer, &ResolveError>, first: Ordinal) -> Vec<Finding> {
    match result {
        Ok(answer) => of_answer(answer, first),
        Err(error) => of_error(error).into_iter().collect(),
    }
}

/// The findings as sentences, the most important first.
pub(super) fn of(
    result: &Result<Answer, ResolveError>,
    steps: &[Step],
    first: Ordinal,
) -> Vec<String> {
    let findings = findings(result.as_ref(), first);
    let mut hints: Vec<String> = findings.iter().map(Finding::to_string).collect();
    if let Ok(answer) = result {
        let more = of_ttl(answer).into_iter().chain(of_steps(steps));
        hints.extend(more.map(str::to_owned));
    }
    hints
}

fn of_answer(answer: &Answer, first: Ordinal) -> Vec<Finding> {
    let mut found = Vec::new();
    let named: BTreeSet<Ordinal> = answer.pods.iter().filter_map(|pod| pod.ordinal).collect();
    let own_name = |pod: &FoundPod| pod.host == answer.service;
    match (named.first(), answer.pods.as_slice()) {
        (_, []) => {}
        (None, [pod]) if own_name(pod) => found.push(Finding::ServiceAddress),
        (None, _) => found.push(Finding::NoOrdinals),
        (Some(&ordinal), [pod]) if own_name(pod) && service_of_pod(&pod.host).is_some() => {
            found.push(match ordinal == first {
                true => Finding::PrimaryAlone,
                false => Finding::OnePod { ordinal, first },
            });
        }
        (Some(&lowest), pods) => {
            if pods.iter().any(|pod| pod.ordinal.is_none()) {
                found.push(Finding::SomeWithoutOrdinal);
            }
            if !named.contains(&first) {
                found.push(Finding::PrimaryNotListed { first, lowest });
            }
        }
    }
    if !answer.others.is_empty() {
        found.push(Finding::OthersUnused(answer.others.len()));
    }
    let mut by_family = answer.pods.iter().filter(|pod| pod.ordinal.is_some());
    if by_family.any(|pod| several_of_a_family(&pod.addresses)) {
        found.push(Finding::SeveralAddresses);
    }
    found
}

fn of_ttl(answer: &Answer) -> Vec<&'static str> {
    let mut hints = Vec::new();
    if !answer.complete {
        hints.push("the answer is partial: known pods that are not in it stay");
    }
    if answer.ttl.is_some_and(|ttl| ttl.is_zero()) {
        hints.push("TTL 0: a cache on the way may have answered with what was true earlier");
    }
    hints
}

fn several_of_a_family(addresses: &[IpAddr]) -> bool {
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    v4 > 1 || addresses.len() - v4 > 1
}

fn of_steps(steps: &[Step]) -> Vec<&'static str> {
    let exchanges = || {
        steps.iter().filter_map(|step| match step {
            Step::Asked(exchange) => Some(exchange),
            Step::Concluded(_) => None,
        })
    };
    let mut hints = Vec::new();
    let srv = || exchanges().filter(|exchange| exchange.kind == "SRV");
    if srv().any(|e| e.said == "NODATA") && !srv().any(|e| e.said == "NOERROR") {
        hints.push(
            "no SRV records: the Service has no port, or a targetPort that its pods do not name; \
             a port would make one query enough",
        );
    }
    let cut: BTreeSet<&str> = exchanges()
        .filter(|e| e.protocol.as_str() == "TCP" && e.said != "NOERROR")
        .map(|e| e.said.as_str())
        .collect();
    if cut.contains("truncated") {
        hints.push("the answer is too large even for TCP: pods are asked for one by one");
    } else if !cut.is_empty() {
        hints.push("TCP to the name server fails: is port 53/TCP allowed?");
    }
    if exchanges().any(|e| e.protocol.as_str() == "UDP" && e.said == "timeout") {
        hints.push("a name server does not answer: remove it from resolv.conf, or repair it");
    }
    hints
}

fn of_error(error: &ResolveError) -> Option<Finding> {
    let check = match error {
        ResolveError::NotFound { .. } => {
            "no pod is ready, or there is no such Service or namespace; cluster DNS says the same \
             of each: `kubectl get endpointslices -l kubernetes.io/service-name=<service>` tells"
        }
        ResolveError::NoData { .. } => {
            "the name exists without addresses: a namespace, or a Service whose ExternalName \
             leads nowhere"
        }
        ResolveError::Foreign { .. } => {
            "the Service is of the type ExternalName, or cluster DNS (autopath) went on to search \
             elsewhere because no pod is ready; allow_alias follows an alias that is meant"
        }
        ResolveError::ServerFailure { .. } => {
            "the name server cannot tell: CoreDNS says SERVFAIL until it has heard from the API \
             server, and REFUSED for names that are not its own"
        }
        ResolveError::Timeout { .. } | ResolveError::Io { .. } => {
            "is the name server's address right, and port 53 (UDP and TCP) allowed by the \
             NetworkPolicies?"
        }
        ResolveError::Truncated { .. } => "is port 53/TCP of the name server allowed?",
        ResolveError::NoServer { .. } => "name a server, or repair /etc/resolv.conf",
        ResolveError::Search { tried, .. } => {
            // Cluster DNS refuses the bare name. It comes last and says nothing about the Service.
            let refused = |error: &&ResolveError| matches!(error, ResolveError::ServerFailure { code, .. } if code == "Refused");
            let telling = tried.iter().rev().find(|error| !refused(error));
            return of_error(telling.or(tried.last())?);
        }
        ResolveError::NotOurs { statefulset, .. } => {
            let statefulset = statefulset.clone();
            return Some(Finding::NotOurs { statefulset });
        }
        ResolveError::Config { .. } | ResolveError::Other { .. } => return None,
    };
    Some(Finding::Failed(check))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(n: Option<u32>, host: &str, addresses: &[[u8; 4]]) -> FoundPod {
        let addresses = addresses.iter().map(|a| IpAddr::from(*a));
        FoundPod::new(n.map(Ordinal::new), host, addresses, 3306)
    }

    /// An answer of the Service `mysql`, or of a pod by its full name.
    fn answer(pods: Vec<FoundPod>) -> Answer {
        let own = pods.iter().find(|pod| service_of_pod(&pod.host).is_some());
        let service = own.map_or("mysql", |pod| pod.host.as_str()).to_owned();
        Answer::new(service, pods, None)
    }

    #[test]
    fn each_oddity_has_its_hint() {
        let one = [10, 0, 0, 1];
        let two = [10, 0, 0, 2];
        for (pods, expected) in [
            (vec![pod(Some(0), "mysql-0.mysql", &[one])], None),
            (
                vec![pod(None, "10-0-0-1.mysql", &[one])],
                Some("serviceName is another"),
            ),
            (vec![pod(None, "mysql", &[one])], Some("headless")),
            (
                vec![pod(Some(0), "mysql-0.mysql.default.svc.k8s", &[one])],
                Some("the primary's own name"),
            ),
            (
                vec![pod(Some(2), "mysql-2.mysql.default.svc.k8s", &[one])],
                Some("one pod's name, with ordinal 2; writes go to ordinal 0"),
            ),
            (
                vec![pod(Some(5), "mysql-5.mysql", &[one])],
                Some("set first_ordinal, to 5 perhaps"),
            ),
            (
                vec![pod(Some(1), "mysql-1.mysql", &[one])],
                Some("ordinal 0 is not listed"),
            ),
            (
                vec![pod(Some(0), "mysql-0.mysql", &[one, two])],
                Some("several addresses"),
            ),
            (
                vec![
                    pod(Some(0), "mysql-0.mysql", &[one]),
                    pod(None, "x.mysql", &[two]),
                ],
                Some("some pods have no ordinal"),
            ),
        ] {
            let hints = of(&Ok(answer(pods.clone())), &[], Ordinal::PRIMARY);
            match expected {
                Some(expected) => assert!(hints[0].contains(expected), "{pods:?}: {hints:?}"),
                None => assert_eq!(hints, [] as [&str; 0]),
            }
        }
        let stale = Answer::new(
            "mysql",
            [pod(Some(0), "m", &[one])],
            Some(Default::default()),
        );
        let hints = of(&Ok(stale.partial()), &[], Ordinal::PRIMARY);
        assert!(
            hints[0].contains("partial") && hints[1].contains("TTL 0"),
            "{hints:?}"
        );
    }

    #[test]
    fn only_what_waiting_cannot_cure_bars_calls() {
        let first = Ordinal::PRIMARY;
        let one = [10, 0, 0, 1];
        let two = [10, 0, 0, 2];
        let not_ours = |statefulset: Option<&str>| ResolveError::NotOurs {
            name: "mysql.".to_owned(),
            statefulset: statefulset.map(str::to_owned),
            found: vec!["orders-0.mysql".to_owned()],
        };
        let absent = ResolveError::NotFound {
            name: "mysql".to_owned(),
            asked: vec![],
        };
        let some = |pods: Vec<FoundPod>| Ok(answer(pods));
        let own = |n: u32| format!("mysql-{n}.mysql.default.svc.k8s");
        let cases = [
            (some(vec![pod(None, "mysql", &[one])]), BlockedCalls::Writes),
            (
                some(vec![pod(Some(1), &own(1), &[one])]),
                BlockedCalls::WritesByOrdinal,
            ),
            (
                some(vec![pod(None, "x.mysql", &[one])]),
                BlockedCalls::WritesByOrdinal,
            ),
            (Err(not_ours(Some("db"))), BlockedCalls::Everything),
            (Err(not_ours(None)), BlockedCalls::Everything),
            // A StatefulSet that is starting or restarting.
            (Err(absent), BlockedCalls::Nothing),
            (some(vec![]), BlockedCalls::Nothing),
            (
                some(vec![pod(Some(1), "mysql-1.mysql", &[one])]),
                BlockedCalls::Nothing,
            ),
            (
                some(vec![pod(Some(0), "mysql-0.mysql", &[one, two])]),
                BlockedCalls::Nothing,
            ),
            // Correct, or nearly correct.
            (
                some(vec![pod(Some(0), &own(0), &[one])]),
                BlockedCalls::Nothing,
            ),
            (
                some(vec![pod(Some(0), "mysql-0.mysql", &[one])]),
                BlockedCalls::Nothing,
            ),
        ];
        for (result, expected) in cases {
            let found = findings(result.as_ref(), first);
            let bars = found.iter().map(Finding::bars).max();
            assert_eq!(
                bars.unwrap_or(BlockedCalls::Nothing),
                expected,
                "{result:?}"
            );
        }
    }
}
