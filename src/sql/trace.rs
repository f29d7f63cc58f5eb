//! What a statement may leave in its session, judged by its text.
//!
//! A [`Proof`] takes the tokens of a text one by one. Then [`Proof::trace`] says what the statement
//! may leave for the next user of the connection.
//!
//! Owns this question. It must never prove *clean* without full knowledge, for every `sql_mode` and
//! for both MySQL and MariaDB. A wrong *clean* leaks one caller's session into another's; a wrong
//! *trace* costs a round trip.
//!
//! The text does not show everything. The server's status flags show an open transaction. Calls
//! from views, triggers, procedures and column defaults are not seen.

mod words;

use crate::sql::lex::Token;
use crate::sql::trace::words::{
    CallContext, defines_what_follows, is_function, is_keyword, names_what_follows,
};
use crate::sql::traces::Trace;

/// The position in the statement, as far as it decides what the next words may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before the first keyword.
    Verb,
    /// After `INSERT` or `REPLACE`, where an `INTO` names a table.
    Target,
    /// After `BEGIN`.
    Begin,
    /// After `START`.
    Start,
    /// After `COMMIT` or `ROLLBACK`.
    End,
    /// After `RELEASE`.
    Release,
    /// After `ANALYZE` or `OPTIMIZE`.
    Maintain,
    /// After `CREATE`.
    Create,
    /// After `ALTER`, `DROP`, or further words of a `CREATE`.
    Object,
    /// In the definition of a table or a view, before a query that it may contain.
    Definition,
    /// In a statement about an index, where `ON` names a table.
    Index,
    /// In any other statement.
    Body,
    /// After `;`.
    Over,
}

impl Stage {
    /// The stage after `word`, or `None` if the word may leave a trace.
    fn behind(self, word: &[u8]) -> Option<Self> {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword.as_bytes());
        let any = |keywords: &[&str]| keywords.iter().any(|keyword| is(keyword));
        match self {
            Self::Verb => Self::behind_verb(word),
            Self::Target if is("INTO") => Some(Self::Body),
            Self::Target if any(&["IGNORE", "LOW_PRIORITY", "HIGH_PRIORITY"]) => Some(self),
            Self::Begin => is("WORK").then_some(Self::Begin),
            Self::Start => is("TRANSACTION").then_some(Self::Body),
            // CHAIN opens a transaction. RELEASE ends the session.
            Self::End => (!any(&["CHAIN", "RELEASE"])).then_some(self),
            Self::Release => is("SAVEPOINT").then_some(Self::Body),
            Self::Maintain if any(&["LOCAL", "NO_WRITE_TO_BINLOG"]) => Some(self),
            Self::Maintain => is("TABLE").then_some(Self::Body),
            // Only `CREATE` passes: to drop or alter the session's current database changes the
            // session.
            Self::Create if any(&["DATABASE", "SCHEMA"]) => Some(Self::Body),
            Self::Create | Self::Object if any(&["TABLE", "VIEW"]) => Some(Self::Definition),
            Self::Create | Self::Object if is("INDEX") => Some(Self::Index),
            Self::Create | Self::Object => {
                any(&["OR", "REPLACE", "UNIQUE", "FULLTEXT", "SPATIAL"]).then_some(Self::Object)
            }
            Self::Definition if !any(&["SELECT", "VALUES", "WITH"]) => {
                (!leaves_trace_anywhere(word)).then_some(self)
            }
            Self::Target | Self::Definition | Self::Body => {
                (!leaves_trace_anywhere(word)).then_some(Self::Body)
            }
            Self::Index => (!leaves_trace_anywhere(word)).then_some(self),
            Self::Over => None,
        }
    }

    fn behind_verb(word: &[u8]) -> Option<Self> {
        const VERBS: [(&str, Stage); 24] = [
            ("SELECT", Stage::Body),
            ("INSERT", Stage::Target),
            ("UPDATE", Stage::Body),
            ("DELETE", Stage::Body),
            ("COMMIT", Stage::End),
            ("BEGIN", Stage::Begin),
            ("START", Stage::Start),
            ("ROLLBACK", Stage::End),
            ("REPLACE", Stage::Target),
            ("WITH", Stage::Body),
            ("TABLE", Stage::Body),
            ("VALUES", Stage::Body),
            ("SHOW", Stage::Body),
            ("EXPLAIN", Stage::Body),
            ("DESCRIBE", Stage::Body),
            ("DESC", Stage::Body),
            ("SAVEPOINT", Stage::Body),
            ("RELEASE", Stage::Release),
            ("TRUNCATE", Stage::Body),
            ("CREATE", Stage::Create),
            ("ALTER", Stage::Object),
            ("DROP", Stage::Object),
            ("ANALYZE", Stage::Maintain),
            ("OPTIMIZE", Stage::Maintain),
        ];
        let verb = |(keyword, _): &&(&str, Self)| word.eq_ignore_ascii_case(keyword.as_bytes());
        VERBS.iter().find(verb).map(|(_, stage)| *stage)
    }
}

/// The last name. It tells a function call from a table name before a list.
#[derive(Clone, Copy, Default)]
struct Name<'a> {
    /// The token before the name, including the name's qualifiers.
    before: Option<Token<'a>>,
    last: Option<Token<'a>>,
    qualified: bool,
    end: usize,
}

