//! From text to tokens, and from tokens to statements.
//!
//! Owns quoting and comments. It must never look at what a word means.

use super::super::builder::Flavour;
use super::super::datum::Datum;
use super::super::refusal::Refusal;
use super::tree::Scope;

/// A token and where it starts and ends in the text.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Token {
    pub(super) what: What,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// A keyword or a name.
    Word(String),
    /// A name in back-ticks.
    Name(String),
    Literal(Datum),
    /// `@@global.name`.
    Variable(Scope, String),
    /// `@name`.
    User(String),
    Param,
    Symbol(&'static str),
}

/// Longer ones first.
const SYMBOLS: [&str; 15] = [
    "<=", ">=", "<>", "!=", ":=", "(", ")", ",", ";", "=", "<", ">", "+", "*", ".",
];

/// The statements of a text, each as its tokens; empty ones are left out. The flavour decides which
/// executable comments are code.
pub(in super::super) fn split(sql: &str, flavour: Flavour) -> Result<Vec<Vec<Token>>, Refusal> {
    let tokens = tokens(sql, flavour)?;
    let statements = tokens.split(|token| token.what == What::Symbol(";"));
    let statements: Vec<_> = statements
        .filter(|tokens| !tokens.is_empty())
        .map(<[Token]>::to_vec)
        .collect();
    if statements.is_empty() {
        return Err(Refusal::new(1065, "Query was empty"));
    }
    Ok(statements)
}

fn tokens(sql: &str, flavour: Flavour) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut in_executable = false;
    while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
        if in_executable && rest.starts_with("*/") {
            in_executable = false;
            at += 2;
            continue;
        }
        if let Some(length) = executable(rest, flavour) {
            in_executable = true;
            at += length;
            continue;
        }
        let blank = blank(rest).ok_or_else(|| Refusal::syntax(rest))?;
        if blank > 0 {
            at += blank;
            continue;
        }
        let (what, length) = token(rest).ok_or_else(|| Refusal::syntax(rest))?;
        tokens.push(Token {
            what,
            start: at,
            end: at + length,
        });
        at += length;
    }
    Ok(tokens)
}

/// The length of the white space or comment at the beginning; nothing if the comment has no end.
fn blank(rest: &str) -> Option<usize> {
    let line = || Some(rest.find('\n').map_or(rest.len(), |end| end + 1));
    if rest.starts_with('#') || rest == "--" {
        return line();
    }
    if let Some(after) = rest.strip_prefix("--")
        && after.starts_with(|c: char| c.is_whitespace() || c.is_control())
    {
        return line();
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map(|end| end + 2);
    }
    Some(rest.len() - rest.trim_start().len())
}

/// The length of the beginning of a comment that this flavour executes: `/*M!` on MariaDB, `/*!`
/// with a version from 5 to 9 (five digits) on MySQL.
fn executable(rest: &str, flavour: Flavour) -> Option<usize> {
    match flavour {
        Flavour::MariaDb => rest.starts_with("/*M!").then_some(4),
        Flavour::MySql => {
            let version = rest.strip_prefix("/*!")?.get(..5)?;
            let is_version = version.bytes().all(|digit| digit.is_ascii_digit());
            (is_version && version >= "50000").then_some(8)
        }
    }
}

