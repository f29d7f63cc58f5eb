//! How cluster DNS is set up: which server it is, the options of its plugins, and what it knows of
//! the world outside.
//!
//! This module owns plain settings in the words of a CoreDNS configuration. It must never know what
//! they do to an answer: that is decided in [`super::answer`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// TTL of the CoreDNS `kubernetes` plugin when its `ttl` option is not set.
const DEFAULT_TTL: Duration = Duration::from_secs(5);

/// Which cluster DNS server answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Flavor {
    /// CoreDNS with its `kubernetes` plugin.
    #[default]
    CoreDns,
    /// kube-dns: port 0 in the SRV records of a Service's name, hashes for pods without hostname,
    /// a TTL of 30 s, answers in any order, REFUSED instead of SERVFAIL before it has heard from
    /// the API server. It has no options; those below are for CoreDNS.
    KubeDns,
}

/// Who answers for the names of addresses (`in-addr.arpa.`, `ip6.arpa.`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReverseZones {
    /// Nobody in the cluster: they are names of the world outside.
    Absent,
    /// The cluster alone: an unknown address is NXDOMAIN.
    Authoritative,
    /// The cluster first, the world outside for what it does not know. kubeadm sets it up so.
    #[default]
    Fallthrough,
}

/// The `autopath` plugin: the server walks the search list for the client.
///
/// It takes every name below the first entry of the list for an expanded one, also a full name.
/// If a Service has no ready pods, the answer may be that of a stranger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autopath {
    /// Namespace of the pod that asks.
    pub(super) namespace: String,
    /// The part of the search list that comes from the host.
    pub(super) search: Vec<String>,
}

/// The world outside of the cluster, as its DNS servers tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// By name, in lower case and with the last dot.
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
    /// `ignore empty_service`: a Service with a cluster IP and without ready pods does not exist.
    pub(super) ignore_empty_services: bool,
    /// Whether the API server has told all there is.
    pub(super) synced: bool,
    /// The `loadbalance` plugin.
    pub(super) load_balance: bool,
    pub(super) autopath: Option<Autopath>,
    pub(super) reverse: ReverseZones,
    /// None: names outside of the cluster are refused.
    pub(super) upstream: Option<Upstream>,
}

// === impl Options ===

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

// === impl Autopath ===

impl Autopath {
    /// For a pod of this namespace on a host without a search list of its own.
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

// === impl Upstream ===

impl Upstream {
    /// A world without any names: NXDOMAIN for all of them.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A world that cannot be reached: SERVFAIL.
    #[must_use]
    pub fn failing() -> Self {
        Self {
            failing: true,
            ..Self::default()
        }
    }

    /// Adds an address of a host, by its full name, with or without the last dot.
    #[must_use]
    pub fn host(mut self, name: impl AsRef<str>, address: impl Into<IpAddr>) -> Self {
        let name = name.as_ref().trim_end_matches('.').to_ascii_lowercase() + ".";
        self.hosts.entry(name).or_default().push(address.into());
        self
    }
}