impl<'a> Name<'a> {
    fn push(&mut self, token: Token<'a>, end: usize) {
        if is_name(token) {
            if self.last == Some(Token::Symbol(b'.')) {
                self.qualified = true;
            } else {
                self.before = self.last;
                self.qualified = false;
            }
        } else if token != Token::Symbol(b'.') {
            self.before = None;
        }
        self.last = Some(token);
        self.end = end;
    }

    /// The meaning of an opening parenthesis at `at` after this name. `None` if it may open the
    /// call of an unknown function.
    fn opens_at(&self, at: usize, stage: Stage) -> Option<Opening> {
        let Some(last) = self.last.filter(|last| is_name(*last)) else {
            return Some(Opening::Plain);
        };
        if let Some(Token::Word(before)) = self.before
            && (names_what_follows(before)
                || (stage == Stage::Definition && defines_what_follows(before))
                || (stage == Stage::Index && before.eq_ignore_ascii_case(b"ON")))
        {
            return Some(Opening::Plain);
        }
        let Token::Word(word) = last else {
            return None;
        };
        if self.qualified {
            return None;
        }
        let context = match self.before {
            Some(Token::Symbol(b'=' | b'<' | b'>')) => CallContext::Compared,
            Some(Token::Symbol(b')')) => CallContext::Closed,
            _ => CallContext::Other,
        };
        if is_keyword(word, context) {
            return Some(Opening::Plain);
        }
        // `COUNT (x)`, with a space, may call a stored function `COUNT`.
        if self.end != at {
            return None;
        }
        if word.eq_ignore_ascii_case(b"LAST_INSERT_ID") {
            return Some(Opening::LastInsertId);
        }
        is_function(word).then_some(Opening::Plain)
    }
}

#[derive(PartialEq, Eq)]
enum Opening {
    Plain,
    /// A call of `LAST_INSERT_ID`, which with an argument sets its next result.
    LastInsertId,
}

/// Follows the tokens of one statement to prove that it leaves nothing in the session.
pub(crate) struct Proof<'a> {
    /// `None` if the statement may leave something.
    stage: Option<Stage>,
    name: Name<'a>,
    must_close: bool,
    returns_rows: bool,
}

impl Default for Proof<'_> {
    fn default() -> Self {
        Self {
            stage: Some(Stage::Verb),
            name: Name::default(),
            must_close: false,
            returns_rows: false,
        }
    }
}

impl<'a> Proof<'a> {
    /// Takes the next token, which ends at `end`.
    pub(crate) fn take(&mut self, token: Token<'a>, end: usize) {
        if let Some(stage) = self.stage {
            self.stage = self.follow(stage, token, end);
        }
    }

    /// What the statement may leave. Call it after the last token.
    pub(crate) fn trace(&self) -> Trace {
        match self.stage {
            None | Some(Stage::Verb) => Trace::Session,
            Some(_) if self.must_close => Trace::Session,
            Some(_) if self.returns_rows => Trace::Diagnostics,
            Some(_) => Trace::Nothing,
        }
    }

    fn follow(&mut self, stage: Stage, token: Token<'a>, end: usize) -> Option<Stage> {
        if stage == Stage::Over || (self.must_close && token != Token::Symbol(b')')) {
            return None;
        }
        self.must_close = false;
        let mut stage = stage;
        match token {
            Token::OptimizerHint(_) => return Some(stage),
            Token::UserVariable(_) => return None,
            Token::Word(word) => {
                stage = stage.behind(word)?;
                if is_next_value(self.name.last, word) {
                    return None;
                }
                // `RETURNING` makes the server answer with rows, which do not carry the insert id.
                self.returns_rows |= word.eq_ignore_ascii_case(b"RETURNING");
            }
            Token::Symbol(b'(') => {
                self.must_close = match self.name.opens_at(end - 1, stage)? {
                    Opening::Plain => false,
                    Opening::LastInsertId => true,
                };
            }
            Token::Symbol(b';') if stage != Stage::Verb => stage = Stage::Over,
            Token::Symbol(b'=') if self.name.last == Some(Token::Symbol(b':')) => return None,
            // Only parentheses may stand before the first keyword.
            _ if stage == Stage::Verb => return None,
            _ => {}
        }
        self.name.push(token, end);
        Some(stage)
    }
}

fn is_name(token: Token<'_>) -> bool {
    matches!(
        token,
        Token::Word(_) | Token::QuotedIdentifier(_) | Token::DoubleQuoted(_)
    )
}

/// Words that may leave a trace anywhere in a statement.
fn leaves_trace_anywhere(word: &[u8]) -> bool {
    match word.len() {
        4 => word.eq_ignore_ascii_case(b"INTO"),
        7 => word.eq_ignore_ascii_case(b"NEXTVAL"),
        19 => word.eq_ignore_ascii_case(b"SQL_CALC_FOUND_ROWS"),
        _ => false,
    }
}

/// MariaDB's `NEXT VALUE FOR sequence` sets the result of `LASTVAL`.
fn is_next_value(last: Option<Token<'_>>, word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"VALUE")
        && matches!(last, Some(Token::Word(last)) if last.eq_ignore_ascii_case(b"NEXT"))
}

#[cfg(test)]
mod tests;
