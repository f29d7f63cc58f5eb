//! What a case measured.
//!
//! Owns the lines that a run prints of a case. It must never judge them: what has to hold is
//! checked by the case itself.

use std::fmt;
use std::time::Duration;

/// What one case measured, in its own words.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<String>,
}

impl Report {
    /// Notes a measurement, and prints it at once: a case takes minutes in a cluster.
    pub(crate) fn say(&mut self, line: impl fmt::Display) {
        println!("    {line}");
        self.lines.push(line.to_string());
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }
}

/// A time in the unit that suits it.
pub(crate) fn brief(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
