//! What a look-up ends in when DNS fails, one way after the other.

use std::net::SocketAddr;
use std::time::Duration;

use headless_mysql::discovery::{
    DnsResolver, DnsResolverBuilder, Protocol as Over, Resolve, ResolveError,
};
use headless_mysql_testkit::dns::{ClusterDns, Fault, FaultScope, Flavor, Protocol, RecordKind};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::Instant;

use crate::discover::{builder, shown};
use crate::support::*;

const FULL: &str = "mysql.default.svc.cluster.local";
const TWO: &str = "0 mysql-0 1.0, 1 mysql-1 1.1";

/// Of one server's silence: short, since it is waited for.
const TIMEOUT: Duration = Duration::from_millis(300);

async fn found(resolver: &DnsResolver) -> String {
    shown(&resolver.resolve().await, ResolveError::kind)
}

fn full(dns: &ClusterDns) -> DnsResolverBuilder {
    builder(dns, FULL).timeout(TIMEOUT)
}

/// What fails; how; what the look-up ends in; queries, or 0 where they depend on time.
type Case<'a> = (&'a str, &'a [(Fault, FaultScope)], &'a str, usize);

#[tokio::test]
async fn each_failure_has_its_word_and_none_is_an_empty_answer() {
    let srv = || FaultScope::all().kind(RecordKind::Srv);
    let udp = || FaultScope::all().protocol(Protocol::Udp);
    let tcp = || FaultScope::all().protocol(Protocol::Tcp);
    let a = || FaultScope::all().kind(RecordKind::A);
    let late = Fault::Delay(TIMEOUT * 20);
    let cases: [Case<'_>; 14] = [
        (
            "silence",
            &[(Fault::Drop, FaultScope::all())],
            "!timeout",
            0,
        ),
        ("too late", &[(late, FaultScope::all())], "!timeout", 0),
        (
            "SERVFAIL",
            &[(Fault::ServFail, FaultScope::all())],
            "!server_failure",
            1,
        ),
        (
            "REFUSED",
            &[(Fault::Refused, FaultScope::all())],
            "!server_failure",
            1,
        ),
        (
            "NXDOMAIN",
            &[(Fault::NxDomain, FaultScope::all())],
            "!not_found",
            2,
        ),
        (
            "truncated everywhere",
            &[(Fault::Truncated, FaultScope::all())],
            "!truncated",
            6,
        ),
        ("truncated over UDP", &[(Fault::Truncated, udp())], TWO, 2),
        // The error is not taken for "there are no SRV records".
        (
            "SERVFAIL for SRV",
            &[(Fault::ServFail, srv())],
            "!server_failure",
            1,
        ),
        ("NXDOMAIN for SRV", &[(Fault::NxDomain, srv())], TWO, 4),
        ("SRV too large", &[(Fault::Truncated, srv())], TWO, 3 + 3),
        // TCP is blocked, and what fits into datagrams is found without.
        (
            "no TCP",
            &[
                (Fault::Truncated, srv().protocol(Protocol::Udp)),
                (Fault::Drop, tcp()),
            ],
            TWO,
            0,
        ),
        (
            "no A",
            &[(Fault::NxDomain, srv()), (Fault::ServFail, a())],
            "!server_failure",
            2,
        ),
        (
            "one SERVFAIL",
            &[(Fault::ServFail, FaultScope::all().next(1))],
            "!server_failure",
            1,
        ),
        (
            "one lost",
            &[(Fault::Drop, FaultScope::all().next(1))],
            TWO,
            0,
        ),
    ];
    for (what, faults, expected, queries) in cases {
        let dns = dns_with(mysql(2)).await;
        for (fault, scope) in faults {
            dns.set_fault_for(*fault, scope.clone());
        }
        let resolver = full(&dns).build().unwrap();
        assert_eq!(found(&resolver).await, expected, "{what}");
        // Datagrams are sent again while there is no answer: then the number says nothing.
        if queries > 0 {
            assert_eq!(dns.query_count(), queries, "{what}: queries");
        }
        // And it is over when it is over.
        dns.set_fault(None);
        assert_eq!(found(&resolver).await, TWO, "after {what}");
    }
}

#[tokio::test]
async fn a_server_that_has_not_heard_from_its_cluster_cannot_say() {
    for flavor in [Flavor::CoreDns, Flavor::KubeDns] {
        let dns = ClusterDns::start().await.unwrap();
        dns.set_flavor(flavor);
        dns.set_synced(false);
        let resolver = full(&dns).build().unwrap();
        assert_eq!(found(&resolver).await, "!server_failure", "{flavor:?}");
        dns.set_synced(true);
        assert_eq!(found(&resolver).await, "!not_found", "{flavor:?}");
        dns.set_service(mysql(2));
        assert_eq!(found(&resolver).await, TWO, "{flavor:?}");
    }
}

#[tokio::test]
async fn answers_that_alternate_are_passed_on_as_they_come() {
    let dns = dns_with(mysql(2)).await;
    let resolver = full(&dns).build().unwrap();
    dns.freeze();
    dns.set_pod_address("default", "mysql", "mysql-0", [10, 244, 9, 9])
        .unwrap();
    dns.alternate();
    let new = "0 mysql-0 9.9, 1 mysql-1 1.1";
    for expected in [TWO, new, TWO, new] {
        assert_eq!(found(&resolver).await, expected);
    }
}

