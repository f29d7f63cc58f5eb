//! Two Services taken as one set: one for the primary, one for the replicas.
//!
//! Owns the rule which ordinals the pods of both get. It must never remove the pods of one Service
//! because the other one fails.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Answer, BoxFuture, FoundPod, Resolve, ResolveError, Step, Transcript};
use crate::name::Ordinal;

/// A primary Service and a replica Service, for charts that deploy two StatefulSets (`db-primary`
/// and `db-secondary`), each with ordinals from 0.
///
/// * The pod of the primary Service gets ordinal 0 if it has ordinal 0 there, or if it is the only
///   pod there and DNS gives no ordinal: the only pod of this Service is meant to be the primary.
///   Other pods of this Service get no ordinal.
/// * The replicas follow: ordinal n of the replica Service is always n + 1 here, so that identities
///   do not depend on which other pods exist. Pods keep their own host names.
/// * An address that both Services list belongs to the primary Service.
///
/// If one of the two Services fails or has no pods, the answer is [partial](Answer::partial) and
/// removes no pod of that Service. So if all replicas are scaled away, they stay known until one is
/// back. They are not used, because they do not answer.
///
/// ```
/// use headless_mysql::discovery::{DnsResolver, PrimaryAndReplicas};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let servers = vec![([127, 0, 0, 1], 53).into()];
/// let dns = |name: &str| -> Result<_, Box<dyn std::error::Error>> {
///     let service = format!("{name}.default.svc.cluster.local").parse()?;
///     Ok(DnsResolver::builder(service).name_servers(servers.clone()).build()?)
/// };
/// let pods = PrimaryAndReplicas::new(dns("db-primary")?, dns("db-secondary")?);
/// # let _ = pods;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PrimaryAndReplicas {
    primary: Arc<dyn Resolve>,
    replicas: Arc<dyn Resolve>,
}

impl PrimaryAndReplicas {
    /// The primary from one source, the replicas from another.
    pub fn new(primary: impl Resolve, replicas: impl Resolve) -> Self {
        Self {
            primary: Arc::new(primary),
            replicas: Arc::new(replicas),
        }
    }

    fn join(
        &self,
        primary: Result<Answer, ResolveError>,
        replicas: Result<Answer, ResolveError>,
    ) -> Result<Answer, ResolveError> {
        if let (Err(error), Err(_)) = (&primary, &replicas) {
            return Err(error.clone());
        }
        let complete = [&primary, &replicas]
            .iter()
            .all(|result| matches!(result, Ok(answer) if answer.complete && !answer.is_empty()));
        let (primary, replicas) = (primary.ok(), replicas.ok());
        let others = [&primary, &replicas].into_iter().flatten();
        let others: Vec<String> = others.flat_map(|a| a.others.iter().cloned()).collect();
        let ttls = [&primary, &replicas].map(|answer| answer.as_ref().and_then(|a| a.ttl));
        let ttl = ttls.into_iter().flatten().min();

        let mut pods = primary.map_or_else(Vec::new, primaries);
        let taken: BTreeSet<(IpAddr, u16)> = pods.iter().flat_map(sockets).collect();
        for mut pod in replicas.map_or_else(Vec::new, |answer| answer.pods) {
            let port = pod.port;
            pod.addresses
                .retain(|address| !taken.contains(&(*address, port)));
            pod.ordinal = pod.ordinal.and_then(next);
            if !pod.addresses.is_empty() {
                pods.push(pod);
            }
        }
        let answer = Answer::new(self.describe(), pods, ttl).with_others(others);
        Ok(if complete { answer } else { answer.partial() })
    }
}

