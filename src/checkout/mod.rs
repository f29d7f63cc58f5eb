//! The checkout: from a request to a connection that is ready for use.
//!
//! [`PodPool`](endpoint::PodPool) makes a pool an endpoint of the balancer. This module owns the
//! steps of a checkout. It must never choose between pods: `balance` does, and asks each request
//! which pods may serve it.

pub(crate) mod endpoint;
pub(crate) mod request;
pub(crate) mod take;
pub(crate) mod warm;
