//! INSERT, UPDATE, DELETE and the statements about tables.
//!
//! Owns what a statement makes of the rows its transaction sees. It must never change the volume:
//! it returns what would change, and all of a statement or nothing of it.

use std::cell::Cell;
use std::sync::Arc;

use super::super::answer::Answer;
use super::super::datum::Datum;
use super::super::eval::Sight;
use super::super::refusal::Refusal;
use super::super::sql::{Column, Expr, Kind, Mode, Statement};
use super::super::store::{Change, Overlay, State, Table};
use super::Session;
use super::variables::View;

/// What a statement has done so far.
struct Effect {
    overlay: Overlay,
    affected: u64,
    /// The first generated key.
    generated: Option<u64>,
}

impl Session {
    /// What `statement` answers, and the rows its transaction then sees.
    pub(super) fn change(
        &mut self,
        statement: &Statement,
        params: &[Datum],
    ) -> Result<(Answer, Overlay), Refusal> {
        let insert_id = Cell::new(None);
        let effect = self.effect(statement, params, &insert_id)?;
        insert_id.set(effect.generated.or(insert_id.get()));
        self.note(&insert_id);
        let answer = Answer::Done {
            affected: effect.affected,
            insert_id: effect.generated.unwrap_or(0),
        };
        Ok((answer, effect.overlay))
    }

    fn effect(
        &self,
        statement: &Statement,
        params: &[Datum],
        insert_id: &Cell<Option<u64>>,
    ) -> Result<Effect, Refusal> {
        let (Statement::Insert { table: name, .. }
        | Statement::Update { table: name, .. }
        | Statement::Delete { table: name, .. }) = statement
        else {
            return Err(Refusal::syntax(""));
        };
        let database = self.database()?;
        let mut effect = Effect {
            overlay: self.overlay(),
            affected: 0,
            generated: None,
        };
        let mut state = self.server.volume.lock();
        // Keys are taken before anything is evaluated, for that needs the state unchanged.
        let keys = self.keys(database, &mut state, statement)?;
        let state = &*state;
        let view = View {
            session: self,
            state,
        };
        let table = state.table(database, name)?;
        let sight = Sight {
            ask: &view,
            params,
            columns: &table.columns,
            row: None,
            group: None,
            insert_id,
        };
        match statement {
            Statement::Insert {
                mode,
                columns,
                rows,
                ..
            } => {
                let insert = Insert {
                    name,
                    table,
                    mode: *mode,
                    columns: columns.as_deref(),
                };
                for (row, key) in rows.iter().zip(keys) {
                    insert.row(&mut effect, sight, row, key)?;
                }
            }
            Statement::Update { set, filter, .. } => {
                let found_rows = self.found_rows;
                for (key, row) in matching(sight, table, name, &effect.overlay, filter.as_ref())? {
                    let mut new = row.to_vec();
                    for (column, value) in set {
                        let at = table.position(column)?;
                        let value = sight.on(&new).value(value)?;
                        new[at] = fitting(&table.columns[at], value)?;
                    }
                    let changed = new[..] != row[..];
                    effect.affected += u64::from(changed || found_rows);
                    if !changed {
                        continue;
                    }
                    let new_key = key_of(&new[table.key])?;
                    if new_key != key {
                        if table.row(name, &effect.overlay, new_key).is_some() {
                            return Err(Refusal::duplicate(new_key));
                        }
                        effect.overlay.set(name, key, None);
                    }
                    effect.overlay.set(name, new_key, Some(new.into()));
                }
            }
            Statement::Delete { filter, .. } => {
                for (key, _) in matching(sight, table, name, &effect.overlay, filter.as_ref())? {
                    effect.overlay.set(name, key, None);
                    effect.affected += 1;
                }
            }
            _ => {}
        }
        Ok(effect)
    }

    /// A generated key for each row of an INSERT, if the table generates keys and the statement
    /// may need them.
    fn keys(
        &self,
        database: &str,
        state: &mut State,
        statement: &Statement,
    ) -> Result<Vec<Option<i64>>, Refusal> {
        let Statement::Insert {
            table: name,
            columns,
            rows,
            ..
        } = statement
        else {
            return Ok(Vec::new());
        };
        let table = state.table(database, name)?;
        let (key, counted) = (
            &table.columns[table.key].name,
            table.columns[table.key].counted,
        );
        let place = match columns {
            Some(names) => names.iter().position(|name| name.eq_ignore_ascii_case(key)),
            None => Some(table.key),
        };
        let needs = |row: &[Expr]| match place.and_then(|place| row.get(place)) {
            None => true,
            Some(Expr::Literal(value)) => matches!(value, Datum::Null | Datum::Int(0)),
            // Unknown yet; a key too many does not hurt.
            Some(Expr::Param(_)) => true,
            Some(_) => false,
        };
        let needed: Vec<bool> = rows.iter().map(|row| counted && needs(row)).collect();
        let keys = needed.into_iter();
        Ok(keys
            .map(|needed| needed.then(|| state.generate(name)))
            .collect())
    }

    /// What a statement about tables changes; nothing if it is as it should be already.
    pub(super) fn definition(&self, statement: &Statement) -> Result<Option<Change>, Refusal> {
        let database = self.database()?;
        let state = self.server.volume.lock();
        Ok(match statement {
            Statement::CreateTable {
                table,
                unless_exists,
                columns,
                key,
            } => match (state.tables.contains_key(table), unless_exists) {
                (true, true) => None,
                (true, false) => {
                    return Err(Refusal::new(
                        1050,
                        format!("Table '{table}' already exists"),
                    ));
                }
                (false, _) => Some(Change::Create {
                    table: table.clone(),
                    columns: columns.clone().into(),
                    key: *key,
                }),
            },
            Statement::DropTable { table, if_exists } => {
                match (state.tables.contains_key(table), if_exists) {
                    (true, _) => Some(Change::Drop {
                        table: table.clone(),
                    }),
                    (false, true) => None,
                    (false, false) => {
                        let message = format!("Unknown table '{database}.{table}'");
                        return Err(Refusal::new(1051, message));
                    }
                }
            }
            Statement::Truncate { table } => {
                state.table(database, table)?;
                Some(Change::Truncate {
                    table: table.clone(),
                })
            }
            _ => None,
        })
    }
}

