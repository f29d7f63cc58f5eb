//! What a statement reported about itself (its insert id, its warnings) is seen by its own user
//! only, although it is removed no earlier than before a statement that may read it.

use super::text;
use crate::staged::Staged as _;
use crate::support::{World, server};
use headless_mysql::{Cluster, Route};
use headless_mysql_testkit::lab::ServerKind;
use mysql_async::Row;
use mysql_async::prelude::Queryable;

const PREPARATION: &[&str] = &[
    "CREATE TABLE numbered (id BIGINT AUTO_INCREMENT PRIMARY KEY, n TINYINT)",
    "CREATE TABLE seen (id BIGINT, n BIGINT)",
    "CREATE FUNCTION told() RETURNS BIGINT NOT DETERMINISTIC NO SQL RETURN LAST_INSERT_ID()",
];

/// Statements that leave an insert id or warnings.
const LEAVE: &[&str] = &[
    "INSERT INTO numbered (n) VALUES (1)",
    "INSERT INTO numbered (n) VALUES (1), (2), (3)",
    "INSERT IGNORE INTO numbered (n) VALUES (1000)",
    "UPDATE numbered SET n = 2 WHERE id = LAST_INSERT_ID(1)",
    "SELECT 1 / 0",
    "SELECT CAST('x' AS SIGNED) FROM numbered",
];

/// Statements that read them, in every way that a server offers.
const READ: &[&str] = &[
    "SELECT LAST_INSERT_ID()",
    "SELECT 1 + last_insert_id ( )",
    "SELECT (SELECT LAST_INSERT_ID()) FROM numbered LIMIT 1",
    "WITH x AS (SELECT LAST_INSERT_ID() AS id) SELECT id FROM x",
    "SELECT @@last_insert_id",
    "SELECT @@identity, @@session.last_insert_id, @@local.identity",
    "SELECT @@`last_insert_id`",
    "SELECT @@warning_count, @@error_count",
    "SHOW WARNINGS",
    "SHOW WARNINGS LIMIT 1",
    "SHOW ERRORS",
    "SHOW COUNT(*) WARNINGS",
    "SHOW COUNT(*) ERRORS",
    "SHOW VARIABLES LIKE 'last_insert_id'",
    "SHOW SESSION VARIABLES WHERE variable_name IN ('identity', 'warning_count')",
    "SELECT told()",
    "SELECT app.told()",
    "SELECT /*! LAST_INSERT_ID() */",
    "SELECT id FROM numbered WHERE id IS NULL",
    "SELECT id FROM numbered WHERE id IS/* */NULL",
    "SELECT id FROM numbered WHERE ISNULL(id)",
    "SELECT id FROM numbered WHERE id IS UNKNOWN",
    "SELECT id FROM numbered WHERE NOT (id IS NOT NULL)",
    "EXPLAIN SELECT LAST_INSERT_ID()",
];

/// For MySQL only.
const READ_MYSQL: &[&str] = &[
    "SELECT variable_value FROM performance_schema.session_variables \
     WHERE variable_name = 'last_insert_id'",
    "SELECT variable_value FROM `performance_schema`.`session_variables` \
     WHERE variable_name = 'warning_count'",
];

/// For MariaDB only.
const READ_MARIADB: &[&str] = &[
    "SELECT variable_value FROM information_schema.session_variables \
     WHERE variable_name = 'LAST_INSERT_ID'",
    "SELECT session_value FROM information_schema.system_variables \
     WHERE variable_name = 'WARNING_COUNT'",
];

async fn world() -> World {
    let world = World::start(0).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    // `IS NULL` finds the last inserted row in sessions that begin from now on.
    for statement in [
        "SET GLOBAL sql_auto_is_null = 1",
        "SET GLOBAL log_bin_trust_function_creators = 1",
        "USE app",
    ]
    .iter()
    .chain(PREPARATION)
    {
        root.query_drop(*statement).await.unwrap();
    }
    world
}

