//! Tests of the crate's promises with real servers and real DNS packets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but does not see that helpers are test code"
)]

mod accounts;
mod begin;
mod blackhole;
mod cutoff;
mod denied;
mod discovery_trouble;
mod double;
mod ended_early;
mod engine;
mod failover;
mod faults_of_callers;
mod for_now;
mod galera;
mod group_replication;
mod growth;
mod handshake;
mod held;
mod history;
mod identity;
mod idle;
mod lifecycle;
mod load;
#[cfg(feature = "metrics")]
mod metrics;
mod moves;
mod operator;
mod pool;
mod preference;
mod prepared_handles;
mod probing;
mod procedures;
mod refusals;
mod replicas_route;
mod restarts;
mod roles;
mod rotation;
mod round_trips;
mod routing;
mod secrets;
mod session;
mod setups;
mod silence;
mod sizes;
mod slots;
#[path = "../staged/mod.rs"]
mod staged;
mod stampede;
mod status;
mod stopping;
mod strangers;
mod support;
mod text_commit;
mod tls;
mod transactions;
mod weights;
