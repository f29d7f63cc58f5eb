//! Tests of the rungs, the memory, the queries for pods by name, and aliases.

use super::*;

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

    // The name is gone, so one rung lower answers. The first such answer may come from an old
    // cache. Only a second one is remembered for a while.
    dns.remove(&named);
    let down = [format!("SRV {named}"), format!("SRV {FULL}")];
    let (lower, upper) = (vec![down[1].clone()], down.to_vec());
    for expected in [&upper, &upper, &lower, &lower] {
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
    // SRV and A, then one query per pod.
    assert_eq!(counts(7).await, [5, 1, 1, 1, 1, 4, 1]);

    // Two pods swap their addresses, so the set of addresses stays the same.
    dns.a(&pod(1), &[address(3)]);
    dns.a(&pod(2), &[address(2)]);
    let swapped = [one(0, "10.0.0.1"), one(1, "10.0.0.3"), one(2, "10.0.0.2")];
    let mut look_ups = 0;
    while seen(&ladder.ask(&dns).await.unwrap()) != swapped {
        look_ups += 1;
        assert!(look_ups < 5);
    }

    // An address moves to another pod, and a new address comes: noticed at once.
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

    // One more pod, so that all pods are asked for. The query for mysql-1 fails.
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

    // No pod was known before, and no pod can be asked for: no answer.
    let fresh = self::ladder(&[FULL]);
    for n in 0..3 {
        dns.set(&pod(n), RecordType::A, Say::ServFail);
    }
    let error = fresh.ask(&dns).await.unwrap_err();
    assert_eq!(error.kind(), "server_failure");
}

#[tokio::test]
async fn a_pod_that_dns_says_is_gone_is_not_believed_where_it_was() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    dns.a(FULL, &[[10, 0, 0, 1], [10, 0, 0, 2]]);
    dns.a(&pod(0), &[[10, 0, 0, 1]]);
    dns.a(&pod(1), &[[10, 0, 0, 2]]);
    ladder.ask(&dns).await.unwrap();

    // mysql-0 is gone, mysql-2 has its address and cannot be asked for, and mysql-1 has moved.
    dns.remove(&pod(0));
    dns.a(FULL, &[[10, 0, 0, 1], [10, 0, 0, 3]]);
    dns.a(&pod(1), &[[10, 0, 0, 3]]);
    dns.set(&pod(2), RecordType::A, Say::ServFail);
    let answer = ladder.ask(&dns).await.unwrap();
    assert!(!answer.complete);
    let nameless = (None, "10.0.0.1".to_owned());
    assert_eq!(seen(&answer), [nameless, one(1, "10.0.0.3")]);
}

#[tokio::test]
async fn pods_whose_names_would_be_too_long_are_addresses_without_ordinals() {
    // A Service's name may have 63 characters. Then `<service>-0` is not a valid label.
    let label = "m".repeat(63);
    let service = format!("{label}.default.svc.cluster.local.");
    let dns = Script::default();
    dns.a(&service, &[[10, 0, 0, 1]]);
    let long = Wanted {
        default_set: label,
        ..wanted(&[&service])
    };
    let answer = Ladder::new(long, None).ask(&dns).await.unwrap();
    assert_eq!(seen(&answer), [(None, "10.0.0.1".to_owned())]);
    assert!(answer.complete);
}

#[tokio::test(start_paused = true)]
async fn a_slow_dns_gives_the_ordinals_that_it_can_in_time() {
    let (dns, ladder) = (Script::default(), ladder(&[FULL]));
    let addresses: Vec<[u8; 4]> = (0..40).map(|n| [10, 0, 0, n]).collect();
    dns.a(FULL, &addresses);
    for (n, address) in (0..).zip(&addresses) {
        dns.a(&pod(n), &[*address]);
    }
    // SRV, A, and 16 pods in each of two rounds: this takes 3.2 s, and the patience is 3 s.
    dns.delay(Duration::from_millis(800));
    let answer = ladder.ask(&dns).await.unwrap();
    let named = answer.pods.iter().filter(|pod| pod.ordinal.is_some());
    assert_eq!((named.count(), answer.pods.len()), (32, 40));
    assert!(!answer.complete);
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
    // The addresses are gone, but there are SRV records.
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
    // The answer contains an unrelated address. It is not used; OTHER itself is asked.
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

    // A host outside of the cluster: one address, and no queries for pods.
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

    // A circle of aliases, over several answers.
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
