//! The operations that are cut off: every kind of operation. Each one uses a unique number in all
//! its queries, so that an answer to another query is noticed.

use futures_util::StreamExt;
use headless_mysql::{Cluster, Error, PodConn};
use mysql_async::Row;
use mysql_async::prelude::Queryable;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that no other statement of this process uses.
pub(super) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1_000_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An operation on a checked-out connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum OnConn {
    Query,
    QueryFirst,
    QueryFold,
    TwoResults,
    Execute,
    ExecuteAgain,
    ExecuteGeneric,
    Prepare,
    Batch,
    Ping,
    Iterate,
    IterateInPart,
    IteratePrepared,
    Stream,
    StreamInPart,
    StreamPrepared,
    Refused,
}

impl OnConn {
    pub(super) const ALL: [Self; 17] = [
        Self::Query,
        Self::QueryFirst,
        Self::QueryFold,
        Self::TwoResults,
        Self::Execute,
        Self::ExecuteAgain,
        Self::ExecuteGeneric,
        Self::Prepare,
        Self::Batch,
        Self::Ping,
        Self::Iterate,
        Self::IterateInPart,
        Self::IteratePrepared,
        Self::Stream,
        Self::StreamInPart,
        Self::StreamPrepared,
        Self::Refused,
    ];

    /// Runs the operation and checks its answer.
    pub(super) async fn run(self, conn: &mut PodConn) -> mysql_async::Result<()> {
        let n = unique();
        let rows = format!("SELECT {n} UNION ALL SELECT {n} UNION ALL SELECT {n}");
        let prepared = "SELECT ? UNION ALL SELECT ? UNION ALL SELECT ?";
        match self {
            Self::Query => assert_eq!(conn.query::<u64, _>(rows).await?, [n; 3]),
            Self::QueryFirst => assert_eq!(conn.query_first(rows).await?, Some(n)),
            Self::QueryFold => {
                let sum = conn.query_fold(rows, 0, |sum, row: u64| sum + row).await?;
                assert_eq!(sum, 3 * n);
            }
            Self::TwoResults => {
                let two = format!("SELECT {n}; {rows}; DO 0; {rows}");
                assert_eq!(conn.query::<u64, _>(two).await?, [n]);
            }
            Self::Execute => {
                assert_eq!(conn.exec::<u64, _, _>(prepared, (n, n, n)).await?, [n; 3]);
            }
            Self::ExecuteAgain => {
                for n in [n, unique()] {
                    assert_eq!(conn.exec_first(prepared, (n, n, n)).await?, Some(n));
                }
            }
            Self::ExecuteGeneric => {
                let got: Vec<u64> = Queryable::exec(conn, prepared, (n, n, n)).await?;
                assert_eq!(got, [n; 3]);
            }
            Self::Prepare => {
                let statement = conn.prep(format!("SELECT ?, {n}")).await?;
                let got = conn.exec_first(&statement, (n,)).await?;
                assert_eq!(got, Some((n, n)));
                conn.close(statement).await?;
            }
            Self::Batch => {
                let sets = [(n, "a"), (n, "b"), (n, "c")];
                let insert = "INSERT IGNORE INTO entries VALUES (?, ?)";
                conn.exec_batch(insert, sets).await?;
            }
            Self::Ping => conn.ping().await?,
            Self::Iterate => {
                let mut result = conn.query_iter(format!("{rows}; {rows}")).await?;
                assert_eq!(result.collect::<u64>().await?, [n; 3]);
                assert_eq!(result.collect::<u64>().await?, [n; 3]);
            }
            Self::IterateInPart => {
                let mut result = conn.query_iter(format!("{rows}; {rows}")).await?;
                assert_eq!(next(result.next().await?), n);
            }
            Self::IteratePrepared => {
                let mut result = conn.exec_iter(prepared, (n, n, n)).await?;
                for _ in 0..2 {
                    assert_eq!(next(result.next().await?), n);
                }
            }
            Self::Stream => {
                let mut rows = conn.query_stream::<u64, _>(rows).await?;
                let mut seen = 0;
                while let Some(row) = rows.next().await {
                    assert_eq!(row?, n);
                    seen += 1;
                }
                assert_eq!(seen, 3);
            }
            Self::StreamInPart => {
                let two = format!("{rows}; {rows}");
                let mut rows = conn.query_stream::<u64, _>(two).await?;
                assert_eq!(rows.next().await.transpose()?, Some(n));
            }
            Self::StreamPrepared => {
                let mut rows = conn.exec_stream::<u64, _, _>(prepared, (n, n, n)).await?;
                assert_eq!(rows.next().await.transpose()?, Some(n));
            }
            Self::Refused => {
                // The error is in the second result set.
                let text = format!("SELECT {n}; SELECT no_such_column_{n}; SELECT {n}");
                match conn.query::<u64, _>(text).await {
                    Err(mysql_async::Error::Server(error)) => {
                        assert!(error.message.contains(&n.to_string()), "{error}");
                    }
                    Err(error) => return Err(error),
                    Ok(rows) => panic!("{rows:?}"),
                }
            }
        }
        Ok(())
    }
}

