//! SELECT.

use super::super::tree::{Expr, Select};
use super::{Parse, Parser, What};

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Parse<Select> {
        let items = match self.symbol("*") {
            true => None,
            false => Some(self.list(Self::item)?),
        };
        let table = match self.word("FROM") {
            true => self.source()?,
            false => None,
        };
        if items.is_none() && table.is_none() {
            return Err(self.lost());
        }
        let filter = self.filter()?;
        let group = match self.words(&["GROUP", "BY"]) {
            true => Some(self.expr()?),
            false => None,
        };
        let order = match self.words(&["ORDER", "BY"]) {
            true => self.list(Self::order)?,
            false => Vec::new(),
        };
        let (mut limit, mut offset) = (None, None);
        if self.word("LIMIT") {
            limit = Some(self.expr()?);
            if self.symbol(",") {
                offset = limit.replace(self.expr()?);
            } else if self.word("OFFSET") {
                offset = Some(self.expr()?);
            }
        }
        let for_update = self.words(&["FOR", "UPDATE"]);
        if !for_update && !self.words(&["LOCK", "IN", "SHARE", "MODE"]) {
            self.words(&["FOR", "SHARE"]);
        }
        Ok(Select {
            items,
            table,
            filter,
            group,
            order,
            limit,
            offset,
            for_update,
        })
    }

    /// A table, or one row without a name: `DUAL`, or a SELECT without a table.
    fn source(&mut self) -> Parse<Option<String>> {
        if self.word("DUAL") {
            return Ok(None);
        }
        if !self.symbol("(") {
            return self.table().map(Some);
        }
        if !self.word("SELECT") {
            return Err(self.lost());
        }
        self.list(Self::item)?;
        self.expect(")")?;
        self.word("AS");
        self.name()?;
        Ok(None)
    }

    /// An expression and the name of its column: what stands behind AS, or its own text.
    fn item(&mut self) -> Parse<(Expr, String)> {
        let start = self.at;
        let expr = self.expr()?;
        let text = match self.tokens.get(start..self.at) {
            Some([first, .., last]) => self.sql.get(first.start..last.end),
            Some([only]) => self.sql.get(only.start..only.end),
            _ => None,
        };
        let text = text.unwrap_or_default().to_owned();
        let named = self.word("AS")
            || matches!(self.peek(), Some(What::Name(_)))
            || matches!(self.peek(), Some(What::Word(word)) if !super::expr::is_reserved(word));
        let name = match (named, &expr) {
            (true, _) => self.name()?,
            (false, Expr::Column(name)) => name.clone(),
            (false, _) => text,
        };
        Ok((expr, name))
    }

    fn order(&mut self) -> Parse<(Expr, bool)> {
        let expr = self.expr()?;
        let descending = self.word("DESC");
        if !descending {
            self.word("ASC");
        }
        Ok((expr, descending))
    }
}
