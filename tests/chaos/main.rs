//! Everything that can go wrong, at random and at once, on real servers; and then a look at what is
//! left of the promises.
//!
//! `CHAOS_FAULTS` says how many faults (a few by default, so that the suite stays quick),
//! `CHAOS_SEED` replays the faults of a run that printed it.
//!
//! Each kind of server has two runs: one whose primary is `mysql-0` for good, and one, with a third
//! of the faults, whose primary is found and moves from pod to pod. It moves by planned switch-overs
//! only (read-only first, then the replicas catch up, then another one takes writes), and nobody is
//! killed during one: with asynchronous replication, whoever promotes a replica of a primary that
//! was killed loses what it had not sent yet, and no client can help that. Between the switch-overs
//! the primary is killed, frozen, moved and cut off like all others, and comes back as what it was.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but does not see that helpers are test code"
)]

mod checks;
mod doors;
mod faults;
mod load;
mod resources;

use checks::{check_history, check_rows, check_same_history};
use doors::Doors;
use faults::{Plan, Scene};
use headless_mysql::Cluster;
use headless_mysql::config::PrimaryBy;
use headless_mysql::prelude::*;
use headless_mysql::testkit::lab::{Lab, Nodes, ServerKind};
use headless_mysql::testkit::stage::Stage;
use load::Load;
use resources::{Lateness, Resources};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The runs look at the resources of the process, so they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// How long anything may take once everything is healed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the primary's office stays with one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Office {
    Stays,
    Moves,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| {
        let number = text.parse();
        number.unwrap_or_else(|_| panic!("{variable}={text} is not a whole number"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_promises_hold_through_chaos_on_mariadb() {
    chaos(ServerKind::MariaDb, Office::Stays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_promises_hold_through_chaos_on_mysql() {
    chaos(ServerKind::MySql, Office::Stays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_promises_hold_while_the_primary_moves_through_chaos_on_mariadb() {
    chaos(ServerKind::MariaDb, Office::Moves).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_promises_hold_while_the_primary_moves_through_chaos_on_mysql() {
    chaos(ServerKind::MySql, Office::Moves).await;
}

async fn chaos(kind: ServerKind, office: Office) {
    let _turn = TURN.lock().await;
    let seed = number("CHAOS_SEED").unwrap_or_else(rand::random);
    let faults = number("CHAOS_FAULTS").unwrap_or(30);
    println!("{kind:?}, the primary {office:?}: CHAOS_SEED={seed} CHAOS_FAULTS={faults}");
    let (faults, primary_by) = match office {
        Office::Stays => (faults, PrimaryBy::Ordinal),
        Office::Moves => (faults.div_ceil(3), PrimaryBy::Detected),
    };

    // A server that is killed must keep what it acknowledged.
    let lab = Lab::builder()
        .server(kind)
        .replicas(2)
        .server_option(Nodes::All, "--innodb-flush-log-at-trx-commit=2");
    let stage = Arc::new(Stage::with(lab).await.unwrap());
    let mut root = stage.lab.admin(0).await.unwrap();
    // No key that would hide a write that ran twice.
    let create = "CREATE TABLE entries (id BIGINT NOT NULL, pod VARCHAR(64) NOT NULL, \
                  at BIGINT AUTO_INCREMENT PRIMARY KEY, KEY (id))";
    root.query_drop(format!("USE {}", stage.lab.database()))
        .await
        .unwrap();
    root.query_drop(create).await.unwrap();
    drop(root);
    stage.lab.wait_for_replication(PATIENCE).await.unwrap();

    let doors = Arc::new(Doors::open(Arc::clone(&stage)).await);
    let before = Resources::now();
    let config = stage
        .config()
        .with_primary(primary_by)
        .with_connect_timeout(Duration::from_millis(500))
        .with_checkout_timeout(Duration::from_secs(2))
        .with_statement_timeout(Some(Duration::from_secs(2)))
        .with_grace(Duration::from_secs(5))
        .with_max_connections(8);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let lateness = Lateness::watch();
    let load = Load::start(&cluster, &lateness);
    load.progress(200).await;
    let warm = Resources::now();

    let scene = Scene {
        doors: &doors,
        cluster: &cluster,
        load: &load,
    };
    let tally = Plan::new(seed, faults, office).run(&scene).await;
    doors.heal().await;
    load.recovered(PATIENCE).await;
    let record = load.stop().await;
    println!("{tally}");
    println!("{record}");

    stage.lab.wait_for_replication(PATIENCE).await.unwrap();
    check_rows(&stage, &record, &doors.offices()).await;
    match office {
        Office::Stays => check_history(&stage, kind).await,
        Office::Moves => {
            assert!(faults == 0 || doors.offices().len() > 1);
            check_same_history(&stage, kind).await;
        }
    }
    record.check_deadlines();
    assert!(faults < 30 || tally.kinds() > 5, "{tally}");
    warm.check_memory();
    drop((cluster, lateness));
    before.come_back(PATIENCE).await;
}