fn next(row: Option<Row>) -> u64 {
    row.unwrap().get(0).unwrap()
}

/// A call on a route.
#[derive(Debug, Clone, Copy)]
pub(super) enum OnRoute {
    Query,
    TwoResults,
    Execute,
    Batch,
    Run,
    Checkout,
}

impl OnRoute {
    pub(super) const ALL: [Self; 6] = [
        Self::Query,
        Self::TwoResults,
        Self::Execute,
        Self::Batch,
        Self::Run,
        Self::Checkout,
    ];

    /// Runs the call and checks its answer.
    pub(super) async fn run(self, cluster: &Cluster) -> Result<(), Error> {
        let n = unique();
        let rows = format!("SELECT {n} UNION ALL SELECT {n}");
        let route = cluster.primary();
        match self {
            Self::Query => assert_eq!(route.query::<u64>(rows).await?, [n; 2]),
            Self::TwoResults => {
                let two = format!("SELECT {n}; {rows}; {rows}");
                assert_eq!(route.query_first(two).await?, Some(n));
            }
            Self::Execute => {
                let got = route.exec_first("SELECT ?, ? + 1", (n, n)).await?;
                assert_eq!(got, Some((n, n + 1)));
            }
            Self::Batch => {
                let insert = "INSERT IGNORE INTO entries VALUES (?, ?)";
                route.exec_batch(insert, [(n, "a"), (n, "b")]).await?;
            }
            Self::Run => {
                let insert = format!("INSERT INTO entries VALUES ({n}, '{n}')");
                assert_eq!(route.run(insert, ()).await?.affected_rows, 1);
            }
            Self::Checkout => {
                let mut conn = route.conn().await?;
                let got = conn.query_first(rows).await.map_err(Error::from)?;
                assert_eq!(got, Some(n));
            }
        }
        Ok(())
    }
}

/// Uses a connection whose last operation may have been cut off. It must answer correctly or
/// refuse. Returns whether it refused.
pub(super) async fn refuses_or_answers_right(conn: &mut PodConn) -> bool {
    let n = unique();
    match conn.query::<u64, _>(format!("SELECT {n}")).await {
        Ok(rows) => {
            assert_eq!(rows, [n], "another statement's rows");
            false
        }
        Err(error) => match Error::from(error) {
            Error::Interrupted { .. } => true,
            error => panic!("{error}"),
        },
    }
}

/// Checks that the next checkout gets answers to its own queries.
pub(super) async fn next_checkout_is_right(cluster: &Cluster) {
    let n = unique();
    let mut conn = cluster.primary().conn().await.unwrap();
    let text: Vec<u64> = conn.query(format!("SELECT {n}")).await.unwrap();
    assert_eq!(text, [n], "another statement's rows");
    let n = unique();
    let prepared: Vec<u64> = conn.exec("SELECT ?", (n,)).await.unwrap();
    assert_eq!(prepared, [n], "another statement's rows");
}
