//! Expressions, by precedence: OR, AND, NOT, comparison, sum, product, operand.

use super::super::super::datum::Datum;
use super::super::super::refusal::Refusal;
use super::super::tree::{Aggregate, Expr, Function, Operator};
use super::{Parse, Parser, What};

/// Words that end an expression, and so are no names.
const RESERVED: [&str; 29] = [
    "AND", "AS", "ASC", "BY", "CREATE", "DELETE", "DESC", "DROP", "FOR", "FROM", "GROUP", "IN",
    "INSERT", "INTO", "IS", "LIMIT", "LOCK", "NOT", "NULL", "OFFSET", "OR", "ORDER", "PRIMARY",
    "SELECT", "SET", "TABLE", "UPDATE", "VALUES", "WHERE",
];

/// Deeper nesting is refused: the parser calls itself.
const DEEPEST: usize = 64;

pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(word))
}

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Parse<Expr> {
        self.or(0)
    }

    fn or(&mut self, depth: usize) -> Parse<Expr> {
        if depth > DEEPEST {
            return Err(self.lost());
        }
        let mut left = self.and(depth)?;
        while self.word("OR") {
            left = binary(Operator::Or, left, self.and(depth)?);
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Parse<Expr> {
        let mut left = self.not(depth)?;
        while self.word("AND") {
            left = binary(Operator::And, left, self.not(depth)?);
        }
        Ok(left)
    }

    fn not(&mut self, depth: usize) -> Parse<Expr> {
        if self.word("NOT") {
            return Ok(Expr::Not(Box::new(self.comparison(depth)?)));
        }
        self.comparison(depth)
    }

    fn comparison(&mut self, depth: usize) -> Parse<Expr> {
        let left = self.sum(depth)?;
        if self.word("IS") {
            let not = self.word("NOT");
            if !self.word("NULL") {
                return Err(self.lost());
            }
            let is_null = Expr::IsNull(Box::new(left));
            return Ok(if not {
                Expr::Not(Box::new(is_null))
            } else {
                is_null
            });
        }
        let not = self.words(&["NOT", "IN"]);
        if not || self.word("IN") {
            self.expect("(")?;
            let list = self.list(|parser| parser.or(depth + 1))?;
            self.expect(")")?;
            let within = Expr::In(Box::new(left), list);
            return Ok(if not {
                Expr::Not(Box::new(within))
            } else {
                within
            });
        }
        let operators = [
            ("=", Operator::Equal),
            ("<>", Operator::Unequal),
            ("!=", Operator::Unequal),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        match operators
            .into_iter()
            .find(|(symbol, _)| self.symbol(symbol))
        {
            Some((_, operator)) => Ok(binary(operator, left, self.sum(depth)?)),
            None => Ok(left),
        }
    }

    fn sum(&mut self, depth: usize) -> Parse<Expr> {
        let mut left = self.product(depth)?;
        loop {
            let operator = if self.symbol("+") {
                Operator::Plus
            } else if self.symbol("-") {
                Operator::Minus
            } else {
                return Ok(left);
            };
            left = binary(operator, left, self.product(depth)?);
        }
    }

    fn product(&mut self, depth: usize) -> Parse<Expr> {
        let mut left = self.signed(depth)?;
        while self.symbol("*") {
            left = binary(Operator::Times, left, self.signed(depth)?);
        }
        Ok(left)
    }

    fn signed(&mut self, depth: usize) -> Parse<Expr> {
        let mut negative = false;
        while self.symbol("-") {
            negative = !negative;
        }
        let inner = self.primary(depth)?;
        Ok(if negative {
            Expr::Negative(Box::new(inner))
        } else {
            inner
        })
    }

    fn primary(&mut self, depth: usize) -> Parse<Expr> {
        if self.symbol("(") {
            if self.word("SELECT") {
                return self.status();
            }
            let inner = self.or(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let expr = match self.peek() {
            Some(What::Literal(value)) => Expr::Literal(value.clone()),
            Some(What::Variable(scope, name)) => Expr::Variable(*scope, name.clone()),
            Some(What::User(name)) => Expr::User(name.clone()),
            Some(What::Param) => {
                self.params += 1;
                Expr::Param(self.params - 1)
            }
            Some(What::Word(word)) => {
                let word = word.clone();
                return self.named(&word, depth);
            }
            _ => return self.name().map(Expr::Column),
        };
        self.at += 1;
        Ok(expr)
    }

    /// What starts with a word: a constant, a call or a column.
    fn named(&mut self, word: &str, depth: usize) -> Parse<Expr> {
        let constants = [
            ("NULL", Datum::Null),
            ("TRUE", Datum::Int(1)),
            ("FALSE", Datum::Int(0)),
        ];
        for (name, value) in constants {
            if self.word(name) {
                return Ok(Expr::Literal(value));
            }
        }
        let next = self.tokens.get(self.at + 1).map(|token| &token.what);
        if next == Some(&What::Symbol("(")) && !is_reserved(word) {
            self.at += 2;
            return self.call(word, depth);
        }
        // A table's name before the column's says nothing new.
        self.table().map(Expr::Column)
    }

    /// The only scalar sub-queries there are: over Galera's state, which these servers do not have.
    fn status(&mut self) -> Parse<Expr> {
        let select = self.select()?;
        let known = ["session_status", "global_variables", "plugins"];
        if !(select.table.as_deref()).is_some_and(|table| known.contains(&table)) {
            return Err(self.lost());
        }
        self.expect(")")?;
        Ok(Expr::Literal(Datum::Null))
    }

    fn call(&mut self, name: &str, depth: usize) -> Parse<Expr> {
        let upper = name.to_ascii_uppercase();
        if upper == "COUNT" && self.symbol("*") {
            self.expect(")")?;
            return Ok(Expr::Aggregate(Aggregate::Count, None));
        }
        let mut arguments = Vec::new();
        if !self.symbol(")") {
            arguments = self.list(|parser| parser.or(depth + 1))?;
            self.expect(")")?;
        }
        let aggregate = match upper.as_str() {
            "COUNT" => Some(Aggregate::Count),
            "GROUP_CONCAT" => Some(Aggregate::Concat),
            "MAX" => Some(Aggregate::Max),
            "MIN" => Some(Aggregate::Min),
            "SUM" => Some(Aggregate::Sum),
            _ => None,
        };
        let (function, most) = match upper.as_str() {
            "COUNT" | "GROUP_CONCAT" | "MAX" | "MIN" | "SUM" => (None, 1),
            "COALESCE" | "IFNULL" => (Some(Function::Coalesce), usize::MAX),
            "CONCAT" => (Some(Function::Concat), usize::MAX),
            "CONNECTION_ID" => (Some(Function::ConnectionId), 0),
            "CURRENT_ROLE" => (Some(Function::CurrentRole), 0),
            "CURRENT_USER" => (Some(Function::CurrentUser), 0),
            "DATABASE" | "SCHEMA" => (Some(Function::Database), 0),
            "IF" => (Some(Function::If), 3),
            "LAST_INSERT_ID" => (Some(Function::LastInsertId), 1),
            "QUOTE" => (Some(Function::Quote), 1),
            "SLEEP" => (Some(Function::Sleep), 1),
            "USER" => (Some(Function::User), 0),
            "VERSION" => (Some(Function::Version), 0),
            _ => {
                let message = format!("FUNCTION {name} does not exist");
                return Err(Refusal::new(1305, message));
            }
        };
        if arguments.len() > most {
            return Err(self.lost());
        }
        match (function, aggregate) {
            (Some(Function::Sleep), _) => {
                let [time] = arguments.as_slice() else {
                    return Err(self.lost());
                };
                self.sleeps.push(time.clone());
                Ok(Expr::Call(Function::Sleep, arguments))
            }
            (Some(function), _) => Ok(Expr::Call(function, arguments)),
            (None, Some(aggregate)) => {
                let argument = arguments.pop().ok_or_else(|| self.lost())?;
                Ok(Expr::Aggregate(aggregate, Some(Box::new(argument))))
            }
            (None, None) => Err(self.lost()),
        }
    }
}

fn binary(operator: Operator, left: Expr, right: Expr) -> Expr {
    Expr::Binary(operator, Box::new(left), Box::new(right))
}
