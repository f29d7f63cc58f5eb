//! A member that has left its Group Replication group.

use crate::secrets::Paper;
use crate::staged::Staged as _;
use crate::support::{PATIENCE, eventually, lab, server};
use headless_mysql::config::PrimaryBy;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Error};
use headless_mysql_testkit::lab::{Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;
use std::net::TcpListener;
use std::time::Duration;
use tracing::Level;

const GROUP: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

/// Runs statements as root, in one session.
async fn root(stage: &Stage, ordinal: u32, statements: &[&str]) {
    let mut root = stage.lab.admin(ordinal).await.unwrap();
    for sql in statements {
        let done = root.query_drop(*sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// Two members of one group; the first is its primary.
async fn group() -> Stage {
    let lab = lab().replicas(1);
    let lab = lab.server_option(Nodes::All, "--performance-schema=ON");
    let stage = Stage::with(lab).await.unwrap();
    root(
        &stage,
        1,
        &[
            "STOP REPLICA",
            "RESET REPLICA ALL",
            "SET GLOBAL super_read_only = 0",
        ],
    )
    .await;
    // Group Replication requires the address of a network interface.
    let ports = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = ports.map(|listener| listener.local_addr().unwrap());
    for n in [0, 1] {
        let local = format!(
            "SET GLOBAL group_replication_local_address = '{}'",
            ports[n as usize]
        );
        let seeds = format!(
            "SET GLOBAL group_replication_group_seeds = '{},{}'",
            ports[0], ports[1]
        );
        let channel = format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'root', SOURCE_PASSWORD = '{}' \
             FOR CHANNEL 'group_replication_recovery'",
            stage.lab.root_password()
        );
        let name = format!("SET GLOBAL group_replication_group_name = '{GROUP}'");
        let bootstrap = format!(
            "SET GLOBAL group_replication_bootstrap_group = {}",
            u32::from(n == 0)
        );
        root(
            &stage,
            n,
            &[
                "SET sql_log_bin = 0",
                "INSTALL PLUGIN group_replication SONAME 'group_replication.so'",
                "GRANT BACKUP_ADMIN, CONNECTION_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO 'root'@'%'",
                &name,
                &local,
                &seeds,
                "SET GLOBAL group_replication_recovery_get_public_key = ON",
                &channel,
                &bootstrap,
                "START GROUP_REPLICATION",
                "SET GLOBAL group_replication_bootstrap_group = 0",
            ],
        )
        .await;
    }
    eventually("both members are online", async || {
        let mut root = stage.lab.admin(0).await.unwrap();
        let count = "SELECT COUNT(*) FROM performance_schema.replication_group_members \
                     WHERE member_state = 'ONLINE'";
        root.query_first(count).await.unwrap() == Some(2u32)
    })
    .await;
    stage
}

/// Makes the member with ordinal 1 leave the group and become writable.
async fn leave(stage: &Stage) {
    root(
        stage,
        1,
        &[
            "STOP GROUP_REPLICATION",
            "SET GLOBAL super_read_only = 0",
            "SET GLOBAL read_only = 0",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_has_left_its_group_is_neither_written_to_nor_read_from() {
    if server() == ServerKind::MariaDb {
        return;
    }
    let stage = group().await;
    let grant = format!(
        "GRANT SELECT ON performance_schema.replication_group_members TO '{}'@'%'",
        stage.lab.user()
    );
    root(&stage, 0, &[&grant]).await;
    let config = stage.config().with_primary(PrimaryBy::Detected);
    let cluster = Cluster::builder(config.clone()).connect().await.unwrap();
    let create = cluster.primary().deadline(PATIENCE);
    let create = create.query_drop("CREATE TABLE entries (id INT PRIMARY KEY)");
    create.await.unwrap();
    let served_by = async || -> u32 {
        let read = cluster.replicas().query_first("SELECT @@server_id");
        read.await.unwrap().unwrap()
    };
    eventually("the other member is read from", async || {
        served_by().await == 2
    })
    .await;

    leave(&stage).await;
    eventually("it is left", async || served_by().await == 1).await;
    for id in 0..20 {
        let insert = "INSERT INTO entries VALUES (?)";
        let insert = cluster
            .primary()
            .deadline(PATIENCE)
            .exec_drop(insert, (id,));
        insert.await.unwrap();
        assert_eq!(served_by().await, 1);
    }

    // When it is the only server left, neither a process that knew the group nor a new one may take
    // it for a primary.
    stage.lab.kill(0).await.unwrap();
    let fresh = Cluster::builder(config).connect().await.unwrap();
    for cluster in [&cluster, &fresh] {
        let write = cluster.primary().deadline(Duration::from_secs(3));
        let error = write.query_drop("INSERT INTO entries VALUES (99)").await;
        let error = error.unwrap_err();
        assert!(matches!(error, Error::NoPrimary { .. }), "{error:?}");
        // A new process is refused at login. A process that knew the pod judges its state.
        let pod = cluster.status().pods.swap_remove(1);
        let told = format!("{error} {:?}", pod.not_read_from);
        let states = ["Group Replication is OFFLINE", "not online in its group"];
        assert!(states.iter().any(|state| told.contains(state)), "{told}");
    }
    let mut left = stage.lab.admin(1).await.unwrap();
    let written = format!("SELECT COUNT(*) FROM {}.entries", stage.lab.database());
    let written: Option<u32> = left.query_first(written).await.unwrap();
    assert_eq!(written, Some(0));
}

#[tokio::test]
async fn an_account_that_may_not_read_the_members_states_is_told_the_grant_once() {
    if server() == ServerKind::MariaDb {
        return;
    }
    let stage = group().await;
    let log = Paper::default();
    let listening = log.record(Level::WARN);
    let config = stage.config().with_primary(PrimaryBy::Detected);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    for _ in 0..20 {
        let route = cluster.primary().deadline(PATIENCE);
        route.query_drop("SELECT 1").await.unwrap();
        cluster.replicas().query_drop("SELECT 1").await.unwrap();
    }
    drop(listening);
    let text = log.text();
    let grant = "GRANT SELECT ON performance_schema.replication_group_members";
    assert_eq!(text.matches(grant).count(), 1, "{text}");
}
