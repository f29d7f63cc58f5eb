//! What goes wrong on request: faults, old answers, the end of the server.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use headless_mysql_testkit::dns::{Fault, FaultScope, Protocol, RecordKind};
use hickory_resolver::net::NetError;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::proto::serialize::binary::BinEncodable;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::support::*;

#[tokio::test]
async fn faults_answer_with_their_response_code_until_they_are_cleared() {
    let dns = dns_with(mysql(1)).await;
    let resolver = resolver(&dns);
    let cases = [
        (Fault::ServFail, ResponseCode::ServFail),
        (Fault::Refused, ResponseCode::Refused),
        (Fault::NxDomain, ResponseCode::NXDomain),
    ];
    for (fault, code) in cases {
        dns.set_fault(Some(fault));
        for kind in [RecordType::A, RecordType::SRV] {
            let result = resolver.lookup(MYSQL, kind).await;
            assert_eq!(response_code(&result), Some(code), "{fault:?}, {kind}");
        }
    }
    dns.set_fault(None);
    assert_eq!(first_address(&resolver, MYSQL).await, "10.244.1.0");
}

#[tokio::test]
async fn a_fault_can_be_kept_to_one_type_and_a_number_of_queries() {
    let dns = dns_with(mysql(1)).await;
    let resolver = resolver(&dns);
    let scope = FaultScope::all().kind(RecordKind::Srv).next(2);
    dns.set_fault_for(Fault::ServFail, scope);

    assert!(resolver.lookup(MYSQL, RecordType::A).await.is_ok());
    for _ in 0..2 {
        let result = resolver.lookup(MYSQL, RecordType::SRV).await;
        assert_eq!(response_code(&result), Some(ResponseCode::ServFail));
    }
    assert!(resolver.lookup(MYSQL, RecordType::SRV).await.is_ok());
}

#[tokio::test]
async fn a_dropped_query_is_logged_and_never_answered() {
    let dns = dns_with(mysql(1)).await;
    let udp = Udp::to(&dns).await;
    dns.set_fault_for(Fault::Drop, FaultScope::all().next(1));

    udp.send(&query(1, RecordType::A, MYSQL, None)).await;
    dns.wait_for_queries(1).await;
    // The first thing that comes back answers the second query.
    let got = udp.ask(&query(2, RecordType::A, MYSQL, None)).await;
    assert_eq!(got.metadata.id, 2);
    assert_eq!(dns.query_count(), 2);
}

#[tokio::test]
async fn a_delayed_answer_holds_up_no_other_and_is_as_old_as_its_query() {
    let dns = dns_with(mysql(1)).await;
    let udp = Udp::to(&dns).await;
    let delay = Fault::Delay(Duration::from_millis(250));
    dns.set_fault_for(delay, FaultScope::all().next(1));

    udp.send(&query(1, RecordType::A, MYSQL_0, None)).await;
    dns.wait_for_queries(1).await;
    dns.set_pod_address("default", "mysql", "mysql-0", [10, 244, 9, 9])
        .unwrap();
    let prompt = udp.ask(&query(2, RecordType::A, MYSQL_0, None)).await;
    let late = udp.receive().await.0;

    let seen = [prompt, late].map(|message| {
        let address = message.answers[0].data.ip_addr().unwrap();
        (message.metadata.id, address)
    });
    let expected = [(2, [10, 244, 9, 9]), (1, [10, 244, 1, 0])];
    assert_eq!(
        seen,
        expected.map(|(id, address)| (id, IpAddr::from(address)))
    );
}

#[tokio::test]
async fn truncation_as_a_fault_leaves_a_resolver_with_tcp_or_with_nothing() {
    let dns = dns_with(mysql(1)).await;
    let resolver = resolver(&dns);
    dns.set_fault_for(Fault::Truncated, FaultScope::all().protocol(Protocol::Udp));
    assert_eq!(first_address(&resolver, MYSQL).await, "10.244.1.0");

    dns.set_fault(Some(Fault::Truncated));
    let error = resolver.lookup(MYSQL, RecordType::A).await.unwrap_err();
    assert!(matches!(error, NetError::Truncated), "{error}");
}

