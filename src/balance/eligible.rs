//! What the balancer asks of a request and of an endpoint's error.
//!
//! Owns the two traits at the balancer's edge. They must stay free of any protocol: roles, lag
//! and tokens are the business of whoever implements them.

use std::time::Duration;
use tokio::time::Instant;

/// Whether an endpoint may serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Eligibility {
    /// It may, and has room.
    Yes,
    /// It may, but somebody would have to wait there: picked after every endpoint with room. This,
    /// and not `No`, is the answer for an endpoint without room: only in an endpoint's own line do
    /// calls keep their order whatever newcomers do.
    Full,
    /// It may, but only when no endpoint that answers `Yes` or `Full` is to be had.
    Reserve,
    /// As `Reserve`, and somebody would have to wait there.
    FullReserve,
    /// It may not.
    No,
}

/// A request that knows which endpoints may serve it.
///
/// Asked again for every pick, so it may depend on the endpoint's state of the moment. It is called
/// on the hot path, also on behalf of other calls, and must neither block nor allocate.
///
/// A call that waits asks again when the set or an endpoint's health changes, when a checkout of an
/// endpoint it could use ends, and upon [`Balance::wake`](super::Balance::wake). Whatever else
/// changes an answer from [`No`](Eligibility::No) has to be followed by a `wake`.
///
/// A call that waits at an endpoint is not served there once the answer is `No`, also without a
/// `wake`; with one it goes elsewhere at once.
pub trait Eligible<S> {
    /// Whether `endpoint` may serve this request now.
    fn eligible(&self, endpoint: &S) -> Eligibility;

    /// How much `endpoint` takes compared with the others: of two with the same number of
    /// checkouts in flight per unit of weight neither is preferred. Default 1; for pools, their
    /// size is a good choice. 0: nothing, as [`Eligibility::No`]; who is to serve when nobody else
    /// can is [`Eligibility::Reserve`].
    fn weight(&self, endpoint: &S) -> u32 {
        let _ = endpoint;
        1
    }

    /// When the caller gives up. `None`: the balancer's own
    /// [`checkout_timeout`](super::BalanceConfig::checkout_timeout) counts from the first poll.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// What an endpoint's error means for the endpoint, and for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// The endpoint failed: counts against its health, the call goes on elsewhere.
    Failure,
    /// The endpoint has no room (too many connections, shutting down): it is left alone for a
    /// while without being counted as failed, the call goes on elsewhere.
    Overloaded,
    /// The endpoint is well but not fit for this request now (its role changed, it is closing):
    /// no health event; this call asks it again after the given time, 1 ms at least. A probe that ends so has
    /// learnt nothing: the endpoint stays out, and is probed again after that time.
    Unfit(Duration),
    /// No endpoint would answer otherwise: the caller gets the error at once.
    Fatal,
}

/// An endpoint's error that can be judged.
pub trait Classify: std::error::Error {
    /// What this error means.
    fn class(&self) -> Class;
}
