//! What a statement did.
//!
//! Owns plain data.

/// What a statement changed; see [`Route::run`](super::Route::run).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// Rows changed. (An UPDATE that sets what is there already changes nothing.)
    pub affected_rows: u64,
    /// The id generated for an AUTO_INCREMENT column, if one was.
    pub last_insert_id: Option<u64>,
    /// How many warnings the server has about it.
    pub warnings: u16,
}
