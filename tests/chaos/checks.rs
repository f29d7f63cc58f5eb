//! What has to be true of the servers once everything is healed.

use crate::load::{Fate, Record};
use headless_mysql::prelude::*;
use headless_mysql::testkit::lab::ServerKind;
use headless_mysql::testkit::stage::Stage;
use std::collections::BTreeMap;

/// The rows: acknowledged ones once, refused ones not, unknown ones at most once, pairs whole, and
/// all of them written by the primary. The same on every server.
pub(crate) async fn check_rows(stage: &Stage, record: &Record) {
    let mut all = Vec::new();
    for ordinal in stage.lab.ordinals() {
        let mut conn = stage.lab.admin(ordinal).await.unwrap();
        conn.query_drop(format!("USE {}", stage.lab.database()))
            .await
            .unwrap();
        let rows: Vec<(u64, String)> = conn.query("SELECT id, pod FROM entries").await.unwrap();
        all.push(rows);
    }
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for (id, pod) in &all[0] {
        assert_eq!(pod, "1", "row {id} was written by server {pod}");
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
    let there: BTreeMap<u64, ()> = all[0].iter().map(|(id, _)| (*id, ())).collect();
    for (one, other) in &record.pairs {
        let whole = there.contains_key(one) == there.contains_key(other);
        assert!(whole, "half of the transaction of {one} and {other}");
    }
    for (replica, rows) in all.iter().enumerate().skip(1) {
        assert_eq!(rows.len(), all[0].len(), "rows on mysql-{replica}");
    }
}

/// No replica has executed anything of its own.
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
