//! A transaction that is cut off is rolled back. A COMMIT that is cut off is applied completely or
//! not at all.

use super::operations::{next_checkout_is_right, unique};
use super::{MANY, count, world_of_one_connection};
use crate::support::all_slots_are_back;
use headless_mysql::{Cluster, Error};
use mysql_async::prelude::Queryable;
use std::sync::atomic::{AtomicU8, Ordering};

/// The progress of a transaction.
const COMMITTING: u8 = 1;
const COMMITTED: u8 = 2;

/// Writes two rows marked with `mark` in one transaction.
async fn write_two(cluster: &Cluster, mark: u64, progress: &AtomicU8) -> Result<(), Error> {
    let mut tx = cluster.begin().await?;
    let insert = format!("INSERT INTO entries VALUES ({}, '{mark}')", unique());
    tx.query_drop(insert).await?;
    let insert = "INSERT INTO entries VALUES (?, ?)";
    tx.exec_drop(insert, (unique(), mark)).await?;
    let seen = format!("SELECT COUNT(*) FROM entries WHERE pod = '{mark}'");
    assert_eq!(tx.query_first(seen).await?, Some(2));
    progress.store(COMMITTING, Ordering::SeqCst);
    tx.commit().await?;
    progress.store(COMMITTED, Ordering::SeqCst);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_cut_off_at_any_point_is_there_wholly_or_not_at_all() {
    let (world, dribble) = world_of_one_connection().await;
    let cluster = &world.cluster;
    let mut marks = Vec::new();
    let mut polls = 0;
    let mut cut_in_commit = 0;
    loop {
        assert!(marks.len() < MANY);
        let mark = unique();
        let progress = AtomicU8::new(0);
        let done = dribble
            .cut(polls, write_two(cluster, mark, &progress))
            .await;
        next_checkout_is_right(cluster).await;
        let progress = progress.into_inner();
        let rows = count(cluster, &format!("pod = '{mark}'")).await;
        match progress {
            COMMITTED => assert_eq!(rows, 2),
            COMMITTING => assert!(rows == 0 || rows == 2, "{rows} rows"),
            _ => assert_eq!(rows, 0, "rows of a transaction that never reached COMMIT"),
        }
        marks.push((mark, progress));
        cut_in_commit += u32::from(progress == COMMITTING);
        match done {
            None => polls += 1,
            // On a busy machine several pieces arrive together, so the loop may have skipped the
            // COMMIT.
            Some(_) if cut_in_commit < 2 => polls -= 10,
            Some(result) => {
                result.unwrap();
                break;
            }
        }
    }
    // Transactions whose connections were closed have ended by now.
    no_transaction_is_open(&world.stage.lab).await;
    for (mark, progress) in &marks {
        let rows = count(cluster, &format!("pod = '{mark}'")).await;
        match *progress {
            COMMITTED => assert_eq!(rows, 2),
            COMMITTING => assert!(rows == 0 || rows == 2, "{rows} rows"),
            _ => assert_eq!(rows, 0, "rows of a transaction that never reached COMMIT"),
        }
    }
    println!("{} rounds", marks.len());
    all_slots_are_back(cluster, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_used_on_after_a_cut_refuses_and_its_commit_was_never_sent() {
    let (world, dribble) = world_of_one_connection().await;
    let cluster = &world.cluster;
    let mark = unique();
    let mut refused = 0;
    for polls in 1..MANY {
        let mut tx = cluster.begin().await.unwrap();
        let insert = "INSERT INTO entries VALUES (?, ?)";
        tx.exec_drop(insert, (unique(), mark)).await.unwrap();
        let slow = format!("SELECT {mark}; SELECT {mark}");
        let cut = dribble.cut(polls, tx.query::<u64, _>(slow)).await;
        if let Some(rows) = cut {
            assert_eq!(rows.unwrap(), [mark]);
            tx.rollback().await.unwrap();
            break;
        }
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }), "{error}");
        assert!(error.is_retryable());
        refused += 1;
        next_checkout_is_right(cluster).await;
    }
    assert!(refused > 0);
    no_transaction_is_open(&world.stage.lab).await;
    assert_eq!(count(cluster, &format!("pod = '{mark}'")).await, 0);
    all_slots_are_back(cluster, 1).await;
}

async fn no_transaction_is_open(lab: &headless_mysql_testkit::lab::Lab) {
    let mut admin = lab.admin(0).await.unwrap();
    let open = "SELECT COUNT(*) FROM information_schema.innodb_trx";
    for _ in 0..1_000 {
        if admin.query_first::<u64, _>(open).await.unwrap() == Some(0) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("a transaction stays open");
}
