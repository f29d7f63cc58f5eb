//! What the replicas' route refuses, and what it never runs twice.

use crate::support::{World, eventually};
use headless_mysql::Error;
use headless_mysql::prelude::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_on_it_is_refused_also_where_it_falls_back_to_the_primary() {
    let world = World::start(0).await;
    for _ in 0..3 {
        let write = world.cluster.replicas();
        let write = write.exec_drop("INSERT INTO entries VALUES (?, 'x')", (1,));
        let error = write.await.unwrap_err();
        assert!(
            matches!(&error, Error::Server { source, .. } if source.code == 1792),
            "{error}"
        );
        // The same connection serves writers in between.
        world.insert(rand::random::<u32>().into()).await.unwrap();
    }
    assert_eq!(world.written_by().await["1"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_not_plainly_a_read_is_not_run_again_when_its_connection_breaks() {
    let world = World::start(2).await;
    let mut root = world.stage.lab.admin(0).await.unwrap();
    let procedure = "CREATE PROCEDURE app.slow() BEGIN DO SLEEP(20); SELECT 1; END";
    root.query_drop(procedure).await.unwrap();
    world
        .stage
        .lab
        .wait_for_replication(crate::support::PATIENCE)
        .await
        .unwrap();
    let call = world.cluster.replicas().query_drop("CALL slow()");
    let call = tokio::spawn(call);
    let mut admins = Vec::new();
    for ordinal in [1, 2] {
        admins.push((ordinal, world.stage.lab.admin(ordinal).await.unwrap()));
    }
    let mut running = None;
    eventually("the procedure runs somewhere", async || {
        for (ordinal, admin) in &mut admins {
            let busy = "SELECT COUNT(*) FROM information_schema.processlist \
                          WHERE info LIKE 'DO SLEEP%'";
            if admin.query_first(busy).await.unwrap() == Some(1) {
                running = Some(*ordinal);
            }
        }
        assert!(!call.is_finished(), "the call has ended");
        running.is_some()
    })
    .await;
    world.stage.lab.kill(running.unwrap()).await.unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error}");
}
