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
//!
//! * **Pick**: the fewest checkouts in flight per unit of [weight](Eligible::weight), at random among
//!   equals; of two random endpoints in sets of more than eight. An endpoint with room comes before a
//!   full one, then the reserve, then suspects, then who has refused this very call.
//! * **Pace**: weights may follow the time that endpoints take to answer, as those of the MySQL pools
//!   do for reads; see [`Pace`].
//! * **Cost**: a call that finds an endpoint which answers at once allocates nothing.
//! * **Waiting**: calls wait in the order in which they came, [so many](BalanceConfig::max_waiters) at
//!   most. A checkout that ends wakes the first call that could use its endpoint; a call that could
//!   not does not stand in the way of those behind it. A call that waits at a full endpoint keeps its
//!   place in that endpoint's own line, and leaves it only for an endpoint that has room, or when
//!   that endpoint may not serve it any more.
//! * **Health**: three failures in a row eject, a [`Suspicion`] that is confirmed at once. An ejected
//!   endpoint is probed by a task of the balancer's, one probe at a time, with the request of a call
//!   that could use it; callers never wait for a probe while another endpoint can serve. With all
//!   ejected each has its own prober: one after the other, a silent endpoint would hide a living one;
//!   and while a call waits that nobody can serve, they probe [more often](HealthConfig::urgent_cap).
//! * **Set**: additions are used at once, a failed or ended discovery changes nothing. After a removal
//!   checkouts may finish, calls that wait go elsewhere, and the prober ends. An endpoint that went
//!   while it failed comes back as it went.

mod call;
pub(crate) mod chance;
mod choose;
mod counts;
mod eligible;
mod endpoint;
mod error;
mod guard;
mod health;
mod line;
mod pace;
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
pub use pace::{Pace, Paces};
pub use service::{Balance, BalanceConfig, Balanced};

#[cfg(test)]
mod tests;
