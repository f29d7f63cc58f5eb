//! The connections to the pods.
//!
//! Owns everything that speaks MySQL: dialling and checking who answers, a pool per incarnation of
//! a pod, the loan of a connection and its protection, transactions, and what errors mean. It must
//! never choose between pods: that is `balance`, which asks each request what may serve it.

mod checkout;
mod connect;
mod credentials;
mod dial;
mod fault;
mod idle;
mod kill;
mod known;
mod lease;
mod lex;
mod login;
mod monitor;
mod podconn;
mod pool;
mod position;
mod prepared;
mod queryable;
mod raw;
mod refusal;
mod request;
mod room;
mod rows;
mod session;
mod statements;
#[cfg(test)]
mod testing;
mod text;
mod timer;
mod tls;
mod trace;
mod tx;

pub(crate) use connect::Dialler;
pub(crate) use fault::is_read_only;
pub(crate) use login::Login;
pub(crate) use monitor::{Monitor, Report};
pub(crate) use podconn::in_runtime;
pub(crate) use pool::{Hooks, PodPool, Pool};
pub(crate) use position::History;
pub(crate) use request::{PodRequest, Target};
pub(crate) use rows::{More, convert, keep_first, keep_none, push};
pub(crate) use session::Limit;
pub(crate) use trace::leaves_trace;
pub(crate) use tx::Access;

pub use podconn::PodConn;
pub use text::SqlText;
pub use tx::{Committed, Tx};
