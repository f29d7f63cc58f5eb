//! Tests of the module above.

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
        allow_alias: false,
    }
}

impl Ladder {
    /// One look-up, unexplained.
    async fn ask(&self, dns: &Script) -> Result<Answer, ResolveError> {
        self.look_up(dns, Notes::NONE).await
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
    // Gone between the two queries, and one with IPv6 only.
    dns.set(&pod(1), RecordType::A, Say::NoData);
    let v6 = vec![aaaa(&pod(2), 3, "fd00::3".parse().unwrap())];
    dns.set(&pod(2), RecordType::A, Say::NoData);
    dns.set(&pod(2), RecordType::AAAA, Say::Records(v6, vec![]));
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [one(0, "10.0.0.1"), one(2, "fd00::3")]);
    assert_eq!(answer.ttl, Some(std::time::Duration::from_secs(3)));

    // One that cannot be asked for is unknown, not gone; if none can, nothing is known.
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

    // A host outside of Kubernetes does not step in for a Service that has been seen.
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

#[tokio::test(start_paused = true)]
async fn a_named_port_is_asked_for_first_and_its_number_is_used() {
    let named = format!("_mysql._tcp.{FULL}");
    let ladder = Ladder::new(
        Wanted {
            port_name: Some("mysql".to_owned()),
            ..wanted(&[FULL])
        },
        None,
    );
    let dns = Script::default();
    srv_set(&dns, FULL, &[0, 1], true);
    let targets = [0, 1].map(|n| srv(&named, 5, 3307, &pod(n))).to_vec();
    let glue = [0, 1]
        .map(|n| a(&pod(n), 5, [10, 0, 0, n as u8 + 1]))
        .to_vec();
    dns.set(&named, RecordType::SRV, Say::Records(targets, glue));
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [one(0, "10.0.0.1"), one(1, "10.0.0.2")]);
    assert_eq!(answer.service, "mysql.default.svc.cluster.local");
    assert!(answer.pods.iter().all(|pod| pod.port == 3307));
    assert_eq!(dns.asked(), [format!("SRV {named}")]);

    // The name is gone: one rung lower, which is remembered for a while.
    dns.remove(&named);
    let down = [format!("SRV {named}"), format!("SRV {FULL}")];
    let (lower, upper) = (vec![down[1].clone()], down.to_vec());
    for expected in [&upper, &lower, &lower] {
        let answer = ladder.ask(&dns).await.unwrap();
        assert!(answer.pods.iter().all(|pod| pod.port == 3306));
        assert_eq!(dns.asked(), *expected);
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    for expected in [&upper, &lower] {
        ladder.ask(&dns).await.unwrap();
        assert_eq!(dns.asked(), *expected);
    }
}

#[tokio::test(start_paused = true)]
async fn without_srv_the_steady_state_is_one_query_and_every_fifth_look_up_asks_for_all() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    let address = |n: u8| [10, 0, 0, n];
    dns.a(FULL, &[address(1), address(2), address(3)]);
    for n in 0..3 {
        dns.a(&pod(n), &[address(n as u8 + 1)]);
    }
    let expected = [one(0, "10.0.0.1"), one(1, "10.0.0.2"), one(2, "10.0.0.3")];
    let counts = async |look_ups: usize| {
        let mut counts = Vec::new();
        for _ in 0..look_ups {
            assert_eq!(seen(&ladder.ask(&dns).await.unwrap()), expected);
            counts.push(dns.asked().len());
        }
        counts
    };
    // SRV and A, then each pod.
    assert_eq!(counts(7).await, [5, 1, 1, 1, 1, 4, 1]);

    // Two pods swap their addresses, so that the set is the same.
    dns.a(&pod(1), &[address(3)]);
    dns.a(&pod(2), &[address(2)]);
    let swapped = [one(0, "10.0.0.1"), one(1, "10.0.0.3"), one(2, "10.0.0.2")];
    let mut look_ups = 0;
    while seen(&ladder.ask(&dns).await.unwrap()) != swapped {
        look_ups += 1;
        assert!(look_ups < 5);
    }

