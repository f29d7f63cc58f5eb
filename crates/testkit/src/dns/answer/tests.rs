//! Tests of random order, which no single packet shows. `tests/cluster_dns` compares the answers.

use std::collections::HashSet;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::spec::{PodSpec, ServiceSpec};
use super::*;

const MYSQL: &str = "mysql.default.svc.cluster.local.";

fn cluster(slice_size: Option<usize>) -> Cluster {
    let pods = (0..6).map(|i| PodSpec::ready(format!("mysql-{i}"), [10, 244, 1, i]));
    let mut mysql = ServiceSpec::new("default", "mysql")
        .unnamed_port(3306)
        .with_pods(pods);
    mysql.slice_size = slice_size;
    let mut cluster = Cluster::new();
    cluster.insert(mysql);
    cluster
}

/// The orders of records over many queries, given as the last characters of each record.
fn orders(
    cluster: &Cluster,
    kind: RecordType,
    balance: bool,
) -> (HashSet<String>, HashSet<String>) {
    let name = Name::from_ascii(MYSQL).unwrap();
    let chance = &mut StdRng::seed_from_u64(7);
    let order = |records: &[Record]| -> String {
        let owners = records.iter().map(|record| match &record.data {
            RData::SRV(srv) => srv.target.to_ascii(),
            data => data.to_string() + ".",
        });
        let digit = |text: String| {
            text.split('.')
                .find_map(|part| part.strip_prefix("mysql-").map(str::to_owned))
                .unwrap_or(text.chars().rev().nth(1).into_iter().collect())
        };
        owners.map(digit).collect()
    };
    let mut seen = (HashSet::new(), HashSet::new());
    for _ in 0..200 {
        let mut got = answer(cluster, &name, kind, chance);
        if balance {
            load_balance(&mut got, chance);
        }
        seen.0.insert(order(&got.answers));
        seen.1.insert(order(&got.additional));
    }
    seen
}

#[test]
fn one_slice_has_one_order() {
    let (answers, glue) = orders(&cluster(None), RecordType::SRV, false);
    assert_eq!(answers, HashSet::from(["012345".to_owned()]));
    assert_eq!(glue, answers);
}

#[test]
fn several_slices_come_in_any_order_but_each_of_them_in_its_own() {
    let (answers, glue) = orders(&cluster(Some(2)), RecordType::SRV, false);
    let expected = ["012345", "014523", "230145", "234501", "450123", "452301"];
    assert_eq!(answers, HashSet::from(expected.map(str::to_owned)));
    assert_eq!(glue, answers);
}

#[test]
fn load_balancing_shuffles_addresses_and_never_targets() {
    let (answers, glue) = orders(&cluster(None), RecordType::SRV, true);
    assert_eq!(answers, HashSet::from(["012345".to_owned()]));
    assert!(glue.len() > 100, "{}", glue.len());
    let (answers, _) = orders(&cluster(None), RecordType::A, true);
    assert!(answers.len() > 100, "{}", answers.len());
}

#[test]
fn kube_dns_shuffles_targets_too() {
    let mut cluster = cluster(None);
    cluster.options.flavor = Flavor::KubeDns;
    let (answers, glue) = orders(&cluster, RecordType::SRV, false);
    assert!(answers.len() > 100, "{}", answers.len());
    assert_eq!(glue, answers);
}

#[test]
fn load_balancing_leaves_aliases_in_front() {
    let mut cluster = cluster(None);
    cluster.insert(ServiceSpec::new("default", "alias").external_name(MYSQL));
    let name = Name::from_ascii("alias.default.svc.cluster.local.").unwrap();
    let chance = &mut StdRng::seed_from_u64(7);
    for _ in 0..20 {
        let mut got = answer(&cluster, &name, RecordType::A, chance);
        load_balance(&mut got, chance);
        let kinds: Vec<_> = got.answers.iter().map(Record::record_type).collect();
        assert_eq!(kinds[0], RecordType::CNAME);
        assert_eq!(kinds[1..], [RecordType::A; 6]);
    }
}

#[test]
fn the_weight_of_coredns_is_never_less_than_one_and_that_of_kube_dns_is() {
    let pods = (0..150).map(|i| PodSpec::ready(format!("mysql-{i}"), [10, 244, 0, i]));
    let mysql = ServiceSpec::new("default", "mysql").unnamed_port(3306);
    let mut cluster = Cluster::new();
    cluster.insert(mysql.with_pods(pods));
    for (flavor, expected) in [(Flavor::CoreDns, 1), (Flavor::KubeDns, 0)] {
        cluster.options.flavor = flavor;
        let name = Name::from_ascii(MYSQL).unwrap();
        let got = answer(&cluster, &name, RecordType::SRV, &mut rand::rng());
        assert_eq!(got.answers.len(), 150);
        for record in got.answers {
            match record.data {
                RData::SRV(srv) => assert_eq!(srv.weight, expected),
                other => panic!("not SRV: {other}"),
            }
        }
    }
}
