//! The golden table and the size tables, row by row, over both protocols.
//!
//! The data is in `data/`: a new row is one line there.

use std::time::Duration;

use headless_mysql_testkit::dns::{ClusterDns, PodSpec, ServiceSpec};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::TcpStream;

use crate::fixtures::set_up;
use crate::support::*;

const SUFFIX: &str = ".default.svc.cluster.local.";

/// The lines of a table, cell by cell, each with something to say in a failure.
fn rows<const N: usize>(
    table: &'static str,
) -> impl Iterator<Item = (&'static str, [&'static str; N])> {
    let lines = table.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let cells = cells.try_into();
        (
            line,
            cells.unwrap_or_else(|_| panic!("not {N} cells: {line}")),
        )
    })
}

/// Asks over one protocol; the length of the response comes with it.
async fn ask(dns: &ClusterDns, message: &Message, over_tcp: bool) -> (Message, usize) {
    if !over_tcp {
        let udp = Udp::to(dns).await;
        udp.send(message).await;
        return udp.receive().await;
    }
    let mut tcp = TcpStream::connect(dns.addr()).await.unwrap();
    ask_tcp_with_length(&mut tcp, message).await
}

/// A record as a row writes it.
fn show_record(record: &Record) -> String {
    let data = match &record.data {
        RData::SOA(soa) => {
            let text = soa.to_string();
            text.replacen(&format!(" {} ", soa.serial), " # ", 1)
        }
        RData::TXT(text) => text.to_string().trim_matches('"').to_owned(),
        other => other.to_string(),
    };
    let (owner, kind) = (record.name.to_ascii(), record.record_type());
    format!("{owner} {} {kind} {data}", record.ttl)
}

/// The records of a cell, in full.
fn expected(cell: &str, name: &str, ttl: u32, is_kube: bool) -> Vec<String> {
    let soa = match is_kube {
        true => "cluster.local. 60 SOA ns.dns.cluster.local. hostmaster.cluster.local. # 28800 7200 604800 60".to_owned(),
        false => format!("cluster.local. {ttl} SOA ns.dns.cluster.local. hostmaster.cluster.local. # 7200 1800 86400 {ttl}"),
    };
    let root = ". 300 SOA a.root-servers.net. nstld.verisign-grs.com. # 1800 900 604800 86400";
    let records = cell
        .split(';')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let full = |text: &str| match text {
        "SOA" => soa.clone(),
        "ROOT" => root.to_owned(),
        text => {
            let (owner, rest) = text.split_once(' ').unwrap();
            let has_ttl = rest.split(' ').next().unwrap().parse::<u32>().is_ok();
            let ttl = if has_ttl {
                String::new()
            } else {
                format!("{ttl} ")
            };
            let text = format!("{owner} {ttl}{rest}");
            text.replace('@', name).replace('~', SUFFIX)
        }
    };
    records.map(full).collect()
}

fn code(text: &str) -> ResponseCode {
    match text {
        "NOERROR" => ResponseCode::NoError,
        "NXDOMAIN" => ResponseCode::NXDomain,
        "SERVFAIL" => ResponseCode::ServFail,
        "REFUSED" => ResponseCode::Refused,
        other => panic!("no such response code: {other}"),
    }
}

/// Asks as a row says, on a server of its own, and compares everything.
async fn check(line: &str, cells: [&str; 7], over_tcp: bool, edns: Option<u16>) {
    let [_, fixture, question, outcome, answer, authority, additional] = cells;
    let dns = ClusterDns::start().await.unwrap();
    let ttl = set_up(&dns, fixture);
    let (question, pause) = match question.split_once(" after ") {
        Some((question, pause)) => (question, pause.strip_suffix('s')),
        None => (question, None),
    };
    let (kind, name) = question.split_once(' ').unwrap();
    let name = name.replace('~', SUFFIX);
    let message = query(4711, kind.parse().unwrap(), &name, edns);
    let context = format!("{line}\n(TCP: {over_tcp}, EDNS: {edns:?})");
    if let Some(pause) = pause {
        dns.stop_clock();
        ask(&dns, &message, over_tcp).await;
        dns.advance_clock(Duration::from_secs_f64(pause.parse().unwrap()));
    }
    let (got, _) = ask(&dns, &message, over_tcp).await;

    let (response_code, flags) = outcome.split_once(' ').unwrap_or((outcome, ""));
    let flags: Vec<_> = flags.split(' ').collect();
    let header = got.metadata;
    assert_eq!(header.id, 4711, "{context}");
    assert_eq!(header.response_code, code(response_code), "{context}");
    assert_eq!(header.authoritative, !flags.contains(&"!aa"), "{context}");
    assert_eq!(
        header.recursion_desired,
        !flags.contains(&"!rd"),
        "{context}"
    );
    assert_eq!(
        header.recursion_available,
        flags.contains(&"ra"),
        "{context}"
    );
    assert!(!header.truncation, "{context}");
    assert_eq!(got.queries, message.queries, "{context}");
    assert_eq!(got.queries[0].name().to_ascii(), name, "{context}");
    let is_kube = fixture.starts_with("kube");
    let size = got.edns.as_ref().map(|edns| edns.max_payload());
    assert_eq!(size, edns.filter(|_| !is_kube), "{context}");
    for (section, cell, what) in [
        (&got.answers, answer, "answer"),
        (&got.authorities, authority, "authority"),
        (&got.additionals, additional, "additional"),
    ] {
        let (cell, in_any_order) = match cell.strip_prefix("any:") {
            Some(cell) => (cell, true),
            None => (cell, false),
        };
        let mut wanted = expected(cell, &name, ttl, is_kube);
        let mut seen: Vec<_> = section.iter().map(show_record).collect();
        if in_any_order {
            wanted.sort();
            seen.sort();
        }
        assert_eq!(seen, wanted, "{what} of {context}");
    }
}