    // An address moves on to another pod, and a new one comes: noticed at once.
    dns.a(FULL, &[address(1), address(2), address(9)]);
    dns.a(&pod(1), &[address(2)]);
    dns.a(&pod(2), &[address(9)]);
    assert_eq!(
        seen(&ladder.ask(&dns).await.unwrap()),
        [one(0, "10.0.0.1"), one(1, "10.0.0.2"), one(2, "10.0.0.9")]
    );
}

#[tokio::test]
async fn ordinals_that_were_found_are_asked_for_first() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    dns.a(FULL, &[[10, 0, 0, 5], [10, 0, 0, 6]]);
    dns.a(&pod(5), &[[10, 0, 0, 5]]);
    dns.a(&pod(6), &[[10, 0, 0, 6]]);
    ladder.ask(&dns).await.unwrap();
    dns.asked();
    dns.a(FULL, &[[10, 0, 0, 5], [10, 0, 0, 7]]);
    dns.a(&pod(6), &[[10, 0, 0, 7]]);
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [one(5, "10.0.0.5"), one(6, "10.0.0.7")]);
    assert_eq!(
        dns.asked(),
        [
            format!("A {}", pod(5)),
            format!("A {}", pod(6)),
            format!("A {FULL}")
        ]
    );
}

#[tokio::test]
async fn a_pod_that_cannot_be_asked_for_is_unknown_not_gone() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    dns.a(FULL, &[[10, 0, 0, 1], [10, 0, 0, 2]]);
    dns.a(&pod(0), &[[10, 0, 0, 1]]);
    dns.a(&pod(1), &[[10, 0, 0, 2]]);
    assert!(ladder.ask(&dns).await.unwrap().complete);

    // One more pod, so that all are asked for; mysql-1 cannot be.
    dns.a(FULL, &[[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]]);
    dns.a(&pod(2), &[[10, 0, 0, 3]]);
    dns.set(&pod(1), RecordType::A, Say::ServFail);
    let answer = ladder.ask(&dns).await.unwrap();
    assert!(!answer.complete);
    let now = seen(&answer);
    assert!(
        now.contains(&one(0, "10.0.0.1")) && now.contains(&one(1, "10.0.0.2")),
        "{now:?}"
    );

    // Nothing known before, and nobody to be asked for: no answer.
    let fresh = self::ladder(&[FULL]);
    for n in 0..3 {
        dns.set(&pod(n), RecordType::A, Say::ServFail);
    }
    let error = fresh.ask(&dns).await.unwrap_err();
    assert_eq!(error.kind(), "server_failure");
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_large_leads_to_the_pods_one_by_one_and_stays_there_for_a_while() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    dns.set(FULL, RecordType::SRV, Say::Truncated);
    dns.a(FULL, &[[10, 0, 0, 1]]);
    dns.a(&pod(0), &[[10, 0, 0, 1]]);
    assert_eq!(seen(&ladder.ask(&dns).await.unwrap()), [one(0, "10.0.0.1")]);
    assert_eq!(dns.asked().len(), 3);
    ladder.ask(&dns).await.unwrap();
    assert_eq!(dns.asked(), [format!("A {FULL}")]);
    tokio::time::advance(Duration::from_secs(60)).await;
    ladder.ask(&dns).await.unwrap();
    assert!(dns.asked().contains(&format!("SRV {FULL}")));
}

#[tokio::test]
async fn a_rung_that_fails_is_left_at_once() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    dns.a(FULL, &[[10, 0, 0, 1]]);
    dns.a(&pod(0), &[[10, 0, 0, 1]]);
    ladder.ask(&dns).await.unwrap();
    // No addresses any more, but SRV records.
    dns.clear();
    srv_set(&dns, FULL, &[0, 1], true);
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [one(0, "10.0.0.1"), one(1, "10.0.0.2")]);
    dns.asked();
    ladder.ask(&dns).await.unwrap();
    assert_eq!(dns.asked(), [format!("SRV {FULL}")]);
}

