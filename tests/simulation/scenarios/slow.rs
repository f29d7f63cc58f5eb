//! A slow server, and connections that are held for long.

use crate::client::Policy;
use crate::reference::Kind;
use crate::table::Table;
use crate::world::{Scenario, secs};

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

const POLICIES: [Policy; 8] = [
    Policy::Ours,
    Policy::Reference(Kind::RoundRobin),
    Policy::Reference(Kind::Least),
    Policy::Reference(Kind::P2c),
    Policy::Reference(Kind::PeakEwma),
    Policy::Reference(Kind::LeastSlow),
    Policy::TowerPending,
    Policy::TowerEwma,
];

/// Sees requests in flight only.
fn is_blind(policy: Policy) -> bool {
    !matches!(
        policy,
        Policy::TowerEwma | Policy::Reference(Kind::PeakEwma | Kind::LeastSlow)
    )
}

/// What is in flight tells one busy client enough.
#[test]
fn a_busy_client_hardly_notices_that_a_server_is_three_times_slower() {
    let table = Table::of(&one_slow("one 3x slower, 1 client", 1, 60), &POLICIES);
    let cost = table.ours().mean() / table.best_mean();
    assert!(cost <= 1.2, "{cost}");
}

/// Many clients with little in flight each see too little of it: a policy that measures answers
/// does better there. Ours must not be worse than the others that do not.
#[test]
fn of_the_policies_that_measure_no_time_ours_suffers_least_from_a_slow_server() {
    for (name, clients) in [
        ("one 3x slower, 10 clients", 10),
        ("one 3x slower, 100 clients", 100),
    ] {
        let table = Table::of(&one_slow(name, clients, 10), &POLICIES);
        let cost = table.ours().mean() / table.best_mean_of(is_blind);
        // A mean over 12 s of so busy a server moves by a few percent.
        assert!(cost <= 1.15, "{name}: {cost}");
    }
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
        Policy::Reference(Kind::PeakEwmaHold),
        Policy::Reference(Kind::LeastSlow),
        Policy::TowerEwma,
    ];
    let (without, with) = (Table::of(&none, &policies), Table::of(&held, &policies));
    let cost = |policy| with.get(policy).mean() / without.get(policy).mean();
    let ours = cost(Policy::Ours);
    assert!(ours <= 1.1, "{ours}");
    // The simulation can tell: this policy is known for it.
    let by_hold = cost(Policy::Reference(Kind::PeakEwmaHold));
    assert!(by_hold > 2.0, "{by_hold}");
}
