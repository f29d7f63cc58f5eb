//! A MySQL client for a StatefulSet. It shows what the Service resolves to, runs statements on the
//! primary or the replicas, and demonstrates the crate.
//!
//! ```text
//! cargo run --example mysql_client                    # the demo
//! cargo run --example mysql_client -- resolve mysql.default
//! cargo run --example mysql_client -- \
//!     query mysql://app:secret@mysql.default/shop "SELECT 1" --route replicas
//! ```

mod chart;
mod demo;
mod load;
mod query;
mod resolve;
mod say;
mod table;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The error of any command, which is shown to the user.
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

fn main() -> ExitCode {
    match std::panic::catch_unwind(run) {
        Ok(code) => code,
        // Not an error: the reader of the output has closed it.
        Err(panic) if panic.is::<say::ReaderLeft>() => ExitCode::SUCCESS,
        Err(panic) => std::panic::resume_unwind(panic),
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
