//! Random statements that may leave something in the session.
//!
//! A text is a list of pieces from a grammar that knows each kind of leak. Many texts are valid,
//! and many are almost valid: a keyword is inserted at a wrong place, or comments and quotes change
//! what the server parses. A text must never harm the servers, because all texts share them.

mod oddities;
mod words;

pub(crate) use words::{HARMFUL, Words};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

pub(crate) struct Grammar<'a> {
    random: StdRng,
    words: &'a Words,
    pieces: Vec<String>,
    depth: usize,
    /// The number of misplaced pieces that may still be inserted. With many, almost no text is
    /// valid.
    oddities: usize,
}

/// Generates the text of this seed.
pub(crate) fn text(seed: u64, words: &Words) -> String {
    let mut grammar = Grammar {
        random: StdRng::seed_from_u64(seed),
        words,
        pieces: Vec::new(),
        depth: 0,
        oddities: 0,
    };
    grammar.oddities = grammar.below(3);
    grammar.statement();
    if grammar.one_in(12) {
        grammar.put(";");
        grammar.statement();
    }
    if grammar.oddities > 0 && grammar.one_in(2) {
        grammar.mutate();
    }
    grammar.joined()
}

impl Grammar<'_> {
    fn below(&mut self, n: usize) -> usize {
        self.random.random_range(0..n)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn put(&mut self, pieces: &str) {
        self.pieces.extend(pieces.split(' ').map(str::to_owned));
    }

    fn pick(&mut self, choices: &[&str]) {
        let choice = choices.choose(&mut self.random).copied();
        self.put(choice.unwrap_or_default());
    }

    fn keyword(&mut self) -> String {
        let choice = self.words.keywords.choose(&mut self.random);
        choice.cloned().unwrap_or_default()
    }

    fn put_keyword(&mut self) {
        if self.oddities == 0 {
            return;
        }
        self.oddities -= 1;
        let keyword = self.keyword();
        self.pieces.push(keyword);
    }

    fn statement(&mut self) {
        match self.below(20) {
            0..=7 => self.select(),
            8 => self.with(),
            9 | 10 => self.insert(),
            11 => self.update(),
            12 => {
                self.put("DELETE FROM w WHERE");
                self.expression();
            }
            13 => {
                self.pick(&[
                    "EXPLAIN",
                    "DESCRIBE",
                    "EXPLAIN ANALYZE",
                    "ANALYZE",
                    "EXPLAIN EXTENDED",
                ]);
                self.select();
            }
            14 => {
                self.pick(&[
                    "SHOW TABLES",
                    "SHOW COLUMNS FROM t",
                    "SHOW VARIABLES",
                    "SHOW STATUS",
                ]);
                self.put("WHERE");
                self.expression();
            }
            15 => self.table(),
            16 => self.set(),
            17 => {
                self.pick(&[
                    "VALUES (",
                    "DO (",
                    "VALUES ROW(",
                    "CALL p(",
                    "TABLE t ORDER BY (",
                ]);
                self.expression();
                self.put(")");
            }
            _ => self.session(),
        }
    }

    fn select(&mut self) {
        self.put("SELECT");
        match self.below(6) {
            0 => self.put_keyword(),
            1 => self.pick(&[
                "DISTINCT",
                "ALL",
                "UNIQUE",
                "SQL_CALC_FOUND_ROWS",
                "SQL_NO_CACHE",
                "HIGH_PRIORITY",
                "STRAIGHT_JOIN",
                "DISTINCTROW",
                "SQL_SMALL_RESULT",
                "/*+ NO_BNL() */",
                "/*+ SET_VAR(sort_buffer_size=65536) */",
            ]),
            _ => {}
        }
        self.expression();
        if self.one_in(4) {
            self.put("AS");
            self.pick(&["x", "`y`", "'z'", "\"v\""]);
        }
        if self.one_in(3) {
            self.put(",");
            self.expression();
        }
        if self.one_in(2) {
            self.from();
        }
        if self.one_in(12) {
            self.pick(&[
                "INTO @a",
                "FOR UPDATE",
                "LOCK IN SHARE MODE",
                "FOR SHARE",
                "LIMIT 1",
            ]);
        }
        if self.one_in(10) && self.depth < 3 {
            self.pick(&["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]);
            self.depth += 1;
            self.select();
            self.depth -= 1;
        }
    }

    fn from(&mut self) {
        self.put("FROM");
        self.pick(&[
            "t",
            "t AS r",
            "t r",
            "(SELECT 1 AS a) AS r (a)",
            "app.t",
            "t PARTITION (p0)",
        ]);
        match self.below(6) {
            0 => {
                self.pick(&["JOIN u ON", "LEFT JOIN u ON", "STRAIGHT_JOIN u ON"]);
                self.expression();
            }
            1 => self.pick(&[
                "USE INDEX (i)",
                "FORCE INDEX FOR ORDER BY (i)",
                "JOIN u USING (a)",
            ]),
            _ => {}
        }
        for clause in ["WHERE", "GROUP BY", "ORDER BY"] {
            if self.one_in(6) {
                self.put(clause);
                self.expression();
            }
        }
    }

    fn with(&mut self) {
        self.pick(&["WITH c AS (", "WITH RECURSIVE c AS (", "WITH c (n) AS ("]);
        self.select();
        self.put(")");
        match self.below(3) {
            0 => self.update(),
            _ => self.select(),
        }
    }

    fn insert(&mut self) {
        self.pick(&[
            "INSERT INTO w",
            "INSERT IGNORE INTO w",
            "REPLACE INTO w",
            "INSERT w",
        ]);
        match self.below(3) {
            0 => {
                self.put("(k)");
                self.select();
            }
            _ => {
                self.put("(k) VALUES (");
                self.expression();
                self.put(")");
            }
        }
        if self.one_in(5) {
            self.put("ON DUPLICATE KEY UPDATE id =");
            self.expression();
        }
        if self.one_in(8) {
            self.put("RETURNING");
            self.expression();
        }
    }

    fn update(&mut self) {
        self.put("UPDATE w SET k =");
        self.expression();
        self.put("WHERE");
        self.expression();
    }

    fn table(&mut self) {
        self.pick(&[
            "CREATE TEMPORARY TABLE tmp1 (a INT UNIQUE , UNIQUE KEY q (a) )",
            "CREATE TEMPORARY TABLE IF NOT EXISTS tmp1",
            "CREATE OR REPLACE TEMPORARY TABLE t",
            "CREATE TEMPORARY TABLE tmp1 (a INT DEFAULT (",
            "DROP TEMPORARY TABLE IF EXISTS tmp1",
            "CREATE OR REPLACE VIEW v AS",
            "ALTER TABLE w COMMENT 'a'",
            "ANALYZE TABLE t",
            "CHECK TABLE t",
            "TRUNCATE TABLE w",
        ]);
        if self.one_in(2) {
            self.select();
        }
    }

    fn set(&mut self) {
        self.pick(&["SET", "SET SESSION", "SET LOCAL", "SET STATEMENT"]);
        self.pick(&[
            "@a",
            "sort_buffer_size",
            "@@sort_buffer_size",
            "profiling",
            "optimizer_trace",
            "sql_mode",
            "timestamp",
            "insert_id",
            "NAMES",
            "TRANSACTION READ ONLY",
            "TRANSACTION ISOLATION LEVEL",
            "ROLE",
            "rand_seed1",
            "autocommit",
            "sql_select_limit",
            "time_zone",
            "max_join_size",
            "group_concat_max_len",
            "default_week_format",
            "foreign_key_checks",
            "sql_quote_show_create",
        ]);
        self.pick(&["=", "= ", ":=", ""]);
        self.pick(&[
            "1",
            "7",
            "65536",
            "'enabled=on'",
            "'ANSI_QUOTES'",
            "latin1",
            "SERIALIZABLE",
            "clerk",
            "'+05:00'",
            "(SELECT 7)",
            "ON",
        ]);
        if self.one_in(4) {
            self.put("FOR");
            self.select();
        }
    }

    /// Adds a statement about the session itself.
    fn session(&mut self) {
        self.pick(&[
            "PREPARE st1 FROM 'SELECT 7'",
            "EXECUTE IMMEDIATE 'SET @a = 7'",
            "HANDLER t OPEN",
            "LOCK TABLES t READ",
            "UNLOCK TABLES",
            "BEGIN",
            "START TRANSACTION",
            "START TRANSACTION READ ONLY",
            "COMMIT AND CHAIN",
            "ROLLBACK",
            "SAVEPOINT a",
            "CALL p(7)",
            "USE other",
            "GET DIAGNOSTICS @a = NUMBER",
            "SHOW WARNINGS",
            "SIGNAL SQLSTATE '01000'",
            "XA START 'x'",
            "SELECT 1/0",
            "SELECT CAST('a' AS SIGNED)",
            "DO GET_LOCK('k1', 0)",
            "SELECT * FROM nowhere",
            "BEGIN NOT ATOMIC SET @a = 7; END",
            "SET @a = 7",
            "FLUSH TABLES t WITH READ LOCK",
            "INSERT INTO w (k) VALUES (NULL), (NULL)",
            "INSERT INTO w VALUES (NULL, 'x')",
        ]);
    }

    fn expression(&mut self) {
        self.depth += 1;
        let kind = match self.depth {
            0..=2 => self.below(24),
            _ => self.below(12),
        };
        match kind {
            0 | 1 => self.pick(&[
                "1",
                "a",
                "NULL",
                "'x'",
                "r.a",
                "`a`",
                "CURRENT_DATE",
                "-1",
                "1e5",
            ]),
            6..=11 => self.leak(),
            12 => {
                self.put_keyword();
                self.expression();
            }
            13 => {
                self.put_keyword();
                self.wrapped();
            }
            14 => {
                self.expression();
                self.pick(&[
                    "+", "=", "OR", "AND", "<", "IN", "LIKE", "||", "IS NOT", ":=", ",",
                ]);
                self.expression();
            }
            15 => {
                self.pick(&["(", "EXISTS (", "a = ANY (", "NOT EXISTS (", "1 > ALL ("]);
                self.select();
                self.put(")");
            }
            16 => {
                self.pick(&[
                    "COUNT(",
                    "IF(1,1,",
                    "COALESCE(",
                    "CONCAT(",
                    "NOT(",
                    "SUM(",
                    "INTERVAL(",
                ]);
                self.expression();
                self.put(")");
            }
            17 => {
                self.put("CAST(");
                self.expression();
                self.pick(&[
                    "AS CHAR(3))",
                    "AS SIGNED)",
                    "AS DECIMAL(10, 2))",
                    "AS JSON)",
                ]);
            }
            18 => {
                self.put("CASE WHEN");
                self.expression();
                self.put("THEN");
                self.expression();
                self.put("END");
            }
            19 => {
                self.expression();
                self.pick(&[
                    "AS",
                    "AS OF",
                    "OVER",
                    "COLLATE",
                    "DIV",
                    "MOD",
                    "REGEXP",
                    "BETWEEN 1 AND",
                ]);
                self.expression();
            }
            20 => {
                self.pick(&["COUNT(*) OVER (ORDER BY", "SUM(a) OVER (PARTITION BY"]);
                self.expression();
                self.put(")");
            }
            _ => self.wrapped(),
        }
        self.depth -= 1;
    }

    fn wrapped(&mut self) {
        self.put("(");
        self.expression();
        self.put(")");
    }
}
