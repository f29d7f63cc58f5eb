//! The cluster DNS double, asked with real packets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but does not see that helpers are test code"
)]

mod answers;
mod discover;
mod discover_kinds;
mod discover_sources;
mod discover_trouble;
mod fixtures;
mod golden;
mod support;
mod trouble;
mod wire;
