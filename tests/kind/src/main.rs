//! The program that `tests/kind/run` runs inside of a Kubernetes cluster: the cases of
//! `tests/kind/cases`, one after the other, and a report.
//!
//! Owns the choice of cases and the report. It must never know a case: they are the same files that
//! the crate's own tests compile.

#[path = "../cases/mod.rs"]
#[macro_use]
mod cases;
mod cluster;
#[path = "../lab/mod.rs"]
mod lab;
#[path = "../../staged/mod.rs"]
mod staged;

use cases::report::{Report, brief};
use cases::world::{Failure, Outcome, Seat, World};
use clap::{Parser, Subcommand, ValueEnum};
use cluster::ClusterWorld;
use headless_mysql_testkit::lab::ServerKind;
use lab::LabWorld;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// What a case may take beyond everything it waits for.
const LONGEST: Duration = Duration::from_secs(1800);

#[derive(Debug, Parser)]
#[command(
    name = "kind-suite",
    about = "The suite of headless-mysql for a real cluster"
)]
struct Options {
    #[command(subcommand)]
    command: Command,
    /// Only cases with this in their names
    #[arg(long, global = true, value_name = "PART")]
    only: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Against the StatefulSet `mysql` of the cluster this runs in
    Cluster {
        /// The namespace of the StatefulSet
        #[arg(long, default_value = "default")]
        namespace: String,
        /// Where this runs: in the namespace of the servers, or in another one
        #[arg(long, value_enum, default_value_t = Place::Same)]
        seat: Place,
    },
    /// Against servers and a DNS of this machine
    Lab {
        /// Which servers
        #[arg(long, value_enum, default_value_t = Server::Mariadb)]
        server: Server,
    },
    /// Print the names of the cases
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Place {
    Same,
    Elsewhere,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Server {
    Mariadb,
    Mysql,
}

/// How a case went.
#[derive(Debug)]
struct Row {
    name: &'static str,
    took: Duration,
    failure: Option<Failure>,
    report: Report,
}

macro_rules! table_of_cases {
    ($($file:ident :: $case:ident, $seat:ident;)*) => {
        const CASES: &[(&str, Seat)] = &[$((stringify!($case), Seat::$seat)),*];

        async fn run_case(world: &impl World, name: &str, report: &mut Report) -> Outcome {
            match name {
                $(stringify!($case) => cases::$file::$case(world, report).await,)*
                other => Err(format!("there is no case {other}").into()),
            }
        }
    };
}

every_case!(table_of_cases);

fn chosen(seat: Option<Seat>, only: Option<&str>) -> Vec<&'static str> {
    CASES
        .iter()
        .filter(|(_, stands)| seat.is_none_or(|seat| seat == *stands))
        .filter(|(name, _)| only.is_none_or(|only| name.contains(only)))
        .map(|(name, _)| *name)
        .collect()
}

async fn run_one(world: &impl World, name: &'static str) -> Row {
    println!("{name}");
    let began = Instant::now();
    let mut report = Report::default();
    let outcome = match timeout(LONGEST, run_case(world, name, &mut report)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("not over after {LONGEST:?}").into()),
    };
    let took = began.elapsed();
    match &outcome {
        Ok(()) => println!("    ok, {}", brief(took)),
        Err(failure) => println!("    FAILED after {}: {failure}", brief(took)),
    }
    Row {
        name,
        took,
        failure: outcome.err(),
        report,
    }
}

/// The report; whether all is well.
fn print(rows: &[Row]) -> bool {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    println!("\n{:width$}  result  time", "case");
    for row in rows {
        let result = if row.failure.is_none() {
            "ok"
        } else {
            "FAILED"
        };
        println!("{:width$}  {result:6}  {}", row.name, brief(row.took));
        for line in row.report.lines() {
            println!("    {line}");
        }
        if let Some(failure) = &row.failure {
            println!("    {failure}");
        }
    }
    let failed = rows.iter().filter(|row| row.failure.is_some()).count();
    println!("\n{} passed, {failed} failed", rows.len() - failed);
    failed == 0 && !rows.is_empty()
}

async fn run(options: Options) -> Result<bool, Failure> {
    let only = options.only.as_deref();
    let mut rows = Vec::new();
    match options.command {
        Command::List => {
            for (name, _) in CASES {
                println!("{name}");
            }
            return Ok(true);
        }
        Command::Cluster { namespace, seat } => {
            let seat = match seat {
                Place::Same => Seat::Same,
                Place::Elsewhere => Seat::Elsewhere,
            };
            let world = ClusterWorld::connect(namespace, seat).await?;
            for name in chosen(Some(seat), only) {
                let row = run_one(&world, name).await;
                let failed = row.failure.is_some();
                rows.push(row);
                if failed && seat == Seat::Same {
                    world.restore().await?;
                }
            }
        }
        Command::Lab { server } => {
            let kind = match server {
                Server::Mariadb => ServerKind::MariaDb,
                Server::Mysql => ServerKind::MySql,
            };
            // A new one for each: cheap, and a case that fails leaves nothing to the next.
            for name in chosen(None, only) {
                let world = LabWorld::start(kind).await?;
                rows.push(run_one(&world, name).await);
            }
        }
    }
    if rows.is_empty() {
        return Err("no case has that in its name; see `list`".into());
    }
    Ok(print(&rows))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(2)
        }
    }
}
