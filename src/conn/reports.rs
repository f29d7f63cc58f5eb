//! What statements report about themselves: the last insert id and the warnings.
//!
//! A session keeps both, so the next user of its connection could read them. They are removed only
//! before a statement that may read them, because most never do. By then the user's own statements
//! may have reported something that must stay, so [`Reports`] collects what they reported.
//!
//! Owns the text that removes the rest.

use std::borrow::Cow;

/// The most insert ids that are collected.
const MOST: usize = 8;

/// What the statements of one user have reported.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    ids: [u64; MOST],
    count: usize,
    warned: bool,
}

impl Reports {
    /// Call for each statement, while [`Reports::is_full`] is false.
    pub(crate) fn took(&mut self, insert_id: Option<u64>, warned: bool) {
        self.warned |= warned;
        if let (Some(id), Some(place)) = (insert_id, self.ids.get_mut(self.count)) {
            *place = id;
            self.count += 1;
        }
    }

    /// Whether the session's warnings or errors are the user's.
    pub(crate) fn warned(&self) -> bool {
        self.warned
    }

    /// Whether no further insert id can be collected.
    pub(crate) fn is_full(&self) -> bool {
        self.count == MOST
    }

    /// Removes what earlier users' statements reported.
    ///
    /// The reported id of an INSERT may be one that the user chose, which is not the last insert
    /// id. So the last insert id stays only if it is one of the user's.
    ///
    /// The text reads a table, because MariaDB keeps the warnings of the last statement until a
    /// statement reads one; but not if they are the user's.
    pub(crate) fn forget_others(&self) -> Cow<'static, str> {
        let ids: Vec<String> = self
            .ids
            .iter()
            .take(self.count)
            .map(u64::to_string)
            .collect();
        let from = match self.warned {
            true => "",
            false => " FROM (SELECT 1) AS nothing",
        };
        match ids.is_empty() {
            true if !self.warned => "SELECT LAST_INSERT_ID(0) FROM (SELECT 1) AS nothing".into(),
            true => "SELECT LAST_INSERT_ID(0)".into(),
            false => format!(
                "SELECT LAST_INSERT_ID(IF(LAST_INSERT_ID() IN ({}), LAST_INSERT_ID(), 0)){from}",
                ids.join(", ")
            )
            .into(),
        }
    }
}
