//! Sizes and cuts as measured on a real CoreDNS 1.14.7.

use std::net::Ipv4Addr;

use hickory_server::proto::op::{Message, MessageType, OpCode, Query};

use super::super::answer::answer;
use super::super::spec::{Cluster, PodSpec, ServiceSpec};
use super::*;

/// What a client gets: answers, additionals without OPT, truncation flag, octets.
type Seen = (usize, usize, bool, usize);

fn ask(namespace: &str, service: &str, pods: u16, kind: RecordType, edns: Option<u16>) -> Seen {
    let mut spec = ServiceSpec::new(namespace, service).unnamed_port(3306);
    for pod in 0..pods {
        let [high, low] = pod.to_be_bytes();
        let address = Ipv4Addr::new(10, 244, high, low);
        spec = spec.pod(PodSpec::ready(format!("mysql-{pod}"), address));
    }
    let mut cluster = Cluster::new();
    cluster.insert(spec);

    let name: Name = format!("{namespace}.svc.cluster.local.").parse().unwrap();
    let name = name.prepend_label(service).unwrap();
    let mut metadata = Metadata::new(77, MessageType::Response, OpCode::Query);
    metadata.authoritative = true;
    metadata.recursion_desired = true;
    let edns = edns.map(|size| {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        edns
    });
    let envelope = Envelope {
        metadata: &metadata,
        name: &name,
        question: &Query::query(name.clone(), kind).to_bytes().unwrap(),
        edns: edns.as_ref(),
        limit: edns.as_ref().map_or(512, |edns| edns.max_payload().into()),
    };
    let whole = answer(&cluster, &name, kind);
    let bytes = encode(&envelope, &whole).unwrap();

    let message = Message::from_vec(&bytes).unwrap();
    let mut expected = metadata;
    expected.truncation = message.metadata.truncation;
    assert_eq!(message.metadata, expected);
    assert_eq!(message.queries, [Query::query(name, kind)]);
    assert_eq!(message.edns.is_some(), edns.is_some());
    assert!(whole.answers.starts_with(&message.answers));
    assert!(whole.additional.starts_with(&message.additionals));
    (
        message.answers.len(),
        message.additionals.len(),
        message.metadata.truncation,
        bytes.len(),
    )
}

#[test]
fn datagrams_are_cut_where_coredns_cuts_them() {
    use RecordType::{A, SRV};
    let cases = [
        (3, A, None, (3, 0, false, 170)),
        (3, A, Some(1232), (3, 0, false, 181)),
        (3, SRV, None, (3, 3, false, 434)),
        (3, SRV, Some(1232), (3, 3, false, 445)),
        (6, A, None, (6, 0, false, 296)),
        (6, A, Some(1232), (6, 0, false, 307)),
        (6, SRV, None, (6, 6, false, 464)),
        (6, SRV, Some(1232), (6, 6, false, 835)),
        (7, A, None, (7, 0, false, 338)),
        (7, SRV, None, (7, 5, true, 502)),
        (7, SRV, Some(1232), (7, 7, false, 965)),
        (9, A, None, (9, 0, false, 422)),
        (9, SRV, None, (8, 0, true, 476)),
        (9, SRV, Some(1232), (9, 9, false, 1225)),
        (16, A, None, (16, 0, false, 301)),
        (16, A, Some(1232), (16, 0, false, 744)),
        (16, SRV, None, (8, 0, true, 485)),
        (16, SRV, Some(1232), (16, 16, false, 1198)),
        (20, A, None, (20, 0, false, 365)),
        (20, A, Some(1232), (20, 0, false, 916)),
        (20, SRV, None, (8, 0, true, 485)),
        (20, SRV, Some(1232), (20, 4, true, 1230)),
        (30, A, None, (29, 0, true, 509)),
        (30, A, Some(1232), (30, 0, false, 536)),
        (30, SRV, None, (8, 0, true, 485)),
        (30, SRV, Some(1232), (21, 0, true, 1222)),
        (100, A, None, (29, 0, true, 510)),
        (100, A, Some(1232), (73, 0, true, 1225)),
        (100, SRV, None, (8, 0, true, 494)),
        (100, SRV, Some(1232), (20, 0, true, 1187)),
        (1000, A, None, (29, 0, true, 511)),
        (1000, A, Some(1232), (73, 0, true, 1226)),
        (1000, SRV, None, (8, 0, true, 503)),
        (1000, SRV, Some(1232), (20, 0, true, 1208)),
    ];
    for (pods, kind, edns, expected) in cases {
        let got = ask(&format!("n{pods}"), "mysql", pods, kind, edns);
        assert_eq!(got, expected, "{pods} pods, {kind}, EDNS {edns:?}");
    }
}

#[test]
fn the_largest_whole_answers_have_as_many_pods_as_with_coredns() {
    use RecordType::{A, SRV};
    let cases = [
        ("default", "mysql", A, None, 28),
        ("default", "mysql", A, Some(1232), 73),
        ("default", "mysql", SRV, None, 6),
        ("default", "mysql", SRV, Some(1232), 15),
        ("production-payments", "mysql-headless", A, None, 27),
        ("production-payments", "mysql-headless", A, Some(1232), 71),
        ("production-payments", "mysql-headless", SRV, None, 4),
        ("production-payments", "mysql-headless", SRV, Some(1232), 11),
    ];
    for (namespace, service, kind, edns, largest) in cases {
        let truncated = |pods| ask(namespace, service, pods, kind, edns).2;
        let context = format!("{kind} {service}.{namespace}, EDNS {edns:?}");
        assert!(!truncated(largest), "{context}: {largest} pods");
        assert!(truncated(largest + 1), "{context}: {} pods", largest + 1);
    }
}
