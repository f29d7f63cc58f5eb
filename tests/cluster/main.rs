//! The crate's promises against real servers and real DNS packets.

mod failover;
mod handshake;
mod routing;
mod support;
