//! What the resolver makes of every kind of Service, and how many queries that costs.

use headless_mysql::discovery::{Answer, DnsResolver, DnsResolverBuilder, FoundPod, Resolve};
use headless_mysql::name::{Ordinal, SearchList};
use headless_mysql::testkit::dns::{Autopath, ClusterDns, Flavor, PodSpec, ServiceSpec, Upstream};

use crate::support::*;

const FULL: &str = "mysql.default.svc.cluster.local";

/// The search list of a pod in this namespace.
pub(crate) fn search(namespace: &str) -> SearchList {
    let own = format!("{namespace}.svc.cluster.local");
    SearchList::new([&own, "svc.cluster.local", "cluster.local"]).with_ndots(5)
}

pub(crate) fn builder(dns: &ClusterDns, name: &str) -> DnsResolverBuilder {
    DnsResolver::builder(name.parse().unwrap())
        .search(search("default"))
        .name_servers(vec![dns.addr()])
        .timeout(PATIENCE)
        .deadline(PATIENCE)
}

/// `0 mysql-0 1.0` for each pod: ordinal, first label, addresses without `10.244.` in front, port
/// if it is not 3306; sorted; `~` in front of a partial answer. Or `!` and the kind of failure.
pub(crate) fn shown<E>(result: &Result<Answer, E>, kind: impl Fn(&E) -> &'static str) -> String {
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => return format!("!{}", kind(error)),
    };
    let mut pods: Vec<&FoundPod> = answer.pods.iter().collect();
    pods.sort_by_key(|pod| (pod.ordinal.is_none(), pod.ordinal, pod.addresses.clone()));
    let pods = pods.into_iter().map(|pod| {
        let ordinal = pod.ordinal.map_or("-".to_owned(), |n| n.to_string());
        let label = pod.host.split('.').next().unwrap_or_default();
        let mut addresses = pod.addresses.clone();
        addresses.sort_unstable();
        let addresses = addresses
            .iter()
            .map(|address| address.to_string().replace("10.244.", ""));
        let addresses: Vec<String> = addresses.collect();
        let port = match pod.port {
            3306 => String::new(),
            port => format!(" :{port}"),
        };
        format!("{ordinal} {label} {}{port}", addresses.join("+"))
    });
    let partial = if answer.complete { "" } else { "~" };
    format!("{partial}{}", pods.collect::<Vec<_>>().join(", "))
}

async fn found(resolver: &DnsResolver) -> String {
    shown(&resolver.resolve().await, |error| error.kind())
}

fn two() -> ServiceSpec {
    mysql(2)
}

const TWO: &str = "0 mysql-0 1.0, 1 mysql-1 1.1";

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

fn external(target: &str) -> ServiceSpec {
    ServiceSpec::new("default", "mysql").external_name(target)
}

/// What there is; the name to look up; with which options; what is found; queries of the first
/// look-up and of the second.
type Case = (
    &'static str,
    fn(&ClusterDns),
    &'static str,
    fn(DnsResolverBuilder) -> DnsResolverBuilder,
    &'static str,
    (usize, usize),
);

/// Nothing but defaults.
fn plain(builder: DnsResolverBuilder) -> DnsResolverBuilder {
    builder
}

async fn check(cases: &[Case]) {
    for (what, given, name, options, expected, queries) in cases {
        let dns = ClusterDns::start().await.unwrap();
        dns.set_upstream(Some(Upstream::new()));
        given(&dns);
        let resolver = options(builder(&dns, name)).build().unwrap();
        let mut counts = Vec::new();
        for look_up in 0..2 {
            dns.clear_queries();
            assert_eq!(
                found(&resolver).await,
                *expected,
                "{what}: look-up {look_up}"
            );
            counts.push(dns.query_count());
        }
        assert_eq!((counts[0], counts[1]), *queries, "{what}: queries");
    }
}