impl Resolve for PrimaryAndReplicas {
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
        Box::pin(async move {
            let (primary, replicas) =
                futures_util::future::join(self.primary.resolve(), self.replicas.resolve()).await;
            self.join(primary, replicas)
        })
    }

    fn explain(&self) -> BoxFuture<'_, (Result<Answer, ResolveError>, Transcript)> {
        Box::pin(async move {
            let began = Instant::now();
            let ((primary, first), (replicas, second)) =
                futures_util::future::join(self.primary.explain(), self.replicas.explain()).await;
            let mut transcript = Transcript::default();
            for (what, source, result, part) in [
                ("primary", &self.primary, &primary, first),
                ("replicas", &self.replicas, &replicas, second),
            ] {
                let name = source.describe();
                let outcome = match result {
                    Ok(answer) => format!("{} pods", answer.pods.len()),
                    Err(error) => error.to_string(),
                };
                transcript.steps.extend(part.steps);
                let step = format!("{what} ({name}): {outcome}");
                transcript.steps.push(Step::Concluded(step));
                // What is unusual for one Service alone may be correct here.
                let hints = part.hints.into_iter().filter(|_| result.is_err());
                transcript
                    .hints
                    .extend(hints.map(|hint| format!("{name}: {hint}")));
            }
            let result = self.join(primary, replicas);
            transcript
                .hints
                .extend(Transcript::of_result(&result, began.elapsed()).hints);
            transcript.hints.dedup();
            transcript.took = began.elapsed();
            (result, transcript)
        })
    }

    fn describe(&self) -> String {
        let (primary, replicas) = (self.primary.describe(), self.replicas.describe());
        format!("{primary} and {replicas}")
    }
}

/// The pods of the primary Service, with ordinal 0 for the primary.
fn primaries(answer: Answer) -> Vec<FoundPod> {
    let mut pods = answer.pods;
    // A partial answer cannot show that there is only one pod.
    let alone = pods.len() == 1 && answer.complete;
    for pod in &mut pods {
        let primary = match pod.ordinal {
            Some(ordinal) => ordinal == Ordinal::PRIMARY,
            None => alone,
        };
        pod.ordinal = primary.then_some(Ordinal::PRIMARY);
    }
    pods
}

fn next(ordinal: Ordinal) -> Option<Ordinal> {
    ordinal.get().checked_add(1).map(Ordinal::new)
}

