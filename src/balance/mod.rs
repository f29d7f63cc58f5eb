//! The load balancer: which endpoint takes a request.
//!
//! Owns the set of endpoints, the count of checkouts in flight, health, and waiting. It is generic
//! over the endpoint's tower service and must never know what that service speaks: no MySQL in
//! here. It must not hold a lock across an await, nor reserve anything in `poll_ready`.
//!
//! Why not tower's own `Balance` behind a `Buffer`: it drops an endpoint for good after one failed
//! readiness check, waits for ever on an empty set, ends with one discovery error, takes a
//! connection on every endpoint just to be ready, and hears of discovery only while requests come
//! in. What is kept of tower is the contract: [`Balance`] is a [`tower::Service`], takes any
//! [`tower::discover::Discover`], and works under tower's layers.
//!
//! The flow of one call:
//!
//! ```text
//! call ─▶ pick among the eligible ─▶ endpoint's own call ─▶ response + guard
//!            ▲        │ none              │ failed: note it, pick another
//!            │        ▼                   │
//!            └── wait for a change ◀──────┘        all under the request's deadline
//! ```

mod call;
mod choose;
mod counts;
mod eligible;
mod endpoint;
mod error;
mod guard;
mod health;
mod line;
mod pick;
mod service;
mod snapshot;
mod sync;
mod vitals;
mod wait;

pub use call::ResponseFuture;
pub use eligible::{Class, Classify, Eligibility, Eligible};
pub use error::{BalanceError, EndpointReport, EndpointState};
pub use guard::{Guard, Suspicion};
pub use health::HealthConfig;
pub use service::{Balance, BalanceConfig, Balanced};

#[cfg(test)]
mod tests;
