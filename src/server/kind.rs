//! The kind of a server: MariaDB or MySQL.
//!
//! The kind is decided by the parts of our question that the server executed. Only MariaDB runs the
//! content of `/*M! … */`, and only MySQL the content of `/*!50708 … */` (MariaDB skips the
//! versions 50700 to 99999). It must never be decided by a version number: MySQL now counts by
//! calendar years (26.7), so its numbers overlap with MariaDB's.

/// The kind of a server. A fork counts as the server that it was forked from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ServerKind {
    MariaDb,
    MySql,
}
