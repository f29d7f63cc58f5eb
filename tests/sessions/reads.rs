//! Each text runs in a session of `replicas()`, on a writable server and with an account that has
//! all privileges. The server's tables and GTID position must not change, whatever the text is.

use crate::grammar;
use crate::world::World;
use headless_mysql::mysql_async::Conn;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Config};
use headless_mysql_testkit::lab::ServerKind;
use std::ops::Range;

pub(crate) async fn run(kind: ServerKind, seeds: Range<u64>) {
    println!("{kind:?}, reads only: seeds {seeds:?}");
    let world = World::start(kind).await;
    let lab = &world.stage.lab;
    // There are no replicas, so reads fall back to the primary.
    let config = Config::new(world.stage.service(), lab.root_user())
        .with_password(lab.root_password())
        .with_database(lab.database())
        .with_port(lab.port())
        .with_name_servers([world.stage.dns.addr()])
        .with_search(["default.svc.cluster.local"])
        .with_max_connections(4);
    let cluster = Cluster::builder(config).connect().await.unwrap();
    let mut admin = lab.admin(0).await.unwrap();
    let mut before = standing(&mut admin, kind).await;
    let (mut executed, mut changes) = (0, Vec::new());
    for seed in seeds.clone() {
        let text = grammar::text(seed, &world.words);
        let done = match seed % 3 {
            0 => cluster.replicas().exec_drop(text.clone(), ()).await,
            1 => cluster.replicas().query_drop(text.clone()).await,
            _ => in_turn(&cluster, &text).await,
        };
        executed += u64::from(done.is_ok());
        let after = standing(&mut admin, kind).await;
        if after != before {
            changes.push(format!(
                "seed {seed}: {text}\n    {before:?}, then {after:?}"
            ));
            before = after;
        }
    }
    println!(
        "{kind:?}, reads only: {executed} of {} texts executed",
        seeds.count()
    );
    assert!(changes.is_empty(), "{}", changes.join("\n"));
}

/// Runs the text, and then a write in the same session.
async fn in_turn(cluster: &Cluster, text: &str) -> Result<(), headless_mysql::Error> {
    let mut conn = cluster.replicas().conn().await?;
    let done = conn.query_drop(text).await;
    let write = "PREPARE w FROM 'INSERT INTO w (k) VALUES (1)'";
    let _ = conn.query_drop(write).await;
    let _ = conn.query_drop("EXECUTE w").await;
    let _ = conn.query_drop("COMMIT").await;
    Ok(done?)
}

/// The server's GTID position and the content of its tables.
async fn standing(admin: &mut Conn, kind: ServerKind) -> (String, String) {
    let position = match kind {
        ServerKind::MySql => "SELECT @@global.gtid_executed",
        _ => "SELECT @@global.gtid_binlog_pos",
    };
    let position: Option<String> = admin.query_first(position).await.unwrap();
    let rows = "SELECT CONCAT_WS(' ', (SELECT COUNT(*) FROM app.t), (SELECT SUM(a) FROM app.t), \
                (SELECT COUNT(*) FROM app.w), (SELECT COUNT(*) FROM app.scratch), \
                @@global.read_only)";
    let rows: Option<String> = admin.query_first(rows).await.unwrap();
    (position.unwrap_or_default(), rows.unwrap_or_default())
}
