//! Chooses the resolver that finds the pods, by the options.
//!
//! It must read no file before `open`.

use crate::config::Config;
use crate::discovery::{DnsResolver, PrimaryAndReplicas, Resolve, ResolveError};
use crate::name::{Ordinal, SearchList, ServiceName};
use std::sync::Arc;

/// The source of the pods.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Dns(ServiceName),
    /// The Service of the primary, and the Service of the replicas.
    TwoServices(ServiceName, ServiceName),
    Custom(Arc<dyn Resolve>),
}

impl Source {
    /// Makes the resolver. Reads resolv.conf unless the options replace it.
    pub(super) fn open(&self, config: &Config) -> Result<Arc<dyn Resolve>, ResolveError> {
        let dns = |service: &ServiceName, statefulset: Option<String>| {
            let mut dns = DnsResolver::builder(service.clone())
                .port(config.port)
                .port_name(config.port_name.clone())
                .statefulset(statefulset)
                .first_ordinal(Ordinal::new(config.first_ordinal))
                .read_other_pods(config.read_other_pods)
                .allow_alias(config.allow_alias);
            if !config.name_servers.is_empty() {
                dns = dns.name_servers(config.name_servers.clone());
            }
            if let Some(domains) = &config.search {
                dns = dns.search(SearchList::new(domains.clone()));
            }
            dns.build()
        };
        let statefulset = config.statefulset.clone();
        match self {
            Self::Custom(resolve) => Ok(Arc::clone(resolve)),
            Self::Dns(service) => Ok(Arc::new(dns(service, statefulset)?)),
            Self::TwoServices(primary, replicas) => Ok(Arc::new(PrimaryAndReplicas::new(
                dns(primary, statefulset)?,
                dns(replicas, None)?,
            ))),
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Dns(service) => service.to_string(),
            Self::TwoServices(primary, replicas) => format!("{primary} and {replicas}"),
            Self::Custom(resolve) => resolve.describe(),
        }
    }
}
