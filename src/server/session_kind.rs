//! What a session may be used for.

/// What a session may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionKind {
    ReadWrite,
    /// The session refuses writes, even if the server would accept them.
    ReadOnly,
}
