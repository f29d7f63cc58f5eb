//! Tells whether a text can only work inside the current transaction: each of its statements reads
//! or changes rows, or sets something that does not affect a transaction. Functions and triggers
//! called by such statements cannot commit: servers refuse it.

use super::kind::is_any;
use crate::sql::lex::Token;

const VERBS: &[&str] = &[
    "SELECT",
    "TABLE",
    "VALUES",
    "WITH",
    "INSERT",
    "REPLACE",
    "UPDATE",
    "DELETE",
    "DO",
    "SHOW",
    "EXPLAIN",
    "DESCRIBE",
    "DESC",
    "SAVEPOINT",
    "RELEASE",
    "GET",
];

/// Words after SET that make it commit, or that make it another kind of statement.
const COMMITTING_SETTINGS: &[&str] = &["AUTOCOMMIT", "PASSWORD", "ROLE", "STATEMENT"];

/// Follows the tokens of a text.
#[derive(Debug, Default)]
pub(super) struct Keeps {
    place: Place,
    sets_savepoint: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Before the first statement.
    #[default]
    Nothing,
    /// After `;`.
    Next,
    Inside,
    /// After `ROLLBACK`, where `TO` names a savepoint.
    Rollback,
    Set,
    /// After a statement that may end the transaction.
    Ends,
}

impl Keeps {
    pub(super) fn take(&mut self, token: Token<'_>) {
        self.place = match (self.place, token) {
            (Place::Ends | Place::Rollback, Token::Symbol(b';')) => Place::Ends,
            (Place::Inside | Place::Set, Token::Symbol(b';')) => Place::Next,
            (Place::Nothing | Place::Next, Token::Symbol(b'(')) => self.place,
            (Place::Nothing | Place::Next, Token::Word(word)) => {
                self.sets_savepoint |= is_any(word, &["SAVEPOINT"]);
                verb(word)
            }
            (Place::Nothing | Place::Next, _) => Place::Ends,
            (Place::Rollback, Token::Word(word)) if is_any(word, &["WORK"]) => Place::Rollback,
            (Place::Rollback, Token::Word(word)) if is_any(word, &["TO"]) => Place::Inside,
            (Place::Rollback, _) => Place::Ends,
            (Place::Set, token) if sets_what_commits(token) => Place::Ends,
            (place, _) => place,
        };
    }

    pub(super) fn sets_savepoint(&self) -> bool {
        self.sets_savepoint
    }

    pub(super) fn keeps(&self) -> bool {
        match self.place {
            Place::Next | Place::Inside | Place::Set => true,
            Place::Nothing | Place::Rollback | Place::Ends => false,
        }
    }
}

fn verb(word: &[u8]) -> Place {
    if is_any(word, VERBS) {
        Place::Inside
    } else if is_any(word, &["ROLLBACK"]) {
        Place::Rollback
    } else if is_any(word, &["SET"]) {
        Place::Set
    } else {
        Place::Ends
    }
}

fn sets_what_commits(token: Token<'_>) -> bool {
    match token {
        Token::Word(name)
        | Token::QuotedIdentifier(name)
        | Token::DoubleQuoted(name)
        | Token::SystemVariable(name) => {
            let mut parts = name.split(|byte| matches!(byte, b'.' | b'@' | b'`'));
            parts.any(|part| is_any(part, COMMITTING_SETTINGS))
        }
        _ => false,
    }
}
