//! What an expression is worth.
//!
//! Owns evaluation over one row or one group of rows. It must never wait and never change
//! anything; `LAST_INSERT_ID(n)` only notes what the session has to remember.

use std::cell::Cell;
use std::cmp::Ordering;

use super::datum::Datum;
use super::refusal::Refusal;
use super::sql::{Aggregate, Column, Expr, Function, Operator, Scope};
use super::store::Row;

/// What the session and the server say when asked.
pub(super) trait Ask {
    fn variable(&self, scope: Scope, name: &str) -> Result<Datum, Refusal>;
    fn user_variable(&self, name: &str) -> Datum;
    fn function(&self, function: Function) -> Datum;
}

/// What an expression may look at.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) ask: &'a dyn Ask,
    pub(super) params: &'a [Datum],
    pub(super) columns: &'a [Column],
    pub(super) row: Option<&'a [Datum]>,
    pub(super) group: Option<&'a [Row]>,
    /// Set by `LAST_INSERT_ID(n)`.
    pub(super) insert_id: &'a Cell<Option<u64>>,
}

// === impl Sight ===

impl<'a> Sight<'a> {
    pub(super) fn on(self, row: &'a [Datum]) -> Self {
        Self {
            row: Some(row),
            ..self
        }
    }

    pub(super) fn value(self, expr: &Expr) -> Result<Datum, Refusal> {
        Ok(match expr {
            Expr::Literal(value) => value.clone(),
            Expr::Param(at) => self.params.get(*at).cloned().unwrap_or(Datum::Null),
            Expr::Column(name) => self.column(name)?,
            Expr::Variable(scope, name) => self.ask.variable(*scope, name)?,
            Expr::User(name) => self.ask.user_variable(name),
            Expr::Call(function, arguments) => self.call(*function, arguments)?,
            Expr::Aggregate(aggregate, argument) => self.fold(*aggregate, argument.as_deref())?,
            Expr::Binary(operator, left, right) => self.binary(*operator, left, right)?,
            Expr::Not(inner) => match self.value(inner)? {
                Datum::Null => Datum::Null,
                value => Datum::from(!value.holds()),
            },
            Expr::Negative(inner) => match self.value(inner)? {
                Datum::Null => Datum::Null,
                Datum::Float(float) => Datum::Float(-float),
                value => Datum::Int(-value.int().unwrap_or(0)),
            },
            Expr::IsNull(inner) => Datum::from(self.value(inner)? == Datum::Null),
            Expr::In(inner, list) => {
                let value = self.value(inner)?;
                let mut found = false;
                for item in list {
                    found |= value.compare(&self.value(item)?) == Some(Ordering::Equal);
                }
                Datum::from(found)
            }
        })
    }

    fn column(self, name: &str) -> Result<Datum, Refusal> {
        let mut columns = self.columns.iter();
        let at = columns.position(|column| column.name.eq_ignore_ascii_case(name));
        let at = at.ok_or_else(|| Refusal::no_column(name))?;
        // A group without rows has no value of a column.
        Ok(self
            .row
            .and_then(|row| row.get(at))
            .cloned()
            .unwrap_or(Datum::Null))
    }

    fn call(self, function: Function, arguments: &[Expr]) -> Result<Datum, Refusal> {
        match (function, arguments) {
            (Function::Coalesce, arguments) => {
                for argument in arguments {
                    let value = self.value(argument)?;
                    if value != Datum::Null {
                        return Ok(value);
                    }
                }
                Ok(Datum::Null)
            }
            (Function::Concat, arguments) => {
                let mut text = Vec::new();
                for argument in arguments {
                    match self.value(argument)? {
                        Datum::Null => return Ok(Datum::Null),
                        value => text.extend(value.bytes()),
                    }
                }
                Ok(Datum::Text(text))
            }
            (Function::If, [condition, yes, no]) => match self.value(condition)?.holds() {
                true => self.value(yes),
                false => self.value(no),
            },
            (Function::Quote, [argument]) => Ok(match self.value(argument)? {
                Datum::Null => Datum::text("NULL"),
                value => {
                    let text = value.shown().replace('\\', "\\\\").replace('\'', "\\'");
                    Datum::text(format!("'{text}'"))
                }
            }),
            // The waiting is over when the statement runs.
            (Function::Sleep, _) => Ok(Datum::Int(0)),
            (Function::LastInsertId, [argument]) => {
                let value = self.value(argument)?;
                let id = value.int().unwrap_or(0);
                self.insert_id.set(Some(u64::try_from(id).unwrap_or(0)));
                Ok(value)
            }
            (function, _) => Ok(self.ask.function(function)),
        }
    }

    fn fold(self, aggregate: Aggregate, argument: Option<&Expr>) -> Result<Datum, Refusal> {
        let rows = self.group.unwrap_or_default();
        let Some(argument) = argument else {
            return Ok(Datum::Int(rows.len() as i128));
        };
        let mut values = Vec::with_capacity(rows.len());
        for row in rows {
            let value = Sight {
                group: None,
                ..self
            }
            .on(row)
            .value(argument)?;
            if value != Datum::Null {
                values.push(value);
            }
        }
        let best = match aggregate {
            Aggregate::Count => return Ok(Datum::Int(values.len() as i128)),
            Aggregate::Concat => {
                let texts: Vec<String> = values.iter().map(Datum::shown).collect();
                (!texts.is_empty()).then(|| Datum::text(texts.join(",")))
            }
            Aggregate::Max => values.into_iter().max_by(Datum::order),
            Aggregate::Min => values.into_iter().min_by(Datum::order),
            Aggregate::Sum => values
                .into_iter()
                .reduce(|a, b| arithmetic(Operator::Plus, &a, &b)),
        };
        Ok(best.unwrap_or(Datum::Null))
    }

    fn binary(self, operator: Operator, left: &Expr, right: &Expr) -> Result<Datum, Refusal> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        let ordered = || left.compare(&right);
        let known =
            |holds: fn(Ordering) -> bool| ordered().map_or(Datum::Null, |o| holds(o).into());
        Ok(match operator {
            Operator::Or => Datum::from(left.holds() || right.holds()),
            Operator::And => Datum::from(left.holds() && right.holds()),
            Operator::Equal => known(Ordering::is_eq),
            Operator::Unequal => known(Ordering::is_ne),
            Operator::Less => known(Ordering::is_lt),
            Operator::LessOrEqual => known(Ordering::is_le),
            Operator::Greater => known(Ordering::is_gt),
            Operator::GreaterOrEqual => known(Ordering::is_ge),
            Operator::Plus | Operator::Minus | Operator::Times => {
                arithmetic(operator, &left, &right)
            }
        })
    }
}

fn arithmetic(operator: Operator, left: &Datum, right: &Datum) -> Datum {
    let whole = |datum: &Datum| matches!(datum, Datum::Int(_));
    if whole(left) && whole(right) {
        let (a, b) = (left.int().unwrap_or(0), right.int().unwrap_or(0));
        let outcome = match operator {
            Operator::Minus => a.checked_sub(b),
            Operator::Times => a.checked_mul(b),
            _ => a.checked_add(b),
        };
        return outcome.map_or(Datum::Null, Datum::Int);
    }
    match (left.float(), right.float()) {
        (Some(a), Some(b)) => Datum::Float(match operator {
            Operator::Minus => a - b,
            Operator::Times => a * b,
            _ => a + b,
        }),
        _ => Datum::Null,
    }
}
