//! Which statements are clean and which are not, whatever their case, comments and literals.

use proptest::prelude::*;

use crate::sql::reading::Reading;
use crate::sql::traces::Trace;

fn leaves_trace(statement: &[u8]) -> bool {
    Reading::of(statement).trace() == Trace::Session
}

const CLEAN: &[&str] = &[
    "SELECT 1",
    " \n select 1 ; -- done",
    "SELECT 1;",
    "(SELECT 1)",
    "((SELECT a FROM t)) UNION ALL (SELECT b FROM u) ORDER BY 1",
    "SELECT(1)",
    "SELECT COUNT(*), MAX(a), now(6) FROM t WHERE a IN (1, 2) AND (b = 1 OR NOT (c))",
    "SELECT `a`, \"b\", 'it''s' FROM `t` WHERE x = ?",
    "SELECT a--1 FROM t # comment",
    "SELECT * FROM a LEFT JOIN (b, c) ON (a.x = b.x) JOIN d USING (y)",
    "SELECT * FROM a JOIN b ON a.x = COALESCE(b.x, 0) WHERE EXISTS (SELECT 1)",
    "SELECT * FROM t WHERE a = ANY (SELECT 1) OR b >= some(SELECT 2) OR c > ALL (SELECT 3)",
    "SELECT * FROM (SELECT 1 AS a) AS x (a)",
    "SELECT * FROM t PARTITION (p0) USE INDEX (i) FORCE INDEX FOR ORDER BY (j)",
    "SELECT SUM(a) OVER (PARTITION BY (b) ORDER BY c) FROM t",
    "SELECT ROW_NUMBER() OVER w FROM t WINDOW w AS (ORDER BY a)",
    "SELECT CAST(a AS DECIMAL(10, 2)), CAST(a AS NCHAR(3)), CONVERT(a, CHAR(10)) FROM t",
    "SELECT INSERT('a', 1, 1, 'b'), REPLACE(a, 'x', 'y'), TRUNCATE(1.5, 1), LEFT (a, 1)",
    "SELECT MATCH (a, b) AGAINST ('x' IN BOOLEAN MODE) FROM t",
    "SELECT CASE WHEN (a) THEN (b) ELSE (c) END, INTERVAL (1) DAY + d",
    "SELECT LAST_INSERT_ID()",
    "SELECT LAST_INSERT_ID(/* none */)",
    "SELECT SLEEP(1), FOUND_ROWS(), ROW_COUNT(), @@global.read_only, @@hostname",
    "SELECT a FROM t FOR UPDATE",
    "SELECT a FROM t LOCK IN SHARE MODE",
    "SELECT next, value, updated_at, get_lock FROM t",
    "SELECT /*+ SET_VAR(sort_buffer_size = 16M) */ a FROM t",
    "SELECT /* GET_LOCK('x', 1) */ 'GET_LOCK(1)' -- INTO @a",
    "SELECT 1e5, .5, 0x1F FROM t1 WHERE 1a = 2",
    "SELECT :name, a FROM t WHERE b = :b",
    "TABLE t ORDER BY a LIMIT 1",
    "VALUES (1), (2)",
    "VALUES ROW(1, 2), ROW(3, 4)",
    "WITH c AS (SELECT 1) SELECT * FROM c",
    "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT * FROM c",
    "WITH c (a) AS (SELECT 1) DELETE FROM t WHERE a IN (SELECT a FROM c)",
    "INSERT INTO t VALUES (1, 'a'), (2, DEFAULT(b))",
    "INSERT INTO t (a, b) VALUES (?, ?) ON DUPLICATE KEY UPDATE b = VALUES(b)",
    "insert ignore into `d`.`t` (`a`) values (now())",
    "INSERT INTO \"t\" (a) SELECT b FROM u WHERE (c) RETURNING a",
    "INSERT LOW_PRIORITY INTO d.t PARTITION (p0) (a) VALUES (1)",
    "INSERT t SET a = 1",
    "REPLACE INTO t (a) VALUES (1)",
    "REPLACE INTO t SET a = UUID()",
    "UPDATE t SET a = a + 1, b = IF(c, 1, 2) WHERE d = 1 LIMIT 1",
    "DELETE FROM t WHERE a < NOW() - INTERVAL 1 DAY",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE SELECT COUNT(*) FROM t",
    "DESCRIBE t",
    "desc t a",
    "SHOW TABLES LIKE 'x%'",
    "SHOW WARNINGS",
    "SHOW CREATE TABLE t",
    "COMMIT",
    "COMMIT WORK;",
    "ROLLBACK",
    "ROLLBACK TO SAVEPOINT a",
    "BEGIN",
    "begin work",
    "START TRANSACTION",
    "START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT",
    "START TRANSACTION READ WRITE",
    "SAVEPOINT a",
    "RELEASE SAVEPOINT a",
    "TRUNCATE t",
    "TRUNCATE TABLE t",
    "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20) DEFAULT 'x', UNIQUE KEY u (a), INDEX (a))",
    "CREATE TABLE IF NOT EXISTS d.t (a BIGINT(20), FOREIGN KEY (a) REFERENCES u (a))",
    "CREATE TABLE t AS SELECT 1",
    "CREATE UNIQUE INDEX i ON t (a)",
    "CREATE INDEX i ON `t` (a)",
    "CREATE OR REPLACE VIEW v AS SELECT a FROM t",
    "CREATE DATABASE d",
    "ALTER TABLE t ADD COLUMN a INT, ADD INDEX i (a)",
    "DROP TABLE IF EXISTS t",
    "DROP INDEX i ON t",
    "DROP VIEW v",
    "ANALYZE TABLE t",
    "ANALYZE LOCAL TABLE t",
    "OPTIMIZE NO_WRITE_TO_BINLOG TABLE t",
];

