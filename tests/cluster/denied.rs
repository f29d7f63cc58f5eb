//! Logins that fail for a reason that no retry fixes: each call fails at once, and the server gets
//! no repeated attempts.

use crate::double::{Double, Manner, greeting_with, packet};
use headless_mysql::balance::EndpointState;
use headless_mysql::discovery::FixedList;
use headless_mysql::error::ConnectError;
use headless_mysql::{Cluster, Config, Error};
use std::time::Duration;
use tokio::time::Instant;

/// Checks the error of a call whose only pod is such a primary.
async fn told_at_once(manner: Manner, is_right: fn(&ConnectError) -> bool, words: &str) {
    let double = Double::start(manner).await;
    let config = Config::new("mysql", "app").with_password("secret");
    let builder = Cluster::builder(config).resolver(FixedList::new([double.address]));
    let cluster = builder.connect().await.unwrap();
    let begun = Instant::now();
    for _ in 0..5 {
        for route in [cluster.primary(), cluster.replicas()] {
            let error = route.query_drop("SELECT 1").await.unwrap_err();
            assert!(
                matches!(&error, Error::Connect(refusal) if is_right(refusal)),
                "{error:?}"
            );
            assert!(!error.is_retryable(), "{error}");
            let text = error.to_string();
            let place = format!("mysql-0 ({})", double.address);
            assert!(text.contains(words) && text.contains(&place), "{text}");
        }
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(double.accepted(), 1, "it was asked again");
    let state = cluster.status().pods.remove(0).state;
    assert!(
        !matches!(state, Some(EndpointState::Ejected(_))),
        "{state:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_driver_is_told_as_such_and_ends_nothing_else() {
    // The full exchange of `caching_sha2_password`, with an invalid public key.
    let lines = vec![
        greeting_with("caching_sha2_password"),
        packet(2, &[1, 4]),
        packet(4, b"\x01no key"),
    ];
    let is_right = |refusal: &ConnectError| matches!(refusal, ConnectError::Panicked { .. });
    told_at_once(Manner::Converses(lines), is_right, "panic").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_blocks_this_host_is_told_with_what_unblocks_it() {
    let said = "Host '10.0.0.9' is blocked because of many connection errors; unblock with \
                'mariadb-admin flush-hosts'";
    let [low, high] = 1129_u16.to_le_bytes();
    let line = packet(0, &[&[0xff, low, high], said.as_bytes()].concat());
    let is_right =
        |refusal: &ConnectError| matches!(refusal, ConnectError::AccessDenied { code: 1129, .. });
    told_at_once(Manner::SaysAndCloses(line), is_right, "flush-hosts").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_method_that_the_driver_lacks_is_told_by_its_name() {
    let switch = b"\xfesha256_password\0saltsaltmoresaltmore\0";
    let lines = vec![greeting_with("caching_sha2_password"), packet(2, switch)];
    let is_right = |refusal: &ConnectError| matches!(refusal, ConnectError::Method { .. });
    told_at_once(Manner::Converses(lines), is_right, "sha256_password").await;
}