#[tokio::test]
async fn every_golden_row_is_answered_as_by_a_real_server() {
    let (mut count, mut failed) = (0, Vec::new());
    for (line, cells) in rows(include_str!("data/golden.txt")) {
        // In a task of its own, so that the rows after a wrong one are compared as well.
        let row = tokio::spawn(async move {
            for over_tcp in [false, true] {
                for edns in [None, Some(1232)] {
                    check(line, cells, over_tcp, edns).await;
                }
            }
        });
        failed.extend(row.await.is_err().then_some(line));
        count += 1;
    }
    assert!(
        failed.is_empty(),
        "{} of {count} rows: {failed:#?}",
        failed.len()
    );
    assert!(count > 150, "rows are missing: {count}");
}

fn of_size(namespace: &str, name: &str, pods: u16) -> ServiceSpec {
    let pods = (0..pods).map(|i| {
        let [high, low] = i.to_be_bytes();
        PodSpec::ready(format!("mysql-{i}"), [10, 244, high, low])
    });
    ServiceSpec::new(namespace, name)
        .unnamed_port(3306)
        .with_pods(pods)
}

/// A number as a row writes one that is left to chance.
fn about(seen: usize, measured: &str) -> String {
    let is_near = seen.abs_diff(measured.parse().unwrap()) <= 15;
    if is_near {
        format!("~{measured}")
    } else {
        seen.to_string()
    }
}

#[tokio::test]
async fn every_answer_is_as_large_and_as_cut_as_that_of_a_real_server() {
    let dns = ClusterDns::start().await.unwrap();
    dns.set_load_balance(true);
    for (_, [pods, cells @ ..]) in rows::<7>(include_str!("data/sizes.txt")) {
        dns.set_service(of_size(&format!("n{pods}"), "mysql", pods.parse().unwrap()));
        let name = format!("mysql.n{pods}.svc.cluster.local.");
        let kinds = [RecordType::A, RecordType::SRV];
        let ways = [(None, false), (Some(1232), false), (Some(1232), true)];
        let asked = kinds.iter().flat_map(|kind| ways.map(|way| (*kind, way)));
        for ((kind, (edns, over_tcp)), cell) in asked.zip(cells) {
            let (got, length) = ask(&dns, &query(1, kind, &name, edns), over_tcp).await;
            let truncated = if got.metadata.truncation { " TC" } else { "" };
            let glue = match cell.split_once('~') {
                Some((_, cell)) => about(got.additionals.len(), cell.trim_end_matches(" TC")),
                None => got.additionals.len().to_string(),
            };
            let counts = format!("{}/{glue}{truncated}", got.answers.len());
            let with_length = format!("{counts} {length}");
            assert!(
                [&counts, &with_length].contains(&&cell.to_owned()),
                "{pods} pods, {kind}, EDNS {edns:?}, TCP {over_tcp}: {with_length}, not {cell}"
            );
        }
    }
}

#[tokio::test]
async fn every_largest_whole_answer_has_as_many_pods_as_from_a_real_server() {
    let dns = ClusterDns::start().await.unwrap();
    for (line, cells) in rows(include_str!("data/largest.txt")) {
        let [namespace, service, kind, octets, largest] = cells;
        let edns = octets.parse().ok().filter(|octets| *octets != 512);
        let name = format!("{service}.{namespace}.svc.cluster.local.");
        let largest: u16 = largest.parse().unwrap();
        for (pods, truncated) in [(largest, false), (largest + 1, true)] {
            dns.set_service(of_size(namespace, service, pods));
            let message = query(1, kind.parse().unwrap(), &name, edns);
            let (got, _) = ask(&dns, &message, false).await;
            assert_eq!(got.metadata.truncation, truncated, "{line}: {pods} pods");
        }
    }
}
