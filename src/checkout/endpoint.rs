//! A connection pool as an endpoint of the balancer.

use crate::balance::{Eligibility, Eligible};
use crate::checkout::request::PodRequest;
use crate::checkout::take::Checkout;
use crate::conn::podconn::PodConn;
use crate::error::ConnectError;
use crate::pool::state::Pool;
use crate::routing::Target;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;
use tower::Service;

/// A connection pool as an endpoint of the balancer. It is always ready; all waiting happens in the
/// future that `call` returns.
#[derive(Debug, Clone)]
pub(crate) struct PodPool(pub(crate) Arc<Pool>);

impl Service<PodRequest> for PodPool {
    type Response = PodConn;
    type Error = ConnectError;
    type Future = Checkout;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: PodRequest) -> Self::Future {
        self.0.checkout(request)
    }
}

impl Eligible<PodPool> for PodRequest {
    fn eligible(&self, endpoint: &PodPool) -> Eligibility {
        let pool = &endpoint.0;
        if !pool.takes_calls() {
            return Eligibility::No;
        }
        match self.duty_of(pool) {
            None => Eligibility::No,
            Some(duty) => Eligibility::Yes {
                tier: duty.tier(),
                room: !pool.is_full_for(duty),
            },
        }
    }

    fn tried(&self, endpoint: &PodPool) -> bool {
        self.tried.as_ref() == Some(endpoint.0.pod())
    }

    fn weight(&self, endpoint: &PodPool) -> u32 {
        match self.target {
            Target::Primary => 1,
            Target::Replicas => endpoint.0.weight(),
        }
    }

    fn probe(&self) -> Self {
        Self {
            probe: true,
            ..self.clone()
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}
