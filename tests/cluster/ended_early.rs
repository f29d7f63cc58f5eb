//! What the caller learns of a transaction that did not end by its own COMMIT, and what the
//! connection's next user gets.

use crate::staged::Staged as _;
use crate::support::{World, eventually, lab, stage};
use headless_mysql::config::Reset;
use headless_mysql::mysql_async::Conn;
use headless_mysql::prelude::*;
use headless_mysql::{Error, Tx};
use headless_mysql_testkit::lab::Nodes;
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;
use tokio::task::JoinHandle;

/// With one connection to the primary, the next user certainly gets the previous user's.
async fn world_of_one() -> World {
    let stage = stage(0).await;
    let config = stage.config().with_max_connections(1);
    World::with(stage, config).await
}

pub(crate) async fn root(world: &World) -> Conn {
    let mut root = world.stage.lab.admin(0).await.unwrap();
    let database = world.stage.lab.database();
    root.query_drop(format!("USE {database}")).await.unwrap();
    root
}

pub(crate) async fn ids(root: &mut Conn) -> Vec<u64> {
    let ids = "SELECT id FROM entries ORDER BY id";
    root.query(ids).await.unwrap()
}

async fn put(tx: &mut Tx, id: u64) {
    let insert = "INSERT INTO entries VALUES (?, 'tx')";
    tx.exec_drop(insert, (id,)).await.unwrap();
}

pub(crate) fn assert_ended(error: &Error) {
    assert!(matches!(error, Error::TransactionEnded { .. }), "{error}");
    assert!(!error.is_retryable(), "{error}");
}

const LOCK: &str = "UPDATE entries SET pod = 'locked' WHERE id = ?";

/// Starts another transaction, which has written more than `tx`, so that it survives a deadlock.
/// `tx` must hold row 1 and then ask for row 2.
async fn rival(world: &World, tx: &mut Tx) -> JoinHandle<()> {
    let mut rival = world.cluster.begin().await.unwrap();
    for id in 1_000..1_040 {
        put(&mut rival, id).await;
    }
    rival.exec_drop(LOCK, (2,)).await.unwrap();
    tx.exec_drop(LOCK, (1,)).await.unwrap();
    let mut root = root(world).await;
    let task = tokio::spawn(async move {
        rival.exec_drop(LOCK, (1,)).await.unwrap();
        rival.rollback().await.unwrap();
    });
    waits_for_a_lock(&mut root).await;
    task
}

async fn waits_for_a_lock(root: &mut Conn) {
    eventually("a transaction waits for a lock", async || {
        let waits = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
        let waits: Option<(String, u64)> = root.query_first(waits).await.unwrap();
        waits.is_some_and(|(_, waits)| waits == 1)
    })
    .await;
}

