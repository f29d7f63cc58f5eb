//! Reads the rows of a statement.
//!
//! Owns how rows are read, converted and collected. It must never leave a row unread, even after an
//! error: the unread row would be taken for the next statement's answer.
//!
//! Rows are passed to a closure that stores them. Returned by value, they would be copied through
//! every layer.

use crate::error::Error;
use mysql_async::consts::StatusFlags;
use mysql_async::prelude::{FromRow, Protocol};
use mysql_async::{Conn, QueryResult, Row};

/// Converts a row to `T`. The error names the columns, but not their values.
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

/// Reads every result set to its end. Passes the rows of the first one to `each`, until it returns
/// [`More::Enough`].
///
/// A failed conversion does not stop the reading: an unread row would be taken for the next
/// statement's answer.
pub(crate) async fn read<T, P>(
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

/// The result of a fold by value. `None` only if its closure panicked.
pub(crate) fn folded<U>(result: Option<U>) -> mysql_async::Result<U> {
    result.ok_or_else(|| mysql_async::Error::Other("the fold was cut off".into()))
}

/// The state of the session, from the complete answer to a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) insert_id: Option<u64>,
    pub(crate) warned: bool,
    pub(crate) flags: StatusFlags,
}

impl Answer {
    /// The state of a clean session.
    pub(crate) const CLEAN: Self = Self {
        insert_id: None,
        warned: false,
        flags: StatusFlags::SERVER_STATUS_AUTOCOMMIT,
    };

    /// The answer to the last statement. Must not be called after a PREPARE: the driver takes its
    /// answer for an OK, and reads the flags from the bytes of the statement's id.
    pub(crate) fn of(conn: &Conn) -> Self {
        let ok = conn.last_ok_packet();
        Self {
            insert_id: conn.last_insert_id(),
            warned: conn.get_warnings() > 0,
            flags: ok.map_or(StatusFlags::empty(), |ok| ok.status_flags()),
        }
    }

    /// The answer to a ping. MySQL repeats in it the number of warnings of the last statement,
    /// which may be an earlier user's.
    pub(crate) fn of_ping(conn: &Conn) -> Self {
        Self {
            insert_id: None,
            warned: false,
            ..Self::of(conn)
        }
    }

    /// Whether the statement left an insert id or warnings, which the next user could read.
    pub(crate) fn left_a_trace(self) -> bool {
        self.insert_id.is_some() || self.warned
    }

    /// Whether the session is in a transaction.
    pub(crate) fn in_transaction(self) -> bool {
        self.flags.contains(StatusFlags::SERVER_STATUS_IN_TRANS)
    }

    pub(crate) fn is_autocommit(self) -> bool {
        self.flags.contains(StatusFlags::SERVER_STATUS_AUTOCOMMIT)
    }

    /// Whether a write is permanent without a COMMIT.
    pub(crate) fn commits_by_itself(self) -> bool {
        self.is_autocommit() && !self.in_transaction()
    }
}

pub(crate) fn no_rows() -> mysql_async::Error {
    mysql_async::Error::Other("the statement returns no rows to stream".into())
}
