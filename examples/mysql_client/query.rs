//! `query`: runs one statement and prints its rows as a table.

use crate::say::say;
use crate::{Failure, table};
use headless_mysql::mysql_async::{Row, Value};
use headless_mysql::prelude::*;
use headless_mysql::{Cluster, Config, Error};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Side {
    Primary,
    Replicas,
}

#[derive(clap::Args)]
pub(crate) struct Query {
    /// mysql://user:password@service[:port][/database]
    url: String,
    /// The statement
    sql: String,
    /// Where it runs
    #[arg(long, value_enum, default_value = "replicas")]
    route: Side,
    /// Ask this name server instead of the system's
    #[arg(long, value_name = "IP:PORT")]
    server: Option<SocketAddr>,
}

impl std::fmt::Debug for Query {
    /// Written by hand to leave out the URL, which contains the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query")
            .field("sql", &self.sql)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

impl Query {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut config: Config = self.url.parse()?;
        if let Some(server) = self.server {
            config = config.with_name_servers([server]);
        }
        let cluster = Cluster::builder(config).connect().await?;
        let route = match self.route {
            Side::Primary => cluster.primary(),
            Side::Replicas => cluster.replicas(),
        };
        let mut conn = route.conn().await?;
        let started = Instant::now();
        let rows: Vec<Row> = conn.query(self.sql.as_str()).await.map_err(Error::from)?;
        let took = started.elapsed();
        show(&rows);
        let changed = match rows.is_empty() {
            true => format!("{} rows affected", conn.affected_rows()),
            false => format!("{} rows", rows.len()),
        };
        say!("\n{changed} on {} in {took:.1?}", conn.pod());
        drop(conn);
        cluster.shutdown(Duration::from_secs(1)).await?;
        Ok(())
    }
}

fn show(rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    let columns = first.columns();
    let headings: Vec<String> = columns.iter().map(|c| c.name_str().into_owned()).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    table::print(&headings, &cells);
}

fn cells(row: &Row) -> Vec<String> {
    (0..row.len())
        .map(|column| match row.as_ref(column) {
            None | Some(Value::NULL) => "NULL".to_owned(),
            Some(Value::Bytes(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => text.to_owned(),
                Err(_) => format!("({} bytes)", bytes.len()),
            },
            Some(value) => value.as_sql(true).trim_matches('\'').to_owned(),
        })
        .collect()
}
