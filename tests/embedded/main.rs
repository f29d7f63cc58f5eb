//! The crate, and a plain driver, on servers of this process: nothing needs to be installed.

mod cluster;
mod either;
mod faults;
mod protocol;
mod replication;
mod support;
