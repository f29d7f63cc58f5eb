//! A slow server, and connections that are held for a long time.

use crate::client::Policy;
use crate::reference::Kind;
use crate::server::Mode;
use crate::table::Table;
use crate::world::{Event, Scenario, ms, secs};

fn one_slow(name: &'static str, clients: usize, slots: usize) -> Scenario {
    Scenario {
        name,
        clients,
        slots,
        rate: 600.0,
        slowness: vec![1.0, 1.0, 3.0],
        ..Scenario::default()
    }
}

const POLICIES: [Policy; 6] = [
    Policy::Ours,
    Policy::OursBlind,
    Policy::Reference(Kind::Least),
    Policy::Reference(Kind::P2c),
    Policy::Reference(Kind::PeakEwma),
    Policy::TowerEwma,
];

/// Whether the policy considers only requests in flight.
fn is_blind(policy: Policy) -> bool {
    !matches!(
        policy,
        Policy::TowerEwma | Policy::Reference(Kind::PeakEwma)
    )
}

#[test]
fn a_server_that_is_three_times_slower_costs_little() {
    for (name, clients, slots) in [
        ("one 3x slower, 1 client", 1, 60),
        ("one 3x slower, 10 clients", 10, 10),
        ("one 3x slower, 100 clients", 100, 10),
    ] {
        let table = Table::of(&one_slow(name, clients, slots), &POLICIES);
        let (ours, best) = (table.ours().mean(), table.best_mean());
        // The ratio is about 1.0. On such a busy server, the mean over 12 s varies by a few
        // percent.
        assert!(
            ours <= 1.2 * best,
            "{name}: {ours} ms; the best policy {best} ms"
        );
        // With `pace` off, our balancer is as good as the best policy that does not measure time
        // either. For one busy client, requests in flight are enough information. Many clients with
        // few requests in flight have too little.
        let blind = table.get(Policy::OursBlind).mean();
        let best_blind = table.best_mean_of(is_blind);
        assert!(
            blind <= 1.15 * best_blind,
            "{name}: {blind} ms; the best policy {best_blind} ms"
        );
        if clients == 100 {
            assert!(blind > 2.0 * best, "the simulation can tell: {blind} ms");
        }
    }
}

#[test]
fn a_client_that_is_nearly_idle_also_avoids_a_slow_server() {
    let scenario = Scenario {
        name: "one 3x slower, 1 client, 30 requests a second",
        clients: 1,
        rate: 30.0,
        slowness: vec![1.0, 1.0, 3.0],
        length: secs(200),
        ..Scenario::default()
    };
    let table = Table::of(&scenario, &POLICIES);
    let (ours, best) = (table.ours().mean(), table.best_mean());
    assert!(ours <= 1.2 * best, "{ours} ms; the best policy {best} ms");
    // The slow server still gets some requests, or its recovery would not be noticed. 6,000
    // requests.
    let share = table.ours().shares()[2];
    assert!((0.02..0.12).contains(&share), "{share}");
}

/// Server 2 is slow in the first ten seconds, as after a restart.
fn slow_at_first(name: &'static str, clients: usize, slots: usize, rate: f64) -> Scenario {
    let event = |at, mode| Event {
        at,
        server: 2,
        mode,
    };
    Scenario {
        name,
        clients,
        slots,
        rate,
        length: secs(60),
        script: vec![event(secs(0), Mode::Slow), event(secs(10), Mode::Up)],
        ..Scenario::default()
    }
}

#[test]
fn a_slow_server_that_recovers_has_its_share_again() {
    // A client with many answers notices the recovery at once, even if it has nothing else in
    // flight. A client with a few answers per second forgets the old value within about 15 s.
    for (scenario, after, bound) in [
        // 30,000, 30,000, 3,000 and 27,000 requests. Each bound is at least four standard
        // deviations.
        (
            slow_at_first("one 3x slower until 10 s, 1 client", 1, 60, 600.0),
            secs(11),
            0.05,
        ),
        (
            slow_at_first("the same, 10 clients", 10, 10, 600.0),
            secs(12),
            0.07,
        ),
        (
            slow_at_first("the same, 1 client, 60 a second", 1, 10, 60.0),
            secs(14),
            0.15,
        ),
        (
            slow_at_first("the same, 100 clients", 100, 10, 600.0),
            secs(25),
            0.05,
        ),
    ] {
        let table = Table::of(&scenario, &[Policy::Ours]);
        let ours = table.ours();
        let slow = ours.shares_between(secs(5), secs(10))[2] * 3.0;
        assert!(slow < 0.6, "{}: {slow}", scenario.name);
        let later = ours.shares_between(after, scenario.length)[2] * 3.0;
        assert!((later - 1.0).abs() < bound, "{}: {later}", scenario.name);
    }
}

#[test]
fn unequal_requests_do_not_make_equal_servers_look_unequal() {
    for (name, clients, slots) in [
        ("1 in 20 takes 200 ms, 1 client", 1, 60),
        ("1 in 20 takes 200 ms, 10 clients", 10, 10),
        ("1 in 20 takes 200 ms, 100 clients", 100, 10),
    ] {
        let scenario = Scenario {
            name,
            clients,
            slots,
            rate: 420.0,
            length: secs(60),
            long: Some((19, ms(200))),
            ..Scenario::default()
        };
        let table = Table::of(&scenario, &[Policy::Ours, Policy::OursBlind]);
        let (ours, blind) = (table.ours().mean(), table.get(Policy::OursBlind).mean());
        assert!(ours <= 1.08 * blind, "{name}: {ours} ms and {blind} ms");
    }
}

#[test]
fn a_long_query_now_and_then_does_not_make_a_server_look_slow() {
    let scenario = Scenario {
        name: "1 client, 1 query in 1,000 takes 2 s",
        clients: 1,
        slots: 60,
        rate: 500.0,
        length: secs(20),
        long: Some((1_000, secs(2))),
        ..Scenario::default()
    };
    let policies = [
        Policy::Ours,
        Policy::OursBlind,
        Policy::Reference(Kind::PeakEwma),
        Policy::TowerEwma,
    ];
    let table = Table::of(&scenario, &policies);
    let (ours, blind) = (table.ours().mean(), table.get(Policy::OursBlind).mean());
    assert!(ours <= 1.1 * blind, "{ours} ms and {blind} ms");
    assert!(ours <= table.best_mean(), "{ours} ms");
}

#[test]
fn connections_held_for_long_do_not_slow_the_other_requests() {
    let none = Scenario {
        name: "1 client, nothing held",
        clients: 1,
        slots: 60,
        length: secs(30),
        ..Scenario::default()
    };
    let held = Scenario {
        name: "1 client, 1 in 10,000 held 10 s",
        hold: Some((10_000, secs(10))),
        ..none.clone()
    };
    let policies = [
        Policy::Ours,
        Policy::OursBlind,
        Policy::Reference(Kind::PeakEwmaHold),
    ];
    let (without, with) = (Table::of(&none, &policies), Table::of(&held, &policies));
    let cost = |policy| with.get(policy).mean() / without.get(policy).mean();
    for policy in [Policy::Ours, Policy::OursBlind] {
        let ours = cost(policy);
        assert!(ours <= 1.1, "{}: {ours}", policy.name());
    }
    // Proof that the simulation shows the effect: this policy is known for it.
    let by_hold = cost(Policy::Reference(Kind::PeakEwmaHold));
    assert!(by_hold > 1.5, "{by_hold}");
}
