//! Tests of the module above.

use std::net::Ipv6Addr;

use super::*;
use crate::discovery::testing::*;
use crate::name::Ordinal;

const SERVICE: &str = "mysql.default.svc.cluster.local.";

fn pod(n: u32) -> String {
    format!("mysql-{n}.{SERVICE}")
}

fn read(message: &Message) -> Vec<FoundPod> {
    let (targets, _) = targets(SERVICE, message, 3306).unwrap();
    pods(undot(SERVICE), targets, None, "mysql").0
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
    let told = |set, default_set| {
        let (targets, _) = targets(SERVICE, &both, 3306).unwrap();
        let (ours, others) = pods(undot(SERVICE), targets, set, default_set);
        let names = |pods: &[FoundPod]| {
            let names = pods.iter().map(|pod| {
                let ordinal = pod.ordinal.map_or("-".to_owned(), |n| n.to_string());
                let label = pod.host.split('.').next().unwrap();
                format!("{ordinal} {label}")
            });
            names.collect::<Vec<_>>().join(", ")
        };
        format!("{} | {}", names(&ours), names(&others))
    };
    assert_eq!(told(None, "mysql"), "0 mysql-0 | - router-0");
    assert_eq!(told(None, "headless"), " | - mysql-0, - router-0");
    assert_eq!(told(Some("router"), "mysql"), "0 router-0 | - mysql-0");
    assert_eq!(told(Some("db"), "mysql"), " | - mysql-0, - router-0");
}

#[test]
fn a_pod_of_no_statefulset_is_ours_only_while_no_statefulset_is_named() {
    let nameless = format!("10-0-0-2.{SERVICE}");
    let both = message(
        vec![
            srv(SERVICE, 5, 3306, &pod(0)),
            srv(SERVICE, 5, 3306, &nameless),
        ],
        vec![a(&pod(0), 5, [10, 0, 0, 1]), a(&nameless, 5, [10, 0, 0, 2])],
    );
    for (set, ours, others) in [(None, 2, 0), (Some("mysql"), 1, 1)] {
        let (targets, _) = targets(SERVICE, &both, 3306).unwrap();
        let found = pods(undot(SERVICE), targets, set, "mysql");
        assert_eq!((found.0.len(), found.1.len()), (ours, others), "{set:?}");
    }
    // A Service with a cluster IP gives its own name as target. A later step handles this.
    let itself = message(
        vec![srv(SERVICE, 5, 3306, SERVICE)],
        vec![a(SERVICE, 5, [10, 96, 0, 1])],
    );
    let (targets, _) = targets(SERVICE, &itself, 3306).unwrap();
    let (ours, others) = pods(undot(SERVICE), targets, Some("db"), "mysql");
    assert_eq!((ours.len(), others.len()), (1, 0));
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
    // The upstream server did not answer, so there is only the alias.
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