fn sockets(pod: &FoundPod) -> impl Iterator<Item = (IpAddr, u16)> {
    pod.addresses.iter().map(|address| (*address, pod.port))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// A source with a preset answer.
    #[derive(Debug)]
    struct Told(&'static str, Mutex<Result<Answer, ResolveError>>);

    impl Resolve for Told {
        fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
            let answer = self.1.lock().unwrap().clone();
            Box::pin(async move { answer })
        }

        fn describe(&self) -> String {
            self.0.to_owned()
        }
    }

    type Pods<'a> = &'a [(Option<u32>, &'a str, u8)];

    fn told(name: &'static str, pods: Option<Pods<'_>>) -> Told {
        let pod = |(n, host, last): &(Option<u32>, &str, u8)| {
            FoundPod::new(n.map(Ordinal::new), *host, [[10, 0, 0, *last].into()], 3306)
        };
        let ttl = Some(Duration::from_secs(name.len() as u64));
        let answer = pods.map(|pods| Answer::new(name, pods.iter().map(pod), ttl));
        let answer = answer.ok_or_else(|| ResolveError::NotFound {
            name: name.to_owned(),
            asked: vec![],
        });
        Told(name, Mutex::new(answer))
    }

    #[tokio::test]
    async fn ordinals_count_on_and_one_failing_service_takes_nothing_away() {
        // The pods of the primary Service, the pods of the replica Service, and the result; `~`
        // marks a partial answer.
        let cases: [(Option<Pods<'_>>, Option<Pods<'_>>, &str); 9] = [
            (
                Some(&[(Some(0), "db-p-0", 1)]),
                Some(&[(Some(0), "db-s-0", 2), (Some(1), "db-s-1", 3)]),
                "0 db-p-0 .1, 1 db-s-0 .2, 2 db-s-1 .3",
            ),
            (
                Some(&[(Some(0), "db-p-0", 1)]),
                Some(&[(Some(1), "db-s-1", 3)]),
                "0 db-p-0 .1, 2 db-s-1 .3",
            ),
            (None, Some(&[(Some(0), "db-s-0", 2)]), "~1 db-s-0 .2"),
            (Some(&[(Some(0), "db-p-0", 1)]), None, "~0 db-p-0 .1"),
            (Some(&[(Some(0), "db-p-0", 1)]), Some(&[]), "~0 db-p-0 .1"),
            // Pods chosen by label: they have no host names, and the replica Service selects all
            // pods.
            (
                Some(&[(None, "10-0-0-1", 1)]),
                Some(&[(None, "10-0-0-1", 1), (None, "10-0-0-2", 2)]),
                "0 10-0-0-1 .1, - 10-0-0-2 .2",
            ),
            // Two pods that could be the primary.
            (
                Some(&[(None, "10-0-0-1", 1), (None, "10-0-0-2", 2)]),
                Some(&[(Some(0), "db-s-0", 3)]),
                "- 10-0-0-1 .1, - 10-0-0-2 .2, 1 db-s-0 .3",
            ),
            (
                Some(&[(Some(0), "db-p-0", 1), (Some(1), "db-p-1", 4)]),
                Some(&[(Some(0), "db-s-0", 2)]),
                "0 db-p-0 .1, - db-p-1 .4, 1 db-s-0 .2",
            ),
            (
                Some(&[(Some(0), "db-p-0", 1)]),
                Some(&[(Some(u32::MAX), "db-s-4294967295", 2)]),
                "0 db-p-0 .1, - db-s-4294967295 .2",
            ),
        ];
        for (primary, replicas, expected) in cases {
            let both = PrimaryAndReplicas::new(told("p", primary), told("replicas", replicas));
            let answer = both.resolve().await.unwrap();
            let shown: Vec<String> = answer
                .pods
                .iter()
                .map(|pod| {
                    let ordinal = pod.ordinal.map_or("-".to_owned(), |n| n.to_string());
                    let address = pod.addresses[0].to_string().replace("10.0.0", "");
                    format!("{ordinal} {} {address}", pod.host)
                })
                .collect();
            let partial = if answer.complete { "" } else { "~" };
            assert_eq!(format!("{partial}{}", shown.join(", ")), expected);
            assert_eq!(answer.service, "p and replicas");
            assert_eq!(both.explain().await.0.unwrap(), answer);
        }
    }

    #[tokio::test]
    async fn both_failing_is_a_failure() {
        let both = PrimaryAndReplicas::new(told("p", None), told("replicas", None));
        let error = both.resolve().await.unwrap_err();
        assert!(
            error.is_absence() && error.to_string().contains("Service p "),
            "{error}"
        );
        let (_, transcript) = both.explain().await;
        assert!(
            transcript
                .hints
                .iter()
                .any(|hint| hint.starts_with("replicas: "))
        );
    }

    #[tokio::test]
    async fn the_only_pod_of_an_answer_that_lacks_some_is_no_primary() {
        let pods: Pods<'_> = &[(None, "10-0-0-2", 2)];
        let primary = told("p", Some(pods));
        let alone = primary.1.lock().unwrap().clone().unwrap();
        *primary.1.lock().unwrap() = Ok(alone.partial());
        let both = PrimaryAndReplicas::new(primary, told("replicas", None));
        let answer = both.resolve().await.unwrap();
        assert_eq!(answer.pods[0].ordinal, None);
    }

    #[tokio::test]
    async fn the_shorter_ttl_counts() {
        let pod: Pods<'_> = &[(Some(0), "x-0", 1)];
        let both = PrimaryAndReplicas::new(told("p", Some(pod)), told("replicas", Some(pod)));
        let answer = both.resolve().await.unwrap();
        assert_eq!(answer.ttl, Some(Duration::from_secs(1)));
    }
}
