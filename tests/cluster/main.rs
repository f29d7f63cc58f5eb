//! The crate's promises against real servers and real DNS packets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but does not see that helpers are test code"
)]

mod blackhole;
mod cutoff;
mod discovery_trouble;
mod double;
mod engine;
mod failover;
mod handshake;
mod identity;
mod idle;
mod lifecycle;
mod load;
#[cfg(feature = "metrics")]
mod metrics;
mod moves;
mod pool;
mod refusals;
mod replicas_route;
mod roles;
mod rotation;
mod routing;
mod secrets;
mod session;
mod stampede;
mod stopping;
mod support;
mod tls;
mod transactions;
mod weights;
