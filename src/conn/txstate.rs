//! The state of the transaction of a [`Tx`](crate::conn::tx::Tx).
//!
//! Each OK of the server has a flag that shows whether a transaction is open. [`TxState`] compares
//! the flag with its own state: call [`TxState::sends`] before a statement, then
//! [`TxState::answered`] or [`TxState::refused`]. The flag does not show whether the open
//! transaction is still the same: a procedure can commit and begin another transaction. So a
//! savepoint, the anchor, is set before the first statement that could commit. No later transaction
//! has it, and COMMIT and ROLLBACK check it first. It is set before the first savepoint of the
//! user, too: a server that releases a savepoint releases all later ones.
//!
//! START TRANSACTION is sent with the first statement; see [`begin`](crate::conn::begin).
//!
//! The module is pure. It must never report *rolled back* if a statement could have committed.

use crate::error::{Error, PodId};
use crate::server::failure::{is_read_only, may_roll_back, rolls_back};
use crate::sql::reading::Reading;
use mysql_async::ServerError;

/// The anchor; see the module documentation.
pub(crate) const ANCHOR: &str = "SAVEPOINT headless_mysql_begin";

/// Whether a transaction may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

impl Access {
    /// The text that begins a transaction.
    pub(crate) fn begin_text(self) -> &'static str {
        match self {
            Self::ReadWrite => "START TRANSACTION READ WRITE",
            Self::ReadOnly => "START TRANSACTION READ ONLY",
        }
    }

    /// The same, with the anchor.
    pub(crate) fn anchored_text(self) -> &'static str {
        match self {
            Self::ReadWrite => "START TRANSACTION READ WRITE; SAVEPOINT headless_mysql_begin",
            Self::ReadOnly => "START TRANSACTION READ ONLY; SAVEPOINT headless_mysql_begin",
        }
    }
}

/// The server's error code for "SAVEPOINT … does not exist": COMMIT or ROLLBACK was not executed.
const NO_ANCHOR: u16 = 1305;

/// How the user ends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    Rollback,
}

impl End {
    fn text(self) -> &'static str {
        match self {
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
        }
    }

    fn checked_text(self) -> &'static str {
        match self {
            Self::Commit => "RELEASE SAVEPOINT headless_mysql_begin; COMMIT",
            Self::Rollback => "RELEASE SAVEPOINT headless_mysql_begin; ROLLBACK",
        }
    }
}

/// The transaction of a checked-out connection.
#[derive(Debug, Default)]
pub(crate) enum TxState {
    /// No `Tx` has begun, or it has ended.
    #[default]
    None,
    /// The next statement begins it.
    Due(Access),
    /// Open, by the flag of the last answer.
    Open(History),
    /// A statement failed, and may have ended the transaction. Only a ping can show whether it has.
    Doubtful(History),
    /// COMMIT or ROLLBACK is under way.
    Ending(History),
    /// The server has rolled the whole transaction back.
    RolledBack { source: Box<ServerError> },
    /// The transaction ended before its COMMIT. Whether by a commit or a rollback is unknown.
    Ended { source: Option<Box<ServerError>> },
}

/// The earlier statements of an open transaction.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The anchor is set.
    anchored: bool,
    /// A statement was sent, or is about to be, that could commit the transaction and begin another
    /// one.
    could_commit: bool,
    /// The user has set a savepoint, or is about to.
    has_savepoint: bool,
    /// The server's last error in the transaction.
    refused: Option<Box<ServerError>>,
}

impl TxState {
    pub(crate) fn begun(anchored: bool) -> Self {
        Self::Open(History {
            anchored,
            ..History::default()
        })
    }

    /// Whether the anchor must be set before the next statement is sent. Call it after
    /// [`TxState::sends`].
    pub(crate) fn must_anchor(&self) -> bool {
        let Self::Open(history) = self else {
            return false;
        };
        (history.could_commit || history.has_savepoint) && !history.anchored
    }

    /// The anchor was set.
    pub(crate) fn anchored(&mut self) {
        if let Self::Open(history) | Self::Doubtful(history) = self {
            history.anchored = true;
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        matches!(self, Self::Due(_))
    }

    /// Whether a transaction of a `Tx` may be open on the server.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(self, Self::None | Self::Due(_))
    }

