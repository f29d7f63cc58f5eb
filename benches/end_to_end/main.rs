//! Compares reads and writes through this crate with the alternatives, on real servers, in one run.
//!
//! ```text
//! cargo bench --all-features --bench end_to_end                 # throughput, MariaDB and MySQL
//! cargo bench --all-features --bench end_to_end -- --writes
//! cargo bench --all-features --bench end_to_end -- --outage   # one of two replicas dies, freezes
//! cargo bench --all-features --bench end_to_end -- --server mariadb --rounds 90
//! ```
//!
//! Machines are noisy. So each round runs every contender once, in random order, and the result is
//! the median of the ratios within the rounds. Many short rounds are better than a few long ones.
//! Requires `haproxy` on the `PATH`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot run has nothing better to do"
)]

mod contenders;
mod haproxy;
mod outage;
mod processes;
mod sketch;
#[path = "../../tests/staged/mod.rs"]
mod staged;
mod throughput;

use headless_mysql::prelude::*;
use headless_mysql_testkit::lab::{Lab, Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;

/// The number of rows in the table that point reads use.
const ROWS: u64 = 1000;

struct Options {
    servers: Vec<ServerKind>,
    rounds: usize,
    /// How long a contender runs in a round.
    slice: Duration,
    /// How many tasks run at the same time.
    tasks: Vec<usize>,
    writes: bool,
    outage: bool,
    /// Only check that the benchmark runs.
    test: bool,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            servers: vec![ServerKind::MariaDb, ServerKind::MySql],
            rounds: 45,
            slice: Duration::from_millis(200),
            tasks: vec![8, 64],
            writes: false,
            outage: false,
            test: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match &*word {
                "--server" => {
                    options.servers = match words.next().as_deref() {
                        Some("mariadb") => vec![ServerKind::MariaDb],
                        Some("mysql") => vec![ServerKind::MySql],
                        other => panic!("--server mariadb or mysql, not {other:?}"),
                    }
                }
                "--rounds" => options.rounds = words.next().unwrap().parse().unwrap(),
                "--outage" => options.outage = true,
                "--writes" => {
                    options.writes = true;
                    options.tasks = vec![1, 8, 64];
                }
                "--tasks" => options.tasks = vec![words.next().unwrap().parse().unwrap()],
                "--test" => {
                    options.test = true;
                    options.servers = vec![ServerKind::MariaDb];
                    options.rounds = 1;
                    options.slice = Duration::from_millis(50);
                }
                // Cargo adds this argument.
                "--bench" => {}
                other => panic!("unknown option {other}"),
            }
        }
        options
    }
}

fn main() {
    let options = Options::read();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    for server in &options.servers {
        runtime.block_on(run(*server, &options));
    }
}

async fn run(server: ServerKind, options: &Options) {
    // The contenders keep their connections between rounds.
    let lab = Lab::builder().server(server).replicas(2);
    let mut lab = lab.server_option(Nodes::All, "--max-connections=1000");
    if options.writes {
        // The disk is the same for every contender, and hides what they cost.
        for option in ["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"] {
            lab = lab.server_option(Nodes::All, option);
        }
    }
    let stage = Stage::with(lab).await.unwrap();
    fill(&stage).await;
    println!("\n## {} {}\n", name(server), stage.lab.server_version());
    if !options.outage || options.test {
        for tasks in options.tasks.iter().copied() {
            for writes in [false, true] {
                if options.test || writes == options.writes {
                    throughput::compare(&stage, writes, tasks, options.rounds, options.slice).await;
                }
            }
        }
    }
    if options.outage || options.test {
        outage::compare(&stage, if options.test { 20 } else { 1 }).await;
    }
}

fn name(server: ServerKind) -> &'static str {
    match server {
        ServerKind::MySql => "MySQL",
        _ => "MariaDB",
    }
}

async fn fill(stage: &Stage) {
    let mut conn = stage.lab.connect(0).await.unwrap();
    conn.query_drop("CREATE TABLE points (id BIGINT PRIMARY KEY, value VARCHAR(64) NOT NULL)")
        .await
        .unwrap();
    let create = "CREATE TABLE written (id BIGINT AUTO_INCREMENT PRIMARY KEY, value BIGINT)";
    conn.query_drop(create).await.unwrap();
    let rows = (0..ROWS).map(|id| (id, format!("the value of {id}")));
    conn.exec_batch("INSERT INTO points VALUES (?, ?)", rows)
        .await
        .unwrap();
    let patience = Duration::from_secs(30);
    stage.lab.wait_for_replication(patience).await.unwrap();
}
