//! What a session may still hold from its last user.

/// What a session may still hold from its last user, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Trace {
    #[default]
    Nothing,
    /// Only what statements report about themselves: the last insert id and the warnings.
    Diagnostics,
    /// Anything: variables, temporary tables, locks.
    Session,
}
