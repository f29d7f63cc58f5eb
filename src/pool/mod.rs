//! The connections to one incarnation of a pod.
//!
//! Owns the count of connections, the idle connections, the knowledge about the server, and the
//! outcome of statements that were given up. It must never choose between pods.

pub(crate) mod budget;
pub(crate) mod commits;
pub(crate) mod dial;
pub(crate) mod disputes;
pub(crate) mod evidence;
pub(crate) mod growth;
pub(crate) mod hold;
pub(crate) mod idle;
pub(crate) mod inquire;
pub(crate) mod inquiry;
pub(crate) mod kill;
pub(crate) mod known;
pub(crate) mod learning;
pub(crate) mod limits;
pub(crate) mod monitor;
pub(crate) mod preparing;
pub(crate) mod quota;
pub(crate) mod recognise;
pub(crate) mod side;
pub(crate) mod state;
pub(crate) mod statements;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod threads;
pub(crate) mod timer;
pub(crate) mod upkeep;
pub(crate) mod visit;
