//! The server of one pod: how to connect to it, who it is, what it reports, and what its failures
//! mean.
//!
//! [`Dialler`](dialler::Dialler) makes a connection and asks the server who it is. The answer is
//! [`Facts`](facts::Facts). From facts, [`recognition`] judges whether a pod is a replica.
//!
//! Owns the driver's options, the secrets, and the table of failures. It must never hand out a
//! connection whose server was not asked, and never put a password into an error.

pub(crate) mod closing_conn;
pub(crate) mod credentials;
pub(crate) mod dialler;
#[allow(dead_code, reason = "parts of it are read by what is built next")]
pub(crate) mod facts;
pub(crate) mod failure;
pub(crate) mod introduction;
pub(crate) mod kind;
pub(crate) mod login;
pub(crate) mod login_limiter;
pub(crate) mod names;
pub(crate) mod questions;
pub(crate) mod recognition;
pub(crate) mod refusal;
pub(crate) mod session_kind;
pub(crate) mod tls;
