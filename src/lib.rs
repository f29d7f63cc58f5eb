//! Client-side load balancing for a MySQL StatefulSet behind a headless Service.
#![forbid(unsafe_code)]

pub mod balance;
pub mod config;
pub mod discovery;
pub mod error;
pub mod mysql;
pub mod name;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod topology;
pub mod url;

pub use config::{Config, ConfigError};
