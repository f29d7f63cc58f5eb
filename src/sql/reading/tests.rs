//! What the reading proves for each kind of text.

use super::Reading;
use super::diagnostics::Diagnostics;

const READS: &[&str] = &[
    "SELECT 1",
    "/* a */ select 1; -- done",
    "((SELECT 1) UNION (SELECT 2))",
    "SELECT a FROM t FOR UPDATE",
    "TABLE t",
    "VALUES (1), (2)",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "WITH RECURSIVE a (n) AS (SELECT 1), `update` AS (TABLE t) SELECT 1 FROM a",
    "(WITH a AS (DELETE) SELECT 1)",
    "SHOW TABLES",
    "SHOW CREATE TABLE t",
    "EXPLAIN SELECT 1",
    "EXPLAIN FORMAT=TREE SELECT 1",
    "EXPLAIN ANALYZE WITH a AS (SELECT 1) SELECT 1",
    "EXPLAIN t",
    "DESCRIBE t a",
    "DESC d.t 'a%'",
];

/// Reads by their verb that are not plain.
const READS_AND_MORE: &[&str] = &[
    "SELECT f(1)",
    "SELECT @a := 1",
    "SELECT a INTO @a FROM t",
    "SELECT 1 INTO OUTFILE '/x'",
    "SELECT GET_LOCK('a', 1)",
    "SELECT NEXTVAL(s)",
    "SHOW TABLES WHERE f(1)",
    "EXPLAIN SELECT f(1)",
];

const CHANGES: &[&str] = &[
    "INSERT INTO t VALUES (1)",
    "INSERT INTO t (`commit`) SELECT commit FROM u",
    "INSERT INTO t VALUES (f(1)) RETURNING a",
    "REPLACE t SET a = 1",
    "UPDATE t SET a = @a",
    "DELETE FROM t WHERE a = 1;",
    "WITH a AS (SELECT 1) DELETE FROM t",
    "WITH a AS (SELECT 1) UPDATE t SET a = 1",
];

const COMMITS: &[&str] = &[
    "COMMIT",
    "commit work;",
    "/* a */ COMMIT AND CHAIN",
    "XA COMMIT 'a'",
    "XA COMMIT 'a' ONE PHASE",
    "INSERT INTO t VALUES (1); COMMIT",
    "SELECT 1; XA COMMIT 'a'; SELECT 2",
    "/*! COMMIT */",
    "/*!50000 COMMIT */",
    "BEGIN NOT ATOMIC INSERT INTO t VALUES (1); COMMIT; END",
    "BEGIN NOT ATOMIC IF a THEN COMMIT; END IF; END",
];

const UNPROVEN: &[&str] = &[
    "",
    ";",
    "()",
    "-- SELECT 1",
    "SELECT 1; SELECT 2",
    "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
    "SELECT 1;;",
    "WITH a AS (SELECT 1)",
    "CALL p()",
    "DO f(1)",
    "CREATE TABLE t AS SELECT 1",
    "TRUNCATE t",
    "START TRANSACTION",
    "ROLLBACK",
    "SAVEPOINT a",
    "LOAD DATA INFILE 'a' INTO TABLE t",
    "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
    "HANDLER t READ FIRST",
    "ANALYZE SELECT 1",
    "ANALYZE TABLE t",
    "OPTIMIZE TABLE t",
    "EXPLAIN UPDATE t SET a = 1",
    "EXPLAIN ANALYZE DELETE FROM t",
    "EXPLAIN WITH a AS (SELECT 1) DELETE FROM t",
    "DESC INSERT INTO t VALUES (1)",
    "EXECUTE s",
    "SELECT 1 /*! , 2 */",
    "/*! CREATE TABLE t AS */ SELECT 1",
    r"SELECT 'a\', b'",
    "SELECT 'a",
];

fn of(text: &str) -> Reading {
    Reading::of(text.as_bytes())
}

