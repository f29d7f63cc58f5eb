//! Tests of the state of a transaction after each sequence of answers.

use super::{End, TxState};
use crate::error::{Error, PodId};
use crate::sql::reading::Reading;
use mysql_async::ServerError;

/// An event in a transaction.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A text is sent.
    Sends(&'static str),
    /// The statement succeeds, and its answer has this flag.
    Ok(bool),
    /// The statement fails with this code.
    Err(u16),
    /// The answer to a ping has this flag.
    Asked(bool),
    Commits,
    RollsBack,
}
use Event::{Asked, Commits, Err, Ok, RollsBack, Sends};

/// The reported state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// The next statement may be sent.
    Open,
    /// A ping is needed before the next statement.
    Asks,
    Over,
    RolledBack,
    Ended,
    /// Not known to be rolled back or ended, so the outcome is unknown.
    Ending,
}

const INSERT: &str = "INSERT INTO t VALUES (1)";
const CALL: &str = "CALL p()";

fn pod() -> PodId {
    PodId::new("mysql-0", "127.0.0.1:3306".parse().unwrap())
}

fn after(events: &[Event]) -> (TxState, &'static str) {
    follow(TxState::begun(true), events)
}

fn follow(mut state: TxState, events: &[Event]) -> (TxState, &'static str) {
    let mut reading = Reading::UNKNOWN;
    let mut text = "";
    for event in events {
        match *event {
            Sends(text) => {
                reading = Reading::of(text.as_bytes());
                state.sends(reading);
            }
            Ok(open) | Asked(open) => state.answered(open),
            Err(code) => state.refused(
                &ServerError {
                    code,
                    message: "read-only".to_owned(),
                    state: "HY000".to_owned(),
                },
                reading,
            ),
            Commits => text = state.ends(End::Commit),
            RollsBack => text = state.ends(End::Rollback),
        }
    }
    (state, text)
}

fn told(state: &TxState) -> Told {
    match (state, state.refusal(&pod())) {
        (_, Some(Error::RolledBack { .. })) => Told::RolledBack,
        (_, Some(Error::TransactionEnded { .. })) => Told::Ended,
        (TxState::None, _) => Told::Over,
        (TxState::Open(_), _) => Told::Open,
        (TxState::Doubtful(_), _) => Told::Asks,
        _ => Told::Ending,
    }
}

#[test]
fn each_answer_tells_what_became_of_the_transaction() {
    for (events, expected) in [
        (&[Sends(INSERT), Ok(true)][..], Told::Open),
        (&[Sends(INSERT), Ok(false)], Told::Ended),
        (&[Sends(CALL), Ok(true)], Told::Open),
        (&[Sends(CALL), Ok(false)], Told::Ended),
        // A refused INSERT leaves the transaction open. A deadlock rolls it back. A lock timeout
        // may roll it back.
        (&[Sends(INSERT), Err(1062)], Told::Open),
        (&[Sends(INSERT), Err(1213)], Told::RolledBack),
        (&[Sends(INSERT), Err(1205)], Told::Asks),
        (&[Sends(INSERT), Err(1205), Asked(true)], Told::Open),
        (&[Sends(INSERT), Err(1205), Asked(false)], Told::RolledBack),
        // A failed statement that could have committed is never reported as rolled back.
        (&[Sends(CALL), Err(1213), Asked(false)], Told::Ended),
        (&[Sends(CALL), Err(1062)], Told::Asks),
        (&[Sends(CALL), Err(1062), Asked(true)], Told::Open),
        (
            &[Sends(CALL), Ok(true), Sends(INSERT), Err(1213)],
            Told::Asks,
        ),
        (
            &[
                Sends(CALL),
                Ok(true),
                Sends(INSERT),
                Err(1213),
                Asked(false),
            ],
            Told::Ended,
        ),
        // Sent on the driver's own connection, before a ping shows that no transaction is open.
        (
            &[Sends(INSERT), Err(1205), Sends(CALL), Asked(false)],
            Told::Ended,
        ),
        // An earlier error is not the cause of the end.
        (
            &[Sends(INSERT), Err(1062), Sends(INSERT), Ok(false)],
            Told::Ended,
        ),
        (
            &[Sends(INSERT), Err(1062), Sends(INSERT), Err(1213)],
            Told::RolledBack,
        ),
        // These states are final.
        (&[Sends(INSERT), Err(1213), Asked(true)], Told::RolledBack),
        (&[Sends(CALL), Ok(false), Asked(true)], Told::Ended),
    ] {
        assert_eq!(told(&after(events).0), expected, "{events:?}");
    }
}

