//! SELECT over one table or none.
//!
//! Owns filtering, grouping, ordering and cutting, in this order. It must never see rows of another
//! session's open transaction.

use std::cell::Cell;
use std::cmp::Ordering;
use std::sync::Arc;

use super::super::answer::{Answer, Head};
use super::super::datum::Datum;
use super::super::eval::Sight;
use super::super::refusal::Refusal;
use super::super::sql::{Aggregate, Column, Expr, Function, Kind, Parsed, Select, Statement};
use super::super::store::{Row, State, Table};
use super::Session;
use super::change::matching;

impl Session {
    pub(super) fn select(&mut self, select: &Select, params: &[Datum]) -> Result<Answer, Refusal> {
        let insert_id = Cell::new(None);
        let answer = self.seeing(params, &insert_id, |sight, state| {
            self.rows(select, sight, state)
        });
        self.note(&insert_id);
        answer
    }

    /// The names of the columns that a prepared statement will have.
    pub(in super::super) fn heads(&self, parsed: &Parsed) -> Vec<Head> {
        let Statement::Select(select) = &parsed.statement else {
            return Vec::new();
        };
        self.seeing(&[], &Cell::new(None), |_, state| {
            let table = self.table_of(select, state).ok().flatten();
            let columns = table
                .map(|table| Arc::clone(&table.columns))
                .unwrap_or_default();
            let items = items(select, &columns);
            let heads = items.iter().map(|(expr, name)| Head {
                name: name.clone(),
                kind: declared(expr, &columns).unwrap_or(Kind::Text),
                unsigned: false,
            });
            heads.collect()
        })
    }

