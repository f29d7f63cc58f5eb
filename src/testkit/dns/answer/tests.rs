//! The golden table, row by row: what a real CoreDNS 1.14.7 answered.
//!
//! In names and records, `~` stands for `.default.svc.cluster.local.`.

mod names;
mod pods;

use std::net::IpAddr;

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
