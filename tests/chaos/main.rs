//! Random faults on real servers, several at once; afterwards the promises of the crate are
//! checked.
//!
//! `CHAOS_FAULTS` sets the number of faults (a few by default, so that the suite stays quick).
//! `CHAOS_SEED` replays the faults of a run that printed it.
//!
//! Each kind of server has two runs. In the first, the primary is always `mysql-0`. In the second,
//! with a third of the faults, the primary is detected and moves from pod to pod. It moves by
//! planned switch-overs only: it becomes read-only, the replicas catch up, and another server
//! becomes writable. No server is killed during a switch-over. With asynchronous replication,
//! promoting a replica of a killed primary loses what the primary had not sent yet, and no client
//! can prevent that. Between switch-overs the primary is killed, frozen, moved and cut off like the
//! other servers, and returns in its role. A replica that becomes writable meanwhile, and lacks
//! acknowledged writes, must receive no writes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but does not see that helpers are test code"
)]

mod checks;
mod doors;
mod faults;
mod limits;
mod load;
mod plan;
mod record;
mod resources;
mod sessions;
#[path = "../staged/mod.rs"]
mod staged;

use checks::{check_history, check_rows, check_same_history};
use doors::{Doors, OURS, create_tables};
use faults::Scene;
use headless_mysql::Cluster;
use headless_mysql::config::PrimaryBy;
use headless_mysql_testkit::lab::{Lab, Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;
use load::Load;
use plan::Plan;
use resources::{Lateness, Resources};
use sessions::Sessions;
use staged::Staged as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Serialises the runs, because each one measures the resources of the whole process.
static TURN: Mutex<()> = Mutex::const_new(());

/// The longest time that anything may take after everything is healed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The client's maximum number of connections per pod.
const MAX_CONNECTIONS: usize = 8;

/// Whether the primary stays on one pod or moves.
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
    let faults = number("CHAOS_FAULTS").unwrap_or(15);
    println!("{kind:?}, the primary {office:?}: CHAOS_SEED={seed} CHAOS_FAULTS={faults}");
    let (count, primary_by) = match office {
        Office::Stays => (faults, PrimaryBy::Ordinal),
        Office::Moves => (faults.div_ceil(3), PrimaryBy::Detected),
    };

    // A killed server must keep its acknowledged writes.
    let lab = Lab::builder()
        .server(kind)
        .replicas(2)
        .server_option(Nodes::All, "--innodb-flush-log-at-trx-commit=2");
    let stage = Arc::new(Stage::with(lab).await.unwrap());
    create_tables(&stage.lab, OURS).await;

    let doors = Arc::new(Doors::open(Arc::clone(&stage)).await);
    let before = Resources::now();
    let config = stage
        .config()
        .with_primary(primary_by)
        .with_connect_timeout(Duration::from_millis(500))
        .with_checkout_timeout(Duration::from_secs(2))
        .with_statement_timeout(Some(Duration::from_secs(2)))
        .with_grace(Duration::from_secs(5))
        .with_max_connections(MAX_CONNECTIONS);
    let cluster = Cluster::builder(config.clone()).connect().await.unwrap();
    let lateness = Lateness::watch();
    let load = Load::start(&cluster, &lateness);
    load.progress(200).await;
    let warm = Resources::now();

    let scene = Scene {
        doors: &doors,
        cluster: &cluster,
        config: &config,
        load: &load,
        began: Instant::now(),
    };
    let sessions = Sessions::watch(Arc::clone(&doors), MAX_CONNECTIONS as u64);
    let tally = faults::run(Plan::new(seed, count, office), &scene).await;
    doors.heal().await;
    load.recovered(PATIENCE).await;
    let record = load.stop().await;
    println!("{tally}");
    println!("{record}");

    stage.lab.wait_for_replication(PATIENCE).await.unwrap();
    check_rows(&stage, &record, &doors.offices()).await;
    assert_eq!(
        doors.rows_elsewhere().await,
        0,
        "written to servers of others"
    );
    match office {
        Office::Stays => check_history(&stage, kind).await,
        Office::Moves => {
            assert!(count == 0 || doors.offices().len() > 1);
            check_same_history(&stage, kind).await;
        }
    }
    record.check_deadlines();
    sessions.check();
    drop(sessions);
    assert!(count < 30 || tally.kinds() > 5, "{tally}");
    warm.check_memory();
    drop((cluster, lateness));
    before.come_back(PATIENCE).await;
}