#[test]
fn one_statement_that_only_reads_rows_is_plain_and_keeps_its_transaction() {
    for text in READS {
        assert!(
            of(text).is_plain() && of(text).keeps_transaction(),
            "{text}"
        );
    }
}

#[test]
fn a_read_that_may_do_more_is_not_plain_and_keeps_its_transaction() {
    for text in READS_AND_MORE {
        assert!(
            !of(text).is_plain() && of(text).keeps_transaction(),
            "{text}"
        );
    }
}

#[test]
fn a_change_of_rows_is_not_plain_and_keeps_its_transaction() {
    for text in CHANGES {
        assert!(
            !of(text).is_plain() && of(text).keeps_transaction(),
            "{text}"
        );
    }
}

#[test]
fn no_other_text_is_plain() {
    for text in UNPROVEN.iter().chain(COMMITS) {
        assert!(!of(text).is_plain(), "{text}");
    }
}

#[test]
fn what_can_neither_commit_nor_begin_keeps_its_transaction() {
    for text in [
        "SELECT 1; SELECT 2",
        "INSERT INTO t VALUES ('a; CALL p()'); DELETE FROM t;",
        "DO f(1)",
        "EXPLAIN UPDATE t SET a = 1",
        "SAVEPOINT a",
        "RELEASE SAVEPOINT a",
        "ROLLBACK TO SAVEPOINT a",
        "rollback work to a",
        "SET @a = 1, @b = 'autocommit'",
        "SET SESSION innodb_lock_wait_timeout = 1",
    ] {
        assert!(of(text).keeps_transaction(), "{text}");
    }
}

#[test]
fn what_may_commit_or_begin_does_not_keep_its_transaction() {
    for text in [
        "",
        ";",
        "CALL p()",
        "SELECT 1; CALL p()",
        "CALL p(); SELECT 1",
        "CREATE TABLE t AS SELECT 1",
        "TRUNCATE t",
        "BEGIN",
        "START TRANSACTION",
        "SELECT 1; BEGIN",
        "ROLLBACK",
        "ROLLBACK AND CHAIN",
        "ROLLBACK; SELECT 1",
        "LOAD DATA INFILE 'a' INTO TABLE t",
        "LOCK TABLES t WRITE",
        "ANALYZE TABLE t",
        "EXECUTE s",
        "IF 1 THEN SELECT 1; END IF",
        "XA START 'a'",
        "/*! CALL p() */",
        "/*! SELECT */ 1",
        r"INSERT INTO t VALUES ('it\'s; CALL p()')",
        "SET autocommit = 1",
        "SET @a = 1, AUTOCOMMIT = 1",
        "SET @@session.autocommit = 1",
        "SET `autocommit` = 1",
        "SET @@`autocommit` = 1",
        "SET PASSWORD = 'x'",
        "SET DEFAULT ROLE a TO b",
        "SET STATEMENT max_statement_time = 1 FOR CALL p()",
    ] {
        assert!(!of(text).keeps_transaction(), "{text}");
    }
    for text in COMMITS {
        assert!(!of(text).keeps_transaction(), "{text}");
    }
}

#[test]
fn a_commit_is_seen_alone_and_among_other_statements_and_nowhere_else() {
    for text in COMMITS {
        assert!(of(text).commits(), "{text}");
    }
    for text in [READS, READS_AND_MORE, CHANGES, UNPROVEN].concat() {
        assert!(!of(text).commits(), "{text}");
    }
}

#[test]
fn a_text_too_long_to_be_read_is_unproven() {
    let of_length = |length: usize| {
        let text = format!("SELECT '{}'", "x".repeat(length - "SELECT ''".len()));
        Reading::of(text.as_bytes())
    };
    assert!(of_length(super::LONGEST_READ).is_plain());
    assert_eq!(of_length(super::LONGEST_READ + 1), Reading::UNKNOWN);
}

