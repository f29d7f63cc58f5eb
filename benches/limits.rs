//! Throughput of reads and writes when each server allows only eight connections, compared with a
//! pool that is limited to eight.
//!
//! ```text
//! cargo bench --all-features --bench limits                      # MariaDB and MySQL
//! cargo bench --all-features --bench limits -- --server mariadb --seconds 10
//! ```
//!
//! All options have their defaults, with which a pool would open sixteen connections. Each row runs
//! the same load: readers whose statements take 3 ms, on two replicas, and writers on the primary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot run has nothing better to do"
)]

#[path = "../tests/staged/mod.rs"]
mod staged;
use headless_mysql::Cluster;
use headless_mysql::prelude::*;
use headless_mysql_testkit::lab::{Lab, Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;
use mysql_async::Conn;
use staged::Staged as _;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

/// The number of connections that each server allows.
const ROOM: usize = 8;
const READERS: usize = 24;
const WRITERS: usize = 12;
/// `max_connections` of a server that other clients use too.
const MOST: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// The pool's own `max_connections=8`: the reference.
    Alone,
    /// Other clients hold all connections of the servers except eight.
    Server,
    /// The account is limited to eight connections.
    Account,
    /// Eight connections exist; new flows are cut.
    Cut,
    /// Eight connections exist; new flows are swallowed.
    Swallowed,
    /// Eight connections exist; the process has no free file descriptor.
    Files,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flows {
    Pass,
    Cut,
    Swallow,
}

struct Seen {
    reads: f64,
    writes: f64,
    failed: u64,
    longest: Duration,
    sessions: u64,
}

fn main() {
    // A limit low enough to be used up. Servers and their clients need some hundred descriptors.
    if std::env::var_os("LIMITS_BENCH_INNER").is_none() {
        let program = std::env::current_exe().unwrap();
        let status = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 1500 && exec \"$0\" \"$@\""])
            .arg(program)
            .args(std::env::args().skip(1))
            .env("LIMITS_BENCH_INNER", "1")
            .status();
        std::process::exit(status.unwrap().code().unwrap_or(1));
    }
    let mut servers = vec![ServerKind::MariaDb, ServerKind::MySql];
    let mut length = Duration::from_secs(5);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match &*word {
            "--server" => {
                servers = match words.next().as_deref() {
                    Some("mariadb") => vec![ServerKind::MariaDb],
                    Some("mysql") => vec![ServerKind::MySql],
                    other => panic!("--server mariadb or mysql, not {other:?}"),
                }
            }
            "--seconds" => length = Duration::from_secs(words.next().unwrap().parse().unwrap()),
            // Only check that the benchmark runs.
            "--test" => {
                servers.truncate(1);
                length = Duration::from_millis(200);
            }
            // Cargo adds this argument.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    for server in servers {
        runtime.block_on(run(server, length));
    }
}

async fn run(server: ServerKind, length: Duration) {
    println!("\n## {server:?}\n");
    println!("| connections | reads/s | | writes/s | | failed | longest | sessions |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let limits = [
        Limit::Alone,
        Limit::Server,
        Limit::Account,
        Limit::Cut,
        Limit::Swallowed,
        Limit::Files,
    ];
    let mut alone = None;
    for limit in limits {
        let seen = measure(server, limit, length).await;
        let (reads, writes) = *alone.get_or_insert((seen.reads, seen.writes));
        println!(
            "| {limit:?} | {:.0} | {:.2} | {:.0} | {:.2} | {} | {:.0?} | {} |",
            seen.reads,
            seen.reads / reads,
            seen.writes,
            seen.writes / writes,
            seen.failed,
            seen.longest,
            seen.sessions,
        );
    }
}

