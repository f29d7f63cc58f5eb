//! State that a user can leave in a session, and probes that detect it.

use crate::support::server;
use headless_mysql_testkit::lab::ServerKind;

/// One kind of state to leave in a session.
pub(super) struct Dirt {
    pub(super) name: &'static str,
    pub(super) statements: &'static [&'static str],
    /// A query that detects it.
    pub(super) probe: &'static str,
    /// Whether the statements fail but leave the state anyway.
    pub(super) fails: bool,
    /// Servers whose reset does not remove it, so that the connection is replaced.
    pub(super) costs_the_connection: &'static [ServerKind],
}

const fn dirt(
    name: &'static str,
    statements: &'static [&'static str],
    probe: &'static str,
) -> Dirt {
    Dirt {
        name,
        statements,
        probe,
        fails: false,
        costs_the_connection: &[],
    }
}

/// Statements that prepare the primary, run by the lab's own account.
pub(super) const PREPARATION: &[&str] = &[
    "CREATE DATABASE other",
    "GRANT ALL ON other.* TO app",
    "CREATE ROLE clerk",
    "GRANT clerk TO app",
    "CREATE TABLE app.numbered (id BIGINT AUTO_INCREMENT PRIMARY KEY, k INT UNIQUE)",
    "INSERT INTO app.numbered (id, k) VALUES (1000, 1)",
    "CREATE TABLE app.held (id INT)",
];

/// For MariaDB only; MySQL has no sequences.
pub(super) const SEQUENCE: &str = "CREATE SEQUENCE app.tickets";

/// Everything that can be left in a session of the servers under test.
pub(super) fn all() -> impl Iterator<Item = &'static Dirt> {
    let more = match server() {
        ServerKind::MySql => &[],
        _ => MARIADBS,
    };
    DIRT.iter().chain(more)
}

