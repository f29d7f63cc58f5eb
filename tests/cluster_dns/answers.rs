//! What is answered: records, negatives, spelling, truncation.

use std::io;
use std::time::Duration;

use headless_mysql::testkit::dns::{PodSpec, Protocol, Readiness, ServiceSpec};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{DNSClass, RData, RecordType};
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test]
async fn both_protocols_give_the_same_answers_as_coredns() {
    let dns = dns_with(mysql(2)).await;
    dns.set_service(
        ServiceSpec::new("default", "named")
            .named_port("mysql", 3306)
            .pod(PodSpec::ready("mysql-0", [10, 244, 1, 0]))
            .pod(PodSpec::ready("mysql-1", [10, 244, 1, 1]).not_ready()),
    );
    dns.set_service(ServiceSpec::new("default", "portless").with_pods(pods(1)));
    dns.set_service(ServiceSpec::new("default", "empty").unnamed_port(3306));
    let udp = Udp::to(&dns).await;
    let mut tcp = TcpStream::connect(dns.addr()).await.unwrap();

    // Row of the golden table; question; response code; answer; glue.
    type Row = (
        u8,
        &'static str,
        ResponseCode,
        &'static [&'static str],
        &'static [&'static str],
    );
    let (yes, no) = (ResponseCode::NoError, ResponseCode::NXDomain);
    let rows: [Row; 19] = [
        (
            1,
            "A mysql~",
            yes,
            &["mysql~ 5 A 10.244.1.0", "mysql~ 5 A 10.244.1.1"],
            &[],
        ),
        (2, "AAAA mysql~", yes, &[], &[]),
        (
            3,
            "SRV mysql~",
            yes,
            &[
                "mysql~ 5 SRV 0 50 3306 mysql-0.mysql~",
                "mysql~ 5 SRV 0 50 3306 mysql-1.mysql~",
            ],
            &[
                "mysql-0.mysql~ 5 A 10.244.1.0",
                "mysql-1.mysql~ 5 A 10.244.1.1",
            ],
        ),
        (
            5,
            "SRV _mysql._tcp.named~",
            yes,
            &["_mysql._tcp.named~ 5 SRV 0 100 3306 mysql-0.named~"],
            &["mysql-0.named~ 5 A 10.244.1.0"],
        ),
        (6, "SRV _mysql._tcp.mysql~", no, &[], &[]),
        (7, "SRV _mysql._udp.named~", no, &[], &[]),
        (8, "SRV _mysql._tcp.mysql-0.named~", no, &[], &[]),
        (
            9,
            "A _mysql._tcp.named~",
            yes,
            &["_mysql._tcp.named~ 5 A 10.244.1.0"],
            &[],
        ),
        (
            10,
            "A mysql-0.mysql~",
            yes,
            &["mysql-0.mysql~ 5 A 10.244.1.0"],
            &[],
        ),
        (11, "AAAA mysql-0.mysql~", yes, &[], &[]),
        (
            12,
            "SRV mysql-0.mysql~",
            yes,
            &["mysql-0.mysql~ 5 SRV 0 100 3306 mysql-0.mysql~"],
            &["mysql-0.mysql~ 5 A 10.244.1.0"],
        ),
        (13, "A mysql-9.mysql~", no, &[], &[]),
        (17, "A empty~", no, &[], &[]),
        (21, "A mysql-1.named~", no, &[], &[]),
        (28, "A portless~", yes, &["portless~ 5 A 10.244.1.0"], &[]),
        (29, "SRV portless~", yes, &[], &[]),
        (36, "SRV nothing~", no, &[], &[]),
        (38, "A svc.cluster.local.", yes, &[], &[]),
        (39, "TXT mysql~", yes, &[], &[]),
    ];
    for (number, question, code, answers, glue) in rows {
        let (kind, name) = question.split_once(' ').unwrap();
        let name = name.replace('~', ".default.svc.cluster.local.");
        let message = query(u16::from(number), kind.parse().unwrap(), &name, Some(1232));
        for got in [udp.ask(&message).await, ask_tcp(&mut tcp, &message).await] {
            let context = format!("row {number}: {question}");
            assert_eq!(got.metadata.id, u16::from(number), "{context}");
            assert_eq!(got.metadata.response_code, code, "{context}");
            assert!(
                got.metadata.authoritative && got.metadata.recursion_desired,
                "{context}"
            );
            assert!(
                !got.metadata.recursion_available && !got.metadata.truncation,
                "{context}"
            );
            assert_eq!(show(&got.answers), answers, "{context}");
            assert_eq!(show(&got.additionals), glue, "{context}");
            let soa = got
                .authorities
                .iter()
                .filter(|r| r.record_type() == RecordType::SOA);
            assert_eq!(soa.count(), usize::from(answers.is_empty()), "{context}");
            assert_eq!(got.queries, message.queries, "{context}");
            assert_eq!(
                got.edns.map(|edns| edns.max_payload()),
                Some(1232),
                "{context}"
            );
        }
    }
}

