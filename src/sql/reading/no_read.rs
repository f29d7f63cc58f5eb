//! Finds statements that a read-only session must not be given.
//!
//! The sessions of `replicas()` are read-only, but servers allow more than reads in such a session.
//! `ANALYZE TABLE` writes the binary log and can stop replication; `START TRANSACTION READ WRITE`
//! and `SET` end the protection. So a statement passes only if its verb is listed here as a read,
//! or as a statement that affects only its session.
//!
//! The effects of a procedure, or of a text given to `EXECUTE`, are not seen. There the only
//! protection is that the server refuses writes.

use crate::sql::lex::Token;

/// Follows the tokens of a text until it finds a statement that is not allowed.
#[derive(Debug, Default)]
pub(super) struct NoReads {
    place: Place,
    /// Open parentheses.
    depth: usize,
    /// Whether the last token names `GET_LOCK`.
    get_lock: bool,
    found: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Before a verb.
    #[default]
    Verb,
    /// After `START`.
    Start,
    /// After `START TRANSACTION` or `SET TRANSACTION`.
    Transaction,
    /// After `BEGIN`.
    Begin,
    /// After `ANALYZE`.
    Analyze,
    /// In a `SET`, at the name of the variable.
    Target(Set),
    /// In a `SET`, after `=`.
    Value(Set),
    Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Session,
    /// `SET STATEMENT … FOR`, followed by another statement.
    Statement,
}

/// Statements that read, or that affect only their session.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "SELECT", "WITH", "TABLE", "VALUES", "SHOW", "EXPLAIN", "DESCRIBE", "DESC", "HELP", "CHECKSUM",
    "DO", "CALL", "HANDLER", "PREPARE", "EXECUTE", "DEALLOCATE", "USE", "GET", "UNLOCK",
    "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE",
];

/// Refused statements that an error can name.
#[rustfmt::skip]
const NO_READS: &[&str] = &[
    "INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD", "TRUNCATE", "CREATE", "ALTER", "DROP", "RENAME",
    "GRANT", "REVOKE", "OPTIMIZE", "REPAIR", "CHECK", "FLUSH", "LOCK", "KILL", "RESET", "PURGE",
    "CHANGE", "STOP", "XA", "BACKUP", "INSTALL", "UNINSTALL", "SHUTDOWN",
];

const UNNAMED: &str = "this statement";

impl NoReads {
    pub(super) fn found(&self) -> Option<&'static str> {
        self.found
    }

    pub(super) fn take(&mut self, token: Token<'_>) {
        if self.found.is_some() {
            return;
        }
        if self.get_lock && token == Token::Symbol(b'(') {
            self.found = Some("GET_LOCK");
        }
        self.get_lock = name(token).is_some_and(|name| is(name, "GET_LOCK"));
        match token {
            Token::Symbol(b'(') => self.depth += 1,
            Token::Symbol(b')') => self.depth = self.depth.saturating_sub(1),
            // Only some servers execute the content, which may be the verb or hide it.
            Token::ExecutableComment if self.place != Place::Body => self.found = Some(UNNAMED),
            Token::ExecutableComment => {}
            Token::Symbol(b';') => {
                self.place = Place::Verb;
                self.depth = 0;
            }
            Token::OptimizerHint(_) => {}
            token => match self.behind(token) {
                Ok(place) => self.place = place,
                Err(found) => self.found = Some(found),
            },
        }
    }

    /// The place after a token that is neither a parenthesis nor a semicolon.
    fn behind(&self, token: Token<'_>) -> Result<Place, &'static str> {
        let word = match token {
            Token::Word(word) => word,
            _ => b"",
        };
        match self.place {
            Place::Verb if word.is_empty() => Ok(Place::Body),
            Place::Verb => verb(word),
            Place::Start if is(word, "TRANSACTION") => Ok(Place::Transaction),
            Place::Start => Err("START"),
            Place::Transaction if is(word, "WRITE") => Err("READ WRITE"),
            Place::Begin if is(word, "NOT") => Err("BEGIN NOT ATOMIC"),
            Place::Analyze if any(word, &["TABLE", "LOCAL", "NO_WRITE_TO_BINLOG"]) => {
                Err("ANALYZE TABLE")
            }
            Place::Analyze => Ok(Place::Body),
            Place::Target(set) => target(set, token),
            Place::Value(set) if self.depth > 0 => Ok(Place::Value(set)),
            Place::Value(set) if token == Token::Symbol(b',') => Ok(Place::Target(set)),
            Place::Value(Set::Statement) if is(word, "FOR") => Ok(Place::Verb),
            place => Ok(place),
        }
    }
}

fn verb(word: &[u8]) -> Result<Place, &'static str> {
    match word {
        _ if is(word, "SET") => Ok(Place::Target(Set::Session)),
        _ if is(word, "START") => Ok(Place::Start),
        _ if is(word, "BEGIN") => Ok(Place::Begin),
        _ if is(word, "ANALYZE") => Ok(Place::Analyze),
        _ if any(word, HARMLESS) => Ok(Place::Body),
        _ => Err(*NO_READS
            .iter()
            .find(|verb| is(word, verb))
            .unwrap_or(&UNNAMED)),
    }
}

/// Takes a token of the variable's name, which starts with the scope if there is one.
fn target(set: Set, token: Token<'_>) -> Result<Place, &'static str> {
    const SWITCHES: &[&str] = &["TX_READ_ONLY", "TRANSACTION_READ_ONLY"];
    if matches!(token, Token::Symbol(b'=' | b':')) {
        return Ok(Place::Value(set));
    }
    let Some(name) = name(token) else {
        return Ok(Place::Target(set));
    };
    // `global`.`x` may be written with either kind of quotes, or without quotes.
    let plain = |part: &[u8]| -> Vec<u8> {
        let is_quote = |byte: &&u8| !matches!(byte, b'`' | b'"');
        part.iter().filter(is_quote).copied().collect()
    };
    let parts: Vec<Vec<u8>> = name.split(|byte| *byte == b'.').map(plain).collect();
    let has = |words: &[&str]| parts.iter().any(|part| any(part, words));
    if has(&["GLOBAL"]) {
        return Err("SET GLOBAL");
    }
    if has(&["PERSIST", "PERSIST_ONLY"]) {
        return Err("SET PERSIST");
    }
    if has(SWITCHES) {
        return Err("SET TRANSACTION_READ_ONLY");
    }
    match token {
        Token::Word(word) if is(word, "STATEMENT") => Ok(Place::Target(Set::Statement)),
        Token::Word(word) if is(word, "TRANSACTION") => Ok(Place::Transaction),
        Token::Word(word) if is(word, "PASSWORD") => Err("SET PASSWORD"),
        Token::Word(word) if is(word, "DEFAULT") => Err("SET DEFAULT ROLE"),
        _ => Ok(Place::Target(set)),
    }
}

/// The name in a token. A variable keeps its quotes.
fn name(token: Token<'_>) -> Option<&[u8]> {
    match token {
        Token::Word(name)
        | Token::QuotedIdentifier(name)
        | Token::DoubleQuoted(name)
        | Token::SystemVariable(name) => Some(name),
        _ => None,
    }
}

fn any(word: &[u8], keywords: &[&str]) -> bool {
    keywords.iter().any(|keyword| is(word, keyword))
}

fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}
