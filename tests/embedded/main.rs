//! The crate, and a plain driver, on servers of this process: nothing needs to be installed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but does not see that helpers are test code"
)]

mod allocations;
mod cancel;
mod cluster;
mod either;
mod faults;
mod protocol;
mod replication;
#[path = "../staged/mod.rs"]
mod staged;
mod support;
mod two_services;
mod versions;