/// A new cluster with one connection per pod.
async fn fresh(world: &World) -> Cluster {
    let config = world.stage.config().with_max_connections(1);
    Cluster::builder(config).connect().await.unwrap()
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Text,
    Prepared,
    Held,
    HeldPrepared,
    HeldRows,
    HeldPreparedRows,
    Generic,
    AfterPing,
    InTransaction,
    PreparedInTransaction,
    RowsInTransaction,
}

impl Way {
    const ALL: [Self; 11] = [
        Self::Text,
        Self::Prepared,
        Self::Held,
        Self::HeldPrepared,
        Self::HeldRows,
        Self::HeldPreparedRows,
        Self::Generic,
        Self::AfterPing,
        Self::InTransaction,
        Self::PreparedInTransaction,
        Self::RowsInTransaction,
    ];

    async fn rows(self, route: Route, statement: &str) -> Result<Vec<Row>, headless_mysql::Error> {
        Ok(match self {
            Self::Text => route.query(statement).await?,
            Self::Prepared => route.exec(statement, ()).await?,
            Self::Held => route.conn().await?.query(statement).await?,
            Self::HeldPrepared => route.conn().await?.exec(statement, ()).await?,
            Self::HeldRows => {
                let mut conn = route.conn().await?;
                let rows = conn.query_iter(statement).await?;
                rows.collect_and_drop().await?
            }
            Self::HeldPreparedRows => {
                let mut conn = route.conn().await?;
                let rows = conn.exec_iter(statement, ()).await?;
                rows.collect_and_drop().await?
            }
            Self::Generic => {
                let mut conn = route.conn().await?;
                Queryable::exec(&mut conn, statement, ()).await?
            }
            Self::AfterPing => {
                let mut conn = route.conn().await?;
                conn.ping().await?;
                conn.query(statement).await?
            }
            Self::RowsInTransaction => {
                let mut tx = route.begin().await?;
                let rows = tx.exec_iter(statement, ()).await?;
                rows.collect_and_drop().await?
            }
            Self::InTransaction => route.begin().await?.query(statement).await?,
            Self::PreparedInTransaction => route.begin().await?.exec(statement, ()).await?,
        })
    }