/// Texts that a read-only session may be given: none of them changes anything shared.
const HARMLESS: &[&str] = &[
    "",
    "SELECT @a := 1, f(2)",
    "SELECT IS_USED_LOCK('a'), get_lock, 'GET_LOCK(1)' FROM t",
    r"SELECT 'it\'s'",
    "SELECT /*+ NO_INDEX(t) */ 1 /*! , 2 */",
    "CALL p()",
    "DO SLEEP(1)",
    "USE d",
    "BEGIN",
    "BEGIN WORK",
    "START TRANSACTION",
    "START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT",
    "COMMIT",
    "ROLLBACK",
    "SET @a = 1, @b = (SELECT 1, 2)",
    "SET NAMES utf8mb4",
    "SET SESSION sort_buffer_size = @@global.sort_buffer_size, time_zone = '+00:00'",
    "SET @@session.sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET TRANSACTION READ ONLY",
    "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
    "SET STATEMENT max_statement_time = 1, sort_buffer_size = 2 FOR WITH a AS (SELECT 1) SELECT 1",
    "SET ROLE r",
    "ANALYZE SELECT 1",
    "ANALYZE FORMAT=JSON SELECT 1",
    "PREPARE s FROM 'SELECT 1'",
    "CHECKSUM TABLE t",
    "SELECT 1; SELECT 2;",
];

const NO_READS: &[(&str, &str)] = &[
    ("INSERT INTO t VALUES (1)", "INSERT"),
    ("/* a */ update t SET a = 1", "UPDATE"),
    ("WITH a AS (SELECT 1) DELETE FROM t", "a change of rows"),
    ("CREATE TEMPORARY TABLE t (a INT)", "CREATE"),
    ("ANALYZE TABLE t", "ANALYZE TABLE"),
    ("ANALYZE NO_WRITE_TO_BINLOG TABLE t", "ANALYZE TABLE"),
    ("OPTIMIZE TABLE t", "OPTIMIZE"),
    ("FLUSH TABLES", "FLUSH"),
    ("LOCK TABLES t READ", "LOCK"),
    ("START TRANSACTION READ WRITE", "READ WRITE"),
    ("START REPLICA", "START"),
    ("BEGIN NOT ATOMIC ANALYZE TABLE t; END", "BEGIN NOT ATOMIC"),
    ("SET GLOBAL read_only = 0", "SET GLOBAL"),
    ("SET @a = 1, GLOBAL read_only = 0", "SET GLOBAL"),
    ("SET @@Global.read_only = 0", "SET GLOBAL"),
    ("SET @@`global`.`read_only` = 0", "SET GLOBAL"),
    ("SET PERSIST read_only = 0", "SET PERSIST"),
    ("SET @@persist_only.read_only = 0", "SET PERSIST"),
    ("SET tx_read_only = 0", "SET TRANSACTION_READ_ONLY"),
    (
        "SET SESSION transaction_read_only = 0",
        "SET TRANSACTION_READ_ONLY",
    ),
    (
        "SET @@session.`transaction_read_only` = 0",
        "SET TRANSACTION_READ_ONLY",
    ),
    ("SET `tx_read_only` = 0", "SET TRANSACTION_READ_ONLY"),
    (
        "SET STATEMENT tx_read_only = 0 FOR INSERT INTO t VALUES (1)",
        "SET TRANSACTION_READ_ONLY",
    ),
    (
        "SET STATEMENT sort_buffer_size = 1 FOR ANALYZE TABLE t",
        "ANALYZE TABLE",
    ),
    ("SET SESSION TRANSACTION READ WRITE", "READ WRITE"),
    ("SET PASSWORD = 'a'", "SET PASSWORD"),
    ("SET DEFAULT ROLE r TO u", "SET DEFAULT ROLE"),
    ("SELECT GET_LOCK('a', 1)", "GET_LOCK"),
    ("SELECT `get_lock` ('a', 1)", "GET_LOCK"),
    ("SELECT 1; OPTIMIZE TABLE t", "OPTIMIZE"),
    ("/*! ANALYZE */ TABLE t", "this statement"),
    ("/*!99999 SELECT */ ANALYZE TABLE t", "this statement"),
    ("ANALYZE /*!*/ TABLE t", "this statement"),
    ("ANALYZE /*!99999 SELECT */ TABLE t", "this statement"),
    ("START /*!*/ TRANSACTION READ WRITE", "this statement"),
    ("SET /*! GLOBAL */ read_only = 0", "this statement"),
    ("NO SUCH", "this statement"),
];

