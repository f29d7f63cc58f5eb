//! `resolve --watch`: look-ups at the rate of an application, and the changes.

use super::{code, json, show};
use crate::Failure;
use crate::say::say;
use headless_mysql::discovery::{Answer, BoxFuture, Resolve, ResolveError, Transcript};
use headless_mysql::topology::{self, Change, Discovery, RefreshConfig, Topology};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

type LookUp = (Result<Answer, ResolveError>, Transcript);

/// Reports every look-up that the discovery loop makes.
#[derive(Debug)]
struct Explained {
    inner: Arc<dyn Resolve>,
    look_ups: mpsc::UnboundedSender<LookUp>,
}

impl Resolve for Explained {
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
        Box::pin(async move {
            let (result, transcript) = self.inner.explain().await;
            // The receiver is gone, because the program is about to end.
            let _ = self.look_ups.send((result.clone(), transcript));
            result
        })
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// Prints events, and remembers what was known before.
struct Screen {
    json: bool,
    asked_for: String,
    topology: Topology,
    grace: Duration,
    seen: usize,
    failing: Option<ResolveError>,
}

/// Runs until `look_ups` look-ups are done, or for ever.
pub(super) async fn run(
    dns: Arc<dyn Resolve>,
    json: bool,
    look_ups: Option<usize>,
) -> Result<ExitCode, Failure> {
    let config = RefreshConfig::default();
    let mut screen = Screen {
        json,
        asked_for: dns.describe(),
        topology: Topology::default(),
        grace: config.grace,
        seen: 0,
        failing: None,
    };
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let explained = Explained {
        inner: dns,
        look_ups: sender,
    };
    let discovery = Discovery::start(Arc::new(explained), config, &Handle::current());
    while look_ups != Some(screen.seen) {
        let Some((result, transcript)) = receiver.recv().await else {
            break;
        };
        screen.look_up(result, &transcript);
    }
    discovery.stop();
    Ok(code(screen.failing.as_ref()))
}

impl Screen {
    fn look_up(&mut self, result: Result<Answer, ResolveError>, transcript: &Transcript) {
        self.seen += 1;
        if self.seen == 1 {
            match self.json {
                true => self.event(
                    "look_up",
                    json::look_up(&self.asked_for, &result, transcript),
                ),
                false => {
                    show::look_up(&result, transcript);
                    say!("\nwatching; changes follow");
                }
            }
        }
        let now = Instant::now();
        let changes = match &result {
            Ok(answer) => {
                let (next, changes) = topology::merge(&self.topology, answer, now, self.grace);
                self.topology = next;
                changes
            }
            Err(_) => {
                let (next, changes) = topology::expire(&self.topology, now, self.grace);
                self.topology = next;
                changes
            }
        };
        // The result of the first look-up has already been shown.
        for change in changes.iter().filter(|_| self.seen > 1) {
            self.change(change);
        }
        let error = result.err();
        let changed = match (&self.failing, &error) {
            (None, None) => false,
            (Some(old), Some(new)) => old.to_string() != new.to_string(),
            _ => true,
        };
        if changed && self.seen > 1 {
            match &error {
                Some(error) => self.failure(error, transcript),
                None => self.line("look-ups succeed again", "recovered", json!({})),
            }
        }
        self.failing = error;
    }

    fn change(&self, change: &Change) {
        let text = change.to_string();
        let fields = json!({ "change": change.kind(), "text": text });
        self.line(&text, "change", fields);
    }

    fn failure(&self, error: &ResolveError, transcript: &Transcript) {
        let mut text = format!("{error}; the pods stay as they are");
        for hint in &transcript.hints {
            text.push_str(&format!("\n{:13}hint: {hint}", ""));
        }
        let fields = json!({ "error": json::failure(error), "hints": transcript.hints });
        self.line(&text, "failed", fields);
    }

    fn line(&self, text: &str, event: &str, fields: Value) {
        match self.json {
            true => self.event(event, fields),
            false => say!("{} {text}", clock()),
        }
    }

    fn event(&self, event: &str, mut fields: Value) {
        fields["event"] = json!(event);
        fields["time"] = json!(clock());
        fields["look_up"] = json!(self.seen);
        say!("{fields}");
    }
}

/// The time of day, UTC.
#[allow(
    clippy::disallowed_types,
    reason = "shown to a person, nothing depends on it"
)]
fn clock() -> String {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let since = since.unwrap_or_default();
    let (day, ms) = (since.as_secs() % 86_400, since.subsec_millis());
    let (hours, minutes, seconds) = (day / 3600, day / 60 % 60, day % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{ms:03}")
}
