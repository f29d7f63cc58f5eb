//! GTIDs: which transactions a server holds ([`position`]), and which of them the primary must hold
//! ([`history`]).
//!
//! Pure: it must never ask a server.

pub(crate) mod history;
#[allow(dead_code, reason = "parts of it are read by what is built next")]
pub(crate) mod position;
