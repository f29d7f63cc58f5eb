//! The clusters that the rows of `data/golden.txt` are about.

use std::net::IpAddr;
use std::time::Duration;

use headless_mysql_testkit::dns::{
    Autopath, ClusterDns, Flavor, PodSpec, Readiness, ReverseZones, ServiceSpec, Upstream,
};

use crate::support::MYSQL;

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn pods() -> [PodSpec; 3] {
    [
        PodSpec::ready("mysql-0", ip("10.244.1.5")),
        PodSpec::ready("mysql-1", ip("10.244.2.6")),
        PodSpec::ready("mysql-2", ip("10.244.3.7")),
    ]
}

fn service(name: &str, pods: impl IntoIterator<Item = PodSpec>) -> ServiceSpec {
    ServiceSpec::new("default", name)
        .unnamed_port(3306)
        .with_pods(pods)
}

fn mysql(pods: impl IntoIterator<Item = PodSpec>) -> ServiceSpec {
    service("mysql", pods)
}

fn nohost() -> ServiceSpec {
    let [first, second, _] = pods().map(PodSpec::without_hostname);
    service("nohost", [first, second])
}

fn cip(pods: impl IntoIterator<Item = PodSpec>) -> ServiceSpec {
    ServiceSpec::new("default", "cip")
        .named_port("mysql", 3306)
        .cluster_ip([10, 96, 0, 9])
        .with_pods(pods)
}

fn alias(name: &str, target: &str) -> ServiceSpec {
    ServiceSpec::new("default", name).external_name(target)
}

fn samehost(name: &str) -> ServiceSpec {
    let replacement = PodSpec::ready("mysql-0", ip("10.244.9.9"));
    service(name, [pods()[0].clone(), replacement])
}

/// Sets a server up as a row wants it; the answer is the TTL of its records.
pub(crate) fn set_up(dns: &ClusterDns, fixture: &str) -> u32 {
    let [first, second, third] = pods();
    let set = |services: Vec<ServiceSpec>| services.into_iter().for_each(|s| dns.set_service(s));
    let example = || Upstream::new().host("db.example.com", [192, 0, 2, 1]);
    match fixture {
        "mysql" => set(vec![mysql(pods())]),
        "mysqln" => set(vec![
            ServiceSpec::new("default", "mysqln")
                .named_port("mysql", 3306)
                .with_pods(pods()),
        ]),
        "two" => set(vec![
            ServiceSpec::new("default", "two")
                .named_port("mysql", 3306)
                .named_port("mysqlx", 33060)
                .pod(PodSpec::ready("two-0", ip("10.244.1.5")))
                .pod(PodSpec::ready("two-1", ip("10.244.2.6"))),
        ]),
        "empty" => set(vec![mysql([])]),
        "unready" => set(vec![mysql(pods().map(PodSpec::not_ready))]),
        "unready1" => set(vec![mysql([first, second.not_ready(), third])]),
        "ending0" => set(vec![mysql([first.terminating(), second, third])]),
        "published" => {
            let pods = [first.terminating(), second.not_ready(), third];
            set(vec![mysql(pods).publish_not_ready_addresses(true)]);
        }
        "unknown" => {
            let unknown = |pod: PodSpec| pod.readiness(Readiness::Unknown);
            set(vec![mysql(pods().map(unknown))]);
        }
        "nohost" => set(vec![nohost()]),
        "podnames" => {
            set(vec![nohost()]);
            dns.set_endpoint_pod_names(true);
        }
        "portless" => set(vec![mysql(pods()).without_ports()]),
        "dual" => {
            let pods = [first.address(ip("fd00::5")), second.address(ip("fd00::6"))];
            set(vec![mysql(pods)]);
        }
        "six" => {
            let pods = ["5678:abcd::1", "5678:abcd::"]
                .map(|address| PodSpec::ready("six", ip(address)).without_hostname());
            set(vec![service("six", pods)]);
        }
        "skew" => set(vec![mysql([first, second.clone(), second])]),
        "samehost" => set(vec![samehost("mysql")]),
        "alias" | "aliasdown" | "aliasgone" => {
            set(vec![
                mysql(pods()),
                alias("alias", "db.example.com"),
                alias("inside", MYSQL.trim_end_matches('.')),
                alias("further", "inside.default.svc.cluster.local"),
                alias("circle", "circle.default.svc.cluster.local"),
                alias("dangling", "nothing.default.svc.cluster.local"),
                alias("literal", "192.0.2.1"),
            ]);
            dns.set_upstream(match fixture {
                "alias" => Some(example()),
                "aliasdown" => Some(Upstream::failing()),
                _ => None,
            });
        }
        "cip" => set(vec![
            mysql(pods()),
            cip(pods().map(PodSpec::without_hostname)),
        ]),
        "cip0" => set(vec![cip([])]),
        "cip2" => set(vec![cip([]).cluster_ip(ip("fd00:96::9"))]),
        "ignore" => {
            let full = service("full", pods()).cluster_ip([10, 96, 0, 8]);
            set(vec![cip([first.not_ready()]), full]);
            dns.set_ignore_empty_services(true);
        }
        "reverse" => {
            set(vec![mysql(pods())]);
            dns.set_reverse_zones(ReverseZones::Authoritative);
        }
        "forwardless" => {
            set(vec![mysql(pods())]);
            dns.set_reverse_zones(ReverseZones::Absent);
        }
        "unsynced" => {
            set(vec![mysql(pods())]);
            dns.set_synced(false);
        }
        "autopath" | "autodown" => {
            set(vec![mysql(pods()), service("zero", [])]);
            dns.set_autopath(Some(Autopath::new("default").search("example.org")));
            let strangers = example()
                .host("zero", [10, 66, 66, 66])
                .host("hostzero.example.org", [10, 66, 66, 67]);
            dns.set_upstream(match fixture {
                "autopath" => Some(strangers),
                _ => Some(Upstream::failing()),
            });
        }
        "cached" => {
            set(vec![mysql(pods())]);
            dns.set_ttl(Duration::from_secs(30));
            dns.set_cache(Some(Duration::from_secs(30)));
            return 30;
        }
        "ttl0" | "ttl0cache" => {
            set(vec![mysql(pods())]);
            dns.set_ttl(Duration::ZERO);
            if fixture == "ttl0cache" {
                dns.set_cache(Some(Duration::from_secs(30)));
            }
            return 0;
        }
        "balance" => {
            set(vec![mysql(pods())]);
            dns.set_load_balance(true);
        }
        "toolong" => set(vec![mysql([PodSpec::ready("m".repeat(64), [10, 0, 0, 1])])]),
        "kube" | "kubelost" => {
            set_up(dns, "alias");
            for fixture in ["mysqln", "nohost", "cip0"] {
                set_up(dns, fixture);
            }
            set(vec![
                service("unready", [first.not_ready()]),
                samehost("samehost"),
            ]);
            dns.set_flavor(Flavor::KubeDns);
            dns.set_synced(fixture == "kube");
            return 30;
        }
        other => panic!("no such fixture: {other}"),
    }
    5
}
