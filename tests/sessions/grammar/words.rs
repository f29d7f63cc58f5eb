//! Words that texts are made of, and words that they must not hold.

/// Words of the grammar that depend on the server.
pub(crate) struct Words {
    pub(crate) keywords: Vec<String>,
    /// Stored functions that set a user variable, named like keywords and built-in functions.
    pub(crate) functions: Vec<String>,
    /// Whether the server has sequences; MariaDB does, MySQL does not.
    pub(crate) sequences: bool,
}

/// Keywords that would end the server or another connection, or disturb other texts.
pub(crate) const HARMFUL: &[&str] = &[
    "SHUTDOWN",
    "RESTART",
    "KILL",
    "RESET",
    "PURGE",
    "BINLOG",
    "SLEEP",
    "CLONE",
    "READ_ONLY",
];