#[test]
fn without_the_anchor_only_the_flag_tells_what_an_error_left() {
    for (events, expected, end) in [
        (
            &[Sends(INSERT), Ok(true), Commits][..],
            Told::Ending,
            "COMMIT",
        ),
        (&[Sends(INSERT), Err(1062)], Told::Asks, ""),
        (&[Sends(INSERT), Err(1213)], Told::RolledBack, ""),
        (
            &[Sends(INSERT), Err(1062), Asked(false)],
            Told::RolledBack,
            "",
        ),
        (&[Sends(INSERT), Err(1062), Asked(true)], Told::Open, ""),
        (
            &[Sends(INSERT), Err(1062), Asked(true), Commits],
            Told::Ending,
            "COMMIT",
        ),
        (
            &[Sends(INSERT), Err(1062), Asked(true), RollsBack],
            Told::Ending,
            "ROLLBACK",
        ),
    ] {
        let (state, text) = follow(TxState::begun(false), events);
        assert_eq!((told(&state), text), (expected, end), "{events:?}");
    }
}

#[test]
fn the_anchor_is_set_before_the_first_statement_that_could_commit() {
    for (events, anchored, expected) in [
        (&[Sends(INSERT), Ok(true)][..], false, false),
        (&[Sends(INSERT), Ok(true), Sends(CALL)], false, true),
        (&[Sends(CALL)], false, true),
        (&[Sends(CALL)], true, false),
    ] {
        let (mut state, _) = follow(TxState::begun(anchored), events);
        assert_eq!(state.must_anchor(), expected, "{events:?}");
        state.anchored();
        assert!(!state.must_anchor());
    }
}

#[test]
fn the_end_is_told_by_its_answer() {
    for (events, expected) in [
        (&[Commits, Ok(false)][..], Told::Over),
        // A chained transaction, which the cleaning rolls back.
        (&[Commits, Ok(true)], Told::Over),
        (&[RollsBack, Ok(false)], Told::Over),
        (&[Commits, Err(1213)], Told::RolledBack),
        (&[Commits, Err(1290)], Told::RolledBack),
        (&[Commits, Err(1180)], Told::Ending),
        (&[Sends(CALL), Ok(true), Commits, Err(1305)], Told::Ended),
        (&[Sends(CALL), Ok(true), RollsBack, Err(1305)], Told::Ended),
        // It is unknown which of the two statements this answers.
        (&[Sends(CALL), Ok(true), Commits, Err(1213)], Told::Ending),
    ] {
        assert_eq!(told(&after(events).0), expected, "{events:?}");
    }
}

#[test]
fn the_anchor_is_looked_for_unless_nothing_can_have_ended_the_transaction() {
    for (events, checked) in [
        (&[Commits][..], false),
        (&[Sends(INSERT), Ok(true), Commits], false),
        (&[Sends(INSERT), Ok(true), RollsBack], false),
        (&[Sends(INSERT), Err(1062), Commits], true),
        (&[Sends(CALL), Ok(true), Commits], true),
        (&[Sends(CALL), Ok(true), RollsBack], true),
    ] {
        let text = after(events).1;
        assert_eq!(
            text.starts_with("RELEASE SAVEPOINT"),
            checked,
            "{events:?}: {text}"
        );
    }
}

#[test]
fn where_nothing_more_can_be_sent_only_what_cannot_have_committed_may_be_run_again() {
    for (events, retryable) in [
        (&[Sends(INSERT), Ok(true)][..], true),
        (&[Sends(INSERT)], true),
        (&[Sends(CALL)], false),
        (&[Sends(CALL), Ok(true)], false),
        (&[Sends(CALL), Ok(true), Commits], false),
        (&[Sends(CALL), Err(1205)], false),
        (&[Sends(INSERT), Err(1205)], true),
        (&[Sends(CALL), Ok(false)], false),
    ] {
        let interrupted = Error::Interrupted { pod: pod() };
        let error = after(events).0.unsent(&pod(), interrupted);
        assert_eq!(error.is_retryable(), retryable, "{events:?}: {error}");
    }
}