#[tokio::test]
async fn a_pods_name_is_that_pod_and_no_other() {
    let name = pod(2);
    let dns = Script::default();
    srv_set(&dns, FULL, &[0, 1, 2], true);
    for with_srv in [true, false] {
        let ladder = ladder(&["mysql-2.mysql.svc.cluster.local.", &name]);
        if with_srv {
            let glue = vec![a(&name, 5, [10, 0, 0, 3])];
            let own = vec![srv(&name, 5, 3307, &name)];
            dns.set(&name, RecordType::SRV, Say::Records(own, glue));
        } else {
            dns.set(&name, RecordType::SRV, Say::NoData);
        }
        let answer = ladder.ask(&dns).await.unwrap();
        assert_eq!(seen(&answer), [one(2, "10.0.0.3")]);
        assert_eq!(answer.pods[0].port, if with_srv { 3307 } else { 3306 });
        assert_eq!(answer.pods[0].host, undotted(&name));
        dns.asked();
        ladder.ask(&dns).await.unwrap();
        assert_eq!(dns.asked().len(), 1);
    }
    let other = Wanted {
        statefulset: Some("db".to_owned()),
        ..wanted(&[&name])
    };
    let answer = Ladder::new(other, None).ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [(None, "10.0.0.3".to_owned())]);
}

#[tokio::test]
async fn an_alias_is_followed_only_if_allowed_and_then_asked_itself() {
    const OTHER: &str = "mysql.other.svc.cluster.local.";
    let dns = Script::default();
    // A stranger's address comes along; OTHER itself is asked, and it is not used.
    let alias = |target| vec![cname(FULL, target), a(target, 5, [10, 66, 66, 66])];
    dns.set(FULL, RecordType::A, Say::Records(alias(OTHER), vec![]));
    srv_set(&dns, OTHER, &[0, 1], true);
    let error = ladder(&[FULL]).ask(&dns).await.unwrap_err();
    assert_eq!(error.kind(), "foreign");

    let allowed = || {
        Ladder::new(
            Wanted {
                allow_alias: true,
                ..wanted(&[FULL])
            },
            None,
        )
    };
    let ladder = allowed();
    let answer = ladder.ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [one(0, "10.0.0.1"), one(1, "10.0.0.2")]);
    assert_eq!(answer.service, "mysql.other.svc.cluster.local");
    dns.asked();
    ladder.ask(&dns).await.unwrap();
    assert_eq!(dns.asked(), [format!("A {FULL}"), format!("SRV {OTHER}")]);

    // A host outside: one address, no questions for pods.
    let host = "db.example.";
    dns.set(FULL, RecordType::A, Say::Records(alias(host), vec![]));
    dns.a(host, &[[10, 9, 9, 9]]);
    let answer = allowed().ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [(None, "10.9.9.9".to_owned())]);
    assert_eq!(
        dns.asked(),
        [
            format!("A {host}"),
            format!("A {FULL}"),
            format!("SRV {FULL}")
        ]
    );

    // In a circle, over several answers.
    dns.set(OTHER, RecordType::SRV, Say::NoData);
    let back = vec![cname(OTHER, FULL)];
    dns.set(OTHER, RecordType::A, Say::Records(back, vec![]));
    dns.set(FULL, RecordType::A, Say::Records(alias(OTHER), vec![]));
    let error = allowed().ask(&dns).await.unwrap_err();
    assert_eq!(error.kind(), "foreign");
}

#[tokio::test]
async fn a_refusal_at_the_end_of_the_search_does_not_hide_what_was_asked_before() {
    let names = ["nosuch.a.svc.k8s.", "nosuch.svc.k8s.", "nosuch."];
    let (dns, ladder) = (Script::default(), ladder(&names));
    dns.set("nosuch.", RecordType::SRV, Say::ServFail);
    let error = ladder.ask(&dns).await.unwrap_err();
    assert_eq!(error.kind(), "server_failure");
    assert!(!error.is_absence());
    for name in names {
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn what_was_learnt_survives_a_new_list_of_the_same_names() {
    let dns = Script::default();
    dns.a(FULL, &[[10, 0, 0, 1]]);
    dns.a(&pod(0), &[[10, 0, 0, 1]]);
    let old = ladder(&[FULL, STRANGER]);
    old.ask(&dns).await.unwrap();
    dns.asked();
    let same = Ladder::new(wanted(&[FULL, STRANGER]), Some(&old));
    same.ask(&dns).await.unwrap();
    assert_eq!(dns.asked().len(), 1);
    let other = Ladder::new(wanted(&[FULL]), Some(&old));
    other.ask(&dns).await.unwrap();
    assert_eq!(dns.asked().len(), 3);
}
