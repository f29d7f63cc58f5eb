//! The result of a statement: a count or rows. Data only.

use super::datum::Datum;
use super::sql::Kind;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Done {
        affected: u64,
        insert_id: u64,
    },
    Rows {
        heads: Vec<Head>,
        rows: Vec<Vec<Datum>>,
    },
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) unsigned: bool,
}

impl Head {
    pub(super) fn text(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::Text,
            unsigned: false,
        }
    }
}

impl Answer {
    pub(super) fn done(affected: u64) -> Self {
        Self::Done {
            affected,
            insert_id: 0,
        }
    }
}
