//! What a statement may do, judged by its text alone.
//!
//! The other layers use [`Reading`](reading::Reading). It says whether a statement is a read,
//! whether it begins or ends a transaction, and what it leaves behind in its session.
//!
//! Owns the lexer and the word lists. It is pure: it must never know a connection or a server.

pub(crate) mod lex;
pub(crate) mod reading;
pub(crate) mod text;
pub(crate) mod trace;
pub(crate) mod traces;
