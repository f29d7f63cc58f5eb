//! The protocol's bytes: packets, logging in, answers, parameters.
//!
//! Owns the server's side of the wire, on top of `mysql_common`, which the client's side is made
//! of too. It must never decide anything but whether a login is right.

mod login;
mod packet;
mod params;
mod reply;

pub(super) use login::login;
pub(super) use packet::Wire;
pub(super) use params::Bound;
pub(super) use reply::Status;
