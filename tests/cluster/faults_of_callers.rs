//! A call that fails by its own fault does not affect other callers, and each error names the pod
//! where it happened.

use crate::support::{World, connections, eventually, lab};
use headless_mysql::balance::EndpointState;
use headless_mysql::prelude::Queryable;
use headless_mysql::{Error, mysql_async};
use headless_mysql_testkit::lab::Nodes;
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;

async fn world() -> World {
    let lab = lab().replicas(0);
    let lab = lab.server_option(Nodes::All, "--local-infile=1");
    World::on(Stage::with(lab).await.unwrap()).await
}

/// Checks that no failure of the primary was recorded since its last success.
fn assert_well(world: &World) {
    let pods = world.cluster.status().pods;
    assert_eq!(pods[0].state, Some(EndpointState::Ready), "{pods:#?}");
    assert_eq!(pods[0].last_failure, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_nothing_provides_is_told_as_not_executed_and_blames_no_pod() {
    let world = world().await;
    let load = "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE entries";
    for id in 0..8 {
        let error = world.cluster.primary().query_drop(load).await.unwrap_err();
        let Error::Driver { pod: Some(pod), .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(pod.name(), "mysql-0");
        assert!(error.to_string().contains("mysql-0"), "{error}");
        assert!(!error.is_retryable(), "it would fail again");
        assert_well(&world);
        world.must_insert(id).await;
    }
    let mut conn = world.cluster.primary().conn().await.unwrap();
    assert!(conn.query_drop(load).await.is_err());
    let next = Error::from(conn.query_drop("DO 1").await.unwrap_err());
    assert!(matches!(next, Error::Interrupted { .. }), "{next:?}");
    drop(conn);
    assert_well(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_kills_its_own_connection_blames_no_pod() {
    let world = world().await;
    for id in 0..8 {
        let kill = world.cluster.primary().query_drop("KILL CONNECTION_ID()");
        assert!(kill.await.is_err());
        assert_well(&world);
        world.must_insert(id).await;
        let killed = async {
            let mut conn = world.cluster.primary().conn().await.unwrap();
            let text = format!("KILL {}", conn.id());
            let _ = conn.query_drop(text).await;
        };
        killed.await;
        assert_well(&world);
    }
}

/// Ends a connection on the server while its user is idle.
async fn kill(world: &World, id: u32) {
    let mut root = world.stage.lab.admin(0).await.unwrap();
    root.query_drop(format!("KILL {id}")).await.unwrap();
    let user = world.stage.lab.user().to_owned();
    eventually("the connection is gone", async || {
        !connections(&mut root, &user).await.contains(&u64::from(id))
    })
    .await;
    // Longer than the time for which a connection is trusted without a ping.
    tokio::time::sleep(Duration::from_millis(600)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_killed_at_rest_is_found_out_before_a_statement_is_sent() {
    let world = world().await;
    let insert = "INSERT INTO entries (id) VALUES (?)";
    let mut conn = world.cluster.primary().conn().await.unwrap();
    conn.exec_drop(insert, (1,)).await.unwrap();
    kill(&world, conn.id()).await;
    let error = Error::from(conn.exec_drop(insert, (2,)).await.unwrap_err());
    assert_eq!(error.kind(), "disconnected", "{error}");
    assert!(error.is_retryable() && error.pod() == Some(conn.pod()));
    drop(conn);
    assert_well(&world);

    let mut tx = world.cluster.begin().await.unwrap();
    tx.exec_drop(insert, (3,)).await.unwrap();
    let id = tx.query_first::<u32, _>("SELECT CONNECTION_ID()").await;
    kill(&world, id.unwrap().unwrap()).await;
    let error = tx.commit().await.unwrap_err();
    assert_eq!(error.kind(), "disconnected", "{error}");
    assert_well(&world);
    let ids = world
        .cluster
        .primary()
        .query::<u64>("SELECT id FROM entries");
    assert_eq!(ids.await.unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_before_a_statement_takes_nothing_away_that_the_last_one_left() {
    let world = world().await;
    let mut conn = world.cluster.primary().conn().await.unwrap();
    conn.query_drop("SELECT 1 / 0").await.unwrap();
    let warned = conn.warnings();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let warnings = conn.query_first::<u16, _>("SELECT @@warning_count").await;
    assert_eq!(warnings.unwrap(), Some(warned));
}

/// Code that knows only the driver's types.
async fn generic<C: Queryable>(conn: &mut C) -> mysql_async::Result<()> {
    conn.query_drop("INSERT INTO entries (id) VALUES (1)").await
}

async fn ours<C: Queryable>(conn: &mut C) -> Result<(), Error> {
    generic(conn).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_server_names_its_pod_and_can_be_matched_on_in_generic_code() {
    let world = World::start(0).await;
    world.must_insert(1).await;
    let mut conn = world.cluster.primary().conn().await.unwrap();
    let mut tx = world.cluster.begin().await.unwrap();
    let (seen, told) = (generic(&mut conn).await, generic(&mut tx).await);
    for error in [seen.unwrap_err(), told.unwrap_err()] {
        assert!(error.to_string().contains("mysql-0 ("), "{error}");
        assert!(
            matches!(&error, mysql_async::Error::Server(server) if server.code == 1062),
            "{error:?}"
        );
    }
    for error in [
        ours(&mut conn).await.unwrap_err(),
        ours(&mut tx).await.unwrap_err(),
        world.insert(1).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.code()), ("server", Some(1062)));
        assert_eq!(error.pod(), Some(conn.pod()));
        let text = error.to_string();
        assert_eq!(text.matches("mysql-0").count(), 1, "{text}");
    }
    let wrong = tx.exec_drop("SELECT ?", (1, 2)).await.map_err(Error::from);
    let wrong = wrong.unwrap_err();
    assert_eq!(wrong.pod(), Some(conn.pod()), "{wrong}");
    assert!(wrong.to_string().contains("mysql-0"), "{wrong}");
}
