//! Random transaction programs on real servers: sequences of statements through `Tx`, `PodConn` and
//! routes, with procedures that commit or hide errors, deadlocks, kills, time-outs and cut
//! connections. After each program, its rows are compared with its reported outcome. *Committed*
//! means all rows, once. *Rolled back* means none. *Unknown* means any state that the server can be
//! in after the answers that were received.
//!
//! `PROGRAMS` sets the number of programs per kind of server. `PROGRAMS_SEED` sets the seed of the
//! first one; the others count up from it. A program that fails prints its seed. To run it again on
//! servers with the same options: `PROGRAMS=1 PROGRAMS_SEED=<seed>`. The exact moment of a kill or
//! a cut depends on the machine, so it may take a few runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but does not see that helpers are test code"
)]

mod model;
mod program;
mod run;
mod send;
mod worker;

use headless_mysql::prelude::*;
use headless_mysql_testkit::lab::{Lab, Nodes, ServerKind};
use program::{PROCEDURES, Program};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use worker::Worker;

/// The number of programs that run in parallel.
const WORKERS: u64 = 8;

/// The number of consecutive seeds whose servers have the same options.
const GROUP: u64 = 1_000_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| {
        let number = text.parse();
        number.unwrap_or_else(|_| panic!("{variable}={text} is not a whole number"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_random_program_was_told_is_what_mariadb_holds() {
    programs(ServerKind::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_random_program_was_told_is_what_mysql_holds() {
    programs(ServerKind::MySql).await;
}

async fn programs(kind: ServerKind) {
    // An unknown COMMIT is met in one of a hundred programs: so many surely meet one.
    let count = number("PROGRAMS").unwrap_or(900);
    let any = || u64::from(rand::random::<u16>()) * GROUP;
    let seed = number("PROGRAMS_SEED").unwrap_or_else(any);
    let group = seed / GROUP;
    // Whether a lock wait timeout rolls back the whole transaction rather than the statement.
    let whole = group % 2;
    // The default `completion_type`, for sessions that do not set it.
    let completion = ["NO_CHAIN", "CHAIN", "RELEASE"][(group % 3) as usize];
    println!("{kind:?}: PROGRAMS_SEED={seed} PROGRAMS={count}");
    let lab = Lab::builder()
        .server(kind)
        .replicas(0)
        .server_option(Nodes::All, "--innodb-lock-wait-timeout=1")
        .server_option(Nodes::All, format!("--innodb-rollback-on-timeout={whole}"))
        .server_option(Nodes::All, format!("--completion-type={completion}"));
    let lab = Arc::new(lab.start().await.unwrap());
    prepare(&lab).await;

    let next = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for n in 0..WORKERS.min(count) {
        let (lab, next) = (Arc::clone(&lab), Arc::clone(&next));
        workers.spawn(async move {
            let mut worker = Worker::start(&lab, n).await;
            let mut tally = BTreeMap::<_, u64>::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return tally;
                }
                let seed = seed.wrapping_add(number);
                let program = Program::new(number, seed);
                let outcome = run::run(&mut worker, &program).await;
                let told = outcome.unwrap_or_else(|wrong| {
                    panic!("{kind:?}: PROGRAMS=1 PROGRAMS_SEED={seed}: {wrong}")
                });
                *tally.entry(told).or_default() += 1;
            }
        });
    }
    let mut tally = BTreeMap::<_, u64>::new();
    while let Some(one) = workers.join_next().await {
        for (told, times) in one.unwrap() {
            *tally.entry(told).or_default() += times;
        }
    }
    println!("{kind:?}: {tally:?}");
    assert_eq!(tally.values().sum::<u64>(), count);
    assert!(
        count < 300 || tally.len() > 5,
        "too few outcomes: {tally:?}"
    );
}

async fn prepare(lab: &Lab) {
    let mut root = lab.admin(0).await.unwrap();
    root.query_drop(format!("USE {}", lab.database()))
        .await
        .unwrap();
    for create in [
        // No unique key on the rows, because it would hide a row that was written twice.
        "CREATE TABLE entries (program BIGINT NOT NULL, id BIGINT NOT NULL, \
         at BIGINT AUTO_INCREMENT PRIMARY KEY, KEY (program))",
        "CREATE TABLE locks (program BIGINT NOT NULL, id BIGINT NOT NULL, \
         n BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (program, id))",
        "CREATE TABLE work (at BIGINT AUTO_INCREMENT PRIMARY KEY, x INT)",
    ] {
        root.query_drop(create).await.unwrap();
    }
    for (name, body) in PROCEDURES {
        let create = format!("CREATE PROCEDURE {name}(p BIGINT, i BIGINT) BEGIN {body}; END");
        root.query_drop(create).await.unwrap();
    }
}
