//! A server that recovers.

use crate::client::Policy;
use crate::reference::Kind;
use crate::server::{Machine, Mode};
use crate::table::Table;
use crate::world::{Event, Scenario, ms, secs};

#[test]
fn a_server_that_is_back_has_its_share_again_within_two_seconds_and_no_herd() {
    let event = |at, mode| Event {
        at,
        server: 0,
        mode,
    };
    // Few clients with many requests each, and expensive connects: the worst case for a herd.
    let scenario = Scenario {
        name: "one down from 5 s to 8 s; 3 clients, connects of 40 ms",
        clients: 3,
        slots: 40,
        rate: 600.0,
        length: secs(22),
        query_timeout: secs(1),
        machine: Machine {
            cores: 4,
            connect: ms(40),
            max_connections: 10_000,
        },
        script: vec![event(secs(5), Mode::Down), event(secs(8), Mode::Up)],
        ..Scenario::default()
    };
    let table = Table::of(
        &scenario,
        &[
            Policy::Ours,
            Policy::Reference(Kind::RoundRobin),
            Policy::Reference(Kind::Least),
            Policy::Reference(Kind::P2cAccrual),
            Policy::TowerEwma,
        ],
    );
    let ours = table.ours();
    assert_eq!(ours.errors_between(secs(6), secs(22)), 0);
    // With 7,200 requests, 7 % is more than four standard deviations.
    let share = ours.shares_between(secs(10), secs(22))[0];
    assert!((share * 3.0 - 1.0).abs() < 0.07, "{share}");
    // 1,200 requests.
    let at_once = ours.shares_between(secs(10), secs(12))[0];
    assert!((at_once * 3.0 - 1.0).abs() < 0.2, "{at_once}");
    assert!(ours.connects[0] <= 2, "{}", ours.connects[0]);
    // The maximum number of callers without a connection to the server, for one client.
    assert!(ours.herd[0] <= 3, "{}", ours.herd[0]);
}
