//! Tests of when a pool may open another connection.

use super::*;
use crate::error::PodId;

fn refusal() -> ConnectError {
    ConnectError::Overloaded {
        pod: PodId::new("mysql-0", "127.0.0.1:3306".parse().unwrap()),
        code: 1040,
        message: "Too many connections".to_owned(),
    }
}

/// A book with `connections` existing connections.
fn book(connections: usize, most: usize) -> Book {
    let mut book = Book::new(most, "max_connections");
    for _ in 0..connections {
        assert!(book.begin());
        book.completed();
    }
    book
}

#[test]
fn two_connections_are_made_at_once_and_no_more_than_there_may_be() {
    let mut book = Book::new(3, "max_connections");
    assert!(book.begin() && book.begin());
    assert!(!book.begin(), "two at once");
    book.completed();
    assert!(book.begin());
    book.completed();
    book.completed();
    assert!(!book.begin(), "three in all");
    book.closed();
    assert!(book.begin());
}

#[test]
fn a_blocked_pool_counts_on_what_it_has_and_tries_one_connection_after_each_pause() {
    let mut book = book(4, 16);
    let mut now = Instant::now();
    for longest in [1, 2, 4, 8, 10, 10] {
        assert!(book.begin());
        let until = book.block(refusal(), now, 1.0).unwrap();
        book.given_up();
        assert_eq!(until - now, Duration::from_secs(longest));
        assert_eq!((book.size(), book.made()), (4, 4));
        assert!(!book.begin());
        assert!(!book.retry(until - Duration::from_millis(1)));
        assert!(book.retry(until));
        assert_eq!(book.size(), 4, "until the attempt succeeds");
        assert!(book.begin());
        assert!(!book.begin(), "one attempt at a time");
        book.given_up();
        now = until;
    }
    assert!(book.begin());
    book.completed();
    assert_eq!(book.size(), 16);
    let until = book.block(refusal(), now, 0.0).unwrap();
    assert_eq!(
        until - now,
        Duration::from_millis(500),
        "anew, and jittered"
    );
}

#[test]
fn two_dials_that_one_event_refuses_are_one_refusal() {
    let mut book = book(4, 16);
    assert!(book.begin() && book.begin());
    let now = Instant::now();
    assert!(book.block(refusal(), now, 1.0).is_some());
    book.given_up();
    assert!(book.block(refusal(), now, 1.0).is_none());
    book.given_up();
    assert!(!book.begin());
}

#[test]
fn a_connection_that_is_closed_may_be_replaced_at_once() {
    let mut book = book(4, 16);
    book.block(refusal(), Instant::now(), 1.0).unwrap();
    book.closed();
    assert!(book.begin());
    assert!(!book.begin());
}

#[test]
fn all_are_in_use_only_if_there_are_as_many_as_there_may_be() {
    let mut book = book(3, 4);
    assert_eq!(book.is_complete(), None);
    assert!(book.begin());
    assert_eq!(book.is_complete(), None, "one is being made");
    book.completed();
    assert_eq!(book.is_complete().as_deref(), Some("max_connections"));
    book.limit(2, "max_share");
    assert_eq!(book.is_complete().as_deref(), Some("max_share"));
    let mut blocked = self::book(3, 16);
    blocked.block(refusal(), Instant::now(), 1.0).unwrap();
    assert!(blocked.is_complete().unwrap().contains("1040"));
    assert_eq!(
        Book::new(4, "max_connections").is_complete(),
        None,
        "there are none"
    );
}

#[tokio::test(start_paused = true)]
async fn connections_that_come_back_are_closed_while_there_are_too_many() {
    let growth = Arc::new(Growth::new(8, "max_connections", || {}));
    let slot = || {
        let mut slot = Slot::begin(&growth).unwrap();
        slot.completed();
        slot
    };
    let mut slots: Vec<Slot> = (0..8).map(|_| slot()).collect();
    assert!(!slots[0].sheds());
    assert_eq!(growth.book().limit(5, "max_share"), 3);
    let shed = slots
        .iter_mut()
        .filter_map(|slot| slot.sheds().then_some(()));
    assert_eq!(shed.count(), 3);
    assert_eq!(growth.connections(), 5);
    assert!(!growth.is_open());
}
