//! Owns one question about a statement's text: may it leave something behind in its session, for
//! the next user of the connection? It must never say *clean* of what it does not know: a wrong
//! *clean* leaks one caller's session into another's, a wrong *trace* costs a round trip.
//!
//! What the text cannot show is not seen here: an open transaction (the server's status flags
//! tell), and what views and triggers call.

mod words;

use self::words::{CallContext, is_function, is_keyword, names_what_follows};
use super::lex::{Lexer, Token};

/// Whether `statement` may leave session state behind. True unless proven otherwise, for every
/// `sql_mode` and for MySQL and MariaDB alike.
pub(crate) fn leaves_trace(statement: &[u8]) -> bool {
    proven_clean(statement).is_none()
}

/// Where in the statement the words are, as far as it decides what they may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In front of the first keyword.
    Verb,
    /// Behind `INSERT` or `REPLACE`, where an `INTO` names a table.
    Target,
    /// Behind `BEGIN`.
    Begin,
    /// Behind `START`.
    Start,
    /// Behind `COMMIT` or `ROLLBACK`.
    End,
    /// Behind `RELEASE`.
    Release,
    /// Behind `ANALYZE` or `OPTIMIZE`.
    Maintain,
    /// Behind `CREATE`.
    Create,
    /// Behind `ALTER`, `DROP`, or more words of a `CREATE`.
    Object,
    /// In a statement on an index, where `ON` names a table.
    Index,
    /// In any other statement.
    Body,
    /// Behind `;`.
    Over,
}

// === impl Stage ===

impl Stage {
    /// The stage behind `word`; `None` if it may leave a trace.
    fn behind(self, word: &[u8]) -> Option<Self> {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword.as_bytes());
        let any = |keywords: &[&str]| keywords.iter().any(|keyword| is(keyword));
        match self {
            Self::Verb => Self::behind_verb(word),
            Self::Target if is("INTO") => Some(Self::Body),
            Self::Target if any(&["IGNORE", "LOW_PRIORITY", "HIGH_PRIORITY"]) => Some(self),
            Self::Begin => is("WORK").then_some(Self::Begin),
            Self::Start => is("TRANSACTION").then_some(Self::Body),
            // CHAIN opens a transaction; RELEASE ends the session.
            Self::End => (!any(&["CHAIN", "RELEASE"])).then_some(self),
            Self::Release => is("SAVEPOINT").then_some(Self::Body),
            Self::Maintain if any(&["LOCAL", "NO_WRITE_TO_BINLOG"]) => Some(self),
            Self::Maintain => is("TABLE").then_some(Self::Body),
            // Dropping or altering the session's current database changes the session.
            Self::Create if any(&["DATABASE", "SCHEMA"]) => Some(Self::Body),
            Self::Create | Self::Object if any(&["TABLE", "VIEW"]) => Some(Self::Body),
            Self::Create | Self::Object if is("INDEX") => Some(Self::Index),
            Self::Create | Self::Object => {
                any(&["OR", "REPLACE", "UNIQUE", "FULLTEXT", "SPATIAL"]).then_some(Self::Object)
            }
            Self::Target | Self::Body => (!leaves_trace_anywhere(word)).then_some(Self::Body),
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

/// Where a name began, to tell a call from a table in front of a list.
#[derive(Clone, Copy, Default)]
struct Name<'a> {
    /// The token in front of the name with all its qualifiers.
    before: Option<Token<'a>>,
    last: Option<Token<'a>>,
    qualified: bool,
    end: usize,
}

// === impl Name ===

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

    /// What an opening parenthesis at `at` means behind this name. `None` if it may be the call
    /// of anything but a known function.
    fn opens_at(&self, at: usize, stage: Stage) -> Option<Opening> {
        let Some(last) = self.last.filter(|last| is_name(*last)) else {
            return Some(Opening::Plain);
        };
        if let Some(Token::Word(before)) = self.before
            && (names_what_follows(before)
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
        // `COUNT (x)` can be the call of a stored function `COUNT`.
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
    /// With an argument it sets what it returns next.
    LastInsertId,
}

fn proven_clean(statement: &[u8]) -> Option<()> {
    let mut lexer = Lexer::new(statement);
    let mut stage = Stage::Verb;
    let mut name = Name::default();
    let mut must_close = false;
    while let Some(token) = lexer.next() {
        if !is_settled(token) || stage == Stage::Over {
            return None;
        }
        if must_close && token != Token::Symbol(b')') {
            return None;
        }
        must_close = false;
        match token {
            Token::OptimizerHint(_) => continue,
            Token::UserVariable(_) => return None,
            Token::Word(word) => {
                stage = stage.behind(word)?;
                if is_next_value(name.last, word) {
                    return None;
                }
            }
            Token::Symbol(b'(') => {
                must_close = match name.opens_at(lexer.position() - 1, stage)? {
                    Opening::Plain => false,
                    Opening::LastInsertId => true,
                };
            }
            Token::Symbol(b';') if stage != Stage::Verb => stage = Stage::Over,
            Token::Symbol(b'=') if name.last == Some(Token::Symbol(b':')) => return None,
            // In front of the first keyword only parentheses have a meaning.
            _ if stage == Stage::Verb => return None,
            _ => {}
        }
        name.push(token, lexer.position());
    }
    (stage != Stage::Verb && !must_close).then_some(())
}

/// Whether every server and every `sql_mode` reads the token, and what follows it, alike.
fn is_settled(token: Token<'_>) -> bool {
    match token {
        Token::ModeDependent(_)
        | Token::ExecutableComment
        | Token::Unterminated
        | Token::Symbol(0) => false,
        // A server may read `*/` inside of a quoted name as a part of it.
        Token::OptimizerHint(hint) => !hint.iter().any(|byte| matches!(byte, b'\'' | b'"' | b'`')),
        // New MySQL servers quote with `$$` and `$tag$`.
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

fn is_name(token: Token<'_>) -> bool {
    matches!(
        token,
        Token::Word(_) | Token::QuotedIdentifier(_) | Token::DoubleQuoted(_)
    )
}

/// Words that may leave a trace wherever they stand.
fn leaves_trace_anywhere(word: &[u8]) -> bool {
    match word.len() {
        4 => word.eq_ignore_ascii_case(b"INTO"),
        7 => word.eq_ignore_ascii_case(b"NEXTVAL"),
        19 => word.eq_ignore_ascii_case(b"SQL_CALC_FOUND_ROWS"),
        _ => false,
    }
}

/// MariaDB's `NEXT VALUE FOR sequence` sets what `LASTVAL` returns.
fn is_next_value(last: Option<Token<'_>>, word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"VALUE")
        && matches!(last, Some(Token::Word(last)) if last.eq_ignore_ascii_case(b"NEXT"))
}

#[cfg(test)]
mod tests;
