//! What a call costs that finds an endpoint which answers at once: no allocation of the balancer's.

use futures_util::FutureExt;
use headless_mysql::balance::{Balance, BalanceConfig, Class, Classify, Eligibility, Eligible};
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use tower::Service;
use tower::discover::Change;

/// An endpoint that is ready and answers at once.
#[derive(Clone, Copy)]
struct Instantly;

#[derive(Clone, Copy)]
struct Ask;

#[derive(Debug)]
enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

impl Classify for Never {
    fn class(&self) -> Class {
        match *self {}
    }
}

impl Eligible<Instantly> for Ask {
    fn eligible(&self, _: &Instantly) -> Eligibility {
        Eligibility::Yes {
            tier: 0,
            room: true,
        }
    }
}

impl Service<Ask> for Instantly {
    type Response = ();
    type Error = Never;
    type Future = Ready<Result<(), Never>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        ready(Ok(()))
    }
}

#[tokio::test]
async fn a_call_that_is_served_at_once_allocates_nothing() {
    for count in [1, 3, 8, 9, 100] {
        let inserts = (0..count).map(|key| Ok::<_, Infallible>(Change::Insert(key, Instantly)));
        let mut balance = Balance::new(
            futures_util::stream::iter(inserts.collect::<Vec<_>>()),
            BalanceConfig::default(),
            &tokio::runtime::Handle::current(),
        );
        while balance.endpoints().len() < count {
            tokio::task::yield_now().await;
        }
        let mut calls = |n: usize| {
            for _ in 0..n {
                let served = balance.call(Ask).now_or_never();
                assert!(served.expect("served at the first poll").is_ok());
            }
        };
        // Warm: the thread's random numbers are there.
        calls(10);
        let info = allocation_counter::measure(|| calls(1_000));
        assert_eq!(info.count_total, 0, "{count} endpoints");
    }
}
