//! The crate's promises against real servers and real DNS packets.

mod cutoff;
mod routing;
mod session;
mod support;
