//! The crate's promises against real servers and real DNS packets.

mod routing;
mod support;
