//! Statements that make and change tables and rows.

use super::super::super::refusal::Refusal;
use super::super::tree::{Column, Expr, Kind, Mode, Statement};
use super::{Parse, Parser};

/// The types of columns, as far as they differ here.
const TYPES: [(&str, Kind); 17] = [
    ("BIGINT", Kind::Int),
    ("INT", Kind::Int),
    ("INTEGER", Kind::Int),
    ("SMALLINT", Kind::Int),
    ("TINYINT", Kind::Int),
    ("BOOLEAN", Kind::Int),
    ("DOUBLE", Kind::Float),
    ("FLOAT", Kind::Float),
    ("VARCHAR", Kind::Text),
    ("CHAR", Kind::Text),
    ("TEXT", Kind::Text),
    ("LONGTEXT", Kind::Text),
    ("VARBINARY", Kind::Text),
    ("BLOB", Kind::Text),
    ("LONGBLOB", Kind::Text),
    ("DATETIME", Kind::Text),
    ("TIMESTAMP", Kind::Text),
];

impl Parser<'_> {
    pub(super) fn create_table(&mut self) -> Parse<Statement> {
        let unless_exists = self.words(&["IF", "NOT", "EXISTS"]);
        let table = self.table()?;
        self.expect("(")?;
        let mut columns = Vec::new();
        let mut key = None;
        loop {
            if self.words(&["PRIMARY", "KEY"]) {
                self.expect("(")?;
                let name = self.name()?;
                self.expect(")")?;
                key = find(&columns, &name);
                if key.is_none() {
                    return Err(Refusal::no_column(&name));
                }
            } else {
                let (column, is_key) = self.column()?;
                if is_key {
                    key = Some(columns.len());
                }
                columns.push(column);
            }
            if !self.symbol(",") {
                break;
            }
        }
        self.expect(")")?;
        if self.word("ENGINE") {
            self.symbol("=");
            self.name()?;
        }
        // Rows are kept by a whole number.
        let key = key.filter(|key| columns[*key].kind == Kind::Int);
        let key = key.ok_or_else(|| Refusal::syntax("a table without a whole PRIMARY KEY"))?;
        if columns
            .iter()
            .enumerate()
            .any(|(at, c)| c.counted && at != key)
        {
            return Err(Refusal::syntax(
                "AUTO_INCREMENT of another column than the key",
            ));
        }
        columns[key].nullable = false;
        Ok(Statement::CreateTable {
            table,
            unless_exists,
            columns,
            key,
        })
    }

    fn column(&mut self) -> Parse<(Column, bool)> {
        let name = self.name()?;
        let kind = TYPES.into_iter().find(|(word, _)| self.word(word));
        let (_, kind) = kind.ok_or_else(|| self.lost())?;
        if self.symbol("(") {
            self.expr()?;
            self.expect(")")?;
        }
        let mut column = Column {
            name,
            kind,
            nullable: true,
            counted: false,
        };
        let mut is_key = false;
        loop {
            if self.words(&["NOT", "NULL"]) {
                column.nullable = false;
            } else if self.words(&["PRIMARY", "KEY"]) {
                is_key = true;
            } else if self.word("AUTO_INCREMENT") {
                column.counted = true;
            } else if !self.word("NULL") && !self.word("UNSIGNED") {
                return Ok((column, is_key));
            }
        }
    }

    pub(super) fn insert(&mut self, mode: Mode) -> Parse<Statement> {
        self.word("INTO");
        let table = self.table()?;
        let columns = match self.symbol("(") {
            true => {
                let columns = self.list(Self::name)?;
                self.expect(")")?;
                Some(columns)
            }
            false => None,
        };
        if !self.word("VALUES") && !self.word("VALUE") {
            return Err(self.lost());
        }
        let rows = self.list(|parser| {
            parser.expect("(")?;
            let row = parser.list(Self::expr)?;
            parser.expect(")")?;
            Ok(row)
        })?;
        Ok(Statement::Insert {
            table,
            mode,
            columns,
            rows,
        })
    }

    pub(super) fn update(&mut self) -> Parse<Statement> {
        let table = self.table()?;
        if !self.word("SET") {
            return Err(self.lost());
        }
        let set = self.list(|parser| -> Parse<(String, Expr)> {
            let column = parser.name()?;
            parser.expect("=")?;
            Ok((column, parser.expr()?))
        })?;
        let filter = self.filter()?;
        Ok(Statement::Update { table, set, filter })
    }
}

fn find(columns: &[Column], name: &str) -> Option<usize> {
    columns
        .iter()
        .position(|column| column.name.eq_ignore_ascii_case(name))
}
