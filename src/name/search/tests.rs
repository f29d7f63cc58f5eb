//! Tests of the module above.

use proptest::prelude::*;

use super::*;
use crate::name::ServiceName;

const POD: &str = "\
nameserver 10.96.0.10
search default.svc.cluster.local svc.cluster.local cluster.local corp.example
options ndots:5
";

fn candidates(name: &str, search: &SearchList) -> Vec<String> {
    name.parse::<ServiceName>().unwrap().candidates(search)
}

#[test]
fn a_domain_that_is_too_long_is_left_out() {
    let long = ["a"; 127].join(".");
    assert_eq!(SearchList::new([&*long]).domains(), [&*long]);
    let longer = format!("{long}.a");
    assert!(SearchList::new([&*longer]).domains().is_empty());
}

#[test]
fn reads_the_last_search_or_domain_line() {
    let list = SearchList::parse(POD);
    let domains = [
        "default.svc.cluster.local",
        "svc.cluster.local",
        "cluster.local",
    ];
    assert_eq!(list.domains()[..3], domains);
    assert_eq!(list.ndots(), 5);

    let list = SearchList::parse("search a.b c.d\ndomain E.F. x.y ; no\noptions ndots:99 rotate");
    assert_eq!(list.domains(), ["e.f"]);
    assert_eq!(list.ndots(), 15);

    let list = SearchList::parse("domain e.f\n search a.b a.b . ..  c_d.e # f\noptions ndots:x");
    assert_eq!(list.domains(), ["a.b", "c_d.e"]);
    assert_eq!(list.ndots(), 1);

    assert_eq!(SearchList::parse("").domains(), [] as [&str; 0]);
}

#[test]
fn the_first_candidate_is_the_service() {
    let list = SearchList::parse(POD);
    let full = "mysql.default.svc.cluster.local.";
    for name in ["mysql", "mysql.default", "mysql.default.svc"] {
        let found = candidates(name, &list);
        assert_eq!(found[0], full, "{name}");
        assert_eq!(found.len(), 5, "{name}");
        assert_eq!(found[4], format!("{name}."));
    }
    assert_eq!(
        candidates("MySQL.prod", &list),
        [
            "mysql.prod.svc.cluster.local.",
            "mysql.prod.default.svc.cluster.local.",
            "mysql.prod.cluster.local.",
            "mysql.prod.corp.example.",
            "mysql.prod.",
        ]
    );
}

#[test]
fn an_absolute_name_has_one_candidate() {
    let list = SearchList::parse(POD);
    for name in [
        "mysql.default.svc.cluster.local",
        "mysql.default.svc.k8s",
        "mysql.",
    ] {
        let dotted = format!("{}.", without_dot(name));
        assert_eq!(candidates(name, &list), [dotted], "{name}");
    }
}

#[test]
fn order_of_the_search_list_does_not_matter_to_the_first() {
    let list = SearchList::new([
        "corp.example",
        "cluster.local",
        "svc.cluster.local",
        "prod.svc.cluster.local",
    ]);
    assert_eq!(
        candidates("mysql", &list)[0],
        "mysql.prod.svc.cluster.local."
    );
    assert_eq!(
        candidates("mysql.a", &list)[0],
        "mysql.a.svc.cluster.local."
    );
    assert_eq!(
        candidates("mysql.a.svc", &list)[0],
        "mysql.a.svc.cluster.local."
    );
}

#[test]
fn without_a_kubernetes_shape_ndots_decides() {
    let list = SearchList::new(["corp.example"]);
    let found = candidates("mysql.prod.example", &list);
    assert_eq!(
        found,
        ["mysql.prod.example.", "mysql.prod.example.corp.example."]
    );
    let found = candidates("mysql.prod.example", &list.with_ndots(5));
    assert_eq!(
        found,
        ["mysql.prod.example.corp.example.", "mysql.prod.example."]
    );
    assert_eq!(candidates("mysql", &SearchList::new([""])), ["mysql."]);
}

#[test]
fn a_pod_called_like_its_service_is_asked_for_first() {
    let list = SearchList::parse(POD);
    let pod = "mysql-0.mysql.default.svc.cluster.local.";
    for name in [
        "mysql-0.mysql",
        "mysql-0.mysql.default",
        "mysql-0.mysql.default.svc",
        "mysql-0.mysql.default.svc.cluster.local",
    ] {
        assert_eq!(candidates(name, &list)[0], pod, "{name}");
    }
    let found = candidates("mysql-0.mysql", &list);
    assert_eq!(found[1], "mysql-0.mysql.svc.cluster.local.");
    // First the Service in a namespace, then the pod of a Service in this namespace.
    let found = candidates("db-1.prod", &list);
    assert_eq!(
        found[..2],
        [
            "db-1.prod.svc.cluster.local.",
            "db-1.prod.default.svc.cluster.local."
        ]
    );
    let found = candidates("db-0.mysql.prod", &list);
    assert_eq!(found[0], "db-0.mysql.prod.svc.cluster.local.");
    let found = candidates("db-0.mysql.prod.svc", &list.with_ndots(1));
    assert_eq!(found[0], "db-0.mysql.prod.svc.cluster.local.");
}

#[test]
fn hosts_are_searched_as_other_resolvers_do() {
    let list = SearchList::new(["default.svc.k8s", "corp.example"]).with_ndots(2);
    for (name, expected) in [
        ("DB.corp.", &["db.corp."][..]),
        (
            "mysql-0.mysql.prod.svc.k8s",
            &["mysql-0.mysql.prod.svc.k8s."],
        ),
        (
            "mysql-0.mysql",
            &[
                "mysql-0.mysql.default.svc.k8s.",
                "mysql-0.mysql.corp.example.",
                "mysql-0.mysql.",
            ],
        ),
        (
            "db.eu.example",
            &[
                "db.eu.example.",
                "db.eu.example.default.svc.k8s.",
                "db.eu.example.corp.example.",
            ],
        ),
    ] {
        assert_eq!(expand_host(name, &list), expected, "{name}");
    }
}

#[test]
fn too_long_candidates_are_left_out() {
    let list = SearchList::new([vec!["a".repeat(60); 4].join(".")]);
    assert_eq!(
        candidates("mysql-of-the-team", &list),
        ["mysql-of-the-team."]
    );
}

proptest! {
    #[test]
    fn parse_never_panics(text in "(search|domain|options|nameserver|[ .a-z0-9:\n])*|.*") {
        let list = SearchList::parse(&text);
        prop_assert!(list.ndots() <= 15);
    }

    #[test]
    fn candidates_are_absolute_lower_case_and_unique(
        name in "[a-zA-Z]{1,5}(\\.[a-zA-Z]{1,5}){0,4}",
        domains in proptest::collection::vec("[a-zA-Z]{1,4}(\\.[a-z]{1,4}|\\.svc){0,3}", 0..5),
    ) {
        let found = candidates(&name, &SearchList::new(&domains));
        prop_assert!(!found.is_empty());
        for (i, one) in found.iter().enumerate() {
            prop_assert!(one.ends_with('.') && !one.ends_with(".."));
            prop_assert_eq!(one, &one.to_ascii_lowercase());
            prop_assert!(one.starts_with(&name.to_ascii_lowercase()));
            prop_assert!(!found[i + 1..].contains(one));
        }
    }
}
