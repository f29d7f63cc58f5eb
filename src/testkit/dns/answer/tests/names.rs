//! Names, ports and types.

use super::*;

#[test]
fn a_service_with_an_unnamed_port_answers_as_coredns_does() {
    let a: &[&str] = &[
        "mysql~ A 10.244.1.5",
        "mysql~ A 10.244.2.6",
        "mysql~ A 10.244.3.7",
    ];
    let srv: &[&str] = &[
        "mysql~ SRV 0 33 3306 mysql-0.mysql~",
        "mysql~ SRV 0 33 3306 mysql-1.mysql~",
        "mysql~ SRV 0 33 3306 mysql-2.mysql~",
    ];
    let glue: &[&str] = &[
        "mysql-0.mysql~ A 10.244.1.5",
        "mysql-1.mysql~ A 10.244.2.6",
        "mysql-2.mysql~ A 10.244.3.7",
    ];
    let pod_a: &[&str] = &["mysql-0.mysql~ A 10.244.1.5"];
    let pod_srv: &[&str] = &["mysql-0.mysql~ SRV 0 100 3306 mysql-0.mysql~"];
    check(
        &cluster([mysql(Vec::from)]),
        &[
            (1, "A mysql~", "NOERROR", a, NONE, NONE),
            (2, "AAAA mysql~", "NOERROR", NONE, SOA, NONE),
            (3, "SRV mysql~", "NOERROR", srv, NONE, glue),
            (6, "SRV _mysql._tcp.mysql~", "NXDOMAIN", NONE, SOA, NONE),
            (10, "A mysql-0.mysql~", "NOERROR", pod_a, NONE, NONE),
            (11, "AAAA mysql-0.mysql~", "NOERROR", NONE, SOA, NONE),
            (12, "SRV mysql-0.mysql~", "NOERROR", pod_srv, NONE, pod_a),
            (13, "A mysql-9.mysql~", "NXDOMAIN", NONE, SOA, NONE),
            (13, "SRV mysql-9.mysql~", "NXDOMAIN", NONE, SOA, NONE),
        ],
    );
}

#[test]
fn a_service_with_a_named_port_answers_as_coredns_does() {
    let a: &[&str] = &[
        "_mysql._tcp.mysqln~ A 10.244.1.5",
        "_mysql._tcp.mysqln~ A 10.244.2.6",
        "_mysql._tcp.mysqln~ A 10.244.3.7",
    ];
    let a_without_underscores: &[&str] = &[
        "mysql.tcp.mysqln~ A 10.244.1.5",
        "mysql.tcp.mysqln~ A 10.244.2.6",
        "mysql.tcp.mysqln~ A 10.244.3.7",
    ];
    let srv: &[&str] = &[
        "mysqln~ SRV 0 33 3306 mysql-0.mysqln~",
        "mysqln~ SRV 0 33 3306 mysql-1.mysqln~",
        "mysqln~ SRV 0 33 3306 mysql-2.mysqln~",
    ];
    let port_srv: &[&str] = &[
        "_mysql._tcp.mysqln~ SRV 0 33 3306 mysql-0.mysqln~",
        "_mysql._tcp.mysqln~ SRV 0 33 3306 mysql-1.mysqln~",
        "_mysql._tcp.mysqln~ SRV 0 33 3306 mysql-2.mysqln~",
    ];
    let glue: &[&str] = &[
        "mysql-0.mysqln~ A 10.244.1.5",
        "mysql-1.mysqln~ A 10.244.2.6",
        "mysql-2.mysqln~ A 10.244.3.7",
    ];
    check(
        &cluster([mysqln()]),
        &[
            (4, "SRV mysqln~", "NOERROR", srv, NONE, glue),
            (
                5,
                "SRV _mysql._tcp.mysqln~",
                "NOERROR",
                port_srv,
                NONE,
                glue,
            ),
            (7, "SRV _mysql._udp.mysqln~", "NXDOMAIN", NONE, SOA, NONE),
            (7, "SRV _mysqlx._tcp.mysqln~", "NXDOMAIN", NONE, SOA, NONE),
            (7, "SRV _tcp.mysqln~", "NXDOMAIN", NONE, SOA, NONE),
            (
                8,
                "SRV _mysql._tcp.mysql-0.mysqln~",
                "NXDOMAIN",
                NONE,
                SOA,
                NONE,
            ),
            (9, "A _mysql._tcp.mysqln~", "NOERROR", a, NONE, NONE),
            (
                9,
                "A mysql.tcp.mysqln~",
                "NOERROR",
                a_without_underscores,
                NONE,
                NONE,
            ),
        ],
    );
}

