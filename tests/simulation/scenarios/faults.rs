//! Servers that fail, freeze, flap and recover.

use crate::client::Policy;
use crate::reference::Kind;
use crate::server::Mode;
use crate::table::Table;
use crate::world::{Event, Report, Scenario, ms, secs};
use std::time::Duration;

const POLICIES: [Policy; 5] = [
    Policy::Ours,
    Policy::Reference(Kind::RoundRobin),
    Policy::Reference(Kind::Least),
    Policy::Reference(Kind::P2cAccrual),
    Policy::TowerEwma,
];

/// Requests per second, a rate that two of the three servers can serve.
const RATE: f64 = 500.0;

fn at(at: Duration, mode: Mode) -> Event {
    let server = 0;
    Event { at, server, mode }
}

fn scenario(name: &'static str, script: &[Event]) -> Scenario {
    Scenario {
        name,
        rate: RATE,
        length: secs(20),
        query_timeout: secs(1),
        script: script.to_vec(),
        ..Scenario::default()
    }
}

/// The share of requests that went to server 0 in this window.
fn share(report: &Report, from: Duration, to: Duration) -> f64 {
    report.shares_between(from, to)[0]
}

/// Probes of server 0 per client and second in this window.
fn probes(report: &Report, scenario: &Scenario, from: Duration, to: Duration) -> f64 {
    let probes = report.probes_between(0, from, to) as f64;
    probes / scenario.clients as f64 / (to - from).as_secs_f64()
}

#[test]
fn a_server_that_fails_at_once_attracts_nothing() {
    let scenario = scenario(
        "one refuses in 1 ms from 5 s on",
        &[at(secs(5), Mode::Down)],
    );
    let table = Table::of(&scenario, &POLICIES);
    let ours = table.ours();
    let share = share(ours, secs(6), secs(20));
    assert!(share < 0.001, "{share}");
    // Only requests in flight when the connections broke may fail: on four cores, and in the queue.
    let (cut, later) = (
        ours.errors_between(secs(4), secs(6)),
        ours.errors_between(secs(6), secs(20)),
    );
    assert!(cut <= 40, "{cut}");
    assert_eq!(later, 0);
    // Full jitter up to 1 s, so two per second on average.
    let probes = probes(ours, &scenario, secs(6), secs(20));
    assert!(probes < 3.0, "{probes}");
    // Proof that the simulation shows the effect: such a server looks idle.
    let blind = table.get(Policy::Reference(Kind::Least)).error_share();
    assert!(blind > 0.2, "{blind}");
}

#[test]
fn a_frozen_server_costs_each_client_a_few_requests_once() {
    let scenario = scenario(
        "one frozen from 5 s to 10 s",
        &[at(secs(5), Mode::Frozen), at(secs(10), Mode::Up)],
    );
    let table = Table::of(&scenario, &POLICIES);
    let ours = table.ours();
    let (cut, later) = (
        ours.errors_between(secs(4), secs(7)),
        ours.errors_between(secs(7), secs(10)),
    );
    // No client has more requests in flight there than elsewhere, until the first one times out.
    assert!(cut <= 5 * scenario.clients, "{cut}");
    assert_eq!(later, 0);
    let share = share(ours, secs(12), secs(20));
    assert!((share * 3.0 - 1.0).abs() < 0.1, "{share}");
}

#[test]
fn a_flapping_server_costs_no_more_than_what_is_cut() {
    let flaps: Vec<Event> = (5..15)
        .flat_map(|second| {
            let down = at(secs(second), Mode::Down);
            [down, at(down.at + ms(300), Mode::Up)]
        })
        .collect();
    let scenario = scenario("one down for 300 ms of every second", &flaps);
    let table = Table::of(&scenario, &POLICIES);
    let ours = table.ours();
    // The server breaks ten times. Each time, each client notices on one connection, in a query or
    // idle.
    let cut = 10 * scenario.clients;
    assert!(ours.errors() <= cut * 3 / 2, "{}", ours.errors());
    let others = table.reports.iter().filter(|r| !r.policy.is_ours());
    let best = others.map(Report::errors).min().unwrap();
    assert!(ours.errors() <= best, "{} and {best}", ours.errors());
}

#[test]
fn a_server_without_room_is_left_alone() {
    let scenario = scenario(
        "one restarts at 5 s, and has no room until 10 s",
        &[
            at(secs(5), Mode::Down),
            at(ms(5200), Mode::NoRoom),
            at(secs(10), Mode::Up),
        ],
    );
    let table = Table::of(&scenario, &POLICIES);
    let ours = table.ours();
    assert_eq!(ours.errors_between(secs(6), secs(20)), 0);
    let probes = probes(ours, &scenario, secs(6), secs(10));
    assert!(probes < 3.0, "{probes}");
    let share = share(ours, secs(12), secs(20));
    assert!((share * 3.0 - 1.0).abs() < 0.1, "{share}");
}

#[test]
fn while_every_server_is_down_requests_wait() {
    let all = |at, mode| (0..3).map(move |server| Event { at, server, mode });
    let mut script: Vec<Event> = all(secs(5), Mode::Down).collect();
    script.extend(all(secs(7), Mode::Up));
    let scenario = scenario("all down from 5 s to 7 s", &script);
    let table = Table::of(&scenario, &POLICIES);
    let ours = table.ours();
    // Only requests that were in flight at 5 s may fail.
    let errors = ours.errors();
    assert!(errors <= 60, "{errors}");
    // While the servers are down, they get probes but no requests.
    let calls = ours.calls_between(ms(5500), secs(7));
    assert!(calls.iter().all(|&n| n <= 10), "{calls:?}");
    // The length of the outage plus the longest ejection.
    assert!(ours.p99() <= 3200.0, "{}", ours.p99());
    // No connection storm: each client makes at most two concurrent connects to each server.
    assert!(ours.connects.iter().all(|&n| n <= 2), "{:?}", ours.connects);
    let blind = table.get(Policy::Reference(Kind::Least)).errors();
    assert!(blind > 500, "{blind}");
}

#[test]
fn a_server_that_accepts_and_then_breaks_every_connection_attracts_nothing() {
    let scenario = scenario(
        "one accepts, and breaks at the first query, from 5 s on",
        &[at(secs(5), Mode::Breaks)],
    );
    let table = Table::of(&scenario, &POLICIES);
    // Each client retries after 0.1 s, 0.2 s, 0.4 s and so on (full jitter, at most 30 s): about
    // eight of its 700 requests in this window.
    let share = share(table.ours(), secs(6), secs(20));
    assert!(share < 0.015, "{share}");
    let best = table.get(Policy::Reference(Kind::P2cAccrual)).errors();
    assert!(
        table.ours().errors() <= 2 * best,
        "{}",
        table.ours().errors()
    );
}
