//! A connection is returned without any of its last user's session state.

mod dirt;
mod reports;
mod server;

use self::dirt::Dirt;
use crate::staged::Staged as _;
use crate::support::{World, all_slots_are_back, lab, server};
use headless_mysql::{Config, Error, PodConn, Route, Tx};
use headless_mysql_testkit::lab::{LabBuilder, Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;

use mysql_async::prelude::Queryable;
use mysql_async::{Row, Value};
use std::time::Duration;
use tokio::time::Instant;

/// One connection only, so that the next user has the previous user's unless it was replaced.
pub(super) async fn world(lab: LabBuilder, configure: impl FnOnce(Config) -> Config) -> World {
    let stage = Stage::with(lab).await.unwrap();
    let mut admin = stage.lab.admin(0).await.unwrap();
    let sequence = (server() == ServerKind::MariaDb).then_some(&dirt::SEQUENCE);
    for statement in dirt::PREPARATION.iter().chain(sequence) {
        admin.query_drop(*statement).await.unwrap();
    }
    let config = configure(stage.config().with_max_connections(1));
    World::with(stage, config).await
}

pub(super) async fn plain_world() -> World {
    world(lab().replicas(1), |config| config).await
}

/// What a user sees of the session: every value of the first row, or the error code.
pub(super) async fn look(conn: &mut impl Queryable, probe: &str) -> String {
    let probe = match server() {
        ServerKind::MySql => mysqls(conn, probe).await,
        _ => probe.to_owned(),
    };
    match conn.query_first::<Row, _>(&probe).await {
        Ok(Some(row)) => {
            let values: Vec<String> = row.unwrap().into_iter().map(text).collect();
            values.join(" ")
        }
        Ok(None) => "nothing".to_owned(),
        Err(mysql_async::Error::Server(error)) => format!("error {}", error.code),
        Err(error) if has_ended(&error) => "nothing: the transaction has ended".to_owned(),
        Err(error) => panic!("{probe}: {error}"),
    }
}

/// Whether a statement was not sent because an earlier one, such as LOCK TABLES, had ended the
/// transaction.
fn has_ended(error: &mysql_async::Error) -> bool {
    let mysql_async::Error::Other(error) = error else {
        return false;
    };
    matches!(error.downcast_ref(), Some(Error::TransactionEnded { .. }))
}

/// A probe for MySQL. MySQL has no variable for an open transaction, so the probe uses a statement
/// that is refused inside one.
async fn mysqls(conn: &mut impl Queryable, probe: &str) -> String {
    const IN_TRANSACTION: &str = "@@in_transaction";
    let probe = probe.replace("@@tx_", "@@transaction_");
    if !probe.contains(IN_TRANSACTION) {
        return probe;
    }
    let open = match conn.query_drop("SET TRANSACTION READ WRITE").await {
        Ok(()) => "0",
        Err(mysql_async::Error::Server(error)) if error.code == 1568 => "1",
        Err(error) if has_ended(&error) => "0",
        Err(error) => panic!("{error}"),
    };
    probe.replace(IN_TRANSACTION, open)
}

fn text(value: Value) -> String {
    match value {
        Value::NULL => "NULL".to_owned(),
        Value::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
        value => value.as_sql(true),
    }
}

/// How a statement is sent to the server.
#[derive(Debug, Clone, Copy)]
enum Way {
    Text,
    Prepared,
    GenericText,
    GenericPrepared,
    Rows,
    PreparedRows,
    Driver,
    RolledBack,
    Committed,
    DroppedTx,
}

impl Way {
    const ALL: [Self; 10] = [
        Self::Text,
        Self::Prepared,
        Self::GenericText,
        Self::GenericPrepared,
        Self::Rows,
        Self::PreparedRows,
        Self::Driver,
        Self::RolledBack,
        Self::Committed,
        Self::DroppedTx,
    ];

    /// Leaves `dirt` in the session of the only connection and returns the connection. Returns what
    /// its user saw, or `None` if the server does not accept the statement this way.
    async fn leave(self, route: Route, dirt: &Dirt) -> Option<String> {
        match self {
            Self::RolledBack | Self::Committed | Self::DroppedTx => {
                let mut tx = route.begin().await.unwrap();
                for statement in dirt.statements {
                    in_transaction(&mut tx, statement, dirt).await;
                }
                let seen = look(&mut tx, dirt.probe).await;
                match self {
                    // These calls may fail, because LOCK TABLES or XA has ended the transaction.
                    Self::RolledBack => drop(tx.rollback().await),
                    Self::Committed => drop(tx.commit().await),
                    _ => drop(tx),
                }
                Some(seen)
            }
            _ => {
                let mut conn = route.conn().await.unwrap();
                for statement in dirt.statements {
                    match self.run(&mut conn, statement).await {
                        Err(mysql_async::Error::Server(error)) if error.code == 1295 => {
                            return None;
                        }
                        Err(mysql_async::Error::Server(_)) if dirt.fails => {}
                        result => result.unwrap(),
                    }
                }
                Some(look(&mut conn, dirt.probe).await)
            }
        }
    }

    async fn run(self, conn: &mut PodConn, statement: &str) -> mysql_async::Result<()> {
        match self {
            Self::Prepared => conn.exec_drop(statement, ()).await,
            Self::GenericText => generic_text(conn, statement).await,
            Self::GenericPrepared => generic_prepared(conn, statement).await,
            Self::Rows => conn.query_iter(statement).await.map(drop),
            Self::PreparedRows => conn.exec_iter(statement, ()).await.map(drop),
            Self::Driver => {
                conn.as_conn_mut()
                    .await
                    .unwrap()
                    .query_drop(statement)
                    .await
            }
            _ => conn.query_drop(statement).await,
        }
    }
}

async fn in_transaction(tx: &mut Tx, statement: &str, dirt: &Dirt) {
    match tx.query_drop(statement).await {
        Err(mysql_async::Error::Server(_)) if dirt.fails => {}
        // Some statements are not allowed inside a transaction, and leave nothing.
        Err(mysql_async::Error::Server(error)) if matches!(error.code, 1568 | 1399 | 1400) => {}
        Err(error) if has_ended(&error) => {}
        result => result.unwrap(),
    }
}

async fn generic_text<Q: Queryable>(conn: &mut Q, statement: &str) -> mysql_async::Result<()> {
    conn.query_drop(statement).await
}

async fn generic_prepared<Q: Queryable>(conn: &mut Q, statement: &str) -> mysql_async::Result<()> {
    conn.exec_drop(statement, ()).await
}

pub(super) async fn connection_id(conn: &mut PodConn) -> u32 {
    let asked = conn.query_first("SELECT CONNECTION_ID()").await;
    asked.unwrap().unwrap()
}

/// What the next user of the only connection sees, and the connection's id.
pub(super) async fn next_user_sees(route: Route, probe: &str) -> (String, u32) {
    let mut conn = route.conn().await.unwrap();
    let seen = look(&mut conn, probe).await;
    (seen, conn.id())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_user_left_in_the_session_is_seen_by_the_next() {
    nothing_is_left(plain_world().await, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_on_a_latin1_server_that_does_not_commit_by_itself() {
    let server = lab()
        .replicas(0)
        .server_option(Nodes::All, "--autocommit=0")
        .server_option(Nodes::All, "--character-set-server=latin1");
    nothing_is_left(world(server, |config| config).await, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_where_new_connections_are_set_up_by_the_server() {
    let init = "--init-connect=SET @from_init = 42, @dirt = NULL, autocommit = 0, \
                NAMES latin1, sort_buffer_size = 131072";
    let server = lab().replicas(0).server_option(Nodes::All, init);
    // Here each cleaning replaces the connection.
    nothing_is_left(world(server, |config| config).await, false).await;
}

/// Leaves every kind of dirt in every way. `resets`: a reset cleans it, so the connection stays.
async fn nothing_is_left(world: World, resets: bool) {
    let cluster = &world.cluster;
    let mut failures = Vec::new();
    for dirt in dirt::all() {
        let (clean, _) = next_user_sees(cluster.primary(), dirt.probe).await;
        let mut left = 0;
        for way in Way::ALL {
            let mut conn = cluster.primary().conn().await.unwrap();
            let id = connection_id(&mut conn).await;
            drop(conn);
            let Some(seen) = way.leave(cluster.primary(), dirt).await else {
                continue;
            };
            left += u32::from(seen != clean);
            let (mut next, next_id) = next_user_sees(cluster.primary(), dirt.probe).await;
            // A server releases locks only when it notices the closed connection.
            let patient = Instant::now() + Duration::from_secs(1);
            while !resets && next != clean && Instant::now() < patient {
                next = next_user_sees(cluster.primary(), dirt.probe).await.0;
            }
            if next != clean {
                failures.push(format!("{} by {way:?}: {next}, not {clean}", dirt.name));
                // The next round needs a new connection.
                let mut conn = cluster.primary().conn().await.unwrap();
                let _ = conn.query_drop("KILL CONNECTION_ID()").await;
            }
            let kept = (next_id == id) != dirt.costs_the_connection.contains(&server());
            if resets && !kept && next == clean && seen != clean {
                failures.push(format!("{} by {way:?}: {id}, then {next_id}", dirt.name));
            }
        }
        if left == 0 {
            failures.push(format!("{} leaves nothing", dirt.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // Two kinds of dirt insert rows, and only the row of the COMMIT exists. (After BEGIN, which
    // ends a transaction, the other insert is refused.)
    let held = cluster.primary().query_first("SELECT COUNT(*) FROM held");
    assert_eq!(held.await.unwrap(), Some(1));
    all_slots_are_back(cluster, 1).await;
}
