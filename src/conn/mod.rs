//! A checked-out connection, and a transaction on it.
//!
//! Owns the protection after an operation was cut off, the state that a user leaves in a session,
//! and the state of a transaction. It must never run a statement twice.

pub(crate) mod admission;
pub(crate) mod begin;
pub(crate) mod deadline;
pub(crate) mod exec_rows;
pub(crate) mod lease;
pub(crate) mod patience;
pub(crate) mod podconn;
pub(crate) mod prepared;
pub(crate) mod queryable;
pub(crate) mod reports;
pub(crate) mod rows;
pub(crate) mod session;
pub(crate) mod size;
pub(crate) mod text;
pub(crate) mod tx;
pub(crate) mod txstate;
