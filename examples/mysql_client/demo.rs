//! `demo`: a StatefulSet under load, whose primary is restarted in the middle.
//!
//! Fails if a write went to a server other than ordinal 0, or if an acknowledged write is missing.

use crate::load::{Counts, Load};
use crate::say::say;
use crate::{Failure, chart, table};
use headless_mysql::Cluster;
use headless_mysql_testkit::lab::{Lab, ServerKind};
use headless_mysql_testkit::pods::Pods;
use headless_mysql_testkit::stage::Stage;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Server {
    Mariadb,
    Mysql,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Use real servers instead of the embedded ones (they must be installed; see tests/run)
    #[arg(long, value_enum)]
    real: Option<Server>,
    /// How many replicas
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=8))]
    replicas: u32,
    /// How long the load lasts
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(4..=600))]
    seconds: u64,
}

impl Default for Demo {
    fn default() -> Self {
        Self {
            real: None,
            replicas: 2,
            seconds: 8,
        }
    }
}

impl Demo {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let lab = Lab::builder().replicas(self.replicas);
        match self.real {
            None => {
                let stage = Stage::embedded(self.replicas).await?;
                self.play(stage, "embedded servers").await
            }
            Some(Server::Mariadb) => {
                let stage = Stage::with(lab.server(ServerKind::MariaDb)).await?;
                self.play(stage, "MariaDB servers").await
            }
            Some(Server::Mysql) => {
                let stage = Stage::with(lab.server(ServerKind::MySql)).await?;
                self.play(stage, "MySQL servers").await
            }
        }
    }

    async fn play<P: Pods>(&self, stage: Stage<P>, servers: &str) -> Result<(), Failure> {
        let pods = stage.lab.ordinals().len();
        say!(
            "{pods} {servers} behind the headless Service `{}`\n",
            stage.service()
        );
        let cluster = Cluster::connect(&stage.url()).await?;
        prepare(&stage, &cluster).await?;
        show_pods(&stage, &cluster).await?;

        say!(
            "\n{} writers and {} readers for {} s; the primary restarts in the middle\n",
            Load::WRITERS,
            Load::READERS,
            self.seconds
        );
        let load = Load::start(&cluster);
        let screen = Screen::new(load.counts());
        let half = Duration::from_secs(self.seconds) / 2;
        screen.watch(half - Duration::from_secs(1)).await;
        let shown = restart_the_primary(&stage, &screen).await?;
        screen.watch(half).await;
        let report = load.stop().await;
        screen.end();

        let kept: Vec<(u64, String)> = cluster
            .primary()
            .query("SELECT id, pod FROM entries")
            .await?;
        let verdict = report.judge(&kept, shown);
        show_spread(&stage, &kept, &report.reads);
        say!("\n{verdict}");
        cluster.shutdown(Duration::from_secs(1)).await?;
        verdict.into_result()
    }
}

async fn prepare<P: Pods>(stage: &Stage<P>, cluster: &Cluster) -> Result<(), Failure> {
    let create = "CREATE TABLE entries (id BIGINT PRIMARY KEY, pod VARCHAR(64))";
    cluster.primary().query_drop(create).await?;
    stage
        .lab
        .wait_for_replication(Duration::from_secs(10))
        .await?;
    // The client learns a server's role when it connects, so each server gets a query first.
    let reads = (0..2 * stage.lab.ordinals().len()).map(|_| {
        let read = cluster.replicas();
        tokio::spawn(read.query_first::<u64>("SELECT COUNT(*) FROM entries"))
    });
    for read in reads.collect::<Vec<_>>() {
        read.await??;
    }
    Ok(())
}

async fn show_pods<P: Pods>(stage: &Stage<P>, cluster: &Cluster) -> Result<(), Failure> {
    let status = cluster.status();
    say!(
        "{} says of {}:\n",
        stage.dns.addr(),
        status.service.unwrap_or_default()
    );
    let rows = status.pods.iter().map(|pod| {
        let role = match pod.read_only {
            Some(false) => "primary (writable)",
            Some(true) => "replica (read-only)",
            None => "not asked yet",
        };
        vec![
            pod.ordinal.map_or("-".to_owned(), |n| n.to_string()),
            pod.pod.name().to_owned(),
            pod.pod.address().to_string(),
            role.to_owned(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    table::print(&["ordinal", "pod", "address", "role"], &rows);
    Ok(())
}

/// Kills the primary and starts it at another address. DNS shows the new address after a delay, as
/// in a cluster. Returns the time at which DNS showed it.
async fn restart_the_primary<P: Pods>(
    stage: &Stage<P>,
    screen: &Screen,
) -> Result<Instant, Failure> {
    let name = stage.lab.pod_name(0);
    let old = stage.lab.address(0);
    stage.lab.kill(0).await?;
    screen.event(&format!("{name} is killed at {old}"));
    screen.watch(Duration::from_millis(500)).await;
    let new = stage.lab.fresh_address()?;
    stage.lab.start_at(0, new).await?;
    screen.event(&format!(
        "{name} runs again, at {new}; DNS still says {old}"
    ));
    screen.watch(Duration::from_millis(500)).await;
    stage.publish_at(0, new)?;
    screen.event(&format!("DNS says {new}"));
    Ok(Instant::now())
}

fn show_spread<P: Pods>(stage: &Stage<P>, kept: &[(u64, String)], reads: &BTreeMap<String, u64>) {
    let mut writes = BTreeMap::<String, u64>::new();
    for (_, server) in kept {
        *writes.entry(server.clone()).or_default() += 1;
    }
    // Server ids start at 1.
    let by_pod = |by: &BTreeMap<String, u64>| -> Vec<(String, u64)> {
        let pods = stage.lab.ordinals().into_iter();
        pods.map(|ordinal| {
            let count = by.get(&(ordinal + 1).to_string()).copied();
            (stage.lab.pod_name(ordinal), count.unwrap_or(0))
        })
        .collect()
    };
    say!("\nWrites per pod");
    chart::print(&by_pod(&writes));
    say!("\nReads per pod");
    chart::print(&by_pod(reads));
}

/// A live status line at the bottom, with events above it.
struct Screen {
    counts: std::sync::Arc<Counts>,
    started: Instant,
    terminal: bool,
}

impl Screen {
    fn new(counts: std::sync::Arc<Counts>) -> Self {
        Self {
            counts,
            started: Instant::now(),
            terminal: std::io::stdout().is_terminal(),
        }
    }

    /// Shows progress for `time`: one line that is overwritten, or one line per second if the
    /// output is not a terminal.
    async fn watch(&self, time: Duration) {
        let until = Instant::now() + time;
        let pause = match self.terminal {
            true => Duration::from_millis(100),
            false => Duration::from_secs(1),
        };
        while Instant::now() < until {
            sleep(pause.min(until - Instant::now())).await;
            let line = format!("  {:4.1} s  {}", self.seconds(), self.counts);
            match self.terminal {
                true => {
                    let _ = write!(std::io::stdout(), "\r\x1b[K{line}");
                }
                false => say!("{line}"),
            }
            let _ = std::io::stdout().flush();
        }
    }

    fn event(&self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        say!("{clear}  {:4.1} s  * {text}", self.seconds());
    }

    fn end(&self) {
        if self.terminal {
            say!("");
        }
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
