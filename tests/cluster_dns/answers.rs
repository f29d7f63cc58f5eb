//! What is answered where no table says it: to a resolver, after a change, to odd questions.

use std::io;
use std::time::Duration;

use headless_mysql_testkit::dns::{PodSpec, Protocol, Readiness};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{DNSClass, RData, RecordType};
use tokio::net::TcpStream;

use crate::support::*;

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
    assert_eq!(got.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(dns.query_count(), 0);
}
