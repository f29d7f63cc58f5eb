//! The golden table, row by row: what a real CoreDNS 1.14.7 answered.
//!
//! In names and records, `~` stands for `.default.svc.cluster.local.`.

use std::net::IpAddr;

use super::super::spec::Readiness;
use super::*;

const SUFFIX: &str = ".default.svc.cluster.local.";
const SOA: &[&str] =
    &["cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"];
const NONE: &[&str] = &[];

/// One row: number in the table, question, response code, answer, authority, additional.
type Row<'a> = (
    u8,
    &'a str,
    &'a str,
    &'a [&'a str],
    &'a [&'a str],
    &'a [&'a str],
);

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn cluster(services: impl IntoIterator<Item = ServiceSpec>) -> Cluster {
    let mut cluster = Cluster::new();
    for service in services {
        cluster.insert(service);
    }
    cluster
}

fn three_pods() -> [PodSpec; 3] {
    [
        PodSpec::ready("mysql-0", ip("10.244.1.5")),
        PodSpec::ready("mysql-1", ip("10.244.2.6")),
        PodSpec::ready("mysql-2", ip("10.244.3.7")),
    ]
}

/// `mysql` of the table, with the readiness of its pods changed by `change`.
fn mysql(change: impl FnOnce([PodSpec; 3]) -> Vec<PodSpec>) -> ServiceSpec {
    ServiceSpec::new("default", "mysql")
        .unnamed_port(3306)
        .with_pods(change(three_pods()))
}

fn mysqln() -> ServiceSpec {
    ServiceSpec::new("default", "mysqln")
        .named_port("mysql", 3306)
        .with_pods(three_pods())
}

fn full(name: &str) -> String {
    name.replace('~', SUFFIX)
}

fn ask(cluster: &Cluster, question: &str) -> Answer {
    let (kind, name) = question.split_once(' ').unwrap();
    let name = Name::from_ascii(full(name)).unwrap();
    answer(cluster, &name, kind.parse().unwrap())
}

fn show(records: &[Record], with_ttl: bool) -> Vec<String> {
    let records = records.iter().map(|record| {
        let (owner, kind, data) = (&record.name, record.record_type(), &record.data);
        let ttl = match with_ttl {
            true => format!("{} ", record.ttl),
            false => String::new(),
        };
        format!("{owner} {ttl}{kind} {data}").replace(SUFFIX, "~")
    });
    records.collect()
}

