//! Doubles of the world outside, for this crate's tests and for our users' tests too.
//!
//! This module owns what a test needs in order to put an application in front of a cluster that
//! does not exist: a cluster DNS ([`dns`]), real servers as child processes ([`lab`]) or servers of
//! this process ([`embedded`]), driven alike ([`pods`]), a network that can fail ([`proxy`]), and DNS and servers together ([`stage`]).
//! It must never be reached from the crate's production code: it is compiled only with the
//! `testkit` feature, and nothing outside of it may name it.

pub use crate::balance::chance::seed_chance;

pub mod dns;
pub mod embedded;
pub mod lab;
pub mod pods;
pub mod proxy;
pub mod stage;