    pub(crate) fn is_doubtful(&self) -> bool {
        matches!(self, Self::Doubtful(_))
    }

    /// Whether a statement may be sent without a ping before it.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self, Self::None | Self::Open(_))
    }

    /// Call before a statement is sent.
    pub(crate) fn sends(&mut self, reading: Reading) {
        if let Self::Open(history) | Self::Doubtful(history) = self {
            history.could_commit |= !reading.keeps_transaction();
            history.has_savepoint |= reading.sets_savepoint();
        }
    }

    /// Takes in the answer to a statement or to a ping. `open` is the flag of the answer.
    pub(crate) fn answered(&mut self, open: bool) {
        *self = match std::mem::take(self) {
            Self::Ending(_) => Self::None,
            Self::Open(history) | Self::Doubtful(history) if open => Self::Open(history),
            Self::Doubtful(History {
                could_commit: false,
                refused: Some(source),
                ..
            }) => Self::RolledBack { source },
            Self::Open(history) | Self::Doubtful(history) => Self::Ended {
                source: history.refused,
            },
            state => state,
        }
    }

    /// Takes in an error of the server.
    pub(crate) fn refused(&mut self, error: &ServerError, reading: Reading) {
        let source = Box::new(error.clone());
        *self = match std::mem::take(self) {
            Self::Open(history) if rolls_back(error) && !history.could_commit => {
                Self::RolledBack { source }
            }
            Self::Open(mut history) => {
                history.refused = Some(source);
                // Without the anchor, only the flag shows whether the error has rolled back.
                let unsure = may_roll_back(error) || !history.anchored;
                match unsure || !reading.keeps_transaction() {
                    true => Self::Doubtful(history),
                    false => Self::Open(history),
                }
            }
            Self::Ending(history) if error.code == NO_ANCHOR => Self::Ended {
                source: history.refused,
            },
            // Tested on servers: a COMMIT that is refused as read-only has rolled back.
            Self::Ending(history)
                if (rolls_back(error) || is_read_only(error)) && !history.could_commit =>
            {
                Self::RolledBack { source }
            }
            state => state,
        };
    }

    /// Call before COMMIT or ROLLBACK is sent. Returns its text. The text checks the anchor first,
    /// unless no statement could have committed, and each succeeded or was followed by an answer
    /// that shows the transaction open.
    pub(crate) fn ends(&mut self, by: End) -> &'static str {
        let history = match std::mem::take(self) {
            Self::Open(history) | Self::Doubtful(history) => history,
            state => {
                *self = state;
                return by.text();
            }
        };
        let sure = !history.could_commit && (history.refused.is_none() || !history.anchored);
        *self = Self::Ending(history);
        match sure {
            true => by.text(),
            false => by.checked_text(),
        }
    }

    /// The error for further statements in the transaction, if none may be sent.
    pub(crate) fn refusal(&self, pod: &PodId) -> Option<Error> {
        match self {
            Self::None | Self::Due(_) | Self::Open(_) | Self::Doubtful(_) | Self::Ending(_) => None,
            Self::RolledBack { source } => Some(Error::RolledBack {
                pod: pod.clone(),
                source: (**source).clone(),
            }),
            Self::Ended { source } => Some(Error::TransactionEnded {
                pod: pod.clone(),
                source: source.clone().map(|source| {
                    Box::new(Error::Server {
                        pod: Some(pod.clone()),
                        source: *source,
                    })
                }),
            }),
        }
    }

    /// The error for the caller if `error` prevents further statements. The server rolls back an
    /// open transaction, but an earlier statement may have committed.
    pub(crate) fn unsent(&self, pod: &PodId, error: Error) -> Error {
        match self {
            Self::Open(history) | Self::Doubtful(history) | Self::Ending(history)
                if history.could_commit =>
            {
                Error::TransactionEnded {
                    pod: pod.clone(),
                    source: Some(Box::new(error)),
                }
            }
            Self::Ended { .. } => self.refusal(pod).unwrap_or(error),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests;
