//! A simulation of many clients and servers: where each policy sends requests, and at what cost.
//!
//! ```text
//! cargo test --test simulation -- --nocapture
//! ```
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see that helpers are test code"
)]

mod client;
mod pool;
mod reference;
mod rng;
mod scenarios;
mod server;
mod table;
mod world;
