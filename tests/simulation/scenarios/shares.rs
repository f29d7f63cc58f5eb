//! Equal servers get equal shares.

use crate::client::Policy;
use crate::reference::Kind;
use crate::table::Table;
use crate::world::{Scenario, ms, secs};

#[test]
fn equal_servers_get_equal_shares_and_nobody_answers_sooner() {
    let scenario = Scenario {
        name: "equal, 70 % busy, 10 clients",
        ..Scenario::default()
    };
    let table = Table::of(&scenario, &Policy::ALL);
    // The seed gives all policies the same requests. The margin of 5 % is for chance.
    let (ours, best) = (table.ours().mean(), table.best_mean());
    assert!(ours <= 1.05 * best, "{ours} ms; the best policy {best} ms");

    let longer = Scenario {
        name: "the same for longer",
        length: secs(80),
        ..scenario
    };
    let off = Table::of(&longer, &[Policy::Ours]).ours().unevenness();
    // 65,000 requests. With independent random choices, 2 % would be 3.6 standard deviations.
    // Counting requests in flight halves the deviation.
    assert!(off < 0.02, "off by {off}");
}

#[test]
fn idle_equal_servers_get_equal_shares() {
    let idle = Scenario {
        name: "equal, idle (2 % busy), 10 clients",
        rate: 24.0,
        length: secs(200),
        ..Scenario::default()
    };
    let table = Table::of(&idle, &Policy::ALL);
    // Proof that the simulation shows the effect: this policy is known for unequal shares.
    let first = table.get(Policy::Reference(Kind::FirstLeast)).shares()[0];
    assert!(first > 0.9, "{first}");

    // 110,000 requests with independent random choices: 2 % is 4.7 standard deviations. With half
    // as many requests, the bound is 5 deviations.
    for (policy, length, bound) in [
        (Policy::Ours, secs(4600), 0.02),
        (Policy::OursBlind, secs(2300), 0.03),
    ] {
        let name = "the same for longer";
        let longer = Scenario {
            name,
            length,
            ..idle.clone()
        };
        let off = Table::of(&longer, &[policy]).get(policy).unevenness();
        assert!(off < bound, "{}: off by {off}", policy.name());
    }
}

#[test]
fn a_simulation_repeats_itself_from_its_seed() {
    let scenario = Scenario {
        name: "",
        length: secs(1),
        warm_up: ms(0),
        ..Scenario::default()
    };
    let policies = Policy::ALL;
    for policy in policies.into_iter().filter(|policy| !policy.is_ours()) {
        let (first, second) = (scenario.run(policy), scenario.run(policy));
        let what = policy.name();
        assert_eq!(first.shares(), second.shares(), "{what}");
        assert_eq!(first.mean().to_bits(), second.mean().to_bits(), "{what}");
        let other = Scenario {
            seed: 1,
            ..scenario.clone()
        };
        assert_ne!(first.mean().to_bits(), other.run(policy).mean().to_bits());
    }
}
