//! The limits of operations, and the deadline of one operation.
//!
//! Owns the combination of both limits: for each operation, and for all operations together.

use std::time::Duration;
use tokio::time::Instant;

/// The limits of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// The limit for each operation.
    pub(crate) each: Option<Duration>,
    /// The deadline for all operations together.
    pub(crate) all: Option<Instant>,
}

impl Timeouts {
    /// The deadline of an operation that begins now. A timeout that exceeds the clock's range
    /// counts as no timeout.
    pub(crate) fn deadline(&self) -> Deadline {
        let begun = Instant::now();
        let each = self.each.and_then(|each| begun.checked_add(each));
        let at = match (each, self.all) {
            (Some(each), Some(all)) => Some(each.min(all)),
            (each, all) => each.or(all),
        };
        let sent = begun;
        Deadline { begun, sent, at }
    }
}

/// The begin and the deadline of one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) begun: Instant,
    /// When the statement was sent: at `begun`, or after the end of a question before it.
    pub(crate) sent: Instant,
    /// The deadline. `None` means no limit.
    pub(crate) at: Option<Instant>,
}

impl Deadline {
    /// The whole time from begin to deadline. `None` means no limit.
    pub(crate) fn time(&self) -> Option<Duration> {
        let at = self.at?;
        Some(at.saturating_duration_since(self.begun))
    }

    /// The deadline for the statement itself, after the question before it was answered.
    pub(crate) fn rest(self) -> Self {
        Self {
            sent: Instant::now(),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_question_before_a_statement_takes_of_its_time_but_is_not_part_of_its_pace() {
        let limit = Timeouts {
            each: Some(Duration::from_secs(10)),
            all: None,
        };
        let whole = limit.deadline();
        tokio::time::advance(Duration::from_secs(3)).await;
        let rest = whole.rest();
        assert_eq!((rest.begun, rest.at), (whole.begun, whole.at));
        assert_eq!(rest.sent, whole.sent + Duration::from_secs(3));
    }
}
