//! Tests of the module above.

mod memory;

use std::time::Duration;

use super::*;
use crate::discovery::FoundPod;
use crate::discovery::testing::*;
use crate::name::Ordinal;

const FULL: &str = "mysql.default.svc.cluster.local.";
const STRANGER: &str = "mysql.corp.example.";

fn ladder(candidates: &[&str]) -> Ladder {
    Ladder::new(wanted(candidates), None)
}

fn wanted(candidates: &[&str]) -> Wanted {
    Wanted {
        service: "mysql".to_owned(),
        candidates: candidates.iter().map(|&name| name.to_owned()).collect(),
        port: 3306,
        port_name: None,
        statefulset: None,
        default_set: "mysql".to_owned(),
        first_ordinal: Ordinal::PRIMARY,
        read_other_pods: false,
        allow_alias: false,
        patience: Duration::from_secs(3),
    }
}

impl Ladder {
    /// One look-up without a transcript.
    async fn ask(&self, dns: &Script) -> Result<Answer, ResolveError> {
        self.look_up(dns, RecorderRef::NONE).await
    }
}

fn pod(n: u32) -> String {
    format!("mysql-{n}.{FULL}")
}

fn srv_set(dns: &Script, service: &str, pods: &[u32], glue: bool) {
    let host = |n: &u32| format!("mysql-{n}.{service}");
    let address = |n: &u32| [10, 0, 0, u8::try_from(*n).unwrap() + 1];
    let targets = pods
        .iter()
        .map(|n| srv(service, 30, 3306, &host(n)))
        .collect();
    let additionals = pods.iter().map(|n| a(&host(n), 30, address(n)));
    let additionals = if glue { additionals.collect() } else { vec![] };
    dns.set(service, RecordType::SRV, Say::Records(targets, additionals));
    for n in pods {
        dns.a(&host(n), &[address(n)]);
    }
}

fn seen(answer: &Answer) -> Vec<(Option<u32>, String)> {
    let shown = |pod: &FoundPod| {
        let addresses: Vec<_> = pod.addresses.iter().map(ToString::to_string).collect();
        (pod.ordinal.map(Ordinal::get), addresses.join(" "))
    };
    let mut seen: Vec<_> = answer.pods.iter().map(shown).collect();
    seen.sort();
    seen
}

fn one(n: u32, address: &str) -> (Option<u32>, String) {
    (Some(n), address.to_owned())
}

#[tokio::test]
async fn srv_with_glue_is_one_query() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL, STRANGER]));
    srv_set(&dns, FULL, &[0, 1, 2], true);
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(
        seen(&answer),
        [one(0, "10.0.0.1"), one(1, "10.0.0.2"), one(2, "10.0.0.3")]
    );
    assert_eq!(answer.service, "mysql.default.svc.cluster.local");
    assert_eq!(dns.asked(), [format!("SRV {FULL}")]);
}

#[tokio::test]
async fn missing_glue_is_asked_for() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    srv_set(&dns, FULL, &[0, 1, 2], false);
    // One pod was removed between the two queries, and one has only IPv6.
    dns.set(&pod(1), RecordType::A, Say::NoData);
    let v6 = vec![aaaa(&pod(2), 3, "fd00::3".parse().unwrap())];
    dns.set(&pod(2), RecordType::A, Say::NoData);
    dns.set(&pod(2), RecordType::AAAA, Say::Records(v6, vec![]));
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [one(0, "10.0.0.1"), one(2, "fd00::3")]);
    assert_eq!(answer.ttl, Some(std::time::Duration::from_secs(3)));

    // A pod that cannot be asked for is unknown, not absent. If no pod can be asked for, nothing is
    // known.
    dns.set(&pod(1), RecordType::A, Say::ServFail);
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [one(0, "10.0.0.1"), one(2, "fd00::3")]);
    assert!(!answer.complete);
    for n in [0, 2] {
        dns.set(&pod(n), RecordType::A, Say::ServFail);
    }
    let error = ladder.ask(&dns).await.unwrap_err();
    assert_eq!(error.kind(), "server_failure");
}

#[tokio::test]
async fn without_srv_every_address_is_attributed() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    dns.a(FULL, &[[10, 0, 0, 3], [10, 0, 0, 1]]);
    dns.a(&pod(0), &[[10, 0, 0, 1]]);
    // mysql-1 is not ready.
    dns.a(&pod(2), &[[10, 0, 0, 3]]);
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [one(0, "10.0.0.1"), one(2, "10.0.0.3")]);
    assert_eq!(
        answer.pods[0].host,
        "mysql-0.mysql.default.svc.cluster.local"
    );
    assert_eq!(answer.pods[0].port, 3306);
}