struct Insert<'a> {
    name: &'a str,
    table: &'a Table,
    mode: Mode,
    columns: Option<&'a [String]>,
}

impl Insert<'_> {
    fn row(
        &self,
        effect: &mut Effect,
        sight: Sight<'_>,
        values: &[Expr],
        generated: Option<i64>,
    ) -> Result<(), Refusal> {
        let columns = &self.table.columns;
        let count = self.columns.map_or(columns.len(), <[String]>::len);
        if values.len() != count {
            let message = "Column count doesn't match value count at row 1";
            return Err(Refusal::new(1136, message));
        }
        let mut row: Vec<Option<Datum>> = vec![None; columns.len()];
        for (at, value) in values.iter().enumerate() {
            let place = match self.columns {
                Some(names) => self.table.position(&names[at])?,
                None => at,
            };
            row[place] = Some(sight.value(value)?);
        }
        let given = row[self.table.key].as_ref();
        let wants_key = given.is_none_or(|key| matches!(key, Datum::Null | Datum::Int(0)));
        if let (true, Some(key)) = (wants_key, generated) {
            row[self.table.key] = Some(Datum::Int(key.into()));
            effect.generated = effect.generated.or(u64::try_from(key).ok());
        }
        let mut full = Vec::with_capacity(row.len());
        for (column, value) in columns.iter().zip(row) {
            full.push(match value {
                Some(value) => fitting(column, value)?,
                None if column.nullable => Datum::Null,
                None => {
                    let message = format!("Field '{}' doesn't have a default value", column.name);
                    return Err(Refusal::new(1364, message));
                }
            });
        }
        let key = key_of(&full[self.table.key])?;
        if self.table.row(self.name, &effect.overlay, key).is_some() {
            match self.mode {
                Mode::Refuse => return Err(Refusal::duplicate(key)),
                Mode::Ignore => return Ok(()),
                // Counted as one removed and one added.
                Mode::Replace => effect.affected += 1,
            }
        }
        effect.affected += 1;
        effect.overlay.set(self.name, key, Some(Arc::from(full)));
        Ok(())
    }
}

/// The rows for which `filter` holds, with their keys.
pub(super) fn matching(
    sight: Sight<'_>,
    table: &Table,
    name: &str,
    overlay: &Overlay,
    filter: Option<&Expr>,
) -> Result<Vec<(i64, super::super::store::Row)>, Refusal> {
    let Some(filter) = filter else {
        return Ok(table.rows(name, overlay));
    };
    if let Some(key) = wanted_key(sight, table, filter)? {
        let row = i64::try_from(key).ok().and_then(|key| {
            let row = table.row(name, overlay, key)?;
            Some((key, Arc::clone(row)))
        });
        return Ok(row.into_iter().collect());
    }
    let mut rows = Vec::new();
    for (key, row) in table.rows(name, overlay) {
        if sight.on(&row).value(filter)?.holds() {
            rows.push((key, row));
        }
    }
    Ok(rows)
}

/// The key, if `filter` is just `key = value`: found without looking at every row.
fn wanted_key(sight: Sight<'_>, table: &Table, filter: &Expr) -> Result<Option<i128>, Refusal> {
    use super::super::sql::Operator;
    let Expr::Binary(Operator::Equal, left, right) = filter else {
        return Ok(None);
    };
    let (Expr::Column(name), Expr::Literal(_) | Expr::Param(_)) = (&**left, &**right) else {
        return Ok(None);
    };
    if !name.eq_ignore_ascii_case(&table.columns[table.key].name) {
        return Ok(None);
    }
    match sight.value(right)? {
        Datum::Int(key) => Ok(Some(key)),
        _ => Ok(None),
    }
}

fn key_of(value: &Datum) -> Result<i64, Refusal> {
    let key = value.int().and_then(|key| i64::try_from(key).ok());
    key.ok_or_else(|| Refusal::new(1264, "Out of range value for the PRIMARY KEY"))
}

/// The value as a column holds it.
fn fitting(column: &Column, value: Datum) -> Result<Datum, Refusal> {
    let name = &column.name;
    if value == Datum::Null {
        if column.nullable {
            return Ok(value);
        }
        return Err(Refusal::new(
            1048,
            format!("Column '{name}' cannot be null"),
        ));
    }
    let no_number = |value: &Datum| {
        let text = value.shown();
        Refusal::new(
            1366,
            format!("Incorrect number value: '{text}' for column '{name}'"),
        )
    };
    match column.kind {
        Kind::Text => Ok(Datum::Text(value.bytes())),
        Kind::Float => match &value {
            Datum::Text(_) if value.shown().trim().parse::<f64>().is_err() => {
                Err(no_number(&value))
            }
            value => Ok(value.float().map_or(Datum::Null, Datum::Float)),
        },
        Kind::Int => match &value {
            Datum::Text(_) if value.shown().trim().parse::<i128>().is_err() => {
                Err(no_number(&value))
            }
            value => {
                let int = value.int().unwrap_or(0);
                if i64::try_from(int).is_err() && u64::try_from(int).is_err() {
                    let message = format!("Out of range value for column '{name}'");
                    return Err(Refusal::new(1264, message));
                }
                Ok(Datum::Int(int))
            }
        },
    }
}
