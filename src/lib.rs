//! Client-side load balancing for a MySQL StatefulSet behind a headless Service.
#![forbid(unsafe_code)]

#[cfg(feature = "testkit")]
pub mod testkit;