async fn measure(server: ServerKind, limit: Limit, length: Duration) -> Seen {
    let lab = Lab::builder().server(server).replicas(2);
    let lab = match limit {
        Limit::Server => lab.server_option(Nodes::All, format!("--max-connections={MOST}")),
        _ => lab.server_option(Nodes::All, "--max-connections=1000"),
    };
    let stage = Stage::with(lab).await.unwrap();
    let mut root = stage.lab.admin(0).await.unwrap();
    let table = "CREATE TABLE written (id BIGINT PRIMARY KEY)";
    root.query_drop(format!("USE {}", stage.lab.database()))
        .await
        .unwrap();
    root.query_drop(table).await.unwrap();
    let (flows, _) = watch::channel(Flows::Pass);
    let mut config = stage.config().with_pace(false);
    let mut others = Vec::new();
    match limit {
        Limit::Alone => config = config.with_max_connections(ROOM),
        Limit::Server => {}
        Limit::Account => {
            let user = stage.lab.user();
            let alter = format!("ALTER USER '{user}'@'%' WITH MAX_USER_CONNECTIONS {ROOM}");
            root.query_drop(alter).await.unwrap();
        }
        Limit::Cut | Limit::Swallowed => forward(&stage, &flows).await,
        Limit::Files => {}
    }
    stage
        .lab
        .wait_for_replication(Duration::from_secs(10))
        .await
        .unwrap();
    drop(root);
    let mut admins = Vec::new();
    for ordinal in stage.lab.ordinals() {
        admins.push(stage.lab.admin(ordinal).await.unwrap());
    }
    let mut foreign = 0;
    if limit == Limit::Server {
        foreign = crowd(&stage, &mut admins, &mut others).await;
    }
    let cluster = Cluster::builder(config).connect().await.unwrap();
    if matches!(limit, Limit::Cut | Limit::Swallowed | Limit::Files) {
        occupy(&cluster).await;
    }
    match limit {
        Limit::Cut => drop(flows.send_replace(Flows::Cut)),
        Limit::Swallowed => drop(flows.send_replace(Flows::Swallow)),
        _ => {}
    }
    let mut files = Vec::new();
    if limit == Limit::Files {
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
    }
    let mut seen = load(&cluster, length, &mut admins, stage.lab.user()).await;
    seen.sessions = seen.sessions.saturating_sub(foreign);
    drop((files, others));
    seen
}

/// Opens connections of other clients until each server allows eight more. Returns the largest
/// number of them on one server.
async fn crowd(stage: &Stage, admins: &mut [Conn], others: &mut Vec<Conn>) -> u64 {
    let mut most = 0;
    for (ordinal, admin) in stage.lab.ordinals().into_iter().zip(admins) {
        let mut here = 0;
        loop {
            let status = "SHOW GLOBAL STATUS LIKE 'Threads_connected'";
            let threads: Option<(String, usize)> = admin.query_first(status).await.unwrap();
            if threads.unwrap().1 >= MOST - ROOM {
                break;
            }
            others.push(stage.lab.connect(ordinal).await.unwrap());
            here += 1;
        }
        most = most.max(here);
    }
    most
}

/// Opens eight connections to each pod.
async fn occupy(cluster: &Cluster) {
    let mut held = Vec::new();
    for _ in 0..ROOM {
        held.push(cluster.primary().conn().await.unwrap());
    }
    for _ in 0..2 * ROOM {
        held.push(cluster.replicas().conn().await.unwrap());
    }
}

/// Starts a forwarder for each server.
async fn forward(stage: &Stage, flows: &watch::Sender<Flows>) {
    let port = stage.lab.port();
    for ordinal in stage.lab.ordinals() {
        let here = stage.lab.fresh_address().unwrap();
        let server = stage.lab.address(ordinal);
        let listener = TcpListener::bind((here, port)).await.unwrap();
        let flows = flows.subscribe();
        tokio::spawn(async move {
            let mut swallowed = Vec::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let flows = *flows.borrow();
                match flows {
                    Flows::Cut => {}
                    Flows::Swallow => swallowed.push(client),
                    Flows::Pass => {
                        tokio::spawn(async move {
                            let mut server = TcpStream::connect((server, port)).await.unwrap();
                            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                        });
                    }
                }
            }
        });
        stage.publish_at(ordinal, here).unwrap();
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

async fn load(cluster: &Cluster, length: Duration, admins: &mut [Conn], user: &str) -> Seen {
    let end = Instant::now() + length;
    let callers = (0..READERS + WRITERS).map(|n| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let (mut done, mut failed, mut longest) = (0u64, 0u64, Duration::ZERO);
            while Instant::now() < end {
                let begun = Instant::now();
                let result = if n < READERS {
                    cluster.replicas().query_drop("SELECT SLEEP(0.003)").await
                } else {
                    let id = NEXT.fetch_add(1, Ordering::Relaxed);
                    let insert = "INSERT INTO written VALUES (?)";
                    cluster.primary().exec_drop(insert, (id,)).await
                };
                match result {
                    Ok(()) => done += 1,
                    Err(_) => failed += 1,
                }
                longest = longest.max(begun.elapsed());
            }
            (n < READERS, done, failed, longest)
        })
    });
    let callers: Vec<_> = callers.collect();
    let count = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = ?";
    let mut sessions = 0;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for admin in &mut *admins {
            let seen: Option<u64> = admin.exec_first(count, (user,)).await.unwrap();
            sessions = sessions.max(seen.unwrap());
        }
    }
    let mut seen = Seen {
        reads: 0.0,
        writes: 0.0,
        failed: 0,
        longest: Duration::ZERO,
        sessions,
    };
    for caller in callers {
        let (is_read, done, failed, longest) = caller.await.unwrap();
        let rate = done as f64 / length.as_secs_f64();
        match is_read {
            true => seen.reads += rate,
            false => seen.writes += rate,
        }
        seen.failed += failed;
        seen.longest = seen.longest.max(longest);
    }
    seen
}