#[tokio::test]
async fn without_srv_an_address_that_moves_is_noticed() {
    let dns = dns_with(mysql(2).without_ports()).await;
    let resolver = full(&dns).build().unwrap();
    assert_eq!(found(&resolver).await, TWO);
    let set = |name: &str, address: [u8; 4]| {
        dns.set_pod_address("default", "mysql", name, address)
            .unwrap();
    };
    // mysql-1 restarts on the address that mysql-0 had, which has another one now.
    set("mysql-0", [10, 244, 9, 9]);
    set("mysql-1", [10, 244, 1, 0]);
    assert_eq!(found(&resolver).await, "0 mysql-0 9.9, 1 mysql-1 1.0");
    // Both swap: the set is the same, and a few look-ups pass.
    set("mysql-0", [10, 244, 1, 0]);
    set("mysql-1", [10, 244, 9, 9]);
    let swapped = "0 mysql-0 1.0, 1 mysql-1 9.9";
    let mut look_ups = 1;
    while found(&resolver).await != swapped {
        look_ups += 1;
        assert!(look_ups <= 5);
    }
}

/// An address where nobody answers: the socket is held, and never read.
async fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn a_broken_first_server_costs_one_timeout_and_then_nothing() {
    let (_held, nobody) = silent().await;
    let failing = dns_with(mysql(2)).await;
    failing.set_fault(Some(Fault::ServFail));
    let good = dns_with(mysql(2)).await;
    let resolver = full(&good)
        .name_servers(vec![nobody, failing.addr(), good.addr()])
        .build()
        .unwrap();
    let began = Instant::now();
    assert_eq!(found(&resolver).await, TWO);
    assert!(began.elapsed() >= TIMEOUT);
    assert_eq!(failing.query_count(), 1);

    let (result, transcript) = resolver.explain().await;
    assert_eq!(shown(&result, ResolveError::kind), TWO);
    let asked: Vec<SocketAddr> = transcript.exchanges().map(|e| e.server).collect();
    assert_eq!(asked, [good.addr()], "the one that answered is asked first");
    assert_eq!(failing.query_count(), 1);

    // It breaks, and the first is well again: the order of the list, from where it stood.
    good.set_fault(Some(Fault::Refused));
    failing.set_fault(None);
    assert_eq!(found(&resolver).await, TWO);
    assert_eq!(failing.query_count(), 2);
}

#[tokio::test]
async fn of_several_servers_that_fail_the_one_that_says_why_is_told() {
    let (_held, nobody) = silent().await;
    let failing = dns_with(mysql(2)).await;
    failing.set_fault(Some(Fault::ServFail));
    for servers in [[nobody, failing.addr()], [failing.addr(), nobody]] {
        let resolver = full(&failing)
            .name_servers(servers.to_vec())
            .build()
            .unwrap();
        match resolver.resolve().await {
            Err(ResolveError::ServerFailure { server, .. }) => {
                assert_eq!(server, Some(failing.addr()));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_look_up_ends_at_its_deadline() {
    let (_held, nobody) = silent().await;
    let dns = dns_with(mysql(2)).await;
    let deadline = Duration::from_millis(200);
    let resolver = full(&dns)
        .name_servers(vec![nobody])
        .timeout(PATIENCE)
        .deadline(deadline)
        .build()
        .unwrap();
    match resolver.resolve().await {
        Err(ResolveError::Timeout { after, server, .. }) => {
            assert_eq!((after, server), (deadline, None));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_server_is_an_error_before_anything_is_asked() {
    let dns = ClusterDns::start().await.unwrap();
    let error = full(&dns).name_servers(vec![]).build().unwrap_err();
    assert_eq!(error.kind(), "no_server");
}

#[tokio::test]
async fn a_transcript_tells_every_query_and_why_it_was_not_the_last() {
    let dns = dns_with(mysql(20)).await;
    let short = builder(&dns, "mysql").build().unwrap();
    let (result, transcript) = short.explain().await;
    assert_eq!(result.unwrap().pods.len(), 20);
    let told: Vec<_> = transcript
        .exchanges()
        .map(|e| {
            (
                e.kind.as_str(),
                e.protocol,
                e.said.as_str(),
                e.answers.len(),
                e.additionals.len(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("SRV", Over::Udp, "truncated", 0, 0),
            ("SRV", Over::Tcp, "NOERROR", 20, 20)
        ]
    );
    let answered = transcript.exchanges().nth(1).unwrap();
    assert_eq!(answered.name, format!("{FULL}."));
    assert_eq!(answered.server, dns.addr());
    assert!(answered.at <= transcript.took && answered.took <= transcript.took);
    let first = answered.answers[0].to_string();
    assert!(
        first.starts_with(&format!("{FULL}. 5 SRV 0 5 3306 mysql-")),
        "{first}"
    );
    assert_eq!(transcript.hints, [] as [&str; 0]);

    dns.set_fault(Some(Fault::Refused));
    dns.remove_service("default", "mysql");
    let (result, transcript) = builder(&dns, "nosuch").build().unwrap().explain().await;
    assert_eq!(result.unwrap_err().kind(), "server_failure");
    assert_eq!(transcript.exchanges().next().unwrap().said, "REFUSED");
    assert!(
        transcript.hints[0].contains("cannot tell"),
        "{:?}",
        transcript.hints
    );

    dns.set_fault(None);
    let (_, transcript) = builder(&dns, FULL).build().unwrap().explain().await;
    let said: Vec<_> = transcript
        .exchanges()
        .map(|e| (e.kind.as_str(), e.said.as_str()))
        .collect();
    assert_eq!(said, [("SRV", "NXDOMAIN"), ("A", "NXDOMAIN")]);
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_silence() {
    // Held for the other protocol, so that nobody takes it meanwhile.
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dns = dns_with(mysql(1)).await;
    let resolver = full(&dns)
        .name_servers(vec![held.local_addr().unwrap()])
        .build()
        .unwrap();
    let error = resolver.resolve().await.unwrap_err();
    assert!(["timeout", "io"].contains(&error.kind()), "{error}");
}