#[test]
fn every_port_has_its_own_srv_records() {
    let service = ServiceSpec::new("default", "two")
        .named_port("mysql", 3306)
        .named_port("mysqlx", 33060)
        .pod(PodSpec::ready("two-0", ip("10.244.1.5")))
        .pod(PodSpec::ready("two-1", ip("10.244.2.6")));
    let all: &[&str] = &[
        "two~ SRV 0 25 3306 two-0.two~",
        "two~ SRV 0 25 33060 two-0.two~",
        "two~ SRV 0 25 3306 two-1.two~",
        "two~ SRV 0 25 33060 two-1.two~",
    ];
    let one_port: &[&str] = &[
        "_mysqlx._tcp.two~ SRV 0 50 33060 two-0.two~",
        "_mysqlx._tcp.two~ SRV 0 50 33060 two-1.two~",
    ];
    let one_pod: &[&str] = &[
        "two-1.two~ SRV 0 50 3306 two-1.two~",
        "two-1.two~ SRV 0 50 33060 two-1.two~",
    ];
    let glue: &[&str] = &["two-0.two~ A 10.244.1.5", "two-1.two~ A 10.244.2.6"];
    check(
        &cluster([service]),
        &[
            (14, "SRV two~", "NOERROR", all, NONE, glue),
            (15, "SRV _mysqlx._tcp.two~", "NOERROR", one_port, NONE, glue),
            (16, "SRV two-1.two~", "NOERROR", one_pod, NONE, &glue[1..]),
        ],
    );
}

#[test]
fn a_service_without_ports_has_addresses_only() {
    let service = mysql(|[a, ..]| vec![a]).without_ports();
    check(
        &cluster([service]),
        &[
            (
                28,
                "A mysql~",
                "NOERROR",
                &["mysql~ A 10.244.1.5"],
                NONE,
                NONE,
            ),
            (
                28,
                "A mysql-0.mysql~",
                "NOERROR",
                &["mysql-0.mysql~ A 10.244.1.5"],
                NONE,
                NONE,
            ),
            (29, "SRV mysql~", "NOERROR", NONE, SOA, NONE),
            (29, "SRV _mysql._tcp.mysql~", "NXDOMAIN", NONE, SOA, NONE),
        ],
    );
}

#[test]
fn names_without_records_of_their_own_are_not_missing() {
    let cluster = cluster([mysql(Vec::from)]);
    for name in [
        "default.svc.cluster.local.",
        "svc.cluster.local.",
        "cluster.local.",
    ] {
        let question = format!("A {name}");
        check(&cluster, &[(38, &question, "NOERROR", NONE, SOA, NONE)]);
    }
    for kind in ["TXT", "MX", "NS", "CNAME", "ANY", "HTTPS"] {
        let question = format!("{kind} mysql~");
        check(&cluster, &[(39, &question, "NOERROR", NONE, SOA, NONE)]);
    }
}

#[test]
fn the_owner_keeps_the_case_of_the_question() {
    let cluster = cluster([mysql(|[a, ..]| vec![a])]);
    let a: &[&str] = &["MYSQL-0.mysql~ A 10.244.1.5"];
    let srv: &[&str] = &["MySQL~ SRV 0 100 3306 mysql-0.mysql~"];
    let glue: &[&str] = &["mysql-0.mysql~ A 10.244.1.5"];
    check(
        &cluster,
        &[
            (47, "A MYSQL-0.mysql~", "NOERROR", a, NONE, NONE),
            (47, "SRV MySQL~", "NOERROR", srv, NONE, glue),
        ],
    );
}

#[test]
fn the_zone_itself_and_the_world_outside_have_their_own_answers() {
    let cluster = cluster([]);
    let version = ask(&cluster, "TXT dns-version.cluster.local.");
    assert_eq!(
        show(&version.answers, true),
        ["dns-version.cluster.local. 28800 TXT 1.1.0"]
    );
    let apex = ask(&cluster, "SOA cluster.local.");
    assert_eq!(show(&apex.answers, true), SOA);
    for name in ["example.com.", "local.", "mysql.default.svc.other.local."] {
        let question = format!("A {name}");
        check(&cluster, &[(0, &question, "REFUSED", NONE, NONE, NONE)]);
    }
    check(
        &cluster,
        &[(0, "A elsewhere.cluster.local.", "NXDOMAIN", NONE, SOA, NONE)],
    );
}
