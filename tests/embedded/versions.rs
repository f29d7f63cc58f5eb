//! Servers of both kinds log in whatever their version is called.

use crate::staged::Staged as _;
use crate::support::World;
use headless_mysql_testkit::embedded::{EmbeddedPods, Flavour};
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;

/// What servers greet with. MySQL counts by calendar years since 26.7, so its numbers and MariaDB's
/// overlap.
const VERSIONS: [(Flavour, &str); 14] = [
    (Flavour::MySql, "8.0.42"),
    (Flavour::MySql, "8.4.6"),
    (Flavour::MySql, "9.7.4"),
    (Flavour::MySql, "26.7.0"),
    (Flavour::MySql, "26.10.1-commercial"),
    // Percona Server, Aurora, TiDB.
    (Flavour::MySql, "8.4.5-5"),
    (Flavour::MySql, "8.0.mysql_aurora.3.08.0"),
    (Flavour::MySql, "8.0.11-TiDB-v8.5.0"),
    (Flavour::MariaDb, "5.5.5-10.5.29-MariaDB"),
    (Flavour::MariaDb, "5.5.5-10.11.14-MariaDB-0+deb12u2-log"),
    (Flavour::MariaDb, "11.4.7-MariaDB-ubu2404"),
    (Flavour::MariaDb, "11.8.3-MariaDB"),
    (Flavour::MariaDb, "12.0.2-MariaDB"),
    // `--version=8.4.0`, which some set for the sake of old clients.
    (Flavour::MariaDb, "8.4.0"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_both_kinds_log_in_whatever_their_version_is_called() {
    for (flavour, version) in VERSIONS {
        let pods = EmbeddedPods::builder().replicas(1).flavour(flavour);
        let stage = Stage::embedded_with(pods.version(version)).await.unwrap();
        let config = stage.config().with_checkout_timeout(Duration::from_secs(5));
        let world = World::with(stage, config).await;
        let insert = world.insert(1).await;
        insert.unwrap_or_else(|error| panic!("{version}: {error}"));
        let replicas = world.cluster.replicas();
        let read: Option<String> = replicas.query_first("SELECT @@version").await.unwrap();
        let said = version.strip_prefix("5.5.5-").unwrap_or(version);
        assert_eq!(read.as_deref(), Some(said));
    }
}
