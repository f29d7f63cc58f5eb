//! The settings of cluster DNS: the kind of server, the options of its plugins, and its upstream.
//!
//! This module owns plain settings in the terms of a CoreDNS configuration. It must never know
//! their effect on an answer, which is decided in [`super::answer`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// TTL of the CoreDNS `kubernetes` plugin when its `ttl` option is not set.
const DEFAULT_TTL: Duration = Duration::from_secs(5);

/// The kind of cluster DNS server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flavor {
    /// CoreDNS with its `kubernetes` plugin.
    #[default]
    CoreDns,
    /// kube-dns: port 0 in the SRV records of a Service's name, hashes as labels of pods without
    /// hostname, a TTL of 30 s, answers in random order, and REFUSED instead of SERVFAIL until its
    /// first data from the API server. It has no options; those below are for CoreDNS.
    KubeDns,
}

/// Which server answers for the reverse zones (`in-addr.arpa.`, `ip6.arpa.`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReverseZones {
    /// Only the upstream.
    Absent,
    /// Only the cluster: an unknown address is NXDOMAIN.
    Authoritative,
    /// The cluster; the upstream for addresses that it does not know. This is kubeadm's setting.
    #[default]
    Fallthrough,
}

/// The `autopath` plugin: the server walks the search list on behalf of the client.
///
/// The plugin assumes that every name below the first entry of the list was expanded by the client,
/// even if it is a full name. If a Service has no ready pods, the answer may belong to an unrelated
/// name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autopath {
    /// Namespace of the querying pod.
    pub(super) namespace: String,
    /// The host's part of the search list.
    pub(super) search: Vec<String>,
}

/// The DNS outside of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Addresses by name, in lower case with the final dot.
    pub(super) hosts: BTreeMap<String, Vec<IpAddr>>,
    pub(super) failing: bool,
}

/// The settings of a server.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) flavor: Flavor,
    pub(super) ttl: Duration,
    /// The `endpoint_pod_names` option.
    pub(super) endpoint_pod_names: bool,
    /// `ignore empty_service`: a Service with a cluster IP but without ready pods does not exist.
    pub(super) ignore_empty_services: bool,
    /// Whether the API server has delivered its complete data.
    pub(super) synced: bool,
    /// The `loadbalance` plugin.
    pub(super) load_balance: bool,
    pub(super) autopath: Option<Autopath>,
    pub(super) reverse: ReverseZones,
    /// `None`: names outside of the cluster are refused.
    pub(super) upstream: Option<Upstream>,
}

impl Options {
    pub(super) fn new() -> Self {
        Self {
            flavor: Flavor::default(),
            ttl: DEFAULT_TTL,
            endpoint_pod_names: false,
            ignore_empty_services: false,
            synced: true,
            load_balance: false,
            autopath: None,
            reverse: ReverseZones::default(),
            upstream: None,
        }
    }
}

impl Autopath {
    /// The plugin for clients in this namespace, on a host without its own search list.
    #[must_use]
    pub fn new(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            search: Vec::new(),
        }
    }

    /// Adds a domain of the host's search list.
    #[must_use]
    pub fn search(mut self, domain: impl Into<String>) -> Self {
        self.search.push(domain.into());
        self
    }
}

impl Upstream {
    /// An upstream without any names: NXDOMAIN for every query.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An upstream that cannot be reached: SERVFAIL for every query.
    #[must_use]
    pub fn failing() -> Self {
        Self {
            failing: true,
            ..Self::default()
        }
    }

    /// Adds an address of a host. The full name may have a final dot.
    #[must_use]
    pub fn host(mut self, name: impl AsRef<str>, address: impl Into<IpAddr>) -> Self {
        let name = name.as_ref().trim_end_matches('.').to_ascii_lowercase() + ".";
        self.hosts.entry(name).or_default().push(address.into());
        self
    }
}
