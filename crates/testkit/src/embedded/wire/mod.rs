//! The wire protocol: packets, login, answers, parameters.
//!
//! Owns the server's side of the protocol, on top of the same `mysql_common` that the client uses.
//! It must never decide anything but whether a login is valid.

mod login;
mod packet;
mod params;
mod reply;

pub(super) use login::login;
pub(super) use packet::Wire;
pub(super) use params::Bound;
pub(super) use reply::Status;
