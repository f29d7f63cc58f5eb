//! Clients that ask in ways a resolver does not, and answers that fill a packet of kube-dns.

use std::io;
use std::time::Duration;

use headless_mysql_testkit::dns::{ClusterDns, Flavor, PodSpec, ServiceSpec};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::*;

fn many(pods: u16) -> ServiceSpec {
    let pods = (0..pods).map(|i| {
        let [high, low] = i.to_be_bytes();
        PodSpec::ready(format!("mysql-{i}"), [10, 244, high, low])
    });
    mysql(0).with_pods(pods)
}

#[tokio::test]
async fn several_queries_on_one_connection_are_answered_in_order() {
    let dns = dns_with(many(700)).await;
    let mut tcp = TcpStream::connect(dns.addr()).await.unwrap();
    let kinds = [
        RecordType::SRV,
        RecordType::A,
        RecordType::AAAA,
        RecordType::SRV,
    ];
    let queries = (1..)
        .zip(kinds)
        .map(|(id, kind)| query(id, kind, MYSQL, None));
    let all: Vec<u8> = queries.flat_map(|query| framed(&query)).collect();
    // The last one comes in two parts.
    let (most, rest) = all.split_at(all.len() - 7);
    tcp.write_all(most).await.unwrap();
    let mut seen = Vec::new();
    for id in 1..=4 {
        if id == 4 {
            tcp.write_all(rest).await.unwrap();
        }
        let reply = timeout(PATIENCE, receive_tcp(&mut tcp)).await.unwrap();
        let got = Message::from_vec(&reply.unwrap()).unwrap();
        assert_eq!(got.metadata.id, id);
        seen.push((got.answers.len(), got.additionals.len()));
    }
    assert_eq!(seen, [(700, 700), (700, 0), (0, 0), (700, 700)]);
}

#[tokio::test]
async fn malformed_messages_hurt_nobody() {
    let dns = dns_with(mysql(1)).await;
    let udp = Udp::to(&dns).await;
    let mut tcp = TcpStream::connect(dns.addr()).await.unwrap();
    let good = query(1, RecordType::A, MYSQL, Some(1232));
    let whole = framed(&good).split_off(2);

    let mut cut = whole.clone();
    cut.truncate(20);
    let mut pointing_at_itself = whole[..12].to_vec();
    pointing_at_itself.extend([0xc0, 12, 0, 1, 0, 1]);
    // These have a header, so that something comes back. An `OPT` too many is one more.
    for bad in [cut, pointing_at_itself] {
        udp.0.send(&bad).await.unwrap();
        let got = udp.receive().await.0;
        assert_eq!(got.metadata.response_code, ResponseCode::FormErr);
        let length = u16::try_from(bad.len()).unwrap().to_be_bytes();
        tcp.write_all(&[&length, &*bad].concat()).await.unwrap();
        let got = timeout(PATIENCE, receive_tcp(&mut tcp)).await.unwrap();
        let got = Message::from_vec(&got.unwrap()).unwrap();
        assert_eq!(got.metadata.response_code, ResponseCode::FormErr);
    }
    // To these there is no answer: nothing, less than a header, an answer.
    let mut answer = whole.clone();
    answer[2] |= 0x80;
    for bad in [vec![], vec![0xff; 11], answer] {
        udp.0.send(&bad).await.unwrap();
        let length = u16::try_from(bad.len()).unwrap().to_be_bytes();
        tcp.write_all(&[&length, &*bad].concat()).await.unwrap();
    }
    assert_eq!(dns.query_count(), 0);
    // What comes next is the answer to what is asked next.
    assert_eq!(udp.ask(&good).await.answers.len(), 1);
    assert_eq!(ask_tcp(&mut tcp, &good).await.answers.len(), 1);
}

