//! Sources beside one Service in DNS: two Services, lists of hosts, a changing `resolv.conf`.

use std::fs;
use std::time::Duration;

use headless_mysql::discovery::{
    DnsResolver, HostList, HostListBuilder, PrimaryAndReplicas, Resolve, ResolveError,
};
use headless_mysql_testkit::dns::{ClusterDns, Fault, FaultScope, PodSpec, ServiceSpec, Upstream};

use crate::discover::{builder, search, shown};
use crate::support::*;

async fn found(source: &impl Resolve) -> String {
    shown(&source.resolve().await, ResolveError::kind)
}

fn set(name: &str, third: u8, count: u8) -> ServiceSpec {
    let pods = (0..count).map(|n| PodSpec::ready(format!("{name}-{n}"), [10, 244, third, n]));
    let service = ServiceSpec::new("default", name).unnamed_port(3306);
    service.with_pods(pods.collect::<Vec<_>>())
}

fn pair(dns: &ClusterDns) -> PrimaryAndReplicas {
    let one = |name| builder(dns, name).build().unwrap();
    PrimaryAndReplicas::new(one("db-primary"), one("db-secondary"))
}

#[tokio::test]
async fn two_services_are_one_set_and_one_failing_takes_nothing_away() {
    let dns = ClusterDns::start().await.unwrap();
    dns.set_upstream(Some(Upstream::new()));
    dns.set_service(set("db-primary", 1, 1));
    dns.set_service(set("db-secondary", 2, 2));
    let pair = pair(&dns);
    let both = "0 db-primary-0 1.0, 1 db-secondary-0 2.0, 2 db-secondary-1 2.1";
    assert_eq!(found(&pair).await, both);
    assert_eq!(dns.query_count(), 2);

    let replicas = "~1 db-secondary-0 2.0, 2 db-secondary-1 2.1";
    let scope = FaultScope::all().name("db-primary.default.svc.cluster.local");
    dns.set_fault_for(Fault::ServFail, scope);
    assert_eq!(found(&pair).await, replicas);
    dns.set_fault(None);
    dns.remove_service("default", "db-primary");
    assert_eq!(found(&pair).await, replicas);
    dns.set_service(set("db-primary", 3, 1));
    dns.remove_service("default", "db-secondary");
    assert_eq!(found(&pair).await, "~0 db-primary-0 3.0");
    dns.remove_service("default", "db-primary");
    assert_eq!(found(&pair).await, "!not_found");
    // The first one's error, should both fail.
    let (_, transcript) = pair.explain().await;
    assert!(transcript.queries() >= 4);
}

#[tokio::test]
async fn a_primary_chosen_by_label_is_ordinal_0_without_a_host_name() {
    let dns = ClusterDns::start().await.unwrap();
    let nohost = |name: &str, pods: &[u8]| {
        let pods = pods
            .iter()
            .map(|n| PodSpec::ready(format!("db-{n}"), [10, 244, 1, *n]).without_hostname());
        let service = ServiceSpec::new("default", name).unnamed_port(3306);
        service.with_pods(pods.collect::<Vec<_>>())
    };
    dns.set_service(nohost("db-primary", &[1]));
    dns.set_service(nohost("db-secondary", &[0, 1, 2]));
    assert_eq!(
        found(&pair(&dns)).await,
        "0 10-244-1-1 1.1, - 10-244-1-0 1.0, - 10-244-1-2 1.2"
    );
}

fn hosts(dns: &ClusterDns, list: &[&str]) -> HostListBuilder {
    HostList::builder(list.to_vec())
        .name_servers(vec![dns.addr()])
        .search(search("default"))
        .timeout(Duration::from_millis(300))
}

#[tokio::test]
async fn hosts_keep_their_places_and_names_are_looked_up_each_time() {
    let dns = dns_with(mysql(2)).await;
    let world = || Upstream::new().host("db.example.com", [10, 244, 7, 7]);
    dns.set_upstream(Some(world()));
    let list = [
        "mysql-1.mysql",
        "10.244.8.8:3307",
        "db.example.com",
        "[fd00::1]:1",
    ];
    let list = hosts(&dns, &list).build().unwrap();
    let all = "0 mysql-1 1.1, 1 10 8.8 :3307, 2 db 7.7, 3 fd00::1 fd00::1 :1";
    assert_eq!(found(&list).await, all);
    // In the order of other resolvers: with ndots 5, the world comes last.
    let asked: Vec<String> = dns.queries().into_iter().map(|query| query.name).collect();
    assert_eq!(
        asked
            .iter()
            .filter(|name| name.starts_with("db.example"))
            .count(),
        4
    );
    assert_eq!(
        asked
            .iter()
            .filter(|name| name.starts_with("mysql-1"))
            .count(),
        1
    );

    dns.clear_queries();
    assert_eq!(found(&list).await, all);
    assert_eq!(dns.query_count(), 2, "the names that answered are known");

    dns.set_pod_address("default", "mysql", "mysql-1", [10, 244, 9, 9])
        .unwrap();
    assert_eq!(found(&list).await, all.replace("1.1,", "9.9,"));

    // Lost, failing: the others keep their places.
    dns.remove_pod("default", "mysql", "mysql-1").unwrap();
    assert_eq!(
        found(&list).await,
        format!("~{}", &all["0 mysql-1 1.1, ".len()..])
    );
    dns.set_upstream(Some(Upstream::failing()));
    assert_eq!(found(&list).await, "~1 10 8.8 :3307, 3 fd00::1 fd00::1 :1");

    let names = hosts(&dns, &["mysql-1.mysql", "db.example.com"])
        .build()
        .unwrap();
    let error = names.resolve().await.unwrap_err();
    assert_eq!(error.kind(), "server_failure");
    assert!(error.to_string().contains("mysql-1.mysql"), "{error}");
    let (_, transcript) = names.explain().await;
    assert!(transcript.queries() > 2);
}

#[tokio::test]
async fn a_list_of_addresses_asks_nothing() {
    let dns = ClusterDns::start().await.unwrap();
    let list = hosts(&dns, &["10.244.1.0", "localhost:3307"])
        .build()
        .unwrap();
    assert_eq!(found(&list).await, "0 10 1.0, 1 localhost 127.0.0.1 :3307");
    assert_eq!(dns.query_count(), 0);
}

#[tokio::test]
async fn a_changed_resolv_conf_is_read_again() {
    let dns = dns_with(mysql(1)).await;
    let prod = ServiceSpec::new("prod", "mysql").unnamed_port(3306);
    dns.set_service(prod.pod(PodSpec::ready("mysql-0", [10, 244, 9, 9])));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    let write = |namespace: &str| {
        let text = format!("search {namespace}.svc.cluster.local svc.cluster.local cluster.local");
        fs::write(&path, text).unwrap();
    };
    write("default");
    let resolver = DnsResolver::builder("mysql".parse().unwrap())
        .name_servers(vec![dns.addr()])
        .resolv_conf(&path)
        .build()
        .unwrap();
    assert_eq!(found(&resolver).await, "0 mysql-0 1.0");
    write("prod");
    let changed = async {
        while found(&resolver).await != "0 mysql-0 9.9" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.unwrap();
    assert_eq!(resolver.candidates()[0], "mysql.prod.svc.cluster.local.");
    // Gone: as it was.
    fs::remove_file(&path).unwrap();
    assert_eq!(found(&resolver).await, "0 mysql-0 9.9");
}
