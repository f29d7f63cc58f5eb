//! Reads the text of a statement once, for every decision that depends on what the statement does.
//!
//! [`Reading::of`] is pure and cheap enough to run on each text statement. The readings of prepared
//! statements are kept beside them.
//!
//! Owns four questions: is the statement proven to only read rows, may it end a transaction, may it
//! leave something in the session, and may it read what earlier statements left there. It must
//! never judge a text harmless that it does not fully understand. A text that servers may read in
//! different ways is unproven.

pub(crate) mod diagnostics;
mod keeps;
mod kind;
mod no_read;

use crate::sql::lex::{Lexer, Token};
use crate::sql::reading::diagnostics::{Diagnostics, Reads};
use crate::sql::reading::keeps::Keeps;
use crate::sql::reading::kind::{Kind, Kinds};
use crate::sql::reading::no_read::NoReads;
use crate::sql::trace::Proof;
use crate::sql::traces::Trace;

/// A longer text is not read and therefore unproven: 256 KiB take about 6 ms of a worker thread.
const LONGEST_READ: usize = 256 * 1024;

/// What the text of a statement says about the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    kind: Kind,
    trace: Trace,
    keeps: bool,
    sets_savepoint: bool,
    commits: bool,
    reads: Diagnostics,
    no_read: Option<&'static str>,
}

impl Reading {
    /// The reading of a statement whose text is unknown or too long.
    pub(crate) const UNKNOWN: Self = Self {
        kind: Kind::Unproven,
        trace: Trace::Session,
        keeps: false,
        sets_savepoint: false,
        commits: false,
        reads: Diagnostics::ALL,
        no_read: None,
    };

    /// The reading of a question of the library that only reads.
    pub(crate) const QUESTION: Self = Self {
        kind: Kind::Read,
        ..Self::OURS
    };

    /// The reading of what the library sends for itself: a PREPARE, which executes nothing, or
    /// START TRANSACTION.
    pub(crate) const OURS: Self = Self {
        kind: Kind::Unproven,
        trace: Trace::Nothing,
        keeps: true,
        sets_savepoint: false,
        commits: false,
        reads: Diagnostics::NONE,
        no_read: None,
    };

    pub(crate) fn of(statement: &[u8]) -> Self {
        if statement.len() > LONGEST_READ {
            return Self::UNKNOWN;
        }
        let mut lexer = Lexer::new(statement);
        let mut kinds = Kinds::default();
        let mut proof = Proof::default();
        let mut keeps = Keeps::default();
        let mut no_reads = NoReads::default();
        let mut reads = Reads::default();
        let mut names_commit = false;
        let mut settled = true;
        while let Some(token) = lexer.next() {
            settled &= is_settled(token);
            kinds.take(token);
            keeps.take(token);
            no_reads.take(token);
            reads.take(token);
            proof.take(token, lexer.position());
            names_commit |= is_commit(token);
        }
        let kind = match settled {
            true => kinds.kind(),
            false => Kind::Unproven,
        };
        let trace = match settled {
            true => proof.trace(),
            false => Trace::Session,
        };
        Self {
            kind,
            trace,
            keeps: settled && keeps.keeps(),
            sets_savepoint: keeps.sets_savepoint(),
            commits: names_commit && kind == Kind::Unproven,
            reads: match trace {
                // It leaves variables, but calls nothing.
                Trace::Session if settled && reads.is_get() => Diagnostics::WARNINGS,
                Trace::Session => Diagnostics::ALL,
                Trace::Nothing | Trace::Diagnostics => reads.found(),
            },
            no_read: match kind {
                // The default is for a change after `WITH`. `NoReads` names all other changes.
                Kind::Change => no_reads.found().or(Some("a change of rows")),
                Kind::Read | Kind::Unproven => no_reads.found(),
            },
        }
    }

    /// What the session may still hold of the statement after it has ended.
    pub(crate) fn trace(self) -> Trace {
        self.trace
    }

    /// What the statement may read of what an earlier one reported about itself. The calls of
    /// views, triggers and column defaults are not seen.
    pub(crate) fn reads(self) -> Diagnostics {
        self.reads
    }

    /// Whether the text is one statement that reads rows and does nothing else: `SELECT`,
    /// `WITH … SELECT`, `TABLE`, `VALUES`, `SHOW`, `DESCRIBE`, or `EXPLAIN` of one of these. It
    /// calls only known functions, has no `INTO`, and does not affect the session.
    ///
    /// In a session that cannot write, running it twice is the same as running it once.
    pub(crate) fn is_plain(self) -> bool {
        self.kind == Kind::Read && self.trace == Trace::Nothing
    }

    /// Whether a server that refuses the statement as read-only has executed no part of it. (A
    /// function may have had an effect before the server refused it.)
    pub(crate) fn refused_as_a_whole(self) -> bool {
        self.trace < Trace::Session
    }

    /// Whether the statement can neither commit nor begin a transaction: it reads or changes rows,
    /// with any functions, or sets something that does not affect a transaction. If it fails, the
    /// server has undone either the whole statement or the whole transaction.
    pub(crate) fn keeps_transaction(self) -> bool {
        self.keeps
    }

    /// Whether the text sets a savepoint.
    pub(crate) fn sets_savepoint(self) -> bool {
        self.sets_savepoint
    }

    /// Whether a transaction that begins with the statement needs no savepoint of the library yet.
    pub(crate) fn begins_unanchored(self) -> bool {
        self.keeps && !self.sets_savepoint
    }

    /// The name of a statement or setting that a read-only session must not be given, if this text
    /// contains one.
    pub(crate) fn no_read(self) -> Option<&'static str> {
        self.no_read
    }

    /// Whether the text may contain a `COMMIT` or `XA COMMIT`, alone or among several statements.
    /// The effects of a procedure, or of a text given to `EXECUTE`, are not seen.
    pub(crate) fn commits(self) -> bool {
        self.commits
    }
}

fn is_commit(token: Token<'_>) -> bool {
    matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(b"COMMIT"))
}

/// Whether every server reads the token and the text after it in the same way, with every
/// `sql_mode`.
fn is_settled(token: Token<'_>) -> bool {
    match token {
        Token::ModeDependent(_)
        | Token::ExecutableComment
        | Token::Unterminated
        | Token::Symbol(0) => false,
        // A server may take a `*/` inside a quoted name as part of the name.
        Token::OptimizerHint(hint) => !hint.iter().any(|byte| matches!(byte, b'\'' | b'"' | b'`')),
        // Newer MySQL servers use `$$` and `$tag$` as quotes.
        Token::Word(word) => !word.starts_with(b"$"),
        Token::QuotedIdentifier(_)
        | Token::DoubleQuoted(_)
        | Token::String(_)
        | Token::Number(_)
        | Token::UserVariable(_)
        | Token::SystemVariable(_)
        | Token::Symbol(_) => true,
    }
}

#[cfg(test)]
mod tests;
