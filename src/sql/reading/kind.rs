//! Tells reads, changes of rows and all other statements apart by their verb. Only a single
//! statement is proven: nothing may follow a `;`.

use crate::sql::lex::Token;

/// The kind of a statement, as far as its verb proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One statement that the server answers with rows.
    Read,
    /// One `INSERT`, `REPLACE`, `UPDATE` or `DELETE`.
    Change,
    /// Any other statement, more than one, or none.
    Unproven,
}

/// Follows the tokens of a text to its [`Kind`].
#[derive(Debug, Default)]
pub(super) struct Kinds {
    place: Place,
    /// Open parentheses.
    depth: usize,
    /// Whether the text is an `EXPLAIN`, which is a read only if the explained statement is a read.
    explains: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Before the verb.
    #[default]
    Start,
    /// After `WITH` at this depth, before the verb.
    With(usize),
    /// After `EXPLAIN` or `DESCRIBE`, before the statement or table.
    Explain,
    Known(Kind),
    /// After `;`.
    Over(Kind),
}

impl Kinds {
    pub(super) fn take(&mut self, token: Token<'_>) {
        match token {
            Token::OptimizerHint(_) => return,
            Token::Symbol(b'(') => self.depth += 1,
            Token::Symbol(b')') => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.place = match (self.place, token) {
            (Place::Over(_), _) => Place::Known(Kind::Unproven),
            (place, Token::Symbol(b';')) => Place::Over(kind_at(place)),
            (Place::Start, Token::Symbol(b'(')) => Place::Start,
            (Place::Start, Token::Word(word)) => self.verb(word),
            (Place::Start, _) => Place::Known(Kind::Unproven),
            (Place::With(depth), Token::Word(word)) if depth == self.depth => {
                self.behind_with(word)
            }
            (Place::Explain, Token::Word(word)) => self.explained(word),
            (place, _) => place,
        };
    }

    pub(super) fn kind(&self) -> Kind {
        kind_at(self.place)
    }

    fn verb(&mut self, word: &[u8]) -> Place {
        if is_any(word, &["WITH"]) {
            Place::With(self.depth)
        } else if is_any(word, &["EXPLAIN", "DESCRIBE", "DESC"]) && !self.explains {
            self.explains = true;
            Place::Explain
        } else if is_any(word, &["SELECT", "TABLE", "VALUES", "SHOW"]) {
            Place::Known(Kind::Read)
        } else if is_any(word, &["INSERT", "REPLACE", "UPDATE", "DELETE"]) {
            self.change()
        } else {
            Place::Known(Kind::Unproven)
        }
    }

    /// Before the verb, the words at the depth of `WITH` are table names, `RECURSIVE` and `AS`.
    fn behind_with(&mut self, word: &[u8]) -> Place {
        if is_any(word, &["SELECT", "TABLE", "VALUES"]) {
            Place::Known(Kind::Read)
        } else if is_any(word, &["UPDATE", "DELETE", "INSERT", "REPLACE"]) {
            self.change()
        } else {
            self.place
        }
    }

    /// Before the verb there are only options, or the names of a table and a column.
    fn explained(&mut self, word: &[u8]) -> Place {
        const VERBS: &[&str] = &[
            "SELECT", "TABLE", "VALUES", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE",
        ];
        if is_any(word, VERBS) {
            self.verb(word)
        } else {
            self.place
        }
    }

    fn change(&self) -> Place {
        Place::Known(match self.explains {
            true => Kind::Unproven,
            false => Kind::Change,
        })
    }
}

fn kind_at(place: Place) -> Kind {
    match place {
        Place::Known(kind) | Place::Over(kind) => kind,
        Place::Explain => Kind::Read,
        Place::Start | Place::With(_) => Kind::Unproven,
    }
}

pub(super) fn is_any(word: &[u8], keywords: &[&str]) -> bool {
    let is = |keyword: &&str| word.eq_ignore_ascii_case(keyword.as_bytes());
    keywords.iter().any(is)
}
