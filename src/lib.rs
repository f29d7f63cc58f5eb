//! Client-side load balancing for a MySQL StatefulSet behind a headless Service.
#![forbid(unsafe_code)]

pub mod discovery;
pub mod name;
pub mod topology;
