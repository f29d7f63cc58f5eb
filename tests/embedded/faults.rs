//! What is wrong between a pod and its clients.

use crate::support::{number, pods};
use headless_mysql::mysql_async::prelude::*;
use headless_mysql::mysql_async::{Error, IoError};
use headless_mysql_testkit::embedded::{EmbeddedPods, Fault};
use headless_mysql_testkit::lab::LabError;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn a_pod_that_refuses_keeps_the_connections_it_has() {
    let pods = pods().await;
    let mut conn = pods.connect(0).await.unwrap();
    pods.set_fault(0, Fault::Refuse).await.unwrap();
    let Err(LabError::Query { source, .. }) = pods.connect(0).await else {
        panic!("somebody listens");
    };
    assert!(
        matches!(&*source, Error::Io(IoError::Io(error)) if error.kind() == ErrorKind::ConnectionRefused),
        "{source}"
    );
    assert_eq!(number(&mut conn, "SELECT 1").await, 1);
    // Also over a restart.
    pods.restart(0).await.unwrap();
    assert!(pods.connect(0).await.is_err());
    pods.heal(0).await.unwrap();
    pods.connect(0).await.unwrap();
}

#[tokio::test]
async fn a_frozen_pod_accepts_and_says_nothing_until_it_is_thawed() {
    let pods = pods().await;
    let mut conn = pods.connect(0).await.unwrap();
    pods.freeze(0).await.unwrap();
    let mut greeting = [0];
    let address = (pods.address(0), pods.port());
    let stranger = TcpStream::connect(address).await.unwrap();
    let said = timeout(Duration::from_millis(100), stranger.peek(&mut greeting)).await;
    assert!(said.is_err());
    let insert = conn.query_drop("INSERT INTO entries VALUES (1, 'x')");
    tokio::pin!(insert);
    assert!(
        timeout(Duration::from_millis(100), &mut insert)
            .await
            .is_err()
    );
    assert_eq!(pods.position(0).unwrap(), "0-1-1");
    pods.thaw(0).await.unwrap();
    insert.await.unwrap();
    assert_eq!(stranger.peek(&mut greeting).await.unwrap(), 1);
}

#[tokio::test]
async fn a_frozen_pod_can_be_killed_and_comes_back_thawed() {
    let pods = pods().await;
    let mut conn = pods.connect(0).await.unwrap();
    pods.freeze(0).await.unwrap();
    pods.restart(0).await.unwrap();
    assert!(conn.ping().await.is_err());
    pods.connect(0).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_that_of_an_executed_statement() {
    let pods = pods().await;
    let mut conn = pods.connect(0).await.unwrap();
    pods.set_fault(0, Fault::CloseAfter(20)).await.unwrap();
    // One answer fits: an OK has 11 bytes.
    conn.query_drop("INSERT INTO entries VALUES (1, 'x')")
        .await
        .unwrap();
    let cut = conn.query_drop("INSERT INTO entries VALUES (2, 'x')").await;
    assert!(matches!(cut.unwrap_err(), Error::Io(_)));
    assert!(pods.connect(0).await.is_err());
    pods.heal(0).await.unwrap();
    let mut conn = pods.connect(0).await.unwrap();
    assert_eq!(number(&mut conn, "SELECT COUNT(*) FROM entries").await, 2);
}

#[tokio::test]
async fn a_slow_pod_answers_late() {
    let pods = pods().await;
    let mut conn = pods.connect(0).await.unwrap();
    let delay = Duration::from_millis(60);
    pods.set_fault(0, Fault::Slow(delay)).await.unwrap();
    let start = Instant::now();
    conn.ping().await.unwrap();
    assert!(start.elapsed() >= delay);
    pods.heal(0).await.unwrap();
}

#[tokio::test]
async fn dropped_pods_listen_no_more_and_answer_nobody() {
    let pods = EmbeddedPods::start(1).await.unwrap();
    let address = (pods.address(1), pods.port());
    let mut conn = pods.connect(1).await.unwrap();
    drop(pods);
    assert!(conn.ping().await.is_err());
    // The task ends as soon as the runtime looks at it.
    let gone = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.unwrap();
}
