//! From options to a cluster.
//!
//! Owns the last checks before anything runs. It must do no I/O before `connect` or the first call.

use super::running::Running;
use super::{Cluster, Inner};
use crate::config::{ColdStart, Config};
use crate::discovery::{DnsResolver, PrimaryAndReplicas, Resolve, ResolveError};
use crate::error::Error;
use crate::mysql::{History, Login};
use crate::name::{SearchList, ServiceName};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::time::Instant;

/// Where pods are found.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Dns(ServiceName),
    /// Of the primary, and of the replicas.
    TwoServices(ServiceName, ServiceName),
    Custom(Arc<dyn Resolve>),
}

impl Source {
    /// Reads resolv.conf where the options do not replace it.
    pub(super) fn open(&self, config: &Config) -> Result<Arc<dyn Resolve>, ResolveError> {
        let dns = |service: &ServiceName, statefulset: Option<String>| {
            let mut dns = DnsResolver::builder(service.clone())
                .port(config.port)
                .port_name(config.port_name.clone())
                .statefulset(statefulset)
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

/// Makes a [`Cluster`] from a [`Config`], and from what a configuration cannot hold.
#[derive(Clone)]
#[must_use = "call `connect` or `lazy`"]
pub struct Builder {
    config: Config,
    resolver: Option<Arc<dyn Resolve>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("resolver", &self.resolver)
            .finish()
    }
}

impl Builder {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            resolver: None,
        }
    }

    /// Finds the pods by `resolver` instead of the Service's name in DNS: servers that you list
    /// ([`HostList`](crate::discovery::HostList) by name,
    /// [`FixedList`](crate::discovery::FixedList) by address), or your own source. The options that say what DNS
    /// is asked then have no effect: `port`, `port_name`, `statefulset`, `replica_service`,
    /// `allow_alias`, `name_servers` and `search`; of `service` only that it is not empty.
    ///
    /// ```
    /// use headless_mysql::{Cluster, Config, discovery::HostList};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config: Config = "mysql://app:secret@localhost/shop".parse()?;
    /// // Neither is a Service, and DNS is not asked for one.
    /// assert!(Cluster::builder(config.clone()).lazy().is_err());
    ///
    /// let servers = HostList::builder(["127.0.0.1:3306", "127.0.0.1:3307"]).build()?;
    /// let cluster = Cluster::builder(config).resolver(servers).lazy()?;
    /// # let _ = cluster;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// See [`Cluster::lazy`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::Name`].
    pub fn lazy(self) -> Result<Cluster, Error> {
        self.config.validate()?;
        let source = match self.resolver {
            Some(resolve) => Source::Custom(resolve),
            None => {
                let service = self.config.service.parse()?;
                match &self.config.replica_service {
                    Some(replicas) => Source::TwoServices(service, replicas.parse()?),
                    None => Source::Dns(service),
                }
            }
        };
        let history = match self.config.cold_start {
            ColdStart::Compare => History::cold(),
            ColdStart::Trust => History::default(),
        };
        Ok(Cluster {
            inner: Arc::new(Inner {
                login: Arc::new(Login::new(&self.config)),
                config: self.config,
                source,
                history: Arc::new(history),
                running: OnceLock::new(),
                starting: Mutex::new(()),
                closed: AtomicBool::new(false),
            }),
        })
    }

    /// See [`Cluster::connect`].
    ///
    /// # Errors
    ///
    /// As [`Cluster::connect`].
    pub async fn connect(self) -> Result<Cluster, Error> {
        let wait = self.config.connect_wait;
        let cluster = self.lazy()?;
        let started = Instant::now();
        let running = cluster.running()?;
        let found = running.discovery.first_answer();
        // Elapsed or stopped: either way the topology tells.
        let _ = tokio::time::timeout(wait, found).await;
        running.require_pods(started)?;
        Ok(cluster)
    }
}

impl Running {
    /// An error that says why, if no pod was ever found.
    pub(super) fn require_pods(&self, since: Instant) -> Result<(), Error> {
        if !self.discovery.topology().is_empty() {
            return Ok(());
        }
        let service = self.discovery.name().to_owned();
        let source = self.discovery.status().last_error;
        Err(Error::Discovery {
            waited: since.elapsed(),
            source: Box::new(source.unwrap_or_else(|| ResolveError::Timeout {
                name: service.clone(),
                after: since.elapsed(),
                server: None,
            })),
            service,
        })
    }
}
