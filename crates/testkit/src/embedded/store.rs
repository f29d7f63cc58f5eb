//! The data of one pod: tables, the log of committed transactions, and the writer lock.
//!
//! Owns what a volume owns: it outlives the server, and a wipe removes it. It must never hold state
//! that a restart resets, and must never show a row of an uncommitted transaction.
//!
//! Isolation: there is one writer at a time, which holds the lock from its transaction's first
//! write to the transaction's end. A reader sees committed rows and its own changes.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::Instant;

use super::datum::Datum;
use super::refusal::Refusal;
use super::sql::Column;

pub(super) type Row = Arc<[Datum]>;

/// A pod's volume.
#[derive(Debug)]
pub(super) struct Volume {
    /// `@@server_uuid` of MySQL. A new volume gets a new one, as a new server does.
    pub(super) uuid: String,
    pub(super) writer: Arc<AsyncMutex<()>>,
    state: Mutex<State>,
    /// The length of the log; wakes tasks that wait for it to grow.
    grown: watch::Sender<usize>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tables: BTreeMap<String, Table>,
    pub(super) log: Vec<Arc<Transaction>>,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: Arc<[Column]>,
    pub(super) key: usize,
    pub(super) rows: BTreeMap<i64, Row>,
    /// The next generated key. A key is never generated twice, even after a rollback.
    pub(super) next: i64,
}

/// A committed transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) server_id: u32,
    pub(super) uuid: String,
    pub(super) at: Instant,
    pub(super) changes: Vec<Change>,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Create {
        table: String,
        columns: Arc<[Column]>,
        key: usize,
    },
    Drop {
        table: String,
    },
    Truncate {
        table: String,
    },
    /// A new version of a row; `None` if the row was deleted.
    Row {
        table: String,
        key: i64,
        row: Option<Row>,
    },
}

/// The rows that an open transaction has changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay(BTreeMap<(String, i64), Option<Row>>);

impl Volume {
    pub(super) fn empty() -> Self {
        let random: u128 = rand::random();
        let hex = format!("{random:032x}");
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        Self {
            uuid: parts.join("-"),
            writer: Arc::default(),
            state: Mutex::default(),
            grown: watch::Sender::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Publishes the length of the log at each commit from now on.
    pub(super) fn watch(&self) -> watch::Receiver<usize> {
        self.grown.subscribe()
    }

    /// Commits changes made on this server, unless `allowed` refuses right before the commit.
    pub(super) fn commit(
        &self,
        server_id: u32,
        changes: Vec<Change>,
        allowed: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut state = self.lock();
        allowed()?;
        if changes.is_empty() {
            return Ok(());
        }
        self.append(
            &mut state,
            Arc::new(Transaction {
                server_id,
                uuid: self.uuid.clone(),
                at: Instant::now(),
                changes,
            }),
        );
        Ok(())
    }

    /// Applies a transaction of the primary. It must directly follow the last one of this log.
    pub(super) fn replicate(&self, transaction: Arc<Transaction>) {
        self.append(&mut self.lock(), transaction);
    }

    fn append(&self, state: &mut State, transaction: Arc<Transaction>) {
        for change in &transaction.changes {
            state.apply(change);
        }
        state.log.push(transaction);
        self.grown.send_replace(state.log.len());
    }
}

impl State {
    /// Finds a table by its name.
    pub(super) fn table(&self, database: &str, name: &str) -> Result<&Table, Refusal> {
        let table = self.tables.get(name);
        table.ok_or_else(|| Refusal::no_table(database, name))
    }

    /// Reserves the next generated key of a table. A rollback does not free the key.
    pub(super) fn generate(&mut self, table: &str) -> i64 {
        let Some(table) = self.tables.get_mut(table) else {
            return 0;
        };
        table.next += 1;
        table.next - 1
    }

    /// Whether the logs agree up to the length of the shorter one.
    pub(super) fn shares_history(&self, other: &Self) -> bool {
        let shorter = self.log.len().min(other.log.len());
        match shorter.checked_sub(1) {
            Some(last) => Arc::ptr_eq(&self.log[last], &other.log[last]),
            None => true,
        }
    }

    /// `0-1-42`, the newest transaction in MariaDB's format; empty in a new volume.
    pub(super) fn gtid(&self) -> String {
        match self.log.last() {
            Some(last) => format!("0-{}-{}", last.server_id, self.log.len()),
            None => String::new(),
        }
    }

    /// `uuid:1-42`, everything executed in MySQL's format; empty in a new volume.
    pub(super) fn gtid_set(&self) -> String {
        let mut sets: BTreeMap<&str, String> = BTreeMap::new();
        let mut number = 1;
        for run in self.log.chunk_by(|a, b| a.uuid == b.uuid) {
            let end = number + run.len() - 1;
            let set = sets.entry(&run[0].uuid).or_default();
            set.push_str(&format!(":{number}-{end}"));
            number = end + 1;
        }
        let sets: Vec<String> = sets
            .iter()
            .map(|(uuid, set)| format!("{uuid}{set}"))
            .collect();
        sets.join(",")
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create {
                table,
                columns,
                key,
            } => {
                let new = Table {
                    columns: Arc::clone(columns),
                    key: *key,
                    rows: BTreeMap::new(),
                    next: 1,
                };
                self.tables.insert(table.clone(), new);
            }
            Change::Drop { table } => {
                self.tables.remove(table);
            }
            Change::Truncate { table } => {
                if let Some(table) = self.tables.get_mut(table) {
                    table.rows.clear();
                    table.next = 1;
                }
            }
            Change::Row { table, key, row } => {
                if let Some(table) = self.tables.get_mut(table) {
                    match row {
                        Some(row) => {
                            table.next = table.next.max(key.saturating_add(1));
                            table.rows.insert(*key, Arc::clone(row));
                        }
                        None => {
                            table.rows.remove(key);
                        }
                    }
                }
            }
        }
    }
}

impl Table {
    /// The index of a column.
    pub(super) fn position(&self, name: &str) -> Result<usize, Refusal> {
        let mut columns = self.columns.iter();
        let found = columns.position(|column| column.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| Refusal::no_column(name))
    }

