//! The rows of a statement.
//!
//! Owns how they are read, converted and gathered. It must never leave a row unread, whatever becomes
//! of the others: it would be the next statement's answer.
//!
//! Rows are given to a closure that puts them where they are wanted. By value they would be copied
//! through every layer on their way out.

use crate::error::Error;
use mysql_async::prelude::{FromRow, Protocol};
use mysql_async::{Conn, QueryResult, Row};

/// A row as `T`, or an error that tells the columns but not their values.
pub(crate) fn convert<T: FromRow>(row: Row) -> Result<T, Error> {
    mysql_async::from_row_opt(row).map_err(|error| {
        let columns = error.0.columns_ref().iter();
        let columns: Vec<String> = columns
            .map(|column| format!("{} {:?}", column.name_str(), column.column_type()))
            .collect();
        Error::Conversion {
            wanted: std::any::type_name::<T>(),
            columns: columns.join(", "),
        }
    })
}

/// Reads every result set to its end; gives the rows of the first one to `each`, until it wants no
/// more.
///
/// A conversion that fails does not stop the reading: what was not read would be the next
/// statement's answer.
pub(super) async fn read<T, P>(
    mut result: QueryResult<'_, 'static, P>,
    mut each: impl FnMut(T) -> More,
) -> mysql_async::Result<()>
where
    T: FromRow,
    P: Protocol,
{
    let mut failed = None;
    while let Some(row) = result.next().await? {
        match convert(row).map(&mut each) {
            Ok(More::Wanted) => {}
            Ok(More::Enough) => break,
            Err(error) => {
                failed = Some(Box::new(error));
                break;
            }
        }
    }
    result.drop_result().await?;
    match failed {
        None => Ok(()),
        Some(error) => Err((*error).into()),
    }
}

/// Whether more rows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    Wanted,
    Enough,
}

pub(crate) fn push<T>(rows: &mut Vec<T>, row: T) -> More {
    rows.push(row);
    More::Wanted
}

pub(crate) fn keep_first(first: &mut Option<Row>, row: Row) -> More {
    *first = Some(row);
    More::Enough
}

pub(crate) fn keep_none((): &mut (), _: Row) -> More {
    More::Enough
}

/// What a fold by value has come to; `None` only if its closure panicked.
pub(super) fn folded<U>(result: Option<U>) -> mysql_async::Result<U> {
    result.ok_or_else(|| mysql_async::Error::Other("the fold was cut off".into()))
}

/// Whether the last statement left what the next user could ask for.
pub(super) fn left_a_trace(conn: &Conn) -> bool {
    conn.last_insert_id().is_some() || conn.get_warnings() > 0
}