#[tokio::test]
async fn frozen_answers_outlive_every_change_until_the_thaw() {
    let dns = dns_with(mysql(1)).await;
    let resolver = resolver(&dns);
    dns.freeze();
    dns.set_pod_address("default", "mysql", "mysql-0", [10, 244, 9, 9])
        .unwrap();
    assert_eq!(first_address(&resolver, MYSQL_0).await, "10.244.1.0");
    // Freezing again does not refresh.
    dns.freeze();
    dns.remove_service("default", "mysql");
    assert_eq!(first_address(&resolver, MYSQL_0).await, "10.244.1.0");
    dns.thaw();
    let gone = resolver.lookup(MYSQL_0, RecordType::A).await;
    assert!(gone.unwrap_err().is_nx_domain());
}

#[tokio::test]
async fn alternating_answers_are_old_new_old() {
    let dns = dns_with(mysql(1)).await;
    let resolver = resolver(&dns);
    dns.freeze();
    dns.set_pod_address("default", "mysql", "mysql-0", [10, 244, 9, 9])
        .unwrap();
    dns.alternate();
    for expected in ["10.244.1.0", "10.244.9.9", "10.244.1.0", "10.244.9.9"] {
        assert_eq!(first_address(&resolver, MYSQL_0).await, expected);
    }
    dns.thaw();
    for _ in 0..2 {
        assert_eq!(first_address(&resolver, MYSQL_0).await, "10.244.9.9");
    }
}

#[tokio::test]
async fn queries_are_logged_with_name_type_and_protocol() {
    let dns = dns_with(mysql(1)).await;
    let resolver = resolver(&dns);
    for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV] {
        let _ = resolver.lookup(MYSQL, kind).await;
    }
    dns.wait_for_queries(3).await;
    let log = dns.queries();
    assert!(
        log.iter()
            .all(|query| query.name == MYSQL && query.protocol == Protocol::Udp)
    );
    assert!(
        log.iter()
            .map(|query| query.kind.as_str())
            .eq(["A", "AAAA", "SRV"])
    );
    dns.clear_queries();
    assert_eq!((dns.query_count(), dns.queries()), (0, Vec::new()));
}

async fn bind_both(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).await?;
    UdpSocket::bind(address).await.map(drop)
}

#[tokio::test]
async fn dropping_the_server_leaves_no_task_no_socket_and_no_answer() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let dns = dns_with(mysql(1)).await;
    let address = dns.addr();
    let message = query(1, RecordType::A, MYSQL, None);
    let udp = Udp::to(&dns).await;
    udp.ask(&message).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    ask_tcp(&mut tcp, &message).await;
    // One answer is on its way when the end comes.
    dns.set_fault(Some(Fault::Delay(PATIENCE)));
    udp.send(&message).await;
    dns.wait_for_queries(3).await;

    drop(dns);
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut rest));
    let _ = closed.await.expect("still connected");
    assert!(rest.is_empty());
    let rebound = async {
        while bind_both(address).await.is_err() || tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, rebound)
        .await
        .expect("something is left");
    // Nobody listens: the kernel says so, to a query and to the socket that waited for an answer.
    let refused = udp.0.send(&message.to_bytes().unwrap()).await;
    let error = match refused {
        Ok(_) => udp.0.recv(&mut [0; 512]).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_has_closed_its_port() {
    let dns = dns_with(mysql(1)).await;
    let address = dns.addr();
    let udp = Udp::to(&dns).await;
    udp.ask(&query(1, RecordType::A, MYSQL, None)).await;
    dns.stop().await.unwrap();
    bind_both(address).await.unwrap();
}

#[tokio::test]
async fn servers_beside_each_other_do_not_mix() {
    let one = dns_with(mysql(1)).await;
    let other = dns_with(mysql(2)).await;
    assert_ne!(one.addr(), other.addr());
    for (dns, count) in [(&one, 1), (&other, 2)] {
        let lookup = resolver(dns).lookup(MYSQL, RecordType::A).await.unwrap();
        assert_eq!(lookup.answers().len(), count);
        assert_eq!(dns.query_count(), 1);
    }
}