#[test]
fn a_session_that_only_reads_takes_reads_and_what_concerns_it_alone() {
    for text in [HARMLESS, READS].concat() {
        assert_eq!(of(text).no_read(), None, "{text}");
    }
    for (text, words) in NO_READS {
        assert_eq!(of(text).no_read(), Some(*words), "{text}");
    }
    for text in CHANGES {
        assert!(of(text).no_read().is_some(), "{text}");
    }
}

#[test]
fn a_text_may_read_earlier_reports_only_under_their_names() {
    const ID: Diagnostics = Diagnostics {
        insert_id: true,
        warnings: false,
    };
    for (text, expected) in [
        ("SELECT 1", Diagnostics::NONE),
        ("INSERT INTO t (a) VALUES (1)", Diagnostics::NONE),
        (
            "UPDATE t SET a = 1 WHERE b = 'LAST_INSERT_ID()'",
            Diagnostics::NONE,
        ),
        ("SELECT a -- LAST_INSERT_ID()\n FROM t", Diagnostics::NONE),
        ("COMMIT", Diagnostics::NONE),
        ("SELECT last_insert_id()", ID),
        ("INSERT INTO t (a) SELECT LAST_INSERT_ID()", ID),
        ("SELECT a FROM t WHERE a IS NULL", ID),
        ("SELECT a FROM t WHERE a IS /* */ UNKNOWN", ID),
        ("DELETE FROM t WHERE a IS NOT NULL", ID),
        ("SELECT ISNULL(a) FROM t", ID),
        ("SHOW WARNINGS", Diagnostics::WARNINGS),
        ("SHOW COUNT(*) ERRORS", Diagnostics::WARNINGS),
        ("SELECT @@session.warning_count", Diagnostics::WARNINGS),
        ("GET DIAGNOSTICS @n = NUMBER", Diagnostics::WARNINGS),
        ("GET DIAGNOSTICS @n = NUMBER; SELECT 1", Diagnostics::ALL),
        ("SELECT @@identity", Diagnostics::ALL),
        ("SHOW VARIABLES", Diagnostics::ALL),
        (
            "SELECT * FROM performance_schema.session_variables",
            Diagnostics::ALL,
        ),
        ("SELECT * FROM `variables_by_thread`", Diagnostics::ALL),
        ("SELECT f()", Diagnostics::ALL),
        ("CALL p()", Diagnostics::ALL),
        ("SELECT 1; SELECT 2", Diagnostics::ALL),
        ("SELECT /*! LAST_INSERT_ID() */", Diagnostics::ALL),
    ] {
        assert_eq!(Reading::of(text.as_bytes()).reads(), expected, "{text}");
    }
}

#[test]
fn a_savepoint_is_seen_in_each_statement_of_a_text_and_in_no_other_place() {
    for (text, sets) in [
        ("SAVEPOINT a", true),
        ("SELECT 1; savepoint a", true),
        ("RELEASE SAVEPOINT a", false),
        ("ROLLBACK TO SAVEPOINT a", false),
        ("SELECT savepoint FROM t", false),
        ("SELECT 'SAVEPOINT a'", false),
    ] {
        assert_eq!(
            Reading::of(text.as_bytes()).sets_savepoint(),
            sets,
            "{text}"
        );
    }
    for (text, begins) in [
        ("INSERT INTO t VALUES (1)", true),
        ("SAVEPOINT a", false),
        ("CALL p()", false),
        ("CREATE TABLE t (a INT)", false),
        ("", false),
    ] {
        assert_eq!(
            Reading::of(text.as_bytes()).begins_unanchored(),
            begins,
            "{text}"
        );
    }
}