#[tokio::test]
async fn a_resolver_sees_targets_glue_and_the_kind_of_nothing() {
    let dns = dns_with(mysql(3)).await;
    let resolver = resolver(&dns);

    let srv = resolver.lookup(MYSQL, RecordType::SRV).await.unwrap();
    let targets = srv.answers().iter().map(|record| match &record.data {
        RData::SRV(srv) => (srv.target.to_ascii(), srv.port, srv.weight),
        other => panic!("not SRV: {other}"),
    });
    let expected = [0, 1, 2].map(|i| (format!("mysql-{i}.{MYSQL}"), 3306, 33));
    assert!(targets.eq(expected));
    assert_eq!(srv.additionals().len(), 3);

    let nodata = resolver.lookup(MYSQL, RecordType::AAAA).await;
    assert_eq!(response_code(&nodata), Some(ResponseCode::NoError));
    let gone = resolver
        .lookup("nothing.default.svc.cluster.local.", RecordType::A)
        .await;
    assert!(gone.unwrap_err().is_nx_domain());
    let outside = resolver.lookup("example.com.", RecordType::A).await;
    assert_eq!(response_code(&outside), Some(ResponseCode::Refused));
}

#[tokio::test]
async fn a_change_shows_with_the_next_query() {
    let dns = dns_with(mysql(2)).await;
    let resolver = resolver(&dns);
    let ask = |name| resolver.lookup(name, RecordType::A);

    dns.set_pod_address("default", "mysql", "mysql-0", [10, 244, 9, 9])
        .unwrap();
    assert_eq!(addresses(&ask(MYSQL_0).await.unwrap()), ["10.244.9.9"]);
    dns.set_readiness("default", "mysql", "mysql-0", Readiness::Terminating)
        .unwrap();
    assert!(ask(MYSQL_0).await.unwrap_err().is_nx_domain());
    assert_eq!(addresses(&ask(MYSQL).await.unwrap()), ["10.244.1.1"]);
    dns.update_service("default", "mysql", |spec| {
        spec.publish_not_ready_addresses = true
    })
    .unwrap();
    assert_eq!(
        addresses(&ask(MYSQL).await.unwrap()),
        ["10.244.9.9", "10.244.1.1"]
    );
    dns.remove_pod("default", "mysql", "mysql-0").unwrap();
    dns.add_pod(
        "default",
        "mysql",
        PodSpec::ready("mysql-2", [10, 244, 1, 2]),
    )
    .unwrap();
    assert_eq!(
        addresses(&ask(MYSQL).await.unwrap()),
        ["10.244.1.1", "10.244.1.2"]
    );
    dns.set_ttl(Duration::from_secs(30));
    assert_eq!(ask(MYSQL).await.unwrap().answers()[0].ttl, 30);
    dns.remove_service("default", "mysql");
    assert!(ask(MYSQL).await.unwrap_err().is_nx_domain());
}

#[tokio::test]
async fn a_change_to_what_is_not_there_is_an_error() {
    let dns = dns_with(mysql(1)).await;
    let error = dns
        .set_readiness("default", "mysql", "mysql-7", Readiness::Ready)
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "no pod mysql-7 behind Service default/mysql"
    );
    let error = dns.update_service("default", "other", |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "no Service default/other");
}

#[tokio::test]
async fn the_owner_has_the_case_of_the_question_and_targets_have_not() {
    let dns = dns_with(mysql(1)).await;
    let udp = Udp::to(&dns).await;
    let mut tcp = TcpStream::connect(dns.addr()).await.unwrap();
    let spelled = "MySQL.Default.svc.CLUSTER.local.";
    let message = query(1, RecordType::SRV, spelled, None);
    for got in [udp.ask(&message).await, ask_tcp(&mut tcp, &message).await] {
        assert_eq!(got.queries[0].name().to_ascii(), spelled);
        assert_eq!(got.answers[0].name.to_ascii(), spelled);
        match &got.answers[0].data {
            RData::SRV(srv) => assert_eq!(srv.target.to_ascii(), MYSQL_0),
            other => panic!("not SRV: {other}"),
        }
        assert_eq!(got.additionals[0].name.to_ascii(), MYSQL_0);
    }
    assert_eq!(dns.queries()[0].name, spelled);
}

