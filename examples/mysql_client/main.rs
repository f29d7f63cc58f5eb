//! A MySQL client that speaks to a StatefulSet: shows what it resolves to, runs statements on its
//! primary or its replicas, and demonstrates what the crate does.
//!
//! ```text
//! cargo run --example mysql_client --features testkit              # the demo
//! cargo run --example mysql_client --features testkit -- resolve mysql.default
//! cargo run --example mysql_client --features testkit -- \
//!     query mysql://app:secret@mysql.default/shop "SELECT 1" --route replicas
//! ```

/// Prints a line. Where the standard macro would panic because nobody reads any more (`| head`),
/// the program ends without a word, and what it started ends with it.
macro_rules! println {
    () => {
        println!("")
    };
    ($($line:tt)*) => {
        $crate::print_line(format_args!($($line)*))
    };
}

mod chart;
mod demo;
mod load;
mod query;
mod resolve;
mod table;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::panic;
use std::process::ExitCode;

/// What any command can fail with: it is shown to a person.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(
    name = "mysql_client",
    about = "A client for MySQL behind a headless Service"
)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the crate does, on a StatefulSet of this process (the default)
    Demo(demo::Demo),
    /// Show what a headless Service resolves to, how that was found out, and how it changes
    Resolve(resolve::Resolve),
    /// Run a statement and print its rows
    Query(query::Query),
}

/// Nobody reads the standard output any more. Thrown, so that servers are stopped on the way out.
struct ReaderGone;
/// What a shell reports of a program that SIGPIPE has ended.
const SIGPIPE: u8 = 128 + 13;

fn print_line(line: std::fmt::Arguments<'_>) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        panic::resume_unwind(Box::new(ReaderGone));
    }
}

fn main() -> ExitCode {
    match panic::catch_unwind(run) {
        Ok(code) => code,
        Err(cause) if cause.is::<ReaderGone>() => ExitCode::from(SIGPIPE),
        Err(cause) => panic::resume_unwind(cause),
    }
}

#[tokio::main]
async fn run() -> ExitCode {
    let options = Options::parse();
    let result = match options.command {
        Some(Command::Resolve(resolve)) => resolve.run().await,
        Some(Command::Query(query)) => query.run().await.map(|()| ExitCode::SUCCESS),
        Some(Command::Demo(demo)) => demo.run().await.map(|()| ExitCode::SUCCESS),
        None => demo::Demo::default()
            .run()
            .await
            .map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
