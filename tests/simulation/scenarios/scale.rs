//! 1,000 clients and 100 servers, a size that no test machine can run.

use crate::client::Policy;
use crate::reference::Kind;
use crate::table::Table;
use crate::world::{Scenario, ms, secs};

#[test]
fn a_thousand_clients_share_a_hundred_servers() {
    let scenario = Scenario {
        name: "1,000 clients, 100 servers, 60 % busy",
        clients: 1000,
        slowness: vec![1.0; 100],
        rate: 4800.0,
        work: ms(50),
        length: secs(8),
        ..Scenario::default()
    };
    let table = Table::of(
        &scenario,
        &[
            Policy::Ours,
            Policy::Reference(Kind::Random),
            Policy::Reference(Kind::P2c),
            Policy::Reference(Kind::PeakEwma),
        ],
    );
    let ours = table.ours();
    assert_eq!(ours.errors(), 0);
    let (mean, best) = (ours.mean(), table.best_mean());
    assert!(mean <= 1.2 * best, "{mean} ms; the best policy {best} ms");
    // Test for equal shares: chi-square with 99 degrees of freedom has a mean of 99 and a standard
    // deviation of 14.
    let calls = ours.calls_between(scenario.warm_up, scenario.length);
    let expected = calls.iter().sum::<u64>() as f64 / 100.0;
    let chi: f64 = calls
        .iter()
        .map(|&n| (n as f64 - expected).powi(2) / expected)
        .sum();
    assert!(chi < 99.0 + 6.0 * 14.1, "{chi}");
    // A client with few requests keeps one connection to each server that it has used.
    let most = ours.servers.iter().map(|s| s.most_open).max().unwrap();
    assert!(most <= scenario.clients + scenario.clients / 10, "{most}");
}
