//! What is wrong or hidden in a text: statements that leave something in the session, and random
//! changes that may break the text.

use super::Grammar;
use rand::RngExt;
use rand::seq::IndexedRandom;

impl Grammar<'_> {
    /// Adds something that remains in the session.
    pub(super) fn leak(&mut self) {
        if self.one_in(3) {
            let function = self.words.functions.choose(&mut self.random);
            let function = function.cloned().unwrap_or_default();
            let call = match self.below(12) {
                0 | 1 => format!("app.{function}"),
                2 | 3 => format!("`{function}`"),
                4 => format!("\"{function}\""),
                _ => function,
            };
            self.pieces.push(call);
            self.pick(&["(7)", "(7)", " (7)"]);
            return;
        }
        if self.words.sequences && self.one_in(5) {
            self.pick(&[
                "NEXTVAL(s)",
                "NEXT VALUE FOR s",
                "s.nextval",
                "SETVAL(s, 5000)",
                "LASTVAL(s)",
                "PREVIOUS VALUE FOR s",
            ]);
            return;
        }
        self.pick(&[
            "GET_LOCK('k1', 0)",
            "GET_LOCK ('k1', 0)",
            "`GET_LOCK`('k1', 0)",
            "\"GET_LOCK\"('k1', 0)",
            "get_lock('k2', 0)",
            "LAST_INSERT_ID(77)",
            "LAST_INSERT_ID (77)",
            "last_insert_id(id)",
            "LAST_INSERT_ID()",
            "@a := 7",
            "@a",
            "(@'a' := 7)",
            "leak(7)",
            "app.leak(7)",
            "leak (7)",
            "RELEASE_LOCK('k1')",
            "VALUES(k)",
            "@@profiling",
            "1/0",
            "CAST('x' AS SIGNED)",
        ]);
    }

    /// Makes a random change that may break the text.
    pub(super) fn mutate(&mut self) {
        let at = self.below(self.pieces.len());
        match self.below(12) {
            0..=3 => {
                let keyword = self.keyword();
                self.pieces.insert(at, keyword);
            }
            4 => {
                self.pieces.remove(at);
                if self.pieces.is_empty() {
                    self.put("SELECT");
                }
            }
            5 => {
                let piece = self.pieces[at].clone();
                self.pieces.insert(at, piece);
            }
            6 => {
                let end = at + self.below(self.pieces.len() - at);
                let begin = [
                    "/*!",
                    "/*!50000",
                    "/*!99999",
                    "/*M!",
                    "/*M!100100",
                    "/*!999999",
                    "/*",
                ];
                self.pieces.insert(end, "*/".to_owned());
                self.pieces.insert(
                    at,
                    begin[self.random.random_range(0..begin.len())].to_owned(),
                );
            }
            7 | 8 => {
                let literals = [
                    r"'a\'b'",
                    "'a''b'",
                    "\"a\"",
                    "\"a''b\"",
                    r#""a\"b""#,
                    r"'\'",
                    "`a`",
                    "$$ a $$",
                    "'/*'",
                    "'*/'",
                    "0x41",
                    "N'a'",
                    "_utf8'a'",
                    "'a' 'b'",
                    ":a",
                    "'--'",
                    "{d '2020-01-01'}",
                ];
                let literal = literals[self.random.random_range(0..literals.len())];
                self.pieces.insert(at, literal.to_owned());
            }
            9 => self.pieces[at] = self.pieces[at].to_lowercase(),
            10 => {
                let other = self.below(self.pieces.len());
                self.pieces.swap(at, other);
            }
            _ => {
                let symbols = [
                    "(", ")", ",", ".", "=", ";", "@", "{", "}", ":", "\\", "--", "#", "'", "`",
                ];
                let symbol = symbols[self.random.random_range(0..symbols.len())];
                self.pieces.insert(at, symbol.to_owned());
            }
        }
    }

    pub(super) fn joined(&mut self) -> String {
        let mut text = String::new();
        let pieces = std::mem::take(&mut self.pieces);
        let odd = self.one_in(4);
        for piece in &pieces {
            text.push_str(piece);
            let between = match odd && self.one_in(2) {
                true => [
                    "", "/**/", "\n", "/* ' */", "\t", "-- \n", "#'\n", " /*!*/ ",
                ][self.random.random_range(0..8)],
                false => " ",
            };
            text.push_str(between);
        }
        text
    }
}
