//! Owns the options of how pods are found: the names that are asked for, whom they are asked, and
//! when. They must never say which pod a call gets: that is for the roles and the balancer.

use super::Config;
use std::net::SocketAddr;
use std::time::Duration;

impl Config {
    /// The name of the StatefulSet; by default the Service's first label. Needed when the two
    /// differ, since pods are told apart by `<statefulset>-<ordinal>`.
    #[must_use]
    pub fn with_statefulset(mut self, statefulset: impl Into<String>) -> Self {
        self.statefulset = Some(statefulset.into());
        self
    }

    /// The name of the Service's port for MySQL, such as `mysql`; none by default. Its SRV records
    /// are asked for first, and tell the servers' port. Needed where the Service has several ports
    /// and the number is not known beforehand.
    #[must_use]
    pub fn with_port_name(mut self, name: impl Into<String>) -> Self {
        self.port_name = Some(name.into());
        self
    }

    /// Whether the Service's name may be an alias (a Service of the type ExternalName); default
    /// false. Where cluster DNS uses autopath, a Service without ready pods can look like an alias
    /// of a stranger, so allow it only if one is meant.
    #[must_use]
    pub fn with_allow_alias(mut self, allow: bool) -> Self {
        self.allow_alias = allow;
        self
    }

    /// A second headless Service, whose pods are the replicas, for charts that deploy primary and
    /// replicas apart; none by default. The first Service then has the primary; see
    /// [`PrimaryAndReplicas`](crate::discovery::PrimaryAndReplicas). The StatefulSet's name, if
    /// given, is that of the first.
    #[must_use]
    pub fn with_replica_service(mut self, service: impl Into<String>) -> Self {
        self.replica_service = Some(service.into());
        self
    }

    /// The name servers to ask; by default (empty) those of the system's `resolv.conf`. For
    /// applications outside of the cluster, and for tests.
    #[must_use]
    pub fn with_name_servers(mut self, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.name_servers = servers.into_iter().collect();
        self
    }

    /// The search list that completes a short Service name; by default that of the system's
    /// `resolv.conf`. Needed with name servers of one's own and a name that is not full.
    #[must_use]
    pub fn with_search<I>(mut self, domains: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.search = Some(domains.into_iter().map(Into::into).collect());
        self
    }

    /// How long connecting to the cluster waits for the first good DNS answer; default 10 s. Raise
    /// it when the application may start before the Service exists.
    #[must_use]
    pub fn with_connect_wait(mut self, wait: Duration) -> Self {
        self.connect_wait = wait;
        self
    }

    /// Bounds of the interval between look-ups, whatever the answers' TTL; default 1 s to 5 s.
    /// Raise both to spare the cluster's DNS, at the price of noticing a new pod later.
    #[must_use]
    pub fn with_refresh(mut self, min: Duration, max: Duration) -> Self {
        self.refresh_min = min;
        self.refresh_max = max;
        self
    }

    /// How long the connections of a pod that DNS no longer lists are kept, in case it comes
    /// back; default 30 s. Keep it above the longest DNS cache on the way.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}