fn check(cluster: &Cluster, rows: &[Row<'_>]) {
    for (number, question, response_code, answers, authority, additional) in rows {
        let got = ask(cluster, question);
        let code = match got.response_code {
            ResponseCode::NoError => "NOERROR",
            ResponseCode::NXDomain => "NXDOMAIN",
            ResponseCode::ServFail => "SERVFAIL",
            ResponseCode::Refused => "REFUSED",
            _ => "another",
        };
        let context = format!("row {number}: {question}");
        assert_eq!(code, *response_code, "{context}");
        assert_eq!(show(&got.answers, false), *answers, "{context}: answer");
        assert_eq!(
            show(&got.authority, true),
            *authority,
            "{context}: authority"
        );
        assert_eq!(
            show(&got.additional, false),
            *additional,
            "{context}: additional"
        );
        for record in got.answers.iter().chain(&got.additional) {
            assert_eq!(record.ttl, 5, "{context}: TTL of {record}");
        }
        assert_eq!(got.authoritative, code != "REFUSED", "{context}");
    }
}

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
fn a_service_without_ready_pods_is_like_no_service() {
    let gone = |number| -> [Row<'static>; 4] {
        [
            (number, "A mysql~", "NXDOMAIN", NONE, SOA, NONE),
            (number, "AAAA mysql~", "NXDOMAIN", NONE, SOA, NONE),
            (number, "SRV mysql~", "NXDOMAIN", NONE, SOA, NONE),
            (number, "A mysql-0.mysql~", "NXDOMAIN", NONE, SOA, NONE),
        ]
    };
    // 17 and 18: an empty EndpointSlice and none.
    check(&cluster([mysql(|_| Vec::new())]), &gone(17));
    let not_ready = mysql(|pods| pods.map(PodSpec::not_ready).into());
    check(&cluster([not_ready]), &gone(19));
    check(&cluster([]), &gone(36));
    check(
        &cluster([]),
        &[(
            37,
            "A mysql.nowhere.svc.cluster.local.",
            "NXDOMAIN",
            NONE,
            SOA,
            NONE,
        )],
    );
}

#[test]
fn only_ready_pods_are_shown_unless_the_service_publishes_all() {
    let a: &[&str] = &["mysql~ A 10.244.1.5", "mysql~ A 10.244.3.7"];
    let srv: &[&str] = &[
        "mysql~ SRV 0 50 3306 mysql-0.mysql~",
        "mysql~ SRV 0 50 3306 mysql-2.mysql~",
    ];
    let glue: &[&str] = &["mysql-0.mysql~ A 10.244.1.5", "mysql-2.mysql~ A 10.244.3.7"];
    let one_not_ready = || mysql(|[a, b, c]| vec![a, b.not_ready(), c]);
    check(
        &cluster([one_not_ready()]),
        &[
            (20, "A mysql~", "NOERROR", a, NONE, NONE),
            (20, "SRV mysql~", "NOERROR", srv, NONE, glue),
            (21, "A mysql-1.mysql~", "NXDOMAIN", NONE, SOA, NONE),
        ],
    );
    let others: &[&str] = &["mysql~ A 10.244.2.6", "mysql~ A 10.244.3.7"];
    let one_terminating = || mysql(|[a, b, c]| vec![a.terminating(), b, c]);
    check(
        &cluster([one_terminating()]),
        &[
            (22, "A mysql~", "NOERROR", others, NONE, NONE),
            (22, "A mysql-0.mysql~", "NXDOMAIN", NONE, SOA, NONE),
        ],
    );
    let all: &[&str] = &[
        "mysql~ A 10.244.1.5",
        "mysql~ A 10.244.2.6",
        "mysql~ A 10.244.3.7",
    ];
    for service in [one_not_ready(), one_terminating()] {
        check(
            &cluster([service.publish_not_ready_addresses(true)]),
            &[(23, "A mysql~", "NOERROR", all, NONE, NONE)],
        );
    }
    let unknown = mysql(|pods| pods.map(|pod| pod.readiness(Readiness::Unknown)).into());
    check(
        &cluster([unknown]),
        &[(24, "A mysql~", "NOERROR", all, NONE, NONE)],
    );
}

#[test]
fn pods_without_a_hostname_are_called_by_their_dashed_address() {
    let pod = |name, address| PodSpec::ready(name, ip(address)).without_hostname();
    let service = ServiceSpec::new("default", "nohost")
        .unnamed_port(3306)
        .pod(pod("mysql-0", "10.244.1.5"))
        .pod(pod("mysql-1", "10.244.2.6"));
    let dashed: &[&str] = &[
        "nohost~ SRV 0 50 3306 10-244-1-5.nohost~",
        "nohost~ SRV 0 50 3306 10-244-2-6.nohost~",
    ];
    let dashed_glue: &[&str] = &[
        "10-244-1-5.nohost~ A 10.244.1.5",
        "10-244-2-6.nohost~ A 10.244.2.6",
    ];
    let mut cluster = cluster([
        service,
        ServiceSpec::new("default", "six")
            .unnamed_port(3306)
            .pod(pod("six-0", "5678:abcd::1"))
            .pod(pod("six-1", "5678:abcd::")),
    ]);
    let six: &[&str] = &[
        "six~ SRV 0 50 3306 5678-abcd--1.six~",
        "six~ SRV 0 50 3306 5678-abcd--0.six~",
    ];
    let six_glue: &[&str] = &[
        "5678-abcd--1.six~ AAAA 5678:abcd::1",
        "5678-abcd--0.six~ AAAA 5678:abcd::",
    ];
    check(
        &cluster,
        &[
            (25, "SRV nohost~", "NOERROR", dashed, NONE, dashed_glue),
            (26, "A mysql-0.nohost~", "NXDOMAIN", NONE, SOA, NONE),
            (33, "SRV six~", "NOERROR", six, NONE, six_glue),
        ],
    );

    cluster.endpoint_pod_names = true;
    let named: &[&str] = &[
        "nohost~ SRV 0 50 3306 mysql-0.nohost~",
        "nohost~ SRV 0 50 3306 mysql-1.nohost~",
    ];
    let named_glue: &[&str] = &[
        "mysql-0.nohost~ A 10.244.1.5",
        "mysql-1.nohost~ A 10.244.2.6",
    ];
    check(
        &cluster,
        &[
            (27, "SRV nohost~", "NOERROR", named, NONE, named_glue),
            (
                27,
                "A mysql-0.nohost~",
                "NOERROR",
                &named_glue[..1],
                NONE,
                NONE,
            ),
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
fn weights_count_every_address_of_a_pod_and_every_slice_it_is_in() {
    let dual = mysql(|[a, b, _]| vec![a.address(ip("fd00::5")), b.address(ip("fd00::6"))]);
    let a: &[&str] = &["mysql~ A 10.244.1.5", "mysql~ A 10.244.2.6"];
    let aaaa: &[&str] = &["mysql~ AAAA fd00::5", "mysql~ AAAA fd00::6"];
    let srv: &[&str] = &[
        "mysql~ SRV 0 25 3306 mysql-0.mysql~",
        "mysql~ SRV 0 25 3306 mysql-1.mysql~",
    ];
    let glue: &[&str] = &[
        "mysql-0.mysql~ A 10.244.1.5",
        "mysql-1.mysql~ A 10.244.2.6",
        "mysql-0.mysql~ AAAA fd00::5",
        "mysql-1.mysql~ AAAA fd00::6",
    ];
    let pod_srv: &[&str] = &["mysql-0.mysql~ SRV 0 50 3306 mysql-0.mysql~"];
    let pod_glue: &[&str] = &["mysql-0.mysql~ A 10.244.1.5", "mysql-0.mysql~ AAAA fd00::5"];
    check(
        &cluster([dual]),
        &[
            (30, "A mysql~", "NOERROR", a, NONE, NONE),
            (30, "AAAA mysql~", "NOERROR", aaaa, NONE, NONE),
            (31, "SRV mysql~", "NOERROR", srv, NONE, glue),
            (32, "SRV mysql-0.mysql~", "NOERROR", pod_srv, NONE, pod_glue),
        ],
    );

    let in_two_slices = mysql(|[a, b, _]| vec![a, b.clone(), b]);
    let skewed: &[&str] = &[
        "mysql~ SRV 0 33 3306 mysql-0.mysql~",
        "mysql~ SRV 0 33 3306 mysql-1.mysql~",
    ];
    check(
        &cluster([in_two_slices]),
        &[
            (34, "A mysql~", "NOERROR", a, NONE, NONE),
            (34, "SRV mysql~", "NOERROR", skewed, NONE, &glue[..2]),
        ],
    );

    let replaced = mysql(|[a, ..]| vec![a, PodSpec::ready("mysql-0", ip("10.244.9.9"))]);
    let one: &[&str] = &["mysql~ SRV 0 50 3306 mysql-0.mysql~"];
    let both: &[&str] = &["mysql-0.mysql~ A 10.244.1.5", "mysql-0.mysql~ A 10.244.9.9"];
    check(
        &cluster([replaced]),
        &[
            (35, "SRV mysql~", "NOERROR", one, NONE, both),
            (35, "A mysql-0.mysql~", "NOERROR", both, NONE, NONE),
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
    check(
        &cluster,
        &[(0, "A example.com.", "REFUSED", NONE, NONE, NONE)],
    );
}

#[test]
fn the_weight_is_never_less_than_one() {
    let pods = (0..150).map(|i| PodSpec::ready(format!("mysql-{i}"), [10, 244, 0, i]));
    let got = ask(&cluster([mysql(|_| pods.collect())]), "SRV mysql~");
    assert_eq!(got.answers.len(), 150);
    let weights = got.answers.iter().map(|record| match &record.data {
        RData::SRV(srv) => srv.weight,
        other => panic!("not SRV: {other}"),
    });
    assert!(weights.into_iter().all(|weight| weight == 1));
}

#[test]
fn a_description_that_dns_cannot_express_is_a_server_failure() {
    let service = mysql(|_| vec![PodSpec::ready("m".repeat(64), [10, 0, 0, 1])]);
    check(
        &cluster([service]),
        &[(0, "SRV mysql~", "SERVFAIL", NONE, SOA, NONE)],
    );
}