    async fn look(self, cluster: &Cluster, statement: &str) -> String {
        match self.rows(cluster.primary(), statement).await {
            Ok(rows) => {
                let rows = rows.into_iter().map(|row| {
                    let values = row.unwrap().into_iter().map(text);
                    values.collect::<Vec<_>>().join(" ")
                });
                rows.collect::<Vec<_>>().join("; ")
            }
            Err(error) => error
                .code()
                .map_or(error.to_string(), |code| code.to_string()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_sees_what_an_earlier_call_reported_about_itself() {
    let world = world().await;
    let more = match server() {
        ServerKind::MySql => READ_MYSQL,
        _ => READ_MARIADB,
    };
    world.cluster.primary().query_drop(LEAVE[0]).await.unwrap();
    let cluster = fresh(&world).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    let connections = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app'";
    for read in READ.iter().chain(more) {
        for way in Way::ALL {
            let expected = way.look(&fresh(&world).await, read).await;
            for leave in LEAVE {
                cluster.primary().query_drop(*leave).await.unwrap();
                let seen = way.look(&cluster, read).await;
                assert_eq!(seen, expected, "{read}, {way:?}, after {leave}");
            }
        }
    }
    let count: Option<u64> = root.query_first(connections).await.unwrap();
    assert!(count.is_some_and(|count| count > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_sees_what_his_own_statements_report_whatever_was_left_before() {
    let world = world().await;
    let cluster = fresh(&world).await;
    let expect = async |conn: &mut headless_mysql::PodConn, read: &str, expected: u64| {
        let seen = conn.query_first::<u64, _>(read).await.unwrap();
        assert_eq!(seen, Some(expected), "{read}");
    };
    for leave in LEAVE {
        cluster.primary().query_drop(*leave).await.unwrap();
        let mut conn = cluster.primary().conn().await.unwrap();
        // An id of one's own choice is reported, and is not the last insert id.
        let taken = "REPLACE INTO numbered (id, n) VALUES (7, 7)";
        conn.query_drop(taken).await.unwrap();
        expect(&mut conn, "SELECT LAST_INSERT_ID()", 0).await;
        conn.query_drop("INSERT INTO numbered (n) VALUES (1)")
            .await
            .unwrap();
        let id = conn.last_insert_id().unwrap();
        conn.query_drop(taken).await.unwrap();
        expect(&mut conn, "SELECT LAST_INSERT_ID()", id).await;
        conn.query_drop("SELECT 1 / 0").await.unwrap();
        expect(&mut conn, "SELECT @@warning_count", 1).await;
        conn.query_drop("SELECT nothing FROM numbered")
            .await
            .unwrap_err();
        let errors: Vec<Row> = conn.query("SHOW ERRORS").await.unwrap();
        assert_eq!(errors.len(), 1);
        drop(conn);

        // The first question about the warnings comes after an insert with warnings.
        cluster.primary().query_drop(*leave).await.unwrap();
        let mut conn = cluster.primary().conn().await.unwrap();
        let warned = "INSERT IGNORE INTO numbered (n) VALUES (1000)";
        conn.query_drop(warned).await.unwrap();
        let id = conn.last_insert_id().unwrap();
        let warnings: Vec<Row> = conn.query("SHOW WARNINGS").await.unwrap();
        assert_eq!(warnings.len(), 1, "after {leave}");
        expect(&mut conn, "SELECT LAST_INSERT_ID()", id).await;
        drop(conn);

        // Asked by a statement that is not reset away.
        cluster.primary().query_drop(*leave).await.unwrap();
        let mut conn = cluster.primary().conn().await.unwrap();
        conn.query_drop("SELECT nothing FROM numbered")
            .await
            .unwrap_err();
        conn.query_drop("GET DIAGNOSTICS @n = NUMBER")
            .await
            .unwrap();
        expect(&mut conn, "SELECT @n", 1).await;
        drop(conn);

        // An insert whose id is not shown in its answer.
        cluster.primary().query_drop(*leave).await.unwrap();
        let mut tx = cluster.begin().await.unwrap();
        let insert = "INSERT INTO numbered (n) VALUES (1)";
        match server() {
            ServerKind::MySql => tx.exec_iter(insert, ()).await.map(drop).unwrap(),
            _ => tx
                .query_drop(format!("{insert} RETURNING id"))
                .await
                .unwrap(),
        }
        let is_newest = "SELECT LAST_INSERT_ID() = MAX(id) FROM numbered";
        let seen = tx.query_first::<u64, _>(is_newest).await.unwrap();
        assert_eq!(seen, Some(1), "after {leave}");
        tx.commit().await.unwrap();

        // More inserts than are remembered one by one, and a batch, whose ids are not shown.
        cluster.primary().query_drop(*leave).await.unwrap();
        let mut conn = cluster.primary().conn().await.unwrap();
        for _ in 0..20 {
            conn.query_drop("INSERT INTO numbered (n) VALUES (1)")
                .await
                .unwrap();
        }
        let id = conn.last_insert_id().unwrap();
        for taken in 5000..5020 {
            let chosen = "REPLACE INTO numbered (id, n) VALUES (?, 1)";
            conn.exec_drop(chosen, (taken,)).await.unwrap();
        }
        expect(&mut conn, "SELECT LAST_INSERT_ID()", id).await;
        drop(conn);
        cluster.primary().query_drop(*leave).await.unwrap();
        let mut conn = cluster.primary().conn().await.unwrap();
        let batch = [(1,), (2,)];
        conn.exec_batch("INSERT INTO numbered (n) VALUES (?)", batch)
            .await
            .unwrap();
        let newest = "SELECT MAX(id) >= LAST_INSERT_ID() AND LAST_INSERT_ID() > 5000 FROM numbered";
        expect(&mut conn, newest, 1).await;
        // The driver's own connection shows no more.
        drop(conn);
        let mut conn = cluster.primary().conn().await.unwrap();
        let driver = conn.as_conn_mut().await.unwrap();
        let seen: Option<u64> = driver.query_first("SELECT LAST_INSERT_ID()").await.unwrap();
        assert_eq!(seen, Some(0));
    }
}
