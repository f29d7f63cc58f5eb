//! Builds a cluster from its options.
//!
//! Owns the final validation of the options. It must do no I/O before `connect` or the first call.

use super::handle::Cluster;
use super::running::{Parts, Running};
use super::source::Source;
use crate::config::{ColdStart, Config};
use crate::discovery::{Resolve, ResolveError};
use crate::error::Error;
use crate::gtid::history::History;
use crate::routing::Target;
use crate::server::login::Login;
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

impl Cluster {
    /// Connects by URL: `mysql://user:password@service[:port][/database][?option=value]`; see
    /// [`url`](crate::url) for the options.
    ///
    /// Returns once discovery has found the pods and [`Cluster::status`] lists them. It does not
    /// wait for a primary: while the primary is down, the cluster can still be connected to and
    /// read from.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::Name`] at once. [`Error::Discovery`] when no pod was found
    /// within 10 s; a Service without ready pods looks like a Service that does not exist, so both
    /// use up this time. [`Error::Discovery`] at once when the Service has pods but none of them
    /// belongs to the StatefulSet. [`Error::RuntimeGone`] outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops discovery and all tasks.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, Error> {
        Self::builder(crate::url::parse(url.as_ref())?)
            .connect()
            .await
    }

    /// As [`Cluster::connect`], but without I/O: the first call starts discovery and waits for it
    /// within its own deadline.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::Name`].
    pub fn lazy(url: impl AsRef<str>) -> Result<Self, Error> {
        Self::builder(crate::url::parse(url.as_ref())?).lazy()
    }

    /// A builder, for options that a URL cannot express.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }
}

/// Makes a [`Cluster`] from a [`Config`] and from parts that a `Config` cannot hold.
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

    /// Uses `resolver` to find the pods, instead of the Service's name in DNS. Use it for a list of
    /// servers ([`HostList`](crate::discovery::HostList) by name,
    /// [`FixedList`](crate::discovery::FixedList) by address), or for your own source. The options
    /// for DNS queries then have no effect: `port`, `port_name`, `statefulset`, `replica_service`,
    /// `allow_alias`, `name_servers` and `search`. `service` must not be empty, but is not used
    /// otherwise.
    ///
    /// ```
    /// use headless_mysql::{Cluster, Config, discovery::HostList};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config: Config = "mysql://app:secret@localhost/shop".parse()?;
    /// // `localhost` is no Service name, so a resolver is required.
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
            ColdStart::Trust => History::trusting(),
        };
        Ok(Cluster::new(Parts {
            login: Arc::new(Login::new(&self.config)),
            config: self.config,
            source,
            history: Arc::new(history),
        }))
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
        let found = async {
            tokio::select! {
                _ = running.discovery.first_answer() => running.applied().await,
                () = running.barred(Target::Replicas) => {}
            }
        };
        // After a timeout or a stop, `require_pods` checks the topology.
        let _ = tokio::time::timeout(wait, found).await;
        running.require_pods(started)?;
        Ok(cluster)
    }
}

impl Running {
    /// Returns an error with the reason if no pod was ever found.
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
            hints: self.hints(),
            service,
        })
    }
}
