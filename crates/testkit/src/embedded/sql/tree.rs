//! The tree of a statement: data only.

use super::super::datum::Datum;

/// A statement and what has to be known before it runs.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Parsed {
    pub(in super::super) statement: Statement,
    /// How many `?` it has.
    pub(in super::super) params: usize,
    /// The arguments of every `SLEEP(…)` in it.
    pub(in super::super) sleeps: Vec<Expr>,
}

#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Statement {
    CreateTable {
        table: String,
        unless_exists: bool,
        columns: Vec<Column>,
        key: usize,
    },
    DropTable {
        table: String,
        if_exists: bool,
    },
    Truncate {
        table: String,
    },
    Insert {
        table: String,
        mode: Mode,
        columns: Option<Vec<String>>,
        rows: Vec<Vec<Expr>>,
    },
    Update {
        table: String,
        set: Vec<(String, Expr)>,
        filter: Option<Expr>,
    },
    Delete {
        table: String,
        filter: Option<Expr>,
    },
    Select(Select),
    Do(Vec<Expr>),
    Begin(Option<Access>),
    Commit,
    Rollback,
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    Set(Vec<Setting>),
    Use(String),
    /// Of the server, by name.
    ShowStatus(Expr),
    ShowProcesslist,
    Kill {
        connection: bool,
        id: Expr,
    },
}

/// What an INSERT does with a key that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Mode {
    Refuse,
    Ignore,
    Replace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Access {
    ReadWrite,
    ReadOnly,
}

#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Select {
    /// Each with the name of its column; nothing is `*`.
    pub(in super::super) items: Option<Vec<(Expr, String)>>,
    pub(in super::super) table: Option<String>,
    pub(in super::super) filter: Option<Expr>,
    pub(in super::super) group: Option<Expr>,
    /// With whether the order is descending.
    pub(in super::super) order: Vec<(Expr, bool)>,
    pub(in super::super) limit: Option<Expr>,
    pub(in super::super) offset: Option<Expr>,
    pub(in super::super) for_update: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Setting {
    /// Accepted; every text is UTF-8 here.
    Names,
    Variable {
        scope: Scope,
        name: String,
        value: Expr,
    },
    User {
        name: String,
        value: Expr,
    },
    /// Of the session, or of the next transaction only.
    Access {
        scope: Option<Scope>,
        access: Access,
    },
    /// Accepted; there is one isolation level.
    Isolation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Scope {
    /// None written.
    Any,
    Session,
    Global,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Column {
    pub(in super::super) name: String,
    pub(in super::super) kind: Kind,
    pub(in super::super) nullable: bool,
    pub(in super::super) counted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Int,
    Float,
    Text,
}

#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Expr {
    Literal(Datum),
    /// The n-th `?`.
    Param(usize),
    Column(String),
    Variable(Scope, String),
    User(String),
    Call(Function, Vec<Expr>),
    /// Without an argument it is `COUNT(*)`.
    Aggregate(Aggregate, Option<Box<Expr>>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    IsNull(Box<Expr>),
    In(Box<Expr>, Vec<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Function {
    Coalesce,
    Concat,
    ConnectionId,
    CurrentRole,
    CurrentUser,
    Database,
    If,
    LastInsertId,
    Quote,
    Sleep,
    User,
    Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Aggregate {
    Concat,
    Count,
    Max,
    Min,
    Sum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Times,
}

// === impl Expr ===

impl Expr {
    /// Whether it is about a group of rows and not about one.
    pub(in super::super) fn aggregates(&self) -> bool {
        match self {
            Self::Aggregate(..) => true,
            Self::Call(_, inner) => inner.iter().any(Self::aggregates),
            Self::Binary(_, a, b) => a.aggregates() || b.aggregates(),
            Self::Not(inner) | Self::Negative(inner) | Self::IsNull(inner) => inner.aggregates(),
            Self::In(inner, list) => inner.aggregates() || list.iter().any(Self::aggregates),
            Self::Literal(_)
            | Self::Param(_)
            | Self::Column(_)
            | Self::Variable(..)
            | Self::User(_) => false,
        }
    }
}
