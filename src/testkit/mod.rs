//! Doubles and real servers to test an application of this crate with.

pub mod lab;
