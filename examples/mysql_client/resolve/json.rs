//! A look-up as JSON, for programs.

use headless_mysql::discovery::{
    Answer, Entry, Exchange, FoundPod, ResolveError, Step, Transcript,
};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn look_up(
    asked_for: &str,
    result: &Result<Answer, ResolveError>,
    transcript: &Transcript,
) -> Value {
    let steps: Vec<Value> = transcript.steps.iter().filter_map(step).collect();
    let mut object = match result {
        Ok(answer) => json!({
            "service": answer.service,
            "pods": answer.pods.iter().map(pod).collect::<Vec<_>>(),
            "complete": answer.complete,
            "ttl_seconds": answer.ttl.map(|ttl| ttl.as_secs()),
            "error": null,
        }),
        Err(error) => json!({ "pods": [], "error": failure(error) }),
    };
    object["asked_for"] = json!(asked_for);
    object["queries"] = json!(transcript.queries());
    object["took_ms"] = json!(milliseconds(transcript.took));
    object["steps"] = json!(steps);
    object["hints"] = json!(transcript.hints);
    object
}

pub(super) fn failure(error: &ResolveError) -> Value {
    json!({ "kind": error.kind(), "absent": error.is_absence(), "message": error.to_string() })
}

fn pod(pod: &FoundPod) -> Value {
    json!({
        "ordinal": pod.ordinal.map(|ordinal| ordinal.get()),
        "host": pod.host,
        "addresses": pod.addresses,
        "port": pod.port,
    })
}

fn step(step: &Step) -> Option<Value> {
    match step {
        Step::Asked(asked) => Some(exchange(asked)),
        Step::Concluded(text) => Some(json!({ "concluded": text })),
        _ => None,
    }
}

fn exchange(asked: &Exchange) -> Value {
    json!({
        "name": asked.name,
        "type": asked.kind,
        "server": asked.server,
        "protocol": asked.protocol.as_str(),
        "at_ms": milliseconds(asked.at),
        "took_ms": milliseconds(asked.took),
        "said": asked.said,
        "answers": asked.answers.iter().map(record).collect::<Vec<_>>(),
        "additionals": asked.additionals.iter().map(record).collect::<Vec<_>>(),
    })
}

fn record(record: &Entry) -> Value {
    json!({
        "owner": record.owner,
        "ttl_seconds": record.ttl.as_secs(),
        "type": record.kind,
        "data": record.data,
    })
}

/// Milliseconds with three decimals.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
