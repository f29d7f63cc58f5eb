//! The known statements, from text to a tree.
//!
//! Owns what can be said; what it means is [`super::session`]'s. It must never guess: a text that
//! is not exactly one of the known statements is 1064.
//!
//! # Why the parser is made here
//!
//! `sqlparser` 0.64 was tried. With its tokens and expressions the 1030 lines of lexer and parser
//! become 970; of 171 statements, many of them chosen to find differences, 34 are read or refused
//! otherwise; and it compiles for 22 s (132 s optimized). With its trees of the statements about
//! tables 170 lines become 230, for what its trees have beside (an INSERT has 28 fields) must be
//! refused, and its spans are too short to name a column of a SELECT.
//!
//! Its MySQL dialect does not read `DO`, `/*M! … */`, `KILL` and `SHOW GLOBAL STATUS LIKE` with an
//! expression, `WITH CONSISTENT SNAPSHOT`, `LOCK IN SHARE MODE`, `SET CHARACTER SET`, `SET x := e`;
//! it loses the scope of `SET GLOBAL TRANSACTION`, and executes `/*!50708 … */` for every flavour.

mod lex;
mod parse;
mod tree;

pub(super) use lex::split;
pub(super) use parse::parse;
pub(super) use tree::{
    Access, Aggregate, Column, Expr, Function, Kind, Mode, Operator, Parsed, Scope, Select,
    Setting, Statement,
};
