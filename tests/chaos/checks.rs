//! What must hold for the servers' data after everything is healed.

use crate::record::{Fate, Record};
use headless_mysql::prelude::*;
use headless_mysql_testkit::lab::ServerKind;
use headless_mysql_testkit::stage::Stage;
use std::collections::{BTreeMap, BTreeSet};

/// Checks the rows: an acknowledged write is there once, a refused one is missing, an unknown one
/// is there at most once, and pairs are complete. Each row was written by the primary of that time
/// (`offices`). Every server has the same rows.
pub(crate) async fn check_rows(stage: &Stage, record: &Record, offices: &[u32]) {
    let primary = stage.lab.primary();
    let mut all = Vec::new();
    for ordinal in stage.lab.ordinals() {
        let mut conn = stage.lab.admin(ordinal).await.unwrap();
        conn.query_drop(format!("USE {}", stage.lab.database()))
            .await
            .unwrap();
        // The `at` numbers increase across primaries, so they order the rows by time.
        let rows = "SELECT id, pod, at FROM entries ORDER BY at";
        let rows: Vec<(u64, u32, u64)> = conn.query(rows).await.unwrap();
        all.push(rows);
    }
    let written = &all[primary as usize];
    let mut writers: Vec<u32> = written
        .iter()
        .map(|(_, server_id, _)| server_id - 1)
        .collect();
    writers.dedup();
    assert_eq!(writers, offices, "who wrote, and who was to write");
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for (id, ..) in written {
        *times.entry(*id).or_default() += 1;
    }
    for (id, fate) in &record.fates {
        let found = times.remove(id).unwrap_or(0);
        match fate {
            Fate::Done => assert_eq!(found, 1, "acknowledged write {id}"),
            Fate::Nothing => assert_eq!(found, 0, "write {id}, of which nothing was executed"),
            Fate::Unknown => assert!(found <= 1, "write {id} is there {found} times"),
        }
    }
    assert!(times.is_empty(), "rows that nobody wrote: {times:?}");
    let there: BTreeSet<u64> = written.iter().map(|(id, ..)| *id).collect();
    for (one, other) in &record.pairs {
        let whole = there.contains(one) == there.contains(other);
        assert!(whole, "half of the transaction of {one} and {other}");
    }
    for (ordinal, rows) in all.iter().enumerate() {
        assert_eq!(rows.len(), written.len(), "rows on mysql-{ordinal}");
        assert!(rows == written, "mysql-{ordinal} holds other rows");
    }
}

/// Every server has executed the same transactions, and none of its own while it was a replica.
/// (MariaDB shows the last transaction only, but its strict replication stops at any extra one.)
pub(crate) async fn check_same_history(stage: &Stage, kind: ServerKind) {
    let mut all = BTreeSet::new();
    for ordinal in stage.lab.ordinals() {
        let mut conn = stage.lab.admin(ordinal).await.unwrap();
        let question = match kind {
            ServerKind::MySql => "SELECT @@global.gtid_executed",
            _ => "SELECT @@global.gtid_binlog_pos",
        };
        let said: Option<String> = conn.query_first(question).await.unwrap();
        all.insert(said.unwrap());
    }
    assert_eq!(all.len(), 1, "{all:?}");
}

/// No replica has executed a transaction of its own.
pub(crate) async fn check_history(stage: &Stage, kind: ServerKind) {
    for ordinal in 1..3 {
        let mut conn = stage.lab.admin(ordinal).await.unwrap();
        let question = match kind {
            ServerKind::MySql => "SELECT @@server_uuid, @@global.gtid_executed",
            _ => "SELECT CONCAT('-', @@server_id, '-'), @@global.gtid_binlog_state",
        };
        let said: Option<(String, String)> = conn.query_first(question).await.unwrap();
        let (own, executed) = said.unwrap();
        assert!(
            !executed.contains(&own),
            "mysql-{ordinal} wrote: {executed}"
        );
    }
}