/// Each statement commits what came before. Later statements would persist despite a rollback.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_was_committed_underneath_is_never_told_as_rolled_back() {
    let world = World::start(0).await;
    let mut root = root(&world).await;
    for procedure in [
        "CREATE PROCEDURE commits() BEGIN COMMIT; END",
        "CREATE PROCEDURE begins() BEGIN COMMIT; START TRANSACTION; SELECT 1 FROM entries; END",
    ] {
        root.query_drop(procedure).await.unwrap();
    }
    world.insert(1).await.unwrap();
    let mut holder = world.cluster.begin().await.unwrap();
    holder.exec_drop(LOCK, (1,)).await.unwrap();
    for (id, statement, seen_at_once) in [
        (10, "CREATE TABLE side (a INT)", true),
        (11, "CALL commits()", true),
        (12, "CALL begins()", false),
        (13, "START TRANSACTION", false),
        (14, "COMMIT AND CHAIN", false),
        (15, "COMMIT", true),
        (16, "DO 1; COMMIT; BEGIN", false),
    ] {
        let mut tx = world.cluster.begin().await.unwrap();
        tx.query_drop("SET SESSION innodb_lock_wait_timeout = 1")
            .await
            .unwrap();
        put(&mut tx, id).await;
        tx.query_drop(statement).await.unwrap();
        let error = Error::from(tx.exec_drop(LOCK, (1,)).await.unwrap_err());
        match seen_at_once {
            true => assert_ended(&error),
            false => assert!(
                matches!(&error, Error::Server { source, .. } if source.code == 1205),
                "{statement}: {error}"
            ),
        }
        let error = tx.commit().await.unwrap_err();
        assert_ended(&error);
    }
    holder.rollback().await.unwrap();
    assert_eq!(ids(&mut root).await, [1, 10, 11, 12, 13, 14, 15, 16]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_after_something_was_committed_is_no_success() {
    let world = World::start(0).await;
    let mut root = root(&world).await;
    for (id, statement) in [
        (1, "CREATE TABLE side (a INT)"),
        (2, "START TRANSACTION"),
        (3, "XA START 'a'"),
    ] {
        let mut tx = world.cluster.begin().await.unwrap();
        put(&mut tx, id).await;
        let done = tx.query_drop(statement).await;
        let rolled_back = tx.rollback().await;
        match done {
            Ok(()) => assert_ended(&rolled_back.unwrap_err()),
            // Refused, and nothing was committed.
            Err(_) => rolled_back.unwrap(),
        }
    }
    assert_eq!(ids(&mut root).await, [1, 2]);
}

/// The procedure's first half is rolled back, and its second half is committed at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_that_a_procedure_hides_is_told_before_half_a_transaction_is_committed() {
    let world = World::start(0).await;
    let mut root = root(&world).await;
    let hiding = "BEGIN DECLARE CONTINUE HANDLER FOR 1213 BEGIN END; \
                  UPDATE entries SET pod = 'b' WHERE id = 2;";
    for (name, rest) in [
        ("hides", ""),
        ("goes_on", "INSERT INTO entries VALUES (20, 'b');"),
    ] {
        let create = format!("CREATE PROCEDURE {name}() {hiding} {rest} END");
        root.query_drop(create).await.unwrap();
    }
    world.insert(1).await.unwrap();
    world.insert(2).await.unwrap();
    for by_commit in [true, false] {
        for (procedure, left) in [("hides", &[1, 2][..]), ("goes_on", &[1, 2, 20])] {
            let mut tx = world.cluster.begin().await.unwrap();
            put(&mut tx, 10).await;
            let rival = rival(&world, &mut tx).await;
            let call = format!("CALL {procedure}()");
            tx.query_drop(call).await.unwrap();
            rival.await.unwrap();
            let next = tx.query_drop("INSERT INTO entries VALUES (11, 'second half')");
            assert_ended(&next.await.unwrap_err().into());
            let error = match by_commit {
                true => tx.commit().await.unwrap_err(),
                false => tx.rollback().await.unwrap_err(),
            };
            assert_ended(&error);
            eventually("the second half is not there", async || {
                ids(&mut root).await == left
            })
            .await;
            root.query_drop("DELETE FROM entries WHERE id > 2")
                .await
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_in_a_procedure_that_may_have_committed_before_is_not_told_as_rolled_back() {
    let world = World::start(0).await;
    let mut root = root(&world).await;
    let create = "CREATE PROCEDURE half() BEGIN COMMIT; START TRANSACTION; \
                  UPDATE entries SET pod = 'b' WHERE id = 1; \
                  UPDATE entries SET pod = 'b' WHERE id = 2; END";
    root.query_drop(create).await.unwrap();
    world.insert(1).await.unwrap();
    world.insert(2).await.unwrap();
    let mut rival = world.cluster.begin().await.unwrap();
    for id in 1_000..1_040 {
        put(&mut rival, id).await;
    }
    rival.exec_drop(LOCK, (2,)).await.unwrap();
    let mut tx = world.cluster.begin().await.unwrap();
    put(&mut tx, 10).await;
    let call = tokio::spawn(async move {
        let error = Error::from(tx.query_drop("CALL half()").await.unwrap_err());
        (tx, error)
    });
    waits_for_a_lock(&mut root).await;
    rival.exec_drop(LOCK, (1,)).await.unwrap();
    rival.rollback().await.unwrap();
    let (tx, error) = call.await.unwrap();
    assert!(
        matches!(&error, Error::Server { source, .. } if source.code == 1213),
        "{error}"
    );
    assert_ended(&tx.commit().await.unwrap_err());
    assert_eq!(ids(&mut root).await, [1, 2, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_procedure_did_not_end_it_is_committed() {
    let world = World::start(0).await;
    let mut root = root(&world).await;
    let create = "CREATE PROCEDURE works() BEGIN INSERT INTO entries VALUES (2, 'p'); END";
    root.query_drop(create).await.unwrap();
    for text in [true, false] {
        let mut tx = world.cluster.begin().await.unwrap();
        put(&mut tx, 1).await;
        match text {
            true => tx.query_drop("CALL works()").await.unwrap(),
            false => tx.exec_drop("CALL works()", ()).await.unwrap(),
        }
        tx.query_drop("SAVEPOINT a").await.unwrap();
        put(&mut tx, 3).await;
        tx.query_drop("ROLLBACK TO SAVEPOINT a").await.unwrap();
        // The refused call leaves the transaction open.
        tx.query_drop("CALL nothing()").await.unwrap_err();
        tx.exec_drop("INSERT INTO entries VALUES (1, 'again')", ())
            .await
            .unwrap_err();
        put(&mut tx, 4).await;
        tx.commit().await.unwrap();
        assert_eq!(ids(&mut root).await, [1, 2, 4]);
        root.query_drop("DELETE FROM entries").await.unwrap();
    }
}

/// The number of the session's pings and of its releases of savepoints.
async fn questions(tx: &mut Tx) -> Vec<(String, u64)> {
    let counters = "SHOW SESSION STATUS WHERE variable_name IN \
                    ('Com_admin_commands', 'Com_release_savepoint')";
    tx.query(counters).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_goes_well_asks_the_server_nothing() {
    let world = world_of_one().await;
    let mut before = None;
    for id in 1..5 {
        let mut tx = world.cluster.begin().await.unwrap();
        let asked = questions(&mut tx).await;
        assert_eq!(before.get_or_insert(asked.clone()), &asked);
        put(&mut tx, id).await;
        tx.query_drop("SAVEPOINT a; SELECT 1").await.unwrap();
        tx.exec_drop("SELECT COUNT(*) FROM entries", ())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_cut_off_in_a_procedure_that_may_have_committed_may_not_be_run_again() {
    let world = World::start(0).await;
    let mut root = root(&world).await;
    let create = "CREATE PROCEDURE slow() BEGIN COMMIT; DO SLEEP(20); END";
    root.query_drop(create).await.unwrap();
    let mut tx = world.cluster.begin().await.unwrap();
    put(&mut tx, 1).await;
    let cut = tokio::time::timeout(Duration::from_secs(1), tx.query_drop("CALL slow()"));
    cut.await.unwrap_err();
    let next = Error::from(tx.query_drop("DO 1").await.unwrap_err());
    assert_ended(&next);
    assert_ended(&tx.commit().await.unwrap_err());
    assert_eq!(ids(&mut root).await, [1]);

    // If nothing can have been committed, the transaction may be run again.
    let mut tx = world.cluster.begin().await.unwrap();
    put(&mut tx, 2).await;
    let cut = tokio::time::timeout(Duration::from_secs(1), tx.query_drop("DO SLEEP(20)"));
    cut.await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    eventually("it was rolled back", async || ids(&mut root).await == [1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_chains_transactions_does_not_undo_what_was_acknowledged() {
    for option in ["--completion-type=CHAIN", "--completion-type=RELEASE"] {
        let lab = lab().replicas(0).server_option(Nodes::All, option);
        let stage = Stage::with(lab).await.unwrap();
        let config = stage.config().with_max_connections(1);
        let world = World::with(stage, config).await;
        let mut root = root(&world).await;
        world.insert(1).await.unwrap();
        for (id, ends) in [(2, "commit"), (4, "rollback"), (6, "drop")] {
            let mut tx = world.cluster.begin().await.unwrap();
            put(&mut tx, id).await;
            match ends {
                "commit" => drop(tx.commit().await.unwrap()),
                "rollback" => tx.rollback().await.unwrap(),
                _ => drop(tx),
            }
            world.insert(id + 1).await.unwrap();
            // A cleaned connection behaves like a new one.
            let mut conn = world.cluster.primary().conn().await.unwrap();
            conn.query_drop("SET @a = 1").await.unwrap();
            drop(conn);
            world.insert(id + 10).await.unwrap();
        }
        let all = [1, 2, 3, 5, 7, 12, 14, 16];
        assert_eq!(ids(&mut root).await, all, "{option}");
    }
}

/// Without a reset, only the status flags show that the session chains transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_in_a_transaction_after_its_cleaning_is_closed() {
    let stage = stage(0).await;
    let config = { stage.config() }
        .with_max_connections(1)
        .with_reset(Reset::Never);
    let world = World::with(stage, config).await;
    let mut root = root(&world).await;
    for setting in ["completion_type = 1", "autocommit = 0"] {
        let mut tx = world.cluster.begin().await.unwrap();
        let id: Option<u64> = tx.query_first("SELECT CONNECTION_ID()").await.unwrap();
        put(&mut tx, 1).await;
        tx.query_drop(format!("SET SESSION {setting}"))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        world.insert(2).await.unwrap();
        let mut conn = world.cluster.primary().conn().await.unwrap();
        let next: Option<u64> = conn.query_first("SELECT CONNECTION_ID()").await.unwrap();
        assert_ne!(id, next, "{setting}");
        assert_eq!(ids(&mut root).await, [1, 2], "{setting}");
        root.query_drop("DELETE FROM entries").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_statement_that_leaves_a_transaction_open_is_no_success() {
    let world = world_of_one().await;
    let mut root = root(&world).await;
    let create = "CREATE PROCEDURE opens() BEGIN START TRANSACTION; \
                  INSERT INTO entries VALUES (1, 'p'); END";
    root.query_drop(create).await.unwrap();
    for statement in [
        "CALL opens()",
        "START TRANSACTION; INSERT INTO entries VALUES (1, 'x')",
        "SET autocommit = 0; INSERT INTO entries VALUES (1, 'x')",
    ] {
        let error = world.cluster.primary().query_drop(statement).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, Error::TransactionLeftOpen { .. }),
            "{error}"
        );
        assert!(!error.is_retryable());
        world.insert(2).await.unwrap();
        assert_eq!(ids(&mut root).await, [2], "{statement}");
        root.query_drop("DELETE FROM entries").await.unwrap();
    }
}