const TRACE: &[&str] = &[
    "",
    ";",
    "-- nothing",
    "()",
    "SET autocommit = 0",
    "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
    "USE d",
    "PREPARE s FROM 'SELECT 1'",
    "EXECUTE s",
    "DEALLOCATE PREPARE s",
    "HANDLER t OPEN",
    "LOCK TABLES t READ",
    "UNLOCK TABLES",
    "CALL p()",
    "DO RELEASE_ALL_LOCKS()",
    "FLUSH TABLES WITH READ LOCK",
    "LOAD DATA INFILE 'x' INTO TABLE t",
    "XA BEGIN 'x'",
    "GRANT ALL ON *.* TO a",
    "KILL 1",
    "RENAME TABLE a TO b",
    "CREATE TEMPORARY TABLE t (a INT)",
    "CREATE OR REPLACE TEMPORARY TABLE t (a INT)",
    "DROP TEMPORARY TABLE t",
    "CREATE FUNCTION f() RETURNS INT RETURN 1",
    "CREATE USER a",
    "DROP DATABASE d",
    "ALTER DATABASE d CHARACTER SET latin1",
    "CREATE OR REPLACE DATABASE d",
    "CREATE TABLE t AS SELECT GET_LOCK('a', 1)",
    "BEGIN NOT ATOMIC SELECT 1; END",
    "START REPLICA",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "COMMIT RELEASE",
    "RELEASE 1a",
    "ANALYZE SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1;;",
    "SELECT 1; SET @a = 1",
    "SELECT @a",
    "SELECT @'a'",
    "SELECT @`a`, 1",
    "SELECT @a := 1",
    "SELECT a := 1",
    "SELECT a : = 1",
    "SELECT 1 INTO @a",
    "SELECT 1 INTO a",
    "SELECT 1 INTO OUTFILE '/x'",
    "SELECT 1e5INTO DUMPFILE '/x'",
    "SELECT a FROM t INTO/**/OUTFILE '/x'",
    "SELECT t.ignore INTO OUTFILE '/x'",
    "INSERT INTO t SELECT 1 INTO @a",
    "INSERT INTO t VALUES (@a)",
    "TABLE t INTO OUTFILE '/x'",
    "EXPLAIN FORMAT=JSON INTO @v SELECT 1",
    "SELECT SQL_CALC_FOUND_ROWS a FROM t",
    "SELECT GET_LOCK('a', 1)",
    "SELECT get_lock ('a', 1)",
    "SELECT GET_LOCK/**/('a', 1)",
    "SELECT GET_LOCK -- x\n('a', 1)",
    "SELECT `GET_LOCK`('a', 1)",
    "SELECT \"GET_LOCK\"('a', 1)",
    "SELECT {fn GET_LOCK('a', 1)}",
    "SELECT RELEASE_LOCK('a')",
    "SELECT RELEASE_ALL_LOCKS()",
    "SELECT 1 FROM t WHERE a = 1 OR GET_LOCK('a', 1)",
    "SELECT 1 FROM t JOIN u ON GET_LOCK('a', 1)",
    "SELECT 1 FROM t ORDER BY GET_LOCK('a', 1)",
    "SELECT 1e5, 1GET_LOCK('a', 1)",
    "SELECT LAST_INSERT_ID(5)",
    "SELECT LAST_INSERT_ID (5)",
    "SELECT LAST_INSERT_ID(",
    "UPDATE t SET a = LAST_INSERT_ID(a + 1)",
    "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)",
    "SELECT NEXTVAL(s)",
    "SELECT s.nextval",
    "SELECT NEXT VALUE FOR s",
    "SELECT SETVAL(s, 1)",
    "SELECT UNIQUE GET_LOCK('a', 1)",
    "SELECT UNIQUE LAST_INSERT_ID(7)",
    "SELECT 1 UNION SELECT UNIQUE f(1)",
    "SELECT INDEX f(1), KEY f(1), TABLE f(1), EXISTS f(1), REFERENCES f(1)",
    "CREATE TABLE t (a INT UNIQUE) SELECT UNIQUE f(1)",
    "SELECT f(1)",
    "SELECT d.f(1)",
    "SELECT d.count(1)",
    "SELECT d . `count` (1)",
    "SELECT COUNT (1)",
    "SELECT any(1)",
    "SELECT against(1)",
    "SELECT MD5('a')",
    "SELECT é(1)",
    "WITH c AS (SELECT f(1)) SELECT 1",
    "SELECT 1 /*! INTO @a */",
    "SELECT 1 /*!50110 , GET_LOCK('a', 1) */",
    "SELECT 1 /*M!100000 , 1 */",
    "SELECT 1 /*!99999 ' */, GET_LOCK('a', 1) -- '",
    "SELECT /*+ QB_NAME(\"*/ \") */ 1",
    "SELECT 'a",
    "SELECT `a",
    "SELECT /* a",
    r"SELECT 'a\', GET_LOCK(''b'', 1) -- '",
    r#"SELECT "a\", GET_LOCK('b', 1), " -- ""#,
    "SELECT $$ ' $$, GET_LOCK('a', 1) -- '",
    "SELECT 1 # \0, GET_LOCK('a', 1)",
];

