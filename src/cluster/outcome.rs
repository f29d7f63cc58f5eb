//! The effects of a statement.
//!
//! Plain data only.

/// The effects of a statement; see [`Route::run`](super::Route::run).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// Number of changed rows. (An UPDATE that sets the present value changes no row.)
    pub affected_rows: u64,
    /// The generated id of an AUTO_INCREMENT column, if there is one.
    pub last_insert_id: Option<u64>,
    /// Number of warnings that the server has about the statement.
    pub warnings: u16,
}