    fn table_of<'a>(
        &self,
        select: &Select,
        state: &'a State,
    ) -> Result<Option<&'a Table>, Refusal> {
        match &select.table {
            Some(name) => state.table(self.database()?, name).map(Some),
            None => Ok(None),
        }
    }

    fn rows(&self, select: &Select, sight: Sight<'_>, state: &State) -> Result<Answer, Refusal> {
        let table = self.table_of(select, state)?;
        let columns = table
            .map(|table| Arc::clone(&table.columns))
            .unwrap_or_default();
        let sight = Sight {
            columns: &columns,
            ..sight
        };
        let rows: Vec<Row> = match (table, &select.table) {
            (Some(table), Some(name)) => {
                let overlay = self.overlay();
                let found = matching(sight, table, name, &overlay, select.filter.as_ref())?;
                found.into_iter().map(|(_, row)| row).collect()
            }
            // Without a table there is one row without columns.
            _ => match &select.filter {
                Some(filter) if !sight.value(filter)?.holds() => Vec::new(),
                _ => vec![Row::from([])],
            },
        };
        let items = items(select, &columns);
        let mut lines = Vec::new();
        if select.group.is_some() || items.iter().any(|(expr, _)| expr.aggregates()) {
            for group in groups(sight, select.group.as_ref(), rows)? {
                let sight = Sight {
                    row: group.first().map(|row| &row[..]),
                    group: Some(&group),
                    ..sight
                };
                lines.push(line(sight, &items, &select.order)?);
            }
        } else {
            for row in &rows {
                lines.push(line(sight.on(row), &items, &select.order)?);
            }
        }
        // Stable, so that rows which compare equal stay in the order of the key.
        lines.sort_by(|(_, a), (_, b)| {
            let pairs = a.iter().zip(b).zip(&select.order);
            let mut compared = pairs.map(|((a, b), (_, descending))| match descending {
                true => b.order(a),
                false => a.order(b),
            });
            compared
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        let count = |expr: &Option<Expr>, or: usize| match expr {
            Some(expr) => {
                let value = sight.value(expr)?.int().unwrap_or(0);
                Ok(usize::try_from(value).unwrap_or(0))
            }
            None => Ok(or),
        };
        let (skip, take) = (count(&select.offset, 0)?, count(&select.limit, usize::MAX)?);
        let lines = lines.into_iter().skip(skip).take(take);
        let rows: Vec<Vec<Datum>> = lines.map(|(line, _)| line).collect();
        let heads = items.iter().enumerate().map(|(at, (expr, name))| {
            let values = || rows.iter().map(|row| &row[at]);
            Head {
                name: name.clone(),
                kind: declared(expr, &columns).unwrap_or_else(|| kind_of(values())),
                unsigned: values()
                    .any(|value| value.int().is_some_and(|int| int > i128::from(i64::MAX))),
            }
        });
        Ok(Answer::Rows {
            heads: heads.collect(),
            rows,
        })
    }
}

/// The expressions of the columns, and their names; `*` is every column.
fn items(select: &Select, columns: &[Column]) -> Vec<(Expr, String)> {
    match &select.items {
        Some(items) => items.clone(),
        None => {
            let all = columns.iter().map(|column| &column.name);
            all.map(|name| (Expr::Column(name.clone()), name.clone()))
                .collect()
        }
    }
}

/// Rows with equal values of `by`; all of them, even if there is none, without it.
fn groups(sight: Sight<'_>, by: Option<&Expr>, rows: Vec<Row>) -> Result<Vec<Vec<Row>>, Refusal> {
    let Some(by) = by else {
        return Ok(vec![rows]);
    };
    let mut groups: Vec<(Datum, Vec<Row>)> = Vec::new();
    for row in rows {
        let value = sight.on(&row).value(by)?;
        let group = groups.binary_search_by(|(known, _)| known.order(&value));
        match group {
            Ok(at) => groups[at].1.push(row),
            Err(at) => groups.insert(at, (value, vec![row])),
        }
    }
    Ok(groups.into_iter().map(|(_, rows)| rows).collect())
}

/// The values of one row of the answer, and those it is ordered by.
fn line(
    sight: Sight<'_>,
    items: &[(Expr, String)],
    order: &[(Expr, bool)],
) -> Result<(Vec<Datum>, Vec<Datum>), Refusal> {
    let mut values = Vec::with_capacity(items.len());
    for (expr, _) in items {
        values.push(sight.value(expr)?);
    }
    let mut keys = Vec::with_capacity(order.len());
    for (expr, _) in order {
        // A number is a place among the columns, a name may be that of one of them.
        let place = match expr {
            Expr::Literal(Datum::Int(place)) => usize::try_from(place - 1).ok(),
            Expr::Column(name) => items.iter().position(|(_, item)| item == name),
            _ => None,
        };
        match place.and_then(|place| values.get(place)) {
            Some(value) => keys.push(value.clone()),
            None => keys.push(sight.value(expr)?),
        }
    }
    Ok((values, keys))
}

/// The kind of a column by its expression, where that tells.
fn declared(expr: &Expr, columns: &[Column]) -> Option<Kind> {
    match expr {
        Expr::Column(name) => {
            let mut columns = columns.iter();
            let column = columns.find(|column| column.name.eq_ignore_ascii_case(name))?;
            Some(column.kind)
        }
        Expr::Aggregate(Aggregate::Count, _) => Some(Kind::Int),
        Expr::Aggregate(Aggregate::Max | Aggregate::Min, Some(inner)) => declared(inner, columns),
        Expr::Call(Function::ConnectionId | Function::LastInsertId | Function::Sleep, _) => {
            Some(Kind::Int)
        }
        _ => None,
    }
}

/// The kind that all values have, or text.
fn kind_of<'a>(values: impl Iterator<Item = &'a Datum>) -> Kind {
    let mut kind = None;
    for value in values {
        let next = match value {
            Datum::Null => continue,
            Datum::Int(_) => Kind::Int,
            Datum::Float(_) => Kind::Float,
            Datum::Text(_) => return Kind::Text,
        };
        if kind != Some(Kind::Float) {
            kind = Some(next);
        }
    }
    kind.unwrap_or(Kind::Text)
}
