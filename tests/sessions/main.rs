//! Random statements against two promises: a connection is returned without its last user's session
//! state, and a connection of `replicas()` only reads.
//!
//! `FUZZ_TEXTS` sets the number of texts per run. A text that breaks a promise is printed with its
//! seed: `FUZZ_SEED=seed FUZZ_TEXTS=1` runs that text alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but does not see that helpers are test code"
)]

mod grammar;
mod leaks;
mod probe;
mod reads;
#[path = "../staged/mod.rs"]
mod staged;
mod world;

use headless_mysql_testkit::lab::ServerKind;

/// The default number of texts per run.
const TEXTS: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| {
        let number = text.parse();
        number.unwrap_or_else(|_| panic!("{variable}={text} is not a whole number"))
    })
}

/// The seeds of a run's texts.
fn seeds() -> std::ops::Range<u64> {
    let first = number("FUZZ_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    first..first + number("FUZZ_TEXTS").unwrap_or(TEXTS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_leaves_anything_in_a_session_of_mariadb() {
    leaks::run(ServerKind::MariaDb, seeds()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_leaves_anything_in_a_session_of_mysql() {
    leaks::run(ServerKind::MySql, seeds()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_changes_anything_through_a_session_that_only_reads_on_mariadb() {
    reads::run(ServerKind::MariaDb, seeds()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_changes_anything_through_a_session_that_only_reads_on_mysql() {
    reads::run(ServerKind::MySql, seeds()).await;
}
