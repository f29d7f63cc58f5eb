//! The crate's promises against real servers and real DNS packets.

mod failover;
mod routing;
mod support;
