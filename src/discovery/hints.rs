//! What a person should know of a look-up, or check in the cluster. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::transcript::Step;
use super::{Answer, FoundPod, ResolveError};
use crate::name::Ordinal;

/// Sentences, most important first.
pub(super) fn of(result: &Result<Answer, ResolveError>, steps: &[Step]) -> Vec<String> {
    let hints = match result {
        Ok(answer) => of_answer(answer, steps),
        Err(error) => of_error(error),
    };
    hints.into_iter().map(str::to_owned).collect()
}

fn of_answer(answer: &Answer, steps: &[Step]) -> Vec<&'static str> {
    let mut hints = Vec::new();
    let named: BTreeSet<Ordinal> = answer.pods.iter().filter_map(|pod| pod.ordinal).collect();
    let own_name = |pod: &FoundPod| pod.host == answer.service;
    match (named.len(), answer.pods.as_slice()) {
        (0, [pod]) if own_name(pod) => hints.push(
            "one address at the Service's own name: is the Service headless (clusterIP: None)?",
        ),
        (0, _) => hints.push(
            "no ordinals: the StatefulSet's serviceName is another Service, or the pods are of no \
             StatefulSet; without ordinals pods serve reads only",
        ),
        (n, pods) => {
            if n < pods.len() && pods.iter().any(|pod| pod.ordinal.is_none()) {
                hints.push(
                    "some pods have no ordinal: the Service selects pods of more than one \
                     StatefulSet (set the StatefulSet's name), or some that are of none",
                );
            }
            if !named.contains(&Ordinal::PRIMARY) {
                hints.push(
                    "ordinal 0 is not listed: it is not ready, or the StatefulSet's ordinals \
                     start above 0; writes have to wait",
                );
            }
        }
    }
    let mut by_family = answer.pods.iter().filter(|pod| pod.ordinal.is_some());
    if by_family.any(|pod| several_of_a_family(&pod.addresses)) {
        hints.push(
            "a pod has several addresses of one family: an old pod and its replacement are both \
             listed; writes to such a primary wait until one is gone",
        );
    }
    if !answer.complete {
        hints.push("the answer is partial: known pods that are not in it stay");
    }
    if answer.ttl.is_some_and(|ttl| ttl.is_zero()) {
        hints.push("TTL 0: a cache on the way may have answered with what was true earlier");
    }
    hints.extend(of_steps(steps));
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

fn of_error(error: &ResolveError) -> Vec<&'static str> {
    vec![match error {
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
        ResolveError::Search { tried, .. } => match tried.last() {
            Some(last) => return of_error(last),
            None => return Vec::new(),
        },
        ResolveError::Config { .. } | ResolveError::Other { .. } => return Vec::new(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(n: Option<u32>, host: &str, addresses: &[[u8; 4]]) -> FoundPod {
        let addresses = addresses.iter().map(|a| IpAddr::from(*a));
        FoundPod::new(n.map(Ordinal::new), host, addresses, 3306)
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
            let hints = of(&Ok(Answer::new("mysql", pods.clone(), None)), &[]);
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
        let hints = of(&Ok(stale.partial()), &[]);
        assert!(
            hints[0].contains("partial") && hints[1].contains("TTL 0"),
            "{hints:?}"
        );
    }
}
