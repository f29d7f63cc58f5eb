//! A look-up as text, for people.

use crate::say::say;
use crate::table;
use headless_mysql::discovery::{Answer, Exchange, ResolveError, Step, Transcript};
use std::time::Duration;

/// The maximum number of records to print; the rest are only counted.
const SHOWN: usize = 24;

pub(super) fn look_up(result: &Result<Answer, ResolveError>, transcript: &Transcript) {
    for step in &transcript.steps {
        match step {
            Step::Asked(asked) => exchange(asked),
            Step::Concluded(text) => say!("  => {text}"),
            _ => {}
        }
    }
    let cost = format!(
        "{} in {}",
        count(transcript.queries(), "query", "queries"),
        time(transcript.took)
    );
    match result {
        Ok(answer) => pods(answer, &cost),
        Err(error) => say!("\nno pods found: {} ({cost})", error.kind()),
    }
    for hint in &transcript.hints {
        say!("\nhint: {hint}");
    }
}

fn exchange(asked: &Exchange) {
    say!(
        "{:<4} {}  {} from {} over {} in {}",
        asked.kind,
        asked.name,
        asked.said,
        asked.server,
        asked.protocol,
        time(asked.took)
    );
    for (mark, records) in [("   ", &asked.answers), ("  +", &asked.additionals)] {
        for record in records.iter().take(SHOWN) {
            say!("{mark}  {record}");
        }
        if records.len() > SHOWN {
            say!("{mark}  and {} more", records.len() - SHOWN);
        }
    }
}

fn pods(answer: &Answer, cost: &str) {
    let ttl = match answer.ttl {
        Some(ttl) => format!("TTL {ttl:?}"),
        None => "no TTL".to_owned(),
    };
    let partial = match answer.complete {
        true => "",
        false => ", and perhaps more",
    };
    say!(
        "\n{} has {}{partial} ({ttl}; {cost})\n",
        answer.service,
        count(answer.pods.len(), "pod", "pods")
    );
    let mut pods: Vec<_> = answer.pods.iter().collect();
    pods.sort_by_key(|pod| (pod.ordinal.is_none(), pod.ordinal, pod.addresses.clone()));
    let rows: Vec<Vec<String>> = pods
        .into_iter()
        .map(|pod| {
            let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
            vec![
                pod.ordinal.map_or("-".to_owned(), |n| n.to_string()),
                pod.host.clone(),
                addresses.join(", "),
                pod.port.to_string(),
            ]
        })
        .collect();
    table::print(&["ordinal", "name", "address", "port"], &rows);
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn time(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
