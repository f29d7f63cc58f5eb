//! What the balancer needs to know about a request and about an endpoint's error.
//!
//! Owns the two traits at the balancer's edge. They must stay free of any protocol: roles, lag and
//! tokens belong to their implementors.

use std::time::Duration;
use tokio::time::Instant;

/// Whether an endpoint may serve a request.
///
/// ```
/// use headless_mysql::balance::Eligibility;
///
/// /// Replicas serve; the primary serves only if no replica can.
/// fn read_from(is_primary: bool, free: usize) -> Eligibility {
///     Eligibility::Yes { tier: u8::from(is_primary), room: free > 0 }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Eligibility {
    /// The endpoint may not serve the request.
    No,
    /// The endpoint may serve the request.
    Yes {
        /// Order of preference, lowest first. An endpoint of a lower tier is preferred even if the
        /// call has to wait there. Give the most preferred endpoints tier 0: calls that find no
        /// endpoint of tier 0 with room take a slower path.
        tier: u8,
        /// Whether the endpoint can serve the call without a wait. An endpoint without room is
        /// picked after the others of its tier. If all places of an endpoint are taken, answer
        /// `room: false`, not `No`: only an endpoint's own queue keeps calls in order when new
        /// calls arrive.
        room: bool,
    },
}

/// A request that decides which endpoints may serve it.
///
/// The methods are called again for every pick, so an answer may depend on the endpoint's current
/// state. They are called on the hot path, sometimes on behalf of other calls, and must neither
/// block nor allocate.
///
/// A call that waits asks again when the set or an endpoint's health changes, when a checkout ends
/// at an endpoint it could use, and upon [`Balance::wake`](super::Balance::wake). If anything else
/// changes an answer from [`No`](Eligibility::No), call `wake`.
///
/// A call that waits at an endpoint is not served there once the answer is `No`, even without a
/// `wake`; with a `wake` it goes elsewhere at once.
pub trait Eligible<S> {
    /// Whether `endpoint` may serve this request now.
    fn eligible(&self, endpoint: &S) -> Eligibility;

    /// The capacity of `endpoint` relative to the others: two endpoints with the same number of
    /// checkouts in flight per unit of weight are equally preferred. Default 1; for pools, their
    /// size is a good choice. A weight of 0 means the same as [`Eligibility::No`]. For an endpoint
    /// that serves only when no other can, use a higher [tier](Eligibility::Yes).
    fn weight(&self, endpoint: &S) -> u32 {
        let _ = endpoint;
        1
    }

    /// Whether `endpoint` failed an earlier call for the same work. If so, it is picked last, as if
    /// it had failed this call. Default: false.
    fn tried(&self, endpoint: &S) -> bool {
        let _ = endpoint;
        false
    }

    /// The request of a probe that is started by this call. A probe asks whether the endpoint is
    /// alive, so it should leave out conditions that only this request has. Default: a clone of
    /// this request.
    fn probe(&self) -> Self
    where
        Self: Clone,
    {
        self.clone()
    }

    /// When the caller gives up. `None`: the balancer's
    /// [`checkout_timeout`](super::BalanceConfig::checkout_timeout) applies, counted from the first
    /// poll.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// What an endpoint's error means for the endpoint, and for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// The endpoint failed. The failure counts against its health; the call goes on elsewhere.
    Failure,
    /// The endpoint reports that it has no room (too many connections, shutting down). It is
    /// ejected for a while without being counted as failed; the call goes on elsewhere.
    Overloaded,
    /// The endpoint has no room although it seemed to have some. Nothing is recorded about it. The
    /// call picks again, and waits in the endpoint's own queue if all others are worse. The
    /// endpoint's next answer must not claim room, or the call would ask it again at once.
    Full,
    /// The endpoint is healthy but cannot serve this request now (its role changed, it is closing).
    /// No health event; this call asks it again after the given time, at least 1 ms. A probe that
    /// ends with this class has found the endpoint alive.
    Unfit(Duration),
    /// The endpoint is healthy but will never serve this call. No health event; the call goes on
    /// elsewhere. The call ends with this error once every endpoint that could serve it and is not
    /// ejected has declined it. A probe that ends with this class has found the endpoint alive.
    Declined,
    /// Every endpoint would give the same answer: the caller gets the error at once.
    Fatal,
}

/// An endpoint's error that can be classified.
pub trait Classify: std::error::Error {
    /// What this error means.
    fn class(&self) -> Class;
}