const DIRT: &[Dirt] = &[
    dirt("a user variable", &["SET @dirt = 7"], "SELECT @dirt"),
    dirt(
        "a user variable of a query",
        &["SELECT @dirt := 7"],
        "SELECT @dirt",
    ),
    dirt("SELECT INTO", &["SELECT 7 INTO @dirt"], "SELECT @dirt"),
    dirt(
        "a session variable",
        &["SET SESSION sort_buffer_size = 65536"],
        "SELECT @@sort_buffer_size",
    ),
    dirt(
        "sql_mode",
        &["SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'"],
        "SELECT @@sql_mode",
    ),
    dirt(
        "the time zone",
        &["SET time_zone = '+05:00'"],
        "SELECT @@time_zone",
    ),
    dirt(
        "the clock",
        &["SET timestamp = 1"],
        "SELECT UNIX_TIMESTAMP() = 1",
    ),
    dirt(
        "the character set",
        &["SET NAMES latin1"],
        "SELECT @@character_set_client, @@character_set_connection, @@character_set_results",
    ),
    dirt("the database", &["USE other"], "SELECT DATABASE()"),
    Dirt {
        name: "a role",
        statements: &["SET ROLE clerk"],
        probe: "SELECT CURRENT_ROLE()",
        fails: false,
        costs_the_connection: &[ServerKind::MariaDb, ServerKind::MySql],
    },
    dirt(
        "a temporary table",
        &["CREATE TEMPORARY TABLE dirt (a INT)"],
        "SELECT COUNT(*) FROM dirt",
    ),
    dirt(
        "a temporary table in front of a real one",
        &["CREATE TEMPORARY TABLE numbered (a INT)"],
        "SELECT COUNT(*) FROM numbered WHERE id = 1000",
    ),
    dirt(
        "a table lock",
        &["LOCK TABLES held WRITE"],
        "SELECT COUNT(*) FROM numbered WHERE id = 1000",
    ),
    dirt(
        "a user lock",
        &["DO GET_LOCK('dirt', 0)"],
        "SELECT IS_USED_LOCK('dirt') IS NULL",
    ),
    dirt(
        "a prepared statement",
        &["PREPARE dirt FROM 'SELECT 7'"],
        "EXECUTE dirt",
    ),
    dirt(
        "a handler",
        &["HANDLER numbered OPEN"],
        "HANDLER numbered READ `PRIMARY` FIRST WHERE id = 1000",
    ),
    dirt(
        "an open transaction",
        &["BEGIN", "INSERT INTO held VALUES (1)"],
        "SELECT @@in_transaction",
    ),
    dirt(
        "a transaction that has read only",
        &["START TRANSACTION", "SELECT COUNT(*) FROM held"],
        "SELECT @@in_transaction",
    ),
    Dirt {
        name: "records of the optimizer",
        statements: &[
            "SET optimizer_trace = 'enabled=on'",
            "SELECT COUNT(*) FROM held WHERE id = 77",
            "SET optimizer_trace = 'enabled=off'",
        ],
        probe: "SELECT COUNT(*) FROM information_schema.OPTIMIZER_TRACE",
        fails: false,
        // MariaDB's reset removes it.
        costs_the_connection: &[ServerKind::MySql],
    },
    Dirt {
        name: "records of statements",
        statements: &[
            "SET profiling = 1",
            "SELECT COUNT(*) FROM held WHERE id = 77",
            "SET profiling = 0",
        ],
        probe: "SELECT COUNT(*) FROM information_schema.PROFILING",
        fails: false,
        // MySQL's reset removes it.
        costs_the_connection: &[ServerKind::MariaDb],
    },
    dirt("autocommit", &["SET autocommit = 0"], "SELECT @@autocommit"),
    dirt(
        "a transaction without autocommit",
        &["SET autocommit = 0", "INSERT INTO held VALUES (2)"],
        "SELECT @@autocommit, @@in_transaction",
    ),
    dirt(
        "an isolation level",
        &["SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        "SELECT @@tx_isolation",
    ),
    dirt(
        "read-only transactions",
        &["SET SESSION TRANSACTION READ ONLY"],
        "SELECT @@tx_read_only",
    ),
    dirt(
        "an insert id",
        &["INSERT INTO numbered (k) VALUES (NULL)"],
        "SELECT LAST_INSERT_ID() > 0",
    ),
    dirt(
        "an insert id behind another statement",
        &["INSERT INTO numbered (k) VALUES (NULL)", "SELECT 1"],
        "SELECT LAST_INSERT_ID() > 0",
    ),
    dirt(
        "an insert id that was chosen",
        &["SELECT LAST_INSERT_ID(77)"],
        "SELECT LAST_INSERT_ID()",
    ),
    Dirt {
        name: "an insert id of an INSERT that failed",
        statements: &["INSERT INTO numbered (k) VALUES (NULL), (1)"],
        probe: "SELECT LAST_INSERT_ID() > 0",
        fails: true,
        costs_the_connection: &[],
    },
    Dirt {
        name: "an XA transaction",
        statements: &["XA START 'dirt'"],
        probe: "XA END 'dirt'",
        fails: false,
        // The transaction may be prepared, and MariaDB's reset does not undo that.
        costs_the_connection: &[ServerKind::MariaDb, ServerKind::MySql],
    },
    dirt(
        "a warning",
        &["SELECT CAST('dirt' AS SIGNED)"],
        "SHOW WARNINGS",
    ),
    Dirt {
        name: "an error",
        statements: &["SELECT no_such_column"],
        probe: "SHOW WARNINGS",
        fails: true,
        costs_the_connection: &[],
    },
];

/// State from features that MySQL does not have.
const MARIADBS: &[Dirt] = &[
    dirt(
        "an insert id of an INSERT that returns rows",
        &["INSERT INTO numbered (k) VALUES (NULL) RETURNING id"],
        "SELECT LAST_INSERT_ID() > 0",
    ),
    dirt(
        "a number of a sequence",
        &["SELECT NEXTVAL(tickets)"],
        "SELECT LASTVAL(tickets) > 0",
    ),
    // On MySQL the second statement clears it.
    dirt(
        "a warning in front of another statement",
        &["SELECT CAST('dirt' AS SIGNED)", "SELECT 1"],
        "SHOW WARNINGS",
    ),
];
