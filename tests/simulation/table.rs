//! The table of a scenario's results, shown with `--nocapture`.

use crate::client::Policy;
use crate::world::{Report, Scenario};
use std::fmt::Write;

/// The reports of one scenario, one per policy.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) reports: Vec<Report>,
}

impl Table {
    /// Runs the scenario under each policy and prints the table.
    pub(crate) fn of(scenario: &Scenario, policies: &[Policy]) -> Self {
        let reports = policies.iter().map(|&policy| scenario.run(policy));
        let table = Self {
            reports: reports.collect(),
        };
        print!("{}", table.text(scenario));
        table
    }

    pub(crate) fn get(&self, policy: Policy) -> &Report {
        let mut reports = self.reports.iter();
        reports.find(|report| report.policy == policy).unwrap()
    }

    pub(crate) fn ours(&self) -> &Report {
        self.get(Policy::Ours)
    }

    /// The lowest mean among other policies whose error share is at most one request in 1,000.
    pub(crate) fn best_mean(&self) -> f64 {
        self.best_mean_of(|_| true)
    }

    /// As [`Table::best_mean`], restricted to some of the policies.
    pub(crate) fn best_mean_of(&self, some: impl Fn(Policy) -> bool) -> f64 {
        let others = self.reports.iter().filter(|r| !r.policy.is_ours());
        let sound = others.filter(|r| r.error_share() <= 0.001 && some(r.policy));
        sound.map(Report::mean).fold(f64::INFINITY, f64::min)
    }

    fn text(&self, scenario: &Scenario) -> String {
        let mut text = format!(
            "\n{}\n{:<22} {:>9} {:>9} {:>8} {:>6} {:>6}  share\n",
            scenario.name, "", "mean ms", "p99 ms", "errors", "herd", "conns"
        );
        for report in &self.reports {
            let conns = report.servers.iter().map(|server| server.most_open).max();
            let _ = writeln!(
                text,
                "{:<22} {:>9.1} {:>9.1} {:>7.2}% {:>6} {:>6}  {}",
                report.policy.name(),
                report.mean(),
                report.p99(),
                report.error_share() * 100.0,
                match scenario.script.first() {
                    Some(event) => report.herd[event.server],
                    None => report.herd.iter().copied().max().unwrap_or_default(),
                },
                conns.unwrap_or_default(),
                shares(report),
            );
        }
        text
    }
}

fn shares(report: &Report) -> String {
    let shares = report.shares();
    if shares.len() <= 5 {
        let shares: Vec<String> = shares.iter().map(|s| format!("{:.1}", s * 100.0)).collect();
        return format!("{} %", shares.join(" / "));
    }
    let min = shares.iter().copied().fold(f64::INFINITY, f64::min);
    let max = shares.iter().copied().fold(0.0, f64::max);
    format!("{:.2} to {:.2} %", min * 100.0, max * 100.0)
}
