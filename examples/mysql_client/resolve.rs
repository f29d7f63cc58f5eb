//! `resolve`: what a Service is at this moment.

use crate::{Failure, table};
use headless_mysql::discovery::{DnsResolver, Resolve as _};
use headless_mysql::name::{SearchList, ServiceName};
use std::net::SocketAddr;

#[derive(Debug, clap::Args)]
pub(crate) struct Resolve {
    /// The Service, in any spelling: mysql, mysql.default, mysql.default.svc.cluster.local
    name: String,
    /// Ask this name server instead of the system's
    #[arg(long, value_name = "IP:PORT")]
    server: Option<SocketAddr>,
    /// Search these domains instead of the system's
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    search: Option<Vec<String>>,
    /// The port where DNS does not tell one
    #[arg(long, default_value_t = 3306)]
    port: u16,
    /// The StatefulSet's name, if it is not the Service's
    #[arg(long)]
    statefulset: Option<String>,
}

impl Resolve {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let service: ServiceName = self.name.parse()?;
        let mut dns = DnsResolver::builder(service)
            .port(self.port)
            .statefulset(self.statefulset);
        if let Some(server) = self.server {
            dns = dns.name_servers(vec![server]);
        }
        if let Some(search) = self.search {
            dns = dns.search(SearchList::new(search));
        }
        let dns = dns.build()?;
        println!("asking for {}", dns.candidates().join(", then "));
        let answer = dns.resolve().await?;
        let ttl = answer
            .ttl
            .map_or("no TTL".to_owned(), |ttl| format!("TTL {ttl:?}"));
        println!(
            "{} has {} pods ({ttl})\n",
            answer.service,
            answer.pods.len()
        );
        let rows: Vec<Vec<String>> = answer
            .pods
            .iter()
            .map(|pod| {
                let addresses: Vec<String> =
                    pod.addresses.iter().map(ToString::to_string).collect();
                vec![
                    pod.ordinal.map_or("-".to_owned(), |n| n.to_string()),
                    pod.host.clone(),
                    addresses.join(", "),
                    pod.port.to_string(),
                ]
            })
            .collect();
        table::print(&["ordinal", "name", "address", "port"], &rows);
        Ok(())
    }
}
