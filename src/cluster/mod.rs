//! The public entry point of the crate: [`Cluster`] and its routes.
//!
//! Owns the life cycle and the routes, and connects the layers: discovery feeds the topology, the
//! topology feeds the pools, and the pools are the endpoints of the balancer. It must hold no
//! policy that belongs to one of the layers.

mod builder;
mod changes;
mod check;
mod follow;
mod handle;
mod key;
mod monitors;
mod outcome;
mod owned_statement;
mod reconcile;
mod replicas;
mod roles;
mod route;
mod running;
mod source;
mod status;

pub use builder::Builder;
pub use check::Check;
pub use handle::Cluster;
pub use outcome::Outcome;
pub use route::{Checkout, Route};
pub use status::{PodStatus, Status};