#[tokio::test]
async fn an_answer_too_large_for_the_client_is_truncated() {
    let dns = dns_with(mysql(6)).await;
    let udp = Udp::to(&dns).await;
    let ask = async |edns| {
        udp.send(&query(1, RecordType::SRV, MYSQL, edns)).await;
        let (got, length) = udp.receive().await;
        let truncated = got.metadata.truncation;
        (got.answers.len(), got.additionals.len(), truncated, length)
    };

    // Whole, then cut: in the glue first, in the answer later.
    assert_eq!(ask(None).await, (6, 6, false, 499));
    dns.set_service(mysql(7));
    assert_eq!(ask(None).await, (7, 3, true, 510));
    assert_eq!(ask(Some(1232)).await, (7, 7, false, 1075));
    dns.set_service(mysql(15));
    assert_eq!(ask(None).await, (7, 0, true, 462));
    assert_eq!(ask(Some(1232)).await, (15, 15, false, 1190));
    dns.set_service(mysql(16));
    let (answers, glue, truncated, length) = ask(Some(1232)).await;
    assert_eq!((answers, truncated), (16, true));
    assert!(
        glue < 16 && length <= 1232,
        "{glue} glue records in {length} octets"
    );
    assert!(!ask(Some(4096)).await.2);
}

#[tokio::test]
async fn a_resolver_asks_again_over_tcp_when_an_answer_is_truncated() {
    let dns = dns_with(mysql(15)).await;
    let resolver = resolver(&dns);
    let protocols = || -> Vec<_> { dns.queries().iter().map(|query| query.protocol).collect() };

    let whole = resolver.lookup(MYSQL, RecordType::SRV).await.unwrap();
    assert_eq!(whole.answers().len(), 15);
    assert_eq!(protocols(), [Protocol::Udp]);

    dns.clear_queries();
    dns.set_service(mysql(16));
    let whole = resolver.lookup(MYSQL, RecordType::SRV).await.unwrap();
    assert_eq!((whole.answers().len(), whole.additionals().len()), (16, 16));
    assert_eq!(protocols(), [Protocol::Udp, Protocol::Tcp]);
}

#[tokio::test]
async fn tcp_carries_hundreds_of_targets_but_not_a_thousand() {
    let dns = dns_with(mysql(0)).await;
    let mut tcp = TcpStream::connect(dns.addr()).await.unwrap();
    let mut ask = async |pods: u16, kind| {
        let pods = (0..pods).map(|i| {
            let [high, low] = i.to_be_bytes();
            PodSpec::ready(format!("mysql-{i}"), [10, 244, high, low])
        });
        dns.set_service(mysql(0).with_pods(pods));
        let got = ask_tcp(&mut tcp, &query(1, kind, MYSQL, None)).await;
        let truncated = got.metadata.truncation;
        (got.answers.len(), got.additionals.len(), truncated)
    };

    assert_eq!(ask(400, RecordType::SRV).await, (400, 400, false));
    assert_eq!(ask(1000, RecordType::A).await, (1000, 0, false));
    let (_, glue, truncated) = ask(1000, RecordType::SRV).await;
    assert!(glue < 1000 && truncated);
}

#[tokio::test]
async fn a_response_has_an_opt_record_exactly_if_the_query_had_one() {
    let dns = dns_with(mysql(1)).await;
    let udp = Udp::to(&dns).await;
    let mut tcp = TcpStream::connect(dns.addr()).await.unwrap();
    let plain = query(1, RecordType::A, MYSQL, None);
    let sized = query(2, RecordType::A, MYSQL, Some(1400));
    let mut signed = sized.clone();
    signed.edns.as_mut().unwrap().set_dnssec_ok(true);
    for (message, expected) in [(plain, None), (sized, Some(false)), (signed, Some(true))] {
        for got in [udp.ask(&message).await, ask_tcp(&mut tcp, &message).await] {
            let size = got.edns.as_ref().map(|edns| edns.max_payload());
            assert_eq!(size, expected.map(|_| 1400));
            assert_eq!(got.edns.map(|edns| edns.flags().dnssec_ok), expected);
        }
    }
}

#[tokio::test]
async fn questions_that_coredns_does_not_take_are_turned_down() {
    let dns = dns_with(mysql(1)).await;
    let udp = Udp::to(&dns).await;

    let mut chaos = query(1, RecordType::A, MYSQL, None);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let got = udp.ask(&chaos).await;
    assert_eq!(got.metadata.response_code, ResponseCode::Refused);
    let mut no_question = query(2, RecordType::A, MYSQL, None);
    no_question.queries.clear();
    let got = udp.ask(&no_question).await;
    assert_eq!(got.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(dns.query_count(), 0);
}
