//! The known statements, from text to a tree.
//!
//! Owns what can be said; what it means is [`super::session`]'s. It must never guess: a text that
//! is not exactly one of the known statements is 1064.

mod lex;
mod parse;
mod tree;

pub(super) use lex::split;
pub(super) use parse::parse;
pub(super) use tree::{
    Access, Aggregate, Column, Expr, Function, Kind, Mode, Operator, Parsed, Scope, Select,
    Setting, Statement,
};
