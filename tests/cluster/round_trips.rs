//! What a call costs in round trips, counted by a proxy in front of the server.

use crate::staged::Staged as _;
use crate::support::{World, server, stage};
use headless_mysql::discovery::FixedList;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::lab::ServerKind;
use headless_mysql_testkit::proxy::FaultProxy;

const INSERT: &str = "INSERT INTO numbered (n) VALUES (7)";
const INSERT_ONE: &str = "INSERT INTO numbered (n) VALUES (?)";

struct Counted {
    _world: World,
    proxy: FaultProxy,
    cluster: Cluster,
}

/// A primary with a table with AUTO_INCREMENT, behind a proxy.
async fn counted() -> Counted {
    let world = World::on(stage(0).await).await;
    let create = "CREATE TABLE numbered (id BIGINT AUTO_INCREMENT PRIMARY KEY, n BIGINT)";
    world.cluster.primary().query_drop(create).await.unwrap();
    let lab = &world.stage.lab;
    let server = (lab.address(0), lab.port()).into();
    let proxy = FaultProxy::start((lab.address(0), 0).into(), server)
        .await
        .unwrap();
    let config = world.stage.config().with_max_connections(1);
    let cluster = Cluster::builder(config)
        .resolver(FixedList::new([proxy.address()]))
        .connect()
        .await
        .unwrap();
    Counted {
        _world: world,
        proxy,
        cluster,
    }
}

impl Counted {
    /// The round trips of ten calls: the fewest of several attempts, because the library asks the
    /// primary for its position after a pause in the writes.
    async fn ten(&self, call: impl AsyncFn(&Cluster) -> Result<(), Error>) -> u64 {
        let mut fewest = u64::MAX;
        for _ in 0..8 {
            call(&self.cluster).await.unwrap();
            let before = self.proxy.round_trips();
            for _ in 0..10 {
                call(&self.cluster).await.unwrap();
            }
            fewest = fewest.min(self.proxy.round_trips() - before);
        }
        fewest
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_on_a_route_costs_one_round_trip() {
    let counted = counted().await;
    let text = counted.ten(async |cluster| cluster.primary().query_drop(INSERT).await);
    assert_eq!(text.await, 10);
    let prepared = async |cluster: &Cluster| cluster.primary().exec_drop(INSERT_ONE, (7,)).await;
    assert_eq!(counted.ten(prepared).await, 10);
    let outcome = async |cluster: &Cluster| {
        let outcome = cluster.primary().run(INSERT_ONE, (7,)).await?;
        assert!(outcome.last_insert_id.is_some());
        Ok(())
    };
    assert_eq!(counted.ten(outcome).await, 10);
    let warned = counted.ten(async |cluster| cluster.primary().query_drop("SELECT 1 / 0").await);
    assert_eq!(warned.await, 10);
    let batch = async |cluster: &Cluster| {
        let rows = [(7,), (7,)];
        cluster.primary().exec_batch(INSERT_ONE, rows).await
    };
    // MariaDB takes all rows at once.
    let expected = match server() {
        ServerKind::MySql => 20,
        _ => 10,
    };
    assert_eq!(counted.ten(batch).await, expected);
    let read = async |cluster: &Cluster| {
        let n = "SELECT n FROM numbered WHERE id = ?";
        let n = cluster.primary().exec_first::<u64>(n, (1,)).await?;
        assert_eq!(n, Some(7));
        Ok(())
    };
    assert_eq!(counted.ten(read).await, 10);
    // The insert and the question, which must not show the insert's id.
    let asked = async |cluster: &Cluster| {
        cluster.primary().query_drop(INSERT).await?;
        let id = cluster
            .primary()
            .query_first("SELECT LAST_INSERT_ID()")
            .await?;
        assert_eq!(id, Some(0));
        Ok(())
    };
    assert_eq!(counted.ten(asked).await, 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_costs_one_round_trip_more_than_its_texts_and_two_more_if_prepared() {
    let counted = counted().await;
    let text = async |cluster: &Cluster| {
        let mut tx = cluster.begin().await?;
        tx.query_drop(INSERT).await?;
        let row = "SELECT n FROM numbered LIMIT 1";
        assert_eq!(tx.query_first(row).await?, Some(7));
        tx.commit().await.map(|_| ())
    };
    assert_eq!(counted.ten(text).await, 30);
    let prepared = async |cluster: &Cluster| {
        let mut tx = cluster.begin().await?;
        tx.exec_drop(INSERT_ONE, (7,)).await?;
        let row = "SELECT n FROM numbered WHERE id = ?";
        assert_eq!(tx.exec_first(row, (1,)).await?, Some(7));
        tx.commit().await.map(|_| ())
    };
    assert_eq!(counted.ten(prepared).await, 40);
    let asked = async |cluster: &Cluster| {
        let mut tx = cluster.begin().await?;
        tx.query_drop(INSERT).await?;
        let id = tx.last_insert_id();
        assert_eq!(tx.query_first("SELECT LAST_INSERT_ID()").await?, Some(id));
        tx.commit().await.map(|_| ())
    };
    assert_eq!(counted.ten(asked).await, 40);
    let rolled_back = async |cluster: &Cluster| {
        let mut tx = cluster.begin().await?;
        tx.query_drop(INSERT).await?;
        tx.rollback().await
    };
    assert_eq!(counted.ten(rolled_back).await, 20);
    let empty = async |cluster: &Cluster| cluster.begin().await?.commit().await.map(|_| ());
    assert_eq!(counted.ten(empty).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_in_hand_costs_one_round_trip_per_statement_and_one_to_tell_whose_an_id_is() {
    let counted = counted().await;
    let held = async |cluster: &Cluster| {
        let mut conn = cluster.primary().conn().await?;
        for _ in 0..5 {
            conn.query_drop(INSERT).await?;
            let id = conn.last_insert_id();
            assert_eq!(conn.query_first("SELECT LAST_INSERT_ID()").await?, Some(id));
        }
        Ok(())
    };
    assert_eq!(counted.ten(held).await, 110);
}