#[test]
fn the_clean_are_clean() {
    for statement in CLEAN {
        assert!(!leaves_trace(statement.as_bytes()), "{statement}");
    }
}

#[test]
fn all_others_leave_a_trace() {
    for statement in TRACE {
        assert!(leaves_trace(statement.as_bytes()), "{statement}");
    }
}

#[test]
fn every_part_of_a_clean_statement_may_be_wrapped_in_comments() {
    for statement in CLEAN {
        let wrapped = format!("/* ; */ -- '\n#\"\n{statement} /* @a */");
        assert!(!leaves_trace(wrapped.as_bytes()), "{wrapped}");
    }
}

/// Any text as a literal that every `sql_mode` reads in the same way.
fn literals() -> impl Strategy<Value = String> {
    r#"(''|[^'\\]|\\\\|""|\\[n0%_]|[;@(),/*!#`:=-]|GET_LOCK\(|INTO ){0,20}"#
        .prop_map(|text| format!("'{text}'"))
}

fn any_case(statement: &str, upper: &[bool]) -> String {
    let mut upper = upper.iter().cycle();
    let flip = |c: char| match upper.next() {
        Some(true) => c.to_ascii_uppercase(),
        _ => c.to_ascii_lowercase(),
    };
    statement.chars().map(flip).collect()
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = leaves_trace(&bytes);
    }

    #[test]
    fn a_literal_changes_nothing(
        before in prop::sample::select(CLEAN),
        dirty in prop::sample::select(TRACE),
        literal in literals(),
    ) {
        let joined = format!("{} \n, {literal}", before.trim_end_matches(" -- done").trim_end_matches(';'));
        if !before.contains([';', '#']) && !before.contains("--") {
            prop_assert!(!leaves_trace(joined.as_bytes()), "{}", joined);
        }
        let dirty = format!("SELECT {literal}, ({dirty})");
        prop_assert!(!dirty.contains("GET_LOCK('a', 1)") || leaves_trace(dirty.as_bytes()));
    }

    #[test]
    fn case_changes_nothing(
        clean in prop::sample::select(CLEAN),
        dirty in prop::sample::select(TRACE),
        upper in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        prop_assert!(!leaves_trace(any_case(clean, &upper).as_bytes()));
        // In these texts only the `M` of an executable comment depends on case.
        prop_assume!(!dirty.contains("/*M!"));
        prop_assert!(leaves_trace(any_case(dirty, &upper).as_bytes()));
    }

    #[test]
    fn a_prefix_of_random_words_proves_nothing(
        word in "[a-zA-Z_]{1,20}",
        clean in prop::sample::select(CLEAN),
    ) {
        let call = format!("SELECT my_{word}(1), ({clean})");
        prop_assert!(leaves_trace(call.as_bytes()));
    }
}