#[tokio::test]
async fn a_name_in_any_spelling_costs_one_query() {
    let two_of_prod: fn(&ClusterDns) = |dns| {
        dns.set_service(two());
        let prod = ServiceSpec::new("prod", "mysql").unnamed_port(3306);
        dns.set_service(prod.with_pods(pods(2)));
    };
    check(&[
        ("a full name", two_of_prod, FULL, plain, TWO, (1, 1)),
        (
            "with a dot",
            two_of_prod,
            "mysql.default.svc.cluster.local.",
            plain,
            TWO,
            (1, 1),
        ),
        (
            "in capitals",
            two_of_prod,
            "MySQL.Default.svc.cluster.local",
            plain,
            TWO,
            (1, 1),
        ),
        ("a short name", two_of_prod, "mysql", plain, TWO, (1, 1)),
        (
            "another namespace",
            two_of_prod,
            "mysql.prod",
            plain,
            TWO,
            (1, 1),
        ),
        (
            "with svc",
            two_of_prod,
            "mysql.prod.svc",
            plain,
            TWO,
            (1, 1),
        ),
        (
            "a pod",
            two_of_prod,
            "mysql-1.mysql",
            plain,
            "1 mysql-1 1.1",
            (1, 1),
        ),
        (
            "of a namespace",
            two_of_prod,
            "mysql-1.mysql.prod",
            plain,
            "1 mysql-1 1.1",
            (1, 1),
        ),
        (
            "with svc",
            two_of_prod,
            "mysql-1.mysql.prod.svc",
            plain,
            "1 mysql-1 1.1",
            (1, 1),
        ),
        (
            "a pod's full name",
            two_of_prod,
            "mysql-1.mysql.default.svc.cluster.local",
            plain,
            "1 mysql-1 1.1",
            (1, 1),
        ),
        (
            "a Service that is called like a pod",
            |dns| {
                let service = ServiceSpec::new("prod", "mysql-1").unnamed_port(3306);
                dns.set_service(service.with_pods(pods(2)));
            },
            "mysql-1.prod",
            plain,
            TWO,
            (1, 1),
        ),
        // SRV and A for each candidate, of which there are four.
        (
            "no such Service",
            two_of_prod,
            "nosuch",
            plain,
            "!not_found",
            (8, 8),
        ),
        (
            "no such pod",
            two_of_prod,
            "mysql-7.mysql.default.svc",
            plain,
            "!not_found",
            (8, 8),
        ),
        (
            "a name outside that is refused",
            |dns| dns.set_upstream(None),
            "nosuch",
            plain,
            "!server_failure",
            (7, 7),
        ),
        (
            "in the wrong namespace",
            two_of_prod,
            "mysql",
            |b| b.search(search("other")),
            "!not_found",
            (8, 8),
        ),
    ])
    .await;
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
            "0 mysql-0 1.0, 1 mysql-1 1.1, - router-0 2.0",
            (1, 1),
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
            FULL,
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

#[tokio::test]
async fn an_alias_is_foreign_unless_allowed() {
    let to_other: fn(&ClusterDns) = |dns| {
        dns.set_service(external("db.prod.svc.cluster.local"));
        let pods = [0, 1].map(|n| PodSpec::ready(format!("db-{n}"), [10, 244, 1, n]));
        let db = ServiceSpec::new("prod", "db").unnamed_port(3306);
        dns.set_service(db.with_pods(pods));
    };
    let outside: fn(&ClusterDns) = |dns| {
        dns.set_service(external("db.example.com"));
        dns.set_upstream(Some(
            Upstream::new().host("db.example.com", [10, 244, 7, 7]),
        ));
    };
    // Cluster DNS that goes on to search finds a stranger of the same name.
    let autopath: fn(&ClusterDns) = |dns| {
        dns.set_service(mysql(0));
        dns.set_autopath(Some(Autopath::new("default").search("corp.example")));
        let stranger = Upstream::new().host("mysql.corp.example", [10, 66, 66, 66]);
        dns.set_upstream(Some(stranger));
    };
    let allow: fn(DnsResolverBuilder) -> DnsResolverBuilder = |b| b.allow_alias(true);
    check(&[
        (
            "to another Service",
            to_other,
            FULL,
            plain,
            "!foreign",
            (2, 2),
        ),
        // Its own SRV and A, then the other's SRV; later without the first.
        (
            "to another, allowed",
            to_other,
            FULL,
            allow,
            "0 db-0 1.0, 1 db-1 1.1",
            (3, 2),
        ),
        ("to a host", outside, FULL, plain, "!foreign", (2, 2)),
        (
            "to a host, allowed",
            outside,
            FULL,
            allow,
            "- db 7.7",
            (3, 2),
        ),
        (
            "to nowhere",
            |dns| {
                dns.set_service(external("db.example.com"));
                dns.set_upstream(Some(Upstream::failing()));
            },
            FULL,
            allow,
            "!server_failure",
            (3, 3),
        ),
        ("autopath", autopath, FULL, plain, "!foreign", (2, 2)),
    ])
    .await;
}

#[tokio::test]
async fn every_size_is_found_whole_with_as_few_queries_as_it_takes() {
    // Pods; queries at first and later. Up to 15 one datagram; then one more over TCP; 1,000 are
    // too many for SRV over TCP: their addresses, and each by name.
    for (count, first, later) in [
        (3_u16, 1, 1),
        (6, 1, 1),
        (7, 1, 1),
        (15, 1, 1),
        (16, 2, 2),
        (100, 2, 2),
        (700, 2, 2),
        (1000, 3 + 2 + 1000, 2),
    ] {
        let pods = (0..count).map(|n| {
            let [high, low] = n.to_be_bytes();
            PodSpec::ready(format!("mysql-{n}"), [10, 244, high, low])
        });
        let dns = dns_with(mysql(0).with_pods(pods)).await;
        let resolver = builder(&dns, "mysql").build().unwrap();
        let mut queries = Vec::new();
        for _ in 0..2 {
            dns.clear_queries();
            let answer = resolver.resolve().await.unwrap();
            let mut ordinals: Vec<Option<u32>> = answer
                .pods
                .iter()
                .map(|pod| pod.ordinal.map(Ordinal::get))
                .collect();
            ordinals.sort_unstable();
            let expected: Vec<_> = (0..u32::from(count)).map(Some).collect();
            assert_eq!(ordinals, expected, "{count} pods");
            assert!(answer.complete);
            queries.push(dns.query_count());
        }
        assert_eq!(queries, [first, later], "{count} pods");
    }
}
