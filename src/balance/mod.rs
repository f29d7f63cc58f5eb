//! The load balancer: it picks the endpoint that serves a request.
//!
//! It is generic over the endpoint's tower service and must never know the protocol of that
//! service: no MySQL in here. It owns the set of endpoints, the count of checkouts in flight, the
//! health of each endpoint, and the waiting calls. It must not hold a lock across an await, and
//! must not reserve anything in `poll_ready`.
//!
//! Tower's own `Balance` behind a `Buffer` does not fit. It drops an endpoint for good after one
//! failed readiness check, waits without limit on an empty set, ends at the first discovery error,
//! and takes a connection on every endpoint to be ready. It also polls discovery only while
//! requests arrive. This module keeps tower's contract: [`Balance`] is a [`tower::Service`],
//! accepts any [`tower::discover::Discover`], and works under tower's layers.
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
//! * **Pick**: the endpoint with the fewest checkouts in flight per unit of
//!   [weight](Eligible::weight); ties are broken at random. In sets of more than eight endpoints,
//!   the less loaded of two random endpoints. Rank decides before load: endpoints that failed this
//!   call come last, and suspect endpoints just before them. Then a lower [tier](Eligibility::Yes)
//!   is preferred, and within a tier an endpoint with room.
//! * **Pace**: weights may follow the answer times of the endpoints, as the MySQL pools do for
//!   reads; see [`Pace`].
//! * **Cost**: a call allocates nothing if it finds an endpoint that answers at once.
//! * **Waiting**: calls wait in the order of their arrival, at most
//!   [`max_waiters`](BalanceConfig::max_waiters) at once. When a checkout ends, the first call that
//!   could use its endpoint is woken; calls that cannot use it do not block the calls behind them.
//!   A call that waits at a full endpoint keeps its place in that endpoint's own queue. It leaves
//!   that queue only for an endpoint with room, or when the endpoint may no longer serve it.
//! * **Health**: three failures in a row eject an endpoint; a confirmed [`Suspicion`] ejects it at
//!   once. A background task probes an ejected endpoint, one probe at a time, with the request of a
//!   call that could use the endpoint. Callers never wait for a probe while another endpoint can
//!   serve. If all endpoints are ejected, each has its own prober: probed one after the other, an
//!   unresponsive endpoint would delay the discovery of a live one. While a call waits that no
//!   endpoint can serve, probes are [more frequent](HealthConfig::urgent_cap).
//! * **Set**: additions are used at once; a discovery that fails or ends changes nothing. After a
//!   removal, checkouts may finish, waiting calls go elsewhere, and the prober ends. An endpoint
//!   that is removed while it fails keeps its health if it is added again.

mod balanced;
mod call;
mod chance;
mod choose;
mod clock;
mod config;
mod counts;
mod driver;
mod eligible;
mod endpoint;
mod error;
mod guard;
mod health;
mod line;
mod pace;
mod pick;
mod service;
mod shared;
mod sync;
mod vitals;
mod wait;

pub use balanced::Balanced;
pub use call::ResponseFuture;
pub use config::BalanceConfig;
pub use eligible::{Class, Classify, Eligibility, Eligible};
pub use error::{BalanceError, EndpointReport, EndpointState};
pub use health::HealthConfig;
pub use service::Balance;

#[cfg(test)]
mod tests;

// Hidden items are for the tests and benchmarks of this crate: they may change at any time.
#[doc(hidden)]
pub use chance::seed_chance;
#[doc(hidden)]
pub use guard::{Guard, Suspicion};
#[doc(hidden)]
pub use pace::{Pace, Paces};
