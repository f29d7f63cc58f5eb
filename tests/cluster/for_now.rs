//! Statements that the server temporarily refuses. Nothing was executed, so they are sent once
//! more, unless the error can occur midway.

use crate::support::{PATIENCE, World};
use headless_mysql::Error;
use headless_mysql::mysql_async::Conn;
use headless_mysql::mysql_async::prelude::Queryable;

/// Makes the server refuse the first INSERT into `entries` with this error. The AUTO_INCREMENT of
/// `tries` counts the attempts, because a rollback does not reset it.
async fn refuse_first(root: &mut Conn, code: u16, text: &str) {
    let trigger = format!(
        "CREATE TRIGGER app.refuse BEFORE INSERT ON app.entries FOR EACH ROW BEGIN \
           INSERT INTO app.tries () VALUES (); \
           IF LAST_INSERT_ID() = 1 THEN \
             SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = '{text}'; \
           END IF; \
         END"
    );
    for statement in [
        "DROP TRIGGER IF EXISTS app.refuse",
        "DROP TABLE IF EXISTS app.tries",
        "CREATE TABLE app.tries (n BIGINT AUTO_INCREMENT PRIMARY KEY)",
        &trigger,
    ] {
        root.query_drop(statement).await.unwrap();
    }
}

/// The number of the first INSERT that succeeds.
async fn tried(root: &mut Conn) -> u64 {
    let first = root.query_first("SELECT MIN(n) FROM app.tries").await;
    first.unwrap().unwrap()
}

const NOT_READY: &str = "WSREP has not yet prepared node for application use";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_its_server_refuses_for_now_is_sent_once_more_if_nothing_was_executed() {
    let world = World::start(0).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    for (id, (code, text, again)) in [
        (1047, NOT_READY, true),
        (3032, "The server is currently in offline mode", true),
        (
            3100,
            "Error on observer while running replication hook",
            true,
        ),
        (1047, "Unknown command", false),
        (1021, "Disk full", false),
        (1037, "Out of memory", false),
        (1041, "Out of memory", false),
    ]
    .into_iter()
    .enumerate()
    {
        refuse_first(&mut root, code, text).await;
        let id = id as u64;
        let route = world.cluster.primary().deadline(PATIENCE);
        let insert = "INSERT INTO entries (id) VALUES (?)";
        let inserted = route.exec_drop(insert, (id,)).await;
        match &inserted {
            Ok(()) => assert!(again, "{code} {text}"),
            Err(Error::Server { source, .. }) if source.code == code => {
                assert!(!again, "{code} {text}");
                world.must_insert(id).await;
            }
            Err(error) => panic!("{code} {text}: {error:?}"),
        }
        assert_eq!(tried(&mut root).await, 2, "{code} {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_of_a_transaction_that_its_server_refuses_for_now_is_not_sent_again() {
    let world = World::start(0).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    for code in [1047, 3032, 3100] {
        refuse_first(&mut root, code, NOT_READY).await;
        let mut tx = world.cluster.begin().await.unwrap();
        let insert = "INSERT INTO entries (id) VALUES (1)";
        let error = Error::from(tx.exec_drop(insert, ()).await.unwrap_err());
        assert!(
            !error.is_retryable() && error.code() == Some(code),
            "{error}"
        );
        drop(tx);
        world.must_insert(code.into()).await;
        assert_eq!(tried(&mut root).await, 2, "{code}");
    }
}
