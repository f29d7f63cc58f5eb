//! What the resolver makes of every kind of Service, and how many queries that costs.

use headless_mysql::discovery::{Answer, DnsResolver, DnsResolverBuilder, FoundPod, Resolve};
use headless_mysql::name::{Ordinal, SearchList};
use headless_mysql_testkit::dns::{Autopath, ClusterDns, PodSpec, ServiceSpec, Upstream};

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

pub(crate) fn two() -> ServiceSpec {
    mysql(2)
}

pub(crate) const TWO: &str = "0 mysql-0 1.0, 1 mysql-1 1.1";

fn external(target: &str) -> ServiceSpec {
    ServiceSpec::new("default", "mysql").external_name(target)
}

/// What there is; the name to look up; with which options; what is found; queries of the first
/// look-up and of the second.
pub(crate) type Case = (
    &'static str,
    fn(&ClusterDns),
    &'static str,
    fn(DnsResolverBuilder) -> DnsResolverBuilder,
    &'static str,
    (usize, usize),
);

/// Nothing but defaults.
pub(crate) fn plain(builder: DnsResolverBuilder) -> DnsResolverBuilder {
    builder
}

pub(crate) async fn check(cases: &[Case]) {
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
