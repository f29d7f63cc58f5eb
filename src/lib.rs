//! Client-side load balancing for a MySQL StatefulSet behind a headless Service.
#![forbid(unsafe_code)]

pub mod balance;
pub mod config;
// Until the connections use it.
#[allow(dead_code)]
mod mysql;
pub mod url;

pub use config::{Config, ConfigError};
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod discovery;
pub mod name;
pub mod topology;