#[tokio::test]
async fn attribution_is_bounded_and_the_rest_has_no_ordinal() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    dns.a(FULL, &[[10, 0, 0, 1], [10, 0, 0, 2]]);
    dns.a(&pod(9), &[[10, 0, 0, 2]]);
    dns.a(&pod(10), &[[10, 0, 0, 1]]);
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(
        seen(&answer),
        [(None, "10.0.0.1".to_owned()), one(9, "10.0.0.2")]
    );
    assert_eq!(dns.asked().len(), 2 + 10);
}

#[tokio::test]
async fn a_stranger_behind_a_pod_name_is_a_gap() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    dns.a(FULL, &[[10, 0, 0, 2]]);
    let alias = vec![
        cname(&pod(0), "mysql-0.example."),
        a("mysql-0.example.", 5, [6; 4]),
    ];
    dns.set(&pod(0), RecordType::A, Say::Records(alias, vec![]));
    dns.a(&pod(1), &[[10, 0, 0, 2]]);
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [one(1, "10.0.0.2")]);
}

#[tokio::test]
async fn a_stranger_behind_the_service_name_is_an_error() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL, STRANGER]));
    let alias = vec![cname(FULL, "zero."), a("zero.", 5, [10, 66, 66, 66])];
    dns.set(FULL, RecordType::A, Say::Records(alias, vec![]));
    dns.a(STRANGER, &[[10, 9, 9, 9]]);
    let error = ladder.ask(&dns).await.unwrap_err();
    assert!(matches!(error, ResolveError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn aaaa_is_asked_only_where_there_is_no_a() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    let v6 = |name: &str| Say::Records(vec![aaaa(name, 5, "fd00::1".parse().unwrap())], vec![]);
    dns.set(FULL, RecordType::AAAA, v6(FULL));
    dns.set(&pod(0), RecordType::AAAA, v6(&pod(0)));
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [one(0, "fd00::1")]);
    assert_eq!(
        dns.asked(),
        [
            format!("A {FULL}"),
            format!("AAAA {}", pod(0)),
            format!("AAAA {FULL}"),
            format!("SRV {FULL}"),
        ]
    );
}

#[tokio::test]
async fn an_error_stops_before_the_next_candidate() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL, STRANGER]));
    dns.set(FULL, RecordType::SRV, Say::ServFail);
    dns.a(STRANGER, &[[10, 9, 9, 9]]);
    let error = ladder.ask(&dns).await.unwrap_err();
    assert!(
        matches!(error, ResolveError::ServerFailure { .. }),
        "{error}"
    );
    assert_eq!(dns.asked(), [format!("SRV {FULL}")]);
}

#[tokio::test]
async fn nothing_anywhere_names_what_was_asked() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL, STRANGER]));
    match ladder.ask(&dns).await {
        Err(ResolveError::NotFound { name, asked }) => {
            assert_eq!(name, "mysql");
            assert_eq!(asked, [FULL, STRANGER]);
        }
        other => panic!("{other:?}"),
    }
    dns.set(FULL, RecordType::A, Say::NoData);
    let error = ladder.ask(&dns).await.unwrap_err();
    assert_eq!((error.kind(), error.is_absence()), ("no_data", true));
    for name in [FULL, STRANGER] {
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn the_winner_is_asked_alone_until_it_is_gone() {
    let (first, second) = ("mysql.a.svc.k8s.", "mysql.b.svc.k8s.");
    let (dns, ladder) = (Script::default(), ladder(&[first, second, STRANGER]));
    srv_set(&dns, second, &[0], true);
    ladder.ask(&dns).await.unwrap();
    dns.asked();
    ladder.ask(&dns).await.unwrap();
    assert_eq!(dns.asked(), [format!("SRV {second}")]);

    dns.clear();
    srv_set(&dns, first, &[0], true);
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(answer.service, "mysql.a.svc.k8s");
    dns.asked();

    // A host outside of Kubernetes does not replace a Service that has been seen.
    dns.clear();
    dns.a(STRANGER, &[[10, 9, 9, 9]]);
    assert!(ladder.ask(&dns).await.unwrap_err().is_absence());
    assert!(!dns.asked().iter().any(|query| query.contains(STRANGER)));
}

#[tokio::test]
async fn a_stand_in_for_a_missing_service_is_not_remembered() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL, STRANGER]));
    dns.a(STRANGER, &[[10, 9, 9, 9]]);
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(answer.service, "mysql.corp.example");
    srv_set(&dns, FULL, &[0], true);
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(answer.service, "mysql.default.svc.cluster.local");
}
