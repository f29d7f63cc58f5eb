//! Cuts the text of a statement into tokens, by the rules that MySQL and MariaDB share. Use it as
//! an iterator: [`Lexer::new`], then one [`Token`] per step.
//!
//! Owns these rules. It must never allocate, panic on any bytes, or guess. Text whose meaning
//! depends on a server's version or `sql_mode` gets a token of its own, so that callers can be
//! conservative.
//!
//! The text must be in an encoding whose multi-byte characters contain no ASCII bytes, such as the
//! `utf8mb4` of our connections.

/// A piece of a statement. White space and comments are left out. A quoted text is given as
/// written, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A keyword or a bare identifier.
    Word(&'a [u8]),
    /// An identifier in back-ticks.
    QuotedIdentifier(&'a [u8]),
    /// `"…"`: a string, or with `ANSI_QUOTES` an identifier.
    DoubleQuoted(&'a [u8]),
    /// `'…'`.
    String(&'a [u8]),
    /// A string in either kind of quotes that contains an escaped quote, read with the default
    /// `sql_mode`. With `NO_BACKSLASH_ESCAPES` (or, in double quotes, `ANSI_QUOTES`) the string
    /// ends earlier, and the rest of the statement reads differently.
    ModeDependent(&'a [u8]),
    /// A number without its sign.
    Number(&'a [u8]),
    /// `@x`, `@'x'`, ``@`x` ``, and the second half of `'user'@'host'`. With its quotes.
    UserVariable(&'a [u8]),
    /// `@@x`, `@@global.x`.
    SystemVariable(&'a [u8]),
    /// Any other byte.
    Symbol(u8),
    /// The start of `/*! … */` or `/*M! … */`. The tokens inside follow as code, although a server
    /// may skip them because of its version number.
    ExecutableComment,
    /// The content of `/*+ … */`, which holds for its statement only. A quote in it may hide a
    /// `*/`.
    OptimizerHint(&'a [u8]),
    /// A quote or a comment that does not end. Always the last token.
    Unterminated,
}

/// The tokens of a statement.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// Number of open executable comments.
    open: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(statement: &'a [u8]) -> Self {
        Self {
            text: statement,
            at: 0,
            open: 0,
        }
    }

    /// The position in the text where the last token ended.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn since(&self, start: usize) -> &'a [u8] {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn skip_while(&mut self, accept: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&accept) {
            self.at += 1;
        }
    }

    fn fail(&mut self) -> Token<'a> {
        self.at = self.text.len();
        self.open = 0;
        Token::Unterminated
    }

    /// Moves past the next `*/` and returns the text before it.
    fn comment_body(&mut self) -> Option<&'a [u8]> {
        let body = self.rest();
        let length = body.windows(2).position(|pair| pair == b"*/")?;
        self.at += length + 2;
        body.get(..length)
    }

    /// Reads a comment at `/*`. Returns a token only for the comments that callers must see.
    fn block_comment(&mut self) -> Option<Token<'a>> {
        self.at += 2;
        let marker = match (self.peek(0), self.peek(1)) {
            (Some(b'!'), _) => 1,
            (Some(b'M'), Some(b'!')) => 2,
            (Some(b'+'), _) => {
                self.at += 1;
                return Some(match self.comment_body() {
                    Some(hint) => Token::OptimizerHint(hint),
                    None => self.fail(),
                });
            }
            _ => return self.comment_body().is_none().then(|| self.fail()),
        };
        self.at += marker;
        self.open += 1;
        let digits = self
            .rest()
            .iter()
            .take(6)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits >= 5 {
            self.at += digits;
        }
        Some(Token::ExecutableComment)
    }

    /// Servers end a line comment at a NUL too.
    fn line_comment(&mut self) {
        self.skip_while(|byte| byte != b'\n' && byte != 0);
    }

    /// Moves from an opening quote past the closing one. Returns whether a backslash escaped a
    /// quote; `None` if the text does not end.
    fn quoted(&mut self, quote: u8) -> Option<bool> {
        let mut escaped = false;
        self.at += 1;
        loop {
            let byte = self.peek(0)?;
            if byte == b'\\' && quote != b'`' {
                escaped |= self.peek(1)? == quote;
                self.at += 2;
            } else if byte != quote {
                self.at += 1;
            } else if self.peek(1) == Some(quote) {
                self.at += 2;
            } else {
                self.at += 1;
                return Some(escaped);
            }
        }
    }

    fn quoted_token(&mut self, quote: u8) -> Token<'a> {
        let start = self.at + 1;
        let Some(escaped) = self.quoted(quote) else {
            return self.fail();
        };
        let inside = self.text.get(start..self.at - 1).unwrap_or_default();
        match quote {
            _ if escaped => Token::ModeDependent(inside),
            b'\'' => Token::String(inside),
            b'"' => Token::DoubleQuoted(inside),
            _ => Token::QuotedIdentifier(inside),
        }
    }

    /// Reads a variable at `@`.
    fn variable(&mut self) -> Token<'a> {
        self.at += 1;
        let system = self.peek(0) == Some(b'@');
        if system {
            self.at += 1;
        }
        let start = self.at;
        match self.peek(0) {
            Some(quote @ (b'\'' | b'"' | b'`')) => match self.quoted(quote) {
                Some(false) => {}
                Some(true) => return Token::ModeDependent(self.since(start)),
                None => return self.fail(),
            },
            _ => self.skip_while(|byte| is_word(byte) || byte == b'.'),
        }
        let name = self.since(start);
        if system {
            Token::SystemVariable(name)
        } else {
            Token::UserVariable(name)
        }
    }

    /// Reads from a digit. As on the servers, `1e5x` is a number and a word, and `1x` is a word.
    fn number_or_word(&mut self) -> Token<'a> {
        let start = self.at;
        let (radix, digit): (_, fn(u8) -> bool) = match (self.peek(0), self.peek(1)) {
            (Some(b'0'), Some(b'x')) => (true, |byte| byte.is_ascii_hexdigit()),
            (Some(b'0'), Some(b'b')) => (true, |byte| matches!(byte, b'0' | b'1')),
            _ => (false, |byte| byte.is_ascii_digit()),
        };
        if radix {
            self.at += 2;
        }
        self.skip_while(digit);
        if radix {
            if self.at - start > 2 && !self.peek(0).is_some_and(is_word) {
                return Token::Number(self.since(start));
            }
        } else if self.peek(0) == Some(b'.') {
            self.at += 1;
            self.skip_while(digit);
            self.exponent();
            return Token::Number(self.since(start));
        } else if self.exponent() || !self.peek(0).is_some_and(is_word) {
            return Token::Number(self.since(start));
        }
        self.skip_while(is_word);
        Token::Word(self.since(start))
    }

    fn exponent(&mut self) -> bool {
        let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
        let found = matches!(self.peek(0), Some(b'e' | b'E'))
            && self
                .peek(1 + sign)
                .is_some_and(|byte| byte.is_ascii_digit());
        if found {
            self.at += 1 + sign;
            self.skip_while(|byte| byte.is_ascii_digit());
        }
        found
    }

    /// `5--1` is arithmetic: in a comment, a space, a control character or the end of the text
    /// follows the dashes.
    fn at_dash_comment(&self) -> bool {
        self.peek(1) == Some(b'-')
            && self
                .peek(2)
                .is_none_or(|byte| byte == b' ' || byte.is_ascii_control())
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.skip_while(is_space);
            let Some(byte) = self.peek(0) else {
                return (self.open > 0).then(|| self.fail());
            };
            match byte {
                b'#' => self.line_comment(),
                b'-' if self.at_dash_comment() => self.line_comment(),
                b'/' if self.peek(1) == Some(b'*') => {
                    if let Some(token) = self.block_comment() {
                        return Some(token);
                    }
                }
                b'*' if self.open > 0 && self.peek(1) == Some(b'/') => {
                    self.at += 2;
                    self.open -= 1;
                }
                b'\'' | b'"' | b'`' => return Some(self.quoted_token(byte)),
                b'@' => return Some(self.variable()),
                b'0'..=b'9' => return Some(self.number_or_word()),
                _ if is_word(byte) => {
                    let start = self.at;
                    self.skip_while(is_word);
                    return Some(Token::Word(self.since(start)));
                }
                _ => {
                    self.at += 1;
                    return Some(Token::Symbol(byte));
                }
            }
        }
    }
}

impl std::iter::FusedIterator for Lexer<'_> {}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests;
