//! Owns everything that knows MySQL. It must never choose pods.

pub(crate) mod lex;
pub(crate) mod trace;
