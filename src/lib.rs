//! Client-side load balancing for a MySQL StatefulSet behind a headless Service.
#![forbid(unsafe_code)]

pub mod config;

pub use config::{Config, ConfigError};
