//! An encoded message can be parsed again, whole or truncated.

use hickory_resolver::proto::op::{Message, MessageType, Query};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::answer::{answer, load_balance};
use super::super::options::Upstream;
use super::super::request::{Received, read};
use super::super::spec::{Cluster, PodSpec, ServiceSpec};
use super::*;

fn request(name: &str, kind: RecordType, edns: Option<u16>) -> Request {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.set_edns(edns);
    }
    match read(&message.to_vec().unwrap()) {
        Received::Request(request) => request,
        other => panic!("not a query: {other:?}"),
    }
}

/// A cluster whose answers contain every kind of record.
fn cluster(flavor: Flavor, pods: u16) -> Cluster {
    let pod = |i: u16| {
        let [high, low] = i.to_be_bytes();
        let pod = PodSpec::ready(format!("mysql-{i}"), [10, 244, high, low]);
        pod.address([0xfd00, 0, 0, 0, 0, 0, 0, i])
    };
    let mysql = ServiceSpec::new("default", "mysql").named_port("mysql", 3306);
    let mut cluster = Cluster::new();
    cluster.insert(mysql.with_pods((0..pods).map(pod)));
    cluster.insert(ServiceSpec::new("default", "alias").external_name("db.example.com"));
    cluster.insert(
        ServiceSpec::new("default", "inside").external_name("mysql.default.svc.cluster.local"),
    );
    cluster.insert(
        ServiceSpec::new("default", "vip")
            .named_port("mysql", 3306)
            .cluster_ip([10, 96, 0, 9]),
    );
    let upstream = Upstream::new().host("db.example.com", [192, 0, 2, 1]);
    cluster.options.upstream = Some(upstream);
    cluster.options.flavor = flavor;
    cluster
}

fn question() -> impl Strategy<Value = (&'static str, RecordType)> {
    let names = prop::sample::select(vec![
        "mysql.default.svc.cluster.local.",
        "MYSQL.Default.svc.cluster.local.",
        "_mysql._tcp.mysql.default.svc.cluster.local.",
        "mysql-0.mysql.default.svc.cluster.local.",
        "alias.default.svc.cluster.local.",
        "inside.default.svc.cluster.local.",
        "vip.default.svc.cluster.local.",
        "_mysql._tcp.vip.default.svc.cluster.local.",
        "nothing.default.svc.cluster.local.",
        "cluster.local.",
        "dns-version.cluster.local.",
        "0.0.244.10.in-addr.arpa.",
        "9.0.96.10.in-addr.arpa.",
        "db.example.com.",
        "nothing.example.com.",
        "in-addr.arpa.",
    ]);
    use RecordType::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
    let kinds = prop::sample::select(vec![A, AAAA, CNAME, PTR, SOA, SRV, TXT]);
    (names, kinds)
}

proptest! {
    #[test]
    fn a_parser_reads_what_was_meant_or_a_beginning_of_it(
        flavor in prop::sample::select(vec![Flavor::CoreDns, Flavor::KubeDns]),
        pods in prop_oneof![0..40_u16, 300..700_u16],
        (name, kind) in question(),
        edns in prop::option::of(0..9000_u16),
        over_udp: bool,
        seed: u64,
    ) {
        let request = request(name, kind, edns);
        let chance = &mut StdRng::seed_from_u64(seed);
        let mut whole = answer(&cluster(flavor, pods), request.query.name(), kind, chance);
        load_balance(&mut whole, chance);
        let (protocol, limit) = match over_udp {
            true => (Protocol::Udp, usize::from(edns.unwrap_or(0).max(512))),
            false => (Protocol::Tcp, MAX_TCP),
        };
        let bytes = encode(&request, protocol, &whole, false).unwrap();
        prop_assert!(bytes.len() <= limit);

        let got = Message::from_vec(&bytes).unwrap();
        prop_assert_eq!(got.metadata.id, request.metadata.id);
        prop_assert_eq!(got.metadata.message_type, MessageType::Response);
        prop_assert_eq!(got.metadata.authoritative, whole.authoritative);
        prop_assert_eq!(got.metadata.recursion_available, whole.recursion_available);
        prop_assert_eq!(&got.queries, std::slice::from_ref(&request.query));
        prop_assert_eq!(got.queries[0].name().to_ascii(), name);
        prop_assert!(whole.answers.starts_with(&got.answers));
        prop_assert!(whole.authority.starts_with(&got.authorities));
        prop_assert!(whole.additional.starts_with(&got.additionals));
        let is_whole = got.answers.len() == whole.answers.len()
            && got.authorities.len() == whole.authority.len()
            && got.additionals.len() == whole.additional.len();
        match flavor {
            Flavor::CoreDns => {
                prop_assert_eq!(got.metadata.truncation, !is_whole);
                prop_assert_eq!(got.metadata.response_code, whole.response_code);
                prop_assert_eq!(got.edns.is_some(), edns.is_some());
            }
            Flavor::KubeDns => {
                let answers_cut = got.answers.len() < whole.answers.len();
                let failed = got.metadata.response_code != whole.response_code;
                prop_assert_eq!(got.metadata.truncation, answers_cut && over_udp);
                prop_assert_eq!(failed, answers_cut && !over_udp);
                prop_assert!(got.edns.is_none());
            }
        }
    }
}

#[test]
fn kube_dns_keeps_an_answer_that_does_not_fit_rather_than_none() {
    // Ten answers of 100 octets each, after 50 octets of header and question.
    let lengths: Vec<usize> = (0..=10).map(|answers| 50 + answers * 100).collect();
    assert_eq!(answers_kept(&lengths, 512), 4);
    assert_eq!(answers_kept(&lengths, 450), 3);
    assert_eq!(answers_kept(&lengths, 160), 1);
    assert_eq!(answers_kept(&lengths, 60), 1);
}
