//! From the tokens of one statement to its tree.
//!
//! Owns the grammar of statements; expressions are in [`expr`]. It must never accept a statement
//! and leave a part of it unread.

mod expr;
mod select;
mod table;

use super::super::datum::Datum;
use super::super::refusal::Refusal;
use super::lex::{Token, What};
use super::tree::{Access, Expr, Mode, Parsed, Scope, Setting, Statement};

/// Parses one statement of `sql`, whose tokens are `tokens`.
pub(in super::super) fn parse(sql: &str, tokens: &[Token]) -> Result<Parsed, Refusal> {
    let mut parser = Parser {
        sql,
        tokens,
        at: 0,
        params: 0,
        sleeps: Vec::new(),
    };
    let statement = parser.statement()?;
    if parser.at < tokens.len() {
        return Err(parser.lost());
    }
    Ok(Parsed {
        statement,
        params: parser.params,
        sleeps: parser.sleeps,
    })
}

struct Parser<'a> {
    sql: &'a str,
    tokens: &'a [Token],
    at: usize,
    params: usize,
    sleeps: Vec<Expr>,
}

type Parse<T> = Result<T, Refusal>;

// === impl Parser ===

impl Parser<'_> {
    fn statement(&mut self) -> Parse<Statement> {
        if self.word("SELECT") {
            return self.select().map(Statement::Select);
        }
        if self.word("INSERT") {
            let mode = match self.word("IGNORE") {
                true => Mode::Ignore,
                false => Mode::Refuse,
            };
            return self.insert(mode);
        }
        if self.word("REPLACE") {
            return self.insert(Mode::Replace);
        }
        if self.word("UPDATE") {
            return self.update();
        }
        if self.words(&["DELETE", "FROM"]) {
            let table = self.table()?;
            let filter = self.filter()?;
            return Ok(Statement::Delete { table, filter });
        }
        if self.words(&["CREATE", "TABLE"]) {
            return self.create_table();
        }
        if self.words(&["DROP", "TABLE"]) {
            let if_exists = self.words(&["IF", "EXISTS"]);
            let table = self.table()?;
            return Ok(Statement::DropTable { table, if_exists });
        }
        if self.word("TRUNCATE") {
            self.word("TABLE");
            let table = self.table()?;
            return Ok(Statement::Truncate { table });
        }
        if self.word("SET") {
            return self.list(Self::setting).map(Statement::Set);
        }
        if self.word("DO") {
            return self.list(Self::expr).map(Statement::Do);
        }
        if self.word("USE") {
            return self.name().map(Statement::Use);
        }
        if self.words(&["SHOW", "GLOBAL", "STATUS", "LIKE"]) {
            return self.expr().map(Statement::ShowStatus);
        }
        if self.words(&["SHOW", "PROCESSLIST"]) {
            return Ok(Statement::ShowProcesslist);
        }
        if self.word("KILL") {
            let query = self.word("QUERY");
            let connection = !query;
            if connection {
                self.word("CONNECTION");
            }
            let id = self.expr()?;
            return Ok(Statement::Kill { connection, id });
        }
        self.transaction()
    }

    fn transaction(&mut self) -> Parse<Statement> {
        if self.words(&["START", "TRANSACTION"]) {
            self.words(&["WITH", "CONSISTENT", "SNAPSHOT"]);
            self.symbol(",");
            let access = self.access();
            return Ok(Statement::Begin(access));
        }
        if self.word("SAVEPOINT") {
            return Ok(Statement::Savepoint(self.name()?));
        }
        if self.words(&["RELEASE", "SAVEPOINT"]) {
            return Ok(Statement::Release(self.name()?));
        }
        if self.words(&["ROLLBACK", "TO"]) {
            self.word("SAVEPOINT");
            return Ok(Statement::RollbackTo(self.name()?));
        }
        let statement = if self.word("BEGIN") {
            Statement::Begin(None)
        } else if self.word("COMMIT") {
            Statement::Commit
        } else if self.word("ROLLBACK") {
            Statement::Rollback
        } else {
            return Err(self.lost());
        };
        self.word("WORK");
        Ok(statement)
    }

    fn access(&mut self) -> Option<Access> {
        if self.words(&["READ", "ONLY"]) {
            Some(Access::ReadOnly)
        } else if self.words(&["READ", "WRITE"]) {
            Some(Access::ReadWrite)
        } else {
            None
        }
    }

    fn setting(&mut self) -> Parse<Setting> {
        if self.word("NAMES") || self.word("CHARSET") || self.words(&["CHARACTER", "SET"]) {
            self.operand()?;
            if self.word("COLLATE") {
                self.operand()?;
            }
            return Ok(Setting::Names);
        }
        if let Some(What::User(name)) = self.peek() {
            let name = name.clone();
            self.at += 1;
            let value = self.assigned()?;
            return Ok(Setting::User { name, value });
        }
        if let Some(What::Variable(scope, name)) = self.peek() {
            let (scope, name) = (*scope, name.clone());
            self.at += 1;
            let value = self.assigned()?;
            return Ok(Setting::Variable { scope, name, value });
        }
        let scope = if self.word("GLOBAL") {
            Some(Scope::Global)
        } else if self.word("SESSION") || self.word("LOCAL") {
            Some(Scope::Session)
        } else {
            None
        };
        if self.word("TRANSACTION") {
            return self.characteristic(scope);
        }
        let name = self.name()?.to_ascii_lowercase();
        let scope = scope.unwrap_or(Scope::Any);
        let value = self.assigned()?;
        Ok(Setting::Variable { scope, name, value })
    }

    fn characteristic(&mut self, scope: Option<Scope>) -> Parse<Setting> {
        if let Some(access) = self.access() {
            return Ok(Setting::Access { scope, access });
        }
        if !self.words(&["ISOLATION", "LEVEL"]) {
            return Err(self.lost());
        }
        let known = self.words(&["READ", "COMMITTED"])
            || self.words(&["READ", "UNCOMMITTED"])
            || self.words(&["REPEATABLE", "READ"])
            || self.word("SERIALIZABLE");
        if known {
            Ok(Setting::Isolation)
        } else {
            Err(self.lost())
        }
    }

    /// What stands behind `=`, where a bare word is a text (`= ON`, `= utf8mb4`).
    fn assigned(&mut self) -> Parse<Expr> {
        if !self.symbol("=") && !self.symbol(":=") {
            return Err(self.lost());
        }
        self.operand()
    }

    fn operand(&mut self) -> Parse<Expr> {
        Ok(match self.expr()? {
            Expr::Column(word) => Expr::Literal(Datum::text(word)),
            expr => expr,
        })
    }

    // -- the small steps everything is made of --

    fn peek(&self) -> Option<&What> {
        self.tokens.get(self.at).map(|token| &token.what)
    }

    /// 1064 at this place.
    fn lost(&self) -> Refusal {
        let start = self.tokens.get(self.at).map(|token| token.start);
        Refusal::syntax(start.and_then(|at| self.sql.get(at..)).unwrap_or_default())
    }

    /// Takes a keyword if it is next.
    fn word(&mut self, word: &str) -> bool {
        self.words(&[word])
    }

    /// Takes keywords if all of them are next.
    fn words(&mut self, words: &[&str]) -> bool {
        let next = self.tokens[self.at..].iter().take(words.len());
        let found = words.len() <= self.tokens.len() - self.at
            && next.zip(words).all(|(token, word)| {
                matches!(&token.what, What::Word(next) if next.eq_ignore_ascii_case(word))
            });
        if found {
            self.at += words.len();
        }
        found
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(What::Symbol(next)) if *next == symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Parse<()> {
        if self.symbol(symbol) {
            Ok(())
        } else {
            Err(self.lost())
        }
    }

    /// A name, quoted or not.
    fn name(&mut self) -> Parse<String> {
        let name = match self.peek() {
            Some(What::Name(name)) => name.clone(),
            Some(What::Word(word)) if !expr::is_reserved(word) => word.clone(),
            _ => return Err(self.lost()),
        };
        self.at += 1;
        Ok(name)
    }

    /// A table's name; the database before it is left out, for there is only one.
    fn table(&mut self) -> Parse<String> {
        let name = self.name()?;
        if self.symbol(".") {
            return self.name();
        }
        Ok(name)
    }

    fn filter(&mut self) -> Parse<Option<Expr>> {
        if self.word("WHERE") {
            return self.expr().map(Some);
        }
        Ok(None)
    }

    /// One or more, with commas between.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parse<T>) -> Parse<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.symbol(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests;
