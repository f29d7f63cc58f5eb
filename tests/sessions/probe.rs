//! Reads all of a session's state that a user can query.

use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::mysql_async::{Conn, Error, Row, Value};
use headless_mysql_testkit::lab::ServerKind;
use std::collections::BTreeMap;

/// Queries and their answers.
pub(crate) type State = BTreeMap<String, String>;

/// Variables that depend on the clock, on other sessions, or on the last statement. `LAST_GTID` may
/// be the last user's, which the README documents.
const NOT_OF_THE_SESSION: &[&str] = &[
    "timestamp",
    "last_gtid",
    "pseudo_thread_id",
    "gtid_executed",
    "gtid_binlog_pos",
    "gtid_binlog_state",
    "gtid_current_pos",
    "statement_id",
    "rand_seed1",
    "rand_seed2",
];

/// The queries, in an order in which none hides the answer to a later one.
const STATE: &[&str] = &[
    "SELECT @@warning_count, @@error_count",
    "SHOW WARNINGS",
    "SELECT LAST_INSERT_ID(), @@identity, @@insert_id",
    "SELECT @a, @b, DATABASE(), CURRENT_USER(), CURRENT_ROLE(), \
     IFNULL(IS_USED_LOCK('k1') = CONNECTION_ID(), 0), \
     IFNULL(IS_USED_LOCK('k2') = CONNECTION_ID(), 0), \
     ABS(UNIX_TIMESTAMP(SYSDATE()) - @@timestamp) < 100, @@autocommit",
    "SHOW PROFILES",
    "SELECT COUNT(*) FROM information_schema.PROFILING",
    "SELECT COUNT(*) FROM information_schema.OPTIMIZER_TRACE",
    "SELECT COUNT(*) FROM tmp1",
    "EXECUTE st1",
    "HANDLER t READ FIRST",
    // Refused inside a transaction.
    "SET TRANSACTION READ WRITE",
    // Refused if tables are locked or transactions are read-only.
    "DELETE FROM scratch WHERE FALSE",
];

pub(crate) async fn state(conn: &mut Conn, kind: ServerKind) -> Result<State, Error> {
    let mut state = State::new();
    let variables = match kind {
        ServerKind::MySql => "performance_schema.session_variables",
        _ => "information_schema.SESSION_VARIABLES",
    };
    for question in STATE {
        let answer = answer(conn, question).await?;
        state.insert((*question).to_owned(), answer);
    }
    let shadowed = answer(conn, "SHOW CREATE TABLE t").await?;
    state.insert("t".to_owned(), shadowed);
    if kind != ServerKind::MySql {
        let question = "SELECT PREVIOUS VALUE FOR s";
        state.insert(question.to_owned(), answer(conn, question).await?);
    }
    let rows: Vec<(String, Option<String>)> =
        conn.query(format!("SELECT * FROM {variables}")).await?;
    for (name, value) in rows {
        let name = name.to_lowercase();
        if !NOT_OF_THE_SESSION.contains(&name.as_str()) {
            state.insert(name, value.unwrap_or_default());
        }
    }
    Ok(state)
}

async fn answer(conn: &mut Conn, question: &str) -> Result<String, Error> {
    match conn.query::<Row, _>(question).await {
        Ok(rows) => {
            let values = rows.into_iter().flat_map(Row::unwrap);
            let values: Vec<String> = values.map(text).collect();
            Ok(values.join(" "))
        }
        Err(Error::Server(error)) => Ok(format!("error {}", error.code)),
        Err(error) => Err(error),
    }
}

fn text(value: Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        value => value.as_sql(true),
    }
}

/// The queries whose answers differ.
pub(crate) fn differences(before: &State, after: &State) -> Vec<String> {
    let changed = |(name, value): (&String, &String)| {
        let was = before.get(name).map_or("", String::as_str);
        (was != value).then(|| format!("{name}: {was:?}, then {value:?}"))
    };
    after.iter().filter_map(changed).collect()
}
