//! `resolve`: what a Service resolves to, how that was found out, and how it changes.
//!
//! Exit codes: 0 if pods were found, 3 if there are none (no such name, or no pod is ready), 1 if
//! DNS gave no answer, and 2 for invalid arguments.

use crate::say::say;
mod json;
mod show;
mod watch;

use crate::Failure;
use headless_mysql::discovery::{DnsResolver, PrimaryAndReplicas, ResolveError};
use headless_mysql::name::{SearchList, ServiceName};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Resolve {
    /// The Service, in any spelling: mysql, mysql.default, mysql.default.svc.cluster.local; or one
    /// pod of it: mysql-0.mysql
    name: String,
    /// The Service of the replicas, if they have one of their own
    #[arg(long, value_name = "NAME")]
    replica_service: Option<String>,
    /// Ask this name server instead of the system's; several are asked in this order
    #[arg(long, value_name = "IP:PORT")]
    server: Vec<SocketAddr>,
    /// Search these domains instead of the system's
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    search: Option<Vec<String>>,
    /// The port where DNS does not tell one
    #[arg(long, default_value_t = 3306)]
    port: u16,
    /// The name of the Service's port, to be asked for first
    #[arg(long, value_name = "NAME")]
    port_name: Option<String>,
    /// The StatefulSet's name, if it is not the Service's
    #[arg(long)]
    statefulset: Option<String>,
    /// Follow an alias at the Service's name (the type ExternalName)
    #[arg(long)]
    allow_alias: bool,
    /// How many seconds to wait for one name server
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    timeout: f64,
    /// Look up again and again, as an application does, and show what changes
    #[arg(long)]
    watch: bool,
    /// End after so many look-ups
    #[arg(long, requires = "watch", value_name = "N")]
    look_ups: Option<usize>,
    /// JSON; with --watch one object per line
    #[arg(long)]
    json: bool,
}

/// The exit code for "there are no pods".
const ABSENT: u8 = 3;
const FAILED: u8 = 1;

impl Resolve {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let dns = match self.resolver() {
            Ok(dns) => dns,
            Err(error) => {
                eprintln!("error: {error}");
                return Ok(ExitCode::from(2));
            }
        };
        if self.watch {
            return watch::run(dns, self.json, self.look_ups).await;
        }
        let (result, transcript) = dns.explain().await;
        if self.json {
            let object = json::look_up(&dns.describe(), &result, &transcript);
            say!("{}", serde_json::to_string_pretty(&object)?);
        } else {
            show::look_up(&result, &transcript);
            if let Err(error) = &result {
                eprintln!("error: {error}");
            }
        }
        Ok(code(result.err().as_ref()))
    }

    fn resolver(&self) -> Result<Arc<dyn headless_mysql::discovery::Resolve>, Failure> {
        let primary = self.dns(&self.name, self.statefulset.clone())?;
        Ok(match &self.replica_service {
            None => Arc::new(primary),
            Some(replicas) => Arc::new(PrimaryAndReplicas::new(primary, self.dns(replicas, None)?)),
        })
    }

    fn dns(&self, name: &str, statefulset: Option<String>) -> Result<DnsResolver, Failure> {
        let service: ServiceName = name.parse()?;
        let mut dns = DnsResolver::builder(service)
            .port(self.port)
            .port_name(self.port_name.clone())
            .statefulset(statefulset)
            .allow_alias(self.allow_alias)
            .timeout(Duration::from_secs_f64(self.timeout));
        if !self.server.is_empty() {
            dns = dns.name_servers(self.server.clone());
        }
        if let Some(search) = &self.search {
            dns = dns.search(SearchList::new(search));
        }
        Ok(dns.build()?)
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.001..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give a number from 0.001 to 3600".to_owned()),
    }
}

fn code(error: Option<&ResolveError>) -> ExitCode {
    match error {
        None => ExitCode::SUCCESS,
        Some(error) if error.is_absence() => ExitCode::from(ABSENT),
        Some(_) => ExitCode::from(FAILED),
    }
}
