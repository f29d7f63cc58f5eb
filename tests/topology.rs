//! What a refresh costs in queries, and the `Discover` edge as a program uses it.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see that helpers are test code"
)]

use headless_mysql::discovery::{DnsResolver, Resolve};
use headless_mysql_testkit::dns::{ClusterDns, PodSpec, ServiceSpec};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// Looks a Service with that many pods up three times: the queries of each.
async fn queries(pods: u32) -> Vec<usize> {
    let dns = ClusterDns::start().await.unwrap();
    let pod = |n: u32| {
        let address = Ipv4Addr::from(0x0a00_0000 + n);
        PodSpec::ready(format!("mysql-{n}"), address)
    };
    let spec = ServiceSpec::new("default", "mysql").unnamed_port(3306);
    dns.set_service(spec.with_pods((0..pods).map(pod)));
    let name = "mysql.default.svc.cluster.local".parse().unwrap();
    let resolver = DnsResolver::builder(name)
        .name_servers(vec![dns.addr()])
        .build()
        .unwrap();
    let mut counts = Vec::new();
    for _ in 0..3 {
        dns.clear_queries();
        let answer = resolver.resolve().await.unwrap();
        let named = answer.pods.iter().filter(|pod| pod.ordinal.is_some());
        assert_eq!(named.count(), usize::try_from(pods).unwrap());
        counts.push(dns.query_count());
    }
    counts
}

#[tokio::test]
async fn a_refresh_costs_one_query_or_two_whatever_the_number_of_pods() {
    // One over UDP.
    for pods in [1, 3, 6, 15] {
        assert_eq!(queries(pods).await, [1, 1, 1], "{pods}");
    }
    // Truncated there, and asked again over TCP.
    for pods in [16, 100, 700] {
        assert_eq!(queries(pods).await, [2, 2, 2], "{pods}");
    }
    // SRV does not fit into TCP either: three queries to find out, two for the addresses, and each
    // pod. Then the addresses alone, for some time.
    assert_eq!(queries(1_000).await, [3 + 2 + 1_000, 2, 2]);
}

/// `cargo test` builds examples before it runs tests, into a folder beside theirs; with `--test` it
/// does not.
#[tokio::test]
async fn the_balancer_over_an_echo_service_loses_no_request_while_a_pod_moves() {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let example = profile.join("examples").join("custom_discover");
    let how = "cargo build --all-features --examples";
    assert!(example.exists(), "build it first: {how}");
    let running = Command::new(example)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(60), running)
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{error}");
    assert!(said.trim_end().ends_with(", 0 lost"), "{said}");
    // What died was taken out and what came was taken in.
    assert!(said.contains("endpoint 1 at 127.83.0.2:"), "{said}");
    assert!(said.contains("endpoint 1 at 127.83.0.9:"), "{said}");
    let last = said.lines().filter(|line| line.contains("in flight"));
    let last: Vec<_> = last.collect();
    assert_eq!(last.len(), 3, "{said}");
    assert!(last[1].contains("1 at 127.83.0.9:"), "{said}");
}