    /// The row with `key` as a transaction with `overlay` sees it.
    pub(super) fn row<'a>(&'a self, name: &str, overlay: &'a Overlay, key: i64) -> Option<&'a Row> {
        // The overlay is usually empty; skipping the look-up then saves a copy of the table's name.
        let changed = match overlay.is_empty() {
            true => None,
            false => overlay.get(name, key),
        };
        match changed {
            Some(changed) => changed.as_ref(),
            None => self.rows.get(&key),
        }
    }

    /// Every row as a transaction with `overlay` sees it, in the order of the key.
    pub(super) fn rows(&self, name: &str, overlay: &Overlay) -> Vec<(i64, Row)> {
        if overlay.is_empty() {
            return self
                .rows
                .iter()
                .map(|(key, row)| (*key, Arc::clone(row)))
                .collect();
        }
        let mut rows = self.rows.clone();
        for ((_, key), row) in overlay.0.iter().filter(|((table, _), _)| table == name) {
            match row {
                Some(row) => rows.insert(*key, Arc::clone(row)),
                None => rows.remove(key),
            };
        }
        rows.into_iter().collect()
    }
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, table: &str, key: i64) -> Option<&Option<Row>> {
        self.0.get(&(table.to_owned(), key))
    }

    pub(super) fn set(&mut self, table: &str, key: i64, row: Option<Row>) {
        self.0.insert((table.to_owned(), key), row);
    }

    pub(super) fn into_changes(self) -> Vec<Change> {
        let rows = self.0.into_iter();
        rows.map(|((table, key), row)| Change::Row { table, key, row })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sql::Kind;
    use super::*;

    fn create() -> Change {
        let id = Column {
            name: "id".to_owned(),
            kind: Kind::Int,
            nullable: false,
            counted: true,
        };
        Change::Create {
            table: "t".to_owned(),
            columns: Arc::new([id]),
            key: 0,
        }
    }

    fn row(key: i64) -> Change {
        Change::Row {
            table: "t".to_owned(),
            key,
            row: Some(Arc::new([Datum::Int(key.into())])),
        }
    }

    fn commit(volume: &Volume, change: Change) {
        volume.commit(1, vec![change], || Ok(())).unwrap();
    }

    #[tokio::test]
    async fn positions_count_transactions_in_both_languages() {
        let volume = Volume::empty();
        assert_eq!(volume.lock().gtid(), "");
        assert_eq!(volume.lock().gtid_set(), "");
        commit(&volume, create());
        commit(&volume, row(7));
        assert_eq!(volume.lock().gtid(), "0-1-2");
        assert_eq!(volume.lock().gtid_set(), format!("{}:1-2", volume.uuid));
        assert_eq!(volume.lock().generate("t"), 8);
        assert_eq!(volume.lock().generate("t"), 9);
    }

    #[tokio::test]
    async fn a_commit_that_is_not_allowed_leaves_nothing() {
        let volume = Volume::empty();
        commit(&volume, create());
        let refused = volume.commit(1, vec![row(1)], || Err(Refusal::read_only_transaction()));
        assert_eq!(refused.unwrap_err().code, 1792);
        assert_eq!(volume.lock().gtid(), "0-1-1");
        assert!(volume.lock().tables["t"].rows.is_empty());
    }

    #[tokio::test]
    async fn an_overlay_hides_and_adds_rows_for_its_owner_only() {
        let volume = Volume::empty();
        commit(&volume, create());
        commit(&volume, row(1));
        let state = volume.lock();
        let table = &state.tables["t"];
        let mut overlay = Overlay::default();
        overlay.set("t", 1, None);
        overlay.set("t", 2, Some(Arc::new([Datum::Int(2)])));
        let keys = |overlay| -> Vec<i64> {
            table
                .rows("t", overlay)
                .into_iter()
                .map(|(key, _)| key)
                .collect()
        };
        assert_eq!(keys(&overlay), [2]);
        assert_eq!(keys(&Overlay::default()), [1]);
        assert!(table.row("t", &overlay, 1).is_none());
        assert!(table.row("t", &Overlay::default(), 1).is_some());
    }

    #[tokio::test]
    async fn histories_part_where_both_wrote() {
        let (primary, replica) = (Volume::empty(), Volume::empty());
        commit(&primary, create());
        assert!(replica.lock().shares_history(&primary.lock()));
        replica.replicate(Arc::clone(&primary.lock().log[0]));
        assert!(replica.lock().shares_history(&primary.lock()));
        commit(&primary, row(1));
        assert!(replica.lock().shares_history(&primary.lock()));
        commit(&replica, row(1));
        assert!(!replica.lock().shares_history(&primary.lock()));
    }
}
