//! What the resolver makes of every kind of Service.

use headless_mysql::name::Ordinal;
use headless_mysql_testkit::dns::{Flavor, PodSpec, ServiceSpec};

use crate::discover::*;
use crate::support::*;

fn nohost() -> ServiceSpec {
    mysql(0).with_pods(pods(2).map(PodSpec::without_hostname))
}

fn v6(n: u8) -> PodSpec {
    PodSpec::ready(format!("mysql-{n}"), [0xfd00, 0, 0, 0, 0, 0, 0, n.into()])
}

fn dual(n: u8) -> PodSpec {
    PodSpec::ready(format!("mysql-{n}"), [10, 244, 1, n]).address([
        0xfd00,
        0,
        0,
        0,
        0,
        0,
        0,
        n.into(),
    ])
}

#[tokio::test]
async fn every_kind_of_service_gives_its_pods_and_their_ordinals() {
    check(&[
        (
            "kube-dns says port 0",
            |dns| {
                dns.set_flavor(Flavor::KubeDns);
                dns.set_service(two());
            },
            "mysql",
            plain,
            TWO,
            (1, 1),
        ),
        (
            "several ports",
            |dns| {
                dns.set_service(two().named_port("mysqlx", 33060));
            },
            "mysql",
            plain,
            TWO,
            (1, 1),
        ),
        (
            "several ports, none of them ours",
            |dns| {
                let service = two().without_ports();
                dns.set_service(service.named_port("b", 33060).named_port("a", 3307));
            },
            "mysql",
            plain,
            "0 mysql-0 1.0 :3307, 1 mysql-1 1.1 :3307",
            (1, 1),
        ),
        (
            "the port by name",
            |dns| {
                let service = two().without_ports();
                dns.set_service(service.named_port("a", 3307).named_port("b", 33060));
            },
            "mysql",
            |b| b.port_name(Some("B".into())),
            "0 mysql-0 1.0 :33060, 1 mysql-1 1.1 :33060",
            (1, 1),
        ),
        (
            "the port by name, from kube-dns",
            |dns| {
                dns.set_flavor(Flavor::KubeDns);
                dns.set_service(two().without_ports().named_port("mysql", 3307));
            },
            "mysql",
            |b| b.port_name(Some("mysql".into())),
            "0 mysql-0 1.0 :3307, 1 mysql-1 1.1 :3307",
            (1, 1),
        ),
        (
            "no port of that name",
            |dns| dns.set_service(two()),
            "mysql",
            |b| b.port_name(Some("mysql".into())),
            TWO,
            (2, 1),
        ),
        (
            "no port at all",
            |dns| dns.set_service(two().without_ports()),
            "mysql",
            plain,
            TWO,
            (4, 1),
        ),
        (
            "no host names",
            |dns| dns.set_service(nohost()),
            "mysql",
            plain,
            "- 10-244-1-0 1.0, - 10-244-1-1 1.1",
            (1, 1),
        ),
        (
            "no host names, and pod names in their place",
            |dns| {
                dns.set_endpoint_pod_names(true);
                dns.set_service(nohost());
            },
            "mysql",
            plain,
            TWO,
            (1, 1),
        ),
        (
            "no host names and no port",
            |dns| {
                dns.set_service(nohost().without_ports());
            },
            "mysql",
            plain,
            "- mysql 1.0, - mysql 1.1",
            (12, 1),
        ),
        (
            "a gap",
            |dns| {
                dns.set_service(mysql(3));
                dns.update_service("default", "mysql", |s| {
                    s.pods.remove(1);
                })
                .unwrap();
            },
            "mysql",
            plain,
            "0 mysql-0 1.0, 2 mysql-2 1.2",
            (1, 1),
        ),
        (
            "a gap and no port",
            |dns| {
                dns.set_service(mysql(3).without_ports());
                dns.update_service("default", "mysql", |s| {
                    s.pods.remove(1);
                })
                .unwrap();
            },
            "mysql",
            plain,
            "0 mysql-0 1.0, 2 mysql-2 1.2",
            (5, 1),
        ),
        (
            "ordinals that start at 5, and no port",
            |dns| {
                let pods = [5, 6].map(|n| PodSpec::ready(format!("mysql-{n}"), [10, 244, 1, n]));
                dns.set_service(mysql(0).without_ports().with_pods(pods));
            },
            "mysql",
            plain,
            "5 mysql-5 1.5, 6 mysql-6 1.6",
            (9, 1),
        ),
        (
            "a StatefulSet with another name",
            |dns| {
                let pods = [0, 1].map(|n| PodSpec::ready(format!("db-1-{n}"), [10, 244, 1, n]));
                dns.set_service(mysql(0).with_pods(pods));
            },
            "mysql",
            |b| b.statefulset(Some("db-1".into())),
            "0 db-1-0 1.0, 1 db-1-1 1.1",
            (1, 1),
        ),
        (
            "which is not told, and no other",
            |dns| {
                let pods = [0, 1].map(|n| PodSpec::ready(format!("db-1-{n}"), [10, 244, 1, n]));
                dns.set_service(mysql(0).with_pods(pods));
            },
            "mysql",
            plain,
            "0 db-1-0 1.0, 1 db-1-1 1.1",
            (1, 1),
        ),
        (
            "and without a port",
            |dns| {
                let pods = [0, 1].map(|n| PodSpec::ready(format!("db-1-{n}"), [10, 244, 1, n]));
                dns.set_service(mysql(0).without_ports().with_pods(pods));
            },
            "mysql",
            |b| b.statefulset(Some("DB-1".into())),
            "0 db-1-0 1.0, 1 db-1-1 1.1",
            (4, 1),
        ),
        (
            "two StatefulSets",
            |dns| {
                dns.set_service(two().pod(PodSpec::ready("router-0", [10, 244, 2, 0])));
            },
            "mysql",
            plain,
            TWO,
            (1, 1),
        ),
        (
            "two StatefulSets, of which one is given",
            |dns| {
                dns.set_service(two().pod(PodSpec::ready("router-0", [10, 244, 2, 0])));
            },
            "mysql",
            |b| b.statefulset(Some("router".into())),
            "0 router-0 2.0",
            (1, 1),
        ),
        (
            "two StatefulSets, and the others are to be read from",
            |dns| {
                dns.set_service(two().pod(PodSpec::ready("router-0", [10, 244, 2, 0])));
            },
            "mysql",
            |b| b.read_other_pods(true),
            "0 mysql-0 1.0, 1 mysql-1 1.1, - router-0 2.0",
            (1, 1),
        ),
        (
            "two StatefulSets and no port, of which one is given",
            |dns| {
                let other = PodSpec::ready("router-0", [10, 244, 2, 0]);
                dns.set_service(two().without_ports().pod(other));
            },
            "mysql",
            |b| b.statefulset(Some("mysql".into())),
            TWO,
            (13, 1),
        ),
        (
            "another StatefulSet alone",
            |dns| dns.set_service(two()),
            "mysql.default.svc.cluster.local",
            |b| b.statefulset(Some("router".into())),
            "!not_ours",
            (1, 1),
        ),
        (
            "another StatefulSet alone, and no port",
            |dns| dns.set_service(two().without_ports()),
            "mysql.default.svc.cluster.local",
            |b| b.statefulset(Some("router".into())),
            "!not_ours",
            (12, 2),
        ),
        (
            "ordinals that start at 30, and no port",
            |dns| {
                let pods = [30, 31].map(|n| PodSpec::ready(format!("mysql-{n}"), [10, 244, 1, n]));
                dns.set_service(mysql(0).without_ports().with_pods(pods));
            },
            "mysql",
            |b| b.first_ordinal(Ordinal::new(30)),
            "30 mysql-30 1.30, 31 mysql-31 1.31",
            (4, 1),
        ),
        (
            "pods that are not ready, published",
            |dns| {
                let service = mysql(0).publish_not_ready_addresses(true);
                dns.set_service(service.with_pods(pods(2).map(PodSpec::not_ready)));
            },
            "mysql",
            plain,
            TWO,
            (1, 1),
        ),
        (
            "no pod ready",
            |dns| {
                dns.set_service(mysql(0).with_pods(pods(2).map(PodSpec::not_ready)));
            },
            "mysql.default.svc.cluster.local",
            plain,
            "!not_found",
            (2, 2),
        ),
        (
            "two addresses under one name",
            |dns| {
                dns.set_service(mysql(1).pod(PodSpec::ready("mysql-0", [10, 244, 9, 9])));
            },
            "mysql",
            plain,
            "0 mysql-0 1.0+9.9",
            (1, 1),
        ),
        (
            "two addresses under one name, and no port",
            |dns| {
                let twin = PodSpec::ready("mysql-0", [10, 244, 9, 9]);
                dns.set_service(mysql(1).without_ports().pod(twin));
            },
            "mysql",
            plain,
            "0 mysql-0 1.0+9.9",
            (4, 1),
        ),
        (
            "dual stack",
            |dns| dns.set_service(mysql(0).pod(dual(0)).pod(dual(1))),
            "mysql",
            plain,
            "0 mysql-0 1.0+fd00::, 1 mysql-1 1.1+fd00::1",
            (1, 1),
        ),
        (
            "dual stack without a port: IPv4",
            |dns| {
                dns.set_service(mysql(0).without_ports().pod(dual(0)).pod(dual(1)));
            },
            "mysql",
            plain,
            TWO,
            (4, 1),
        ),
        (
            "IPv6 only",
            |dns| dns.set_service(mysql(0).pod(v6(0)).pod(v6(1))),
            "mysql",
            plain,
            "0 mysql-0 fd00::, 1 mysql-1 fd00::1",
            (1, 1),
        ),
        (
            "IPv6 only and no port",
            |dns| {
                dns.set_service(mysql(0).without_ports().pod(v6(0)).pod(v6(1)));
            },
            "mysql",
            plain,
            "0 mysql-0 fd00::, 1 mysql-1 fd00::1",
            (5, 2),
        ),
        (
            "no headless Service",
            |dns| {
                dns.set_service(two().cluster_ip([10, 96, 0, 1]));
            },
            "mysql",
            plain,
            "- mysql 10.96.0.1",
            (1, 1),
        ),
    ])
    .await;
}