#[tokio::test]
async fn clients_that_do_not_go_on_hold_up_no_other() {
    let dns = dns_with(many(700)).await;
    // One that has begun, one that has gone away in the middle, and one that reads nothing.
    let mut begun = TcpStream::connect(dns.addr()).await.unwrap();
    begun.write_all(&[0, 77, 1, 2, 3]).await.unwrap();
    let mut gone = TcpStream::connect(dns.addr()).await.unwrap();
    gone.write_all(&[0, 77, 1, 2, 3]).await.unwrap();
    drop(gone);
    let deaf = TcpStream::connect(dns.addr()).await.unwrap();
    let bytes = framed(&query(1, RecordType::SRV, MYSQL, None));
    // 56 kB each, and far more of them than fit into the buffers between the two.
    let fill = async {
        loop {
            deaf.writable().await.unwrap();
            match deaf.try_write(&bytes) {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let ask = async {
        dns.wait_for_queries(1).await;
        let udp = Udp::to(&dns).await;
        let mut tcp = TcpStream::connect(dns.addr()).await.unwrap();
        for id in 0..20 {
            let message = query(id, RecordType::A, MYSQL_0, None);
            assert_eq!(udp.ask(&message).await.answers.len(), 1);
            assert_eq!(ask_tcp(&mut tcp, &message).await.answers.len(), 1);
        }
    };
    tokio::select! {
        () = fill => {}
        () = ask => {}
    }
}

/// Answers, glue, truncated, response code.
async fn kube_dns(
    pods: u16,
    kind: RecordType,
    edns: Option<u16>,
    over_tcp: bool,
) -> (usize, usize, bool, ResponseCode) {
    let dns = dns_with(many(pods)).await;
    dns.set_flavor(Flavor::KubeDns);
    let message = query(1, kind, MYSQL, edns);
    let got = match over_tcp {
        true => ask_tcp(&mut TcpStream::connect(dns.addr()).await.unwrap(), &message).await,
        false => Udp::to(&dns).await.ask(&message).await,
    };
    assert!(got.edns.is_none());
    let header = got.metadata;
    (
        got.answers.len(),
        got.additionals.len(),
        header.truncation,
        header.response_code,
    )
}

#[tokio::test]
async fn kube_dns_leaves_out_all_glue_before_it_truncates() {
    use RecordType::{A, SRV};
    let yes = ResponseCode::NoError;
    // A question of 49 octets with the header, 59 or 60 for an answer, 16 for its glue.
    for (pods, kind, edns, expected) in [
        (6, SRV, None, (6, 6, false, yes)),
        (7, SRV, None, (7, 0, false, yes)),
        (9, SRV, None, (7, 0, true, yes)),
        (15, SRV, Some(1232), (15, 15, false, yes)),
        (16, SRV, Some(1232), (16, 0, false, yes)),
        (19, SRV, Some(1232), (19, 0, false, yes)),
        (20, SRV, Some(1232), (19, 0, true, yes)),
        (28, A, None, (28, 0, false, yes)),
        (30, A, None, (28, 0, true, yes)),
    ] {
        let got = kube_dns(pods, kind, edns, false).await;
        assert_eq!(got, expected, "{pods} pods, {kind}, EDNS {edns:?}");
    }
    let whole = (700, 700, false, yes);
    assert_eq!(kube_dns(700, SRV, None, true).await, whole);
    assert_eq!(kube_dns(1000, A, None, true).await, (1000, 0, false, yes));
}

#[tokio::test]
async fn kube_dns_fails_over_tcp_when_even_the_answers_are_too_many() {
    let (yes, no) = (ResponseCode::NoError, ResponseCode::ServFail);
    assert_eq!(
        kube_dns(1000, RecordType::SRV, None, true).await,
        (1000, 0, false, yes)
    );
    assert_eq!(
        kube_dns(1200, RecordType::SRV, None, true).await,
        (0, 0, false, no)
    );
}

#[tokio::test]
async fn a_cached_answer_outlives_a_change_until_its_time_is_over() {
    let dns = dns_with(mysql(1)).await;
    dns.set_ttl(Duration::from_secs(30));
    dns.set_cache(Some(Duration::from_secs(30)));
    dns.stop_clock();
    let udp = Udp::to(&dns).await;
    let message = query(1, RecordType::A, MYSQL_0, None);
    let ask = async || {
        let got = udp.ask(&message).await;
        let record = &got.answers[0];
        (record.data.ip_addr().unwrap().to_string(), record.ttl)
    };
    assert_eq!(ask().await, ("10.244.1.0".to_owned(), 30));
    dns.set_pod_address("default", "mysql", "mysql-0", [10, 244, 9, 9])
        .unwrap();
    for left in [30, 20, 10] {
        assert_eq!(ask().await, ("10.244.1.0".to_owned(), left));
        dns.advance_clock(Duration::from_secs(10));
    }
    assert_eq!(ask().await, ("10.244.9.9".to_owned(), 30));
    // Switched off, it is forgotten.
    dns.set_cache(None);
    dns.remove_service("default", "mysql");
    let got = udp.ask(&message).await;
    assert_eq!(got.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_connection_ends_with_the_server_whatever_it_waits_for() {
    let dns: ClusterDns = dns_with(many(700)).await;
    let idle = TcpStream::connect(dns.addr()).await.unwrap();
    let mut begun = TcpStream::connect(dns.addr()).await.unwrap();
    begun.write_all(&[0, 77, 1]).await.unwrap();
    let mut asking = TcpStream::connect(dns.addr()).await.unwrap();
    let message = query(1, RecordType::SRV, MYSQL, None);
    ask_tcp(&mut asking, &message).await;
    dns.stop().await.unwrap();
    for mut stream in [idle, begun, asking] {
        let mut rest = Vec::new();
        let closed = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        // Cut off in the middle of a query, it is a reset.
        let _ = closed.expect("still connected");
        assert!(rest.is_empty());
    }
}
