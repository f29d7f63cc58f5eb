//! One user of the only connection runs a text; the next user must find a clean session.

use crate::grammar;
use crate::probe::{State, differences, state};
use crate::staged::Staged as _;
use crate::world::World;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Cluster, Error, PodConn};
use headless_mysql_testkit::lab::ServerKind;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Values of the global `sql_mode`. They change how a text is parsed.
const SQL_MODES: &[&str] = &[
    "",
    "STRICT_TRANS_TABLES",
    "ANSI_QUOTES",
    "NO_BACKSLASH_ESCAPES",
    "IGNORE_SPACE,PIPES_AS_CONCAT",
    "ANSI,NO_BACKSLASH_ESCAPES",
];

/// The number of users, each with its own connection.
const USERS: u64 = 4;

/// One of this many texts is tested for whether it costs a reset.
const SAMPLE: u64 = 7;

const PATIENCE: Duration = Duration::from_secs(10);

/// The results of a user.
#[derive(Default)]
struct Found {
    leaks: Vec<String>,
    /// The number of texts that the server executed.
    executed: u64,
    /// The number of texts tested for a reset, and the number of those without one.
    sampled: u64,
    left_alone: u64,
}

pub(crate) async fn run(kind: ServerKind, seeds: Range<u64>) {
    println!("{kind:?}: seeds {seeds:?}");
    let world = Arc::new(World::start(kind).await);
    let mut found = Found::default();
    let modes = SQL_MODES.len() as u64;
    for (index, mode) in (0..).zip(SQL_MODES) {
        let mut admin = world.stage.lab.admin(0).await.unwrap();
        admin
            .query_drop(format!("SET GLOBAL sql_mode = '{mode}'"))
            .await
            .unwrap();
        let mut users = Vec::new();
        for user in 0..USERS {
            let (world, seeds) = (Arc::clone(&world), seeds.clone());
            let mine =
                seeds.filter(move |seed| seed % modes == index && seed / modes % USERS == user);
            users.push(tokio::spawn(
                async move { user_runs(&world, mine, mode).await },
            ));
        }
        for user in users {
            let of_user = user.await.unwrap();
            found.leaks.extend(of_user.leaks);
            found.executed += of_user.executed;
            found.sampled += of_user.sampled;
            found.left_alone += of_user.left_alone;
        }
    }
    let (executed, sampled, left_alone) = (found.executed, found.sampled, found.left_alone);
    let count = seeds.end - seeds.start;
    println!(
        "{kind:?}: {executed} of {count} texts executed, {left_alone} of {sampled} without a reset"
    );
    assert!(found.leaks.is_empty(), "{}", found.leaks.join("\n"));
    assert!(
        count < 1000 || executed * 5 > count,
        "hardly any text is executed"
    );
    assert!(
        count < 1000 || left_alone * 10 > sampled,
        "hardly any text is taken for clean"
    );
}

async fn user_runs(world: &World, seeds: impl Iterator<Item = u64>, mode: &str) -> Found {
    let config = world.stage.config().with_max_connections(1);
    let connect = async || Cluster::builder(config.clone()).connect().await.unwrap();
    let mut cluster = connect().await;
    let mut clean = look(&cluster, world.kind).await;
    let mut found = Found::default();
    for seed in seeds {
        let text = grammar::text(seed, &world.words);
        if seed % SAMPLE == 0 {
            let alone = is_left_alone(&cluster, &text).await;
            found.sampled += u64::from(alone.is_some());
            found.left_alone += u64::from(alone == Some(true));
        }
        let done = leave(&cluster, seed, &text).await;
        if is_nothing_executed(&done, &text) {
            continue;
        }
        found.executed += u64::from(done.is_ok());
        let seen = look(&cluster, world.kind).await;
        if differences(&clean, &seen).is_empty() {
            continue;
        }
        // Some texts change tables. A difference is a leak only if a new session does not show it
        // too.
        cluster = connect().await;
        clean = look(&cluster, world.kind).await;
        let leaks = differences(&clean, &seen);
        if !leaks.is_empty() {
            found.leaks.push(format!(
                "seed {seed}, sql_mode '{mode}': {text}\n    {leaks:?}"
            ));
        }
    }
    found
}

/// Runs the text by one of the methods, chosen by the seed.
async fn leave(cluster: &Cluster, seed: u64, text: &str) -> Result<(), Error> {
    let mut conn = taken(cluster).await;
    let done = match seed % 3 {
        0 => conn.exec_drop(text, ()).await,
        _ => conn.query_drop(text).await,
    };
    done.map_err(Error::from)
}

/// Whether the session is not reset after the text; `None` if the text was not executed. A reset is
/// detected because it drops prepared statements.
async fn is_left_alone(cluster: &Cluster, text: &str) -> Option<bool> {
    let mut conn = taken(cluster).await;
    let prepared = conn.prep("SELECT 1").await.unwrap();
    let executed = conn.query_drop(text).await.is_ok();
    drop(conn);
    let again = taken(cluster).await.exec_drop(&prepared, ()).await;
    executed.then_some(again.is_ok())
}

/// Whether certainly nothing was executed. With several statements, the first ones may have been
/// executed before the parser reached an error.
fn is_nothing_executed(done: &Result<(), Error>, text: &str) -> bool {
    const SYNTAX: u16 = 1064;
    match done {
        Err(Error::Server { source, .. }) => source.code == SYNTAX && !text.contains(';'),
        _ => false,
    }
}

async fn look(cluster: &Cluster, kind: ServerKind) -> State {
    let mut failure = None;
    // The text may have ended the connection.
    for _ in 0..3 {
        let mut conn = taken(cluster).await;
        let seen = match conn.as_conn_mut().await {
            Ok(driver) => state(driver, kind).await.map_err(Error::from),
            Err(error) => Err(error),
        };
        match seen {
            Ok(state) => return state,
            Err(error) => failure = Some(error),
        }
    }
    panic!("the session cannot be asked: {failure:?}");
}

async fn taken(cluster: &Cluster) -> PodConn {
    let conn = cluster.primary().deadline(PATIENCE).conn().await;
    conn.unwrap_or_else(|error: Error| panic!("{error}: {:?}", cluster.status()))
}
