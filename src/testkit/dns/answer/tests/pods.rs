//! Readiness, hostnames and addresses of pods.

use super::super::super::spec::Readiness;
use super::*;

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