fn token(rest: &str) -> Option<(What, usize)> {
    let first = rest.chars().next()?;
    match first {
        '\'' | '"' => {
            let (text, length) = quoted(rest, first)?;
            Some((What::Literal(Datum::Text(text.into_bytes())), length))
        }
        '`' => {
            let (name, length) = quoted(rest, first)?;
            Some((What::Name(name), length))
        }
        '?' => Some((What::Param, 1)),
        // Not among the symbols, for a comment may start with it.
        '-' => Some((What::Symbol("-"), 1)),
        '@' => variable(rest),
        '0'..='9' => number(rest),
        first if is_word(first) => {
            let word = word(rest);
            Some((What::Word(word.to_owned()), word.len()))
        }
        _ => {
            let symbol = SYMBOLS
                .into_iter()
                .find(|symbol| rest.starts_with(symbol))?;
            Some((What::Symbol(symbol), symbol.len()))
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

fn word(rest: &str) -> &str {
    &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]
}

fn number(rest: &str) -> Option<(What, usize)> {
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
    let digits = &rest[..end.unwrap_or(rest.len())];
    if rest[digits.len()..].starts_with(is_word) {
        return None;
    }
    let value = match digits.contains('.') {
        true => Datum::Float(digits.parse().ok()?),
        false => Datum::Int(digits.parse().ok()?),
    };
    Some((What::Literal(value), digits.len()))
}

fn variable(rest: &str) -> Option<(What, usize)> {
    let Some(name) = rest.strip_prefix("@@") else {
        let name = word(rest.strip_prefix('@')?);
        return Some((What::User(name.to_ascii_lowercase()), name.len() + 1));
    };
    let first = word(name);
    let scope = match first.to_ascii_lowercase().as_str() {
        "global" => Scope::Global,
        "session" | "local" => Scope::Session,
        "" => return None,
        name => return Some((What::Variable(Scope::Any, name.to_owned()), first.len() + 2)),
    };
    let name = word(name[first.len()..].strip_prefix('.')?);
    let what = What::Variable(scope, name.to_ascii_lowercase());
    Some((what, 2 + first.len() + 1 + name.len()))
}

/// The text between quotes, and the length with them.
fn quoted(rest: &str, quote: char) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            if chars.next_if(|(_, next)| *next == quote).is_none() {
                return Some((text, at + 1));
            }
            text.push(quote);
        } else if c == '\\' && quote != '`' {
            let (_, escaped) = chars.next()?;
            text.push(match escaped {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                other => other,
            });
        } else {
            text.push(c);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(sql: &str) -> Vec<What> {
        whats_on(Flavour::MariaDb, sql)
    }

    fn whats_on(flavour: Flavour, sql: &str) -> Vec<What> {
        let tokens = tokens(sql, flavour).unwrap();
        tokens.into_iter().map(|token| token.what).collect()
    }

    fn split(sql: &str) -> Result<Vec<Vec<Token>>, Refusal> {
        super::split(sql, Flavour::MariaDb)
    }

    #[test]
    fn a_comment_for_one_kind_of_server_is_code_there_and_blank_elsewhere() {
        let number = |number| What::Literal(Datum::Int(number));
        let sql = "1 /*M! 2 */ /*!50708 3 */ 5";
        let maria = whats_on(Flavour::MariaDb, sql);
        assert_eq!(maria, [number(1), number(2), number(5)]);
        let mysql = whats_on(Flavour::MySql, sql);
        assert_eq!(mysql, [number(1), number(3), number(5)]);
    }

    #[test]
    fn a_quote_may_be_doubled_or_escaped_and_hides_a_semicolon() {
        let text = |text: &str| What::Literal(Datum::text(text));
        assert_eq!(whats(r"'it''s' 'a;\'b'"), [text("it's"), text("a;'b")]);
        assert_eq!(split("SELECT ';'; SELECT 2;").unwrap().len(), 2);
        assert_eq!(whats("`a``b`"), [What::Name("a`b".to_owned())]);
        assert_eq!(split("SELECT 'open").unwrap_err().code, 1064);
    }

    #[test]
    fn comments_are_blank_and_a_minus_before_a_digit_is_not_one() {
        assert_eq!(whats("1 /* ; */ -- x\n 2 # y\n 3").len(), 3);
        assert_eq!(whats("5--1").len(), 4);
        assert_eq!(split(" -- nothing").unwrap_err().code, 1065);
    }

    #[test]
    fn variables_keep_their_scope() {
        assert_eq!(
            whats("@@global.Hostname @@read_only @x"),
            [
                What::Variable(Scope::Global, "hostname".to_owned()),
                What::Variable(Scope::Any, "read_only".to_owned()),
                What::User("x".to_owned()),
            ]
        );
    }

    #[test]
    fn a_number_of_64_bits_keeps_every_digit() {
        let most = What::Literal(Datum::Int(u64::MAX.into()));
        assert_eq!(whats("18446744073709551615"), [most]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_lexer_panic(sql in ".*") {
            let _ = super::split(&sql, Flavour::MariaDb);
            let _ = super::split(&sql, Flavour::MySql);
        }
    }
}
