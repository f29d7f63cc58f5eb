//! Errors that a statement is refused with: the code, the SQLSTATE and the message of real servers.
//!
//! Owns the list of errors that embedded pods know. If clients interpret an error's text, the text
//! must never differ from the real servers' (1290 covers many options, so clients read its text).

/// The refusal of one statement, as sent to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) message: String,
}

/// Appended to the message of 1064, so that a failed test shows its cause.
const KNOWN: &str = "embedded pods have no SQL engine and know only the statements listed in the \
                     documentation of `headless_mysql_testkit::embedded`";

impl Refusal {
    pub(super) fn new(code: u16, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// 1064; `near` is the rest of the statement from the point where parsing failed.
    pub(super) fn syntax(near: &str) -> Self {
        let near: String = near.chars().take(80).collect();
        Self::new(
            1064,
            format!("You have an error in your SQL syntax near '{near}': {KNOWN}"),
        )
    }

    pub(super) fn no_savepoint(name: &str) -> Self {
        Self::new(1305, format!("SAVEPOINT {name} does not exist"))
    }

    pub(super) fn no_table(database: &str, table: &str) -> Self {
        Self::new(1146, format!("Table '{database}.{table}' doesn't exist"))
    }

    pub(super) fn no_column(column: &str) -> Self {
        Self::new(1054, format!("Unknown column '{column}'"))
    }

    pub(super) fn no_variable(name: &str) -> Self {
        Self::new(1193, format!("Unknown system variable '{name}'"))
    }

    pub(super) fn no_database(name: &str) -> Self {
        Self::new(1049, format!("Unknown database '{name}'"))
    }

    pub(super) fn duplicate(key: impl std::fmt::Display) -> Self {
        Self::new(1062, format!("Duplicate entry '{key}' for key 'PRIMARY'"))
    }

    /// 1792: the session or the transaction is read only.
    pub(super) fn read_only_transaction() -> Self {
        Self::new(1792, "Cannot execute statement in a READ ONLY transaction")
    }

    pub(super) fn interrupted() -> Self {
        Self::new(1317, "Query execution was interrupted")
    }

    pub(super) fn lock_wait() -> Self {
        Self::new(
            1205,
            "Lock wait timeout exceeded; try restarting transaction",
        )
    }

    /// The SQLSTATE that belongs to the code.
    pub(super) fn state(&self) -> &'static [u8; 5] {
        match self.code {
            1044 | 1049 | 1064 | 1065 | 1103 | 1227 | 1305 => b"42000",
            1045 => b"28000",
            1046 => b"3D000",
            1047 => b"08S01",
            1048 | 1062 => b"23000",
            1050 => b"42S01",
            1051 | 1146 => b"42S02",
            1054 => b"42S22",
            1136 => b"21S01",
            1264 => b"22003",
            1317 => b"70100",
            1792 => b"25006",
            _ => b"HY000",
        }
    }
}
