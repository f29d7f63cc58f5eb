//! Tells what a statement may read of what an earlier statement of its session reported about
//! itself: the last insert id, the warnings.
//!
//! Knows the names under which servers show them. Calls of unknown functions are found elsewhere,
//! by [`Proof`](crate::sql::trace::Proof).

use super::kind::is_any;
use crate::sql::lex::Token;

/// `ISNULL` finds the last inserted row, if a session has `sql_auto_is_null`.
const INSERT_ID: &[&str] = &["LAST_INSERT_ID", "ISNULL"];

/// After `IS`, these do the same, alone or negated.
const NULLS: &[&str] = &["NULL", "UNKNOWN", "NOT"];

const WARNINGS: &[&str] = &["WARNINGS", "ERRORS", "DIAGNOSTICS"];

const WARNING_COUNTS: &[&str] = &["WARNING_COUNT", "ERROR_COUNT"];

/// Part of `SHOW VARIABLES`, and of the names of tables that show a session's variables.
const VARIABLES: &[u8] = b"VARIABLES";

/// What a statement may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Diagnostics {
    pub(crate) insert_id: bool,
    pub(crate) warnings: bool,
}

impl Diagnostics {
    pub(crate) const NONE: Self = Self {
        insert_id: false,
        warnings: false,
    };
    pub(crate) const WARNINGS: Self = Self {
        insert_id: false,
        warnings: true,
    };
    pub(crate) const ALL: Self = Self {
        insert_id: true,
        warnings: true,
    };
}

/// Follows the tokens of a text.
#[derive(Debug, Default)]
pub(super) struct Reads {
    found: Diagnostics,
    /// Whether the last token is `IS`.
    is: bool,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    Verb,
    /// In a text that begins with `GET`, which no other statement follows.
    Get,
    Other,
}

impl Reads {
    pub(super) fn take(&mut self, token: Token<'_>) {
        let was_is = std::mem::take(&mut self.is);
        self.place = match (self.place, token) {
            (Place::Verb, Token::Word(word)) if is_any(word, &["GET"]) => Place::Get,
            (Place::Get, token) if token != Token::Symbol(b';') => Place::Get,
            _ => Place::Other,
        };
        let found = &mut self.found;
        match token {
            Token::SystemVariable(name) if is_warning_count(name) => found.warnings = true,
            Token::SystemVariable(_) => *found = Diagnostics::ALL,
            Token::Word(word) => {
                self.is = is_any(word, &["IS"]);
                found.insert_id |= is_any(word, INSERT_ID) || (was_is && is_any(word, NULLS));
                found.warnings |= is_any(word, WARNINGS);
                if names_variables(word) {
                    *found = Diagnostics::ALL;
                }
            }
            Token::QuotedIdentifier(name) | Token::DoubleQuoted(name) if names_variables(name) => {
                *found = Diagnostics::ALL;
            }
            _ => {}
        }
    }

    pub(super) fn found(&self) -> Diagnostics {
        self.found
    }

    /// Whether the text is one `GET DIAGNOSTICS`.
    pub(super) fn is_get(&self) -> bool {
        self.place == Place::Get
    }
}

fn is_warning_count(variable: &[u8]) -> bool {
    let name = variable.rsplit(|byte| matches!(byte, b'.' | b'@'));
    name.take(1).any(|name| is_any(name, WARNING_COUNTS))
}

fn names_variables(name: &[u8]) -> bool {
    name.windows(VARIABLES.len())
        .any(|part| part.eq_ignore_ascii_case(VARIABLES))
}
