//! The settings of a running server.
//!
//! This module owns the part of the interface of [`ClusterDns`] that concerns the server itself
//! rather than the cluster. It must never change the description of the cluster.

use std::time::Duration;

use super::ClusterDns;
use super::cache::Cache;
use super::options::{Autopath, Flavor, Options, ReverseZones, Upstream};

impl ClusterDns {
    /// Sets the kind of server; CoreDNS by default.
    pub fn set_flavor(&self, flavor: Flavor) {
        self.set(|options| options.flavor = flavor);
    }

    /// Sets the TTL of all records, in whole seconds (the `ttl` option; 5 s by default, 30 s with
    /// kubeadm). The TTL of a negative answer is at most 300 s. kube-dns has no such option.
    pub fn set_ttl(&self, ttl: Duration) {
        self.set(|options| options.ttl = ttl);
    }

    /// Sets the `endpoint_pod_names` option: whether the label of a pod without a hostname is its
    /// name.
    pub fn set_endpoint_pod_names(&self, endpoint_pod_names: bool) {
        self.set(|options| options.endpoint_pod_names = endpoint_pod_names);
    }

    /// Sets the `ignore empty_service` option: whether a Service with a cluster IP but without
    /// ready pods is NXDOMAIN. A headless Service without ready pods always is.
    pub fn set_ignore_empty_services(&self, ignore: bool) {
        self.set(|options| options.ignore_empty_services = ignore);
    }

    /// Sets whether the API server has delivered its complete data; it has by default.
    ///
    /// If not, CoreDNS answers SERVFAIL for names that it does not know, and kube-dns answers
    /// REFUSED for all names.
    pub fn set_synced(&self, synced: bool) {
        self.set(|options| options.synced = synced);
    }

    /// Sets whether the `loadbalance` plugin is on: it shuffles addresses in answers and glue, but
    /// not SRV records. Off by default; kubeadm turns it on.
    pub fn set_load_balance(&self, load_balance: bool) {
        self.set(|options| options.load_balance = load_balance);
    }

    /// Sets the `autopath` plugin; off by default. All clients are treated as the same pod.
    pub fn set_autopath(&self, autopath: Option<Autopath>) {
        self.set(|options| options.autopath = autopath);
    }

    /// Sets which server answers for the reverse zones.
    pub fn set_reverse_zones(&self, reverse: ReverseZones) {
        self.set(|options| options.reverse = reverse);
    }

    /// Sets the DNS outside of the cluster. With `None`, names outside are REFUSED.
    pub fn set_upstream(&self, upstream: Option<Upstream>) {
        self.set(|options| options.upstream = upstream);
    }

    // --- The cache ---

    /// Turns the `cache` plugin on, with an empty cache, or off. Off by default.
    ///
    /// `limit` is the longest time for which an answer is cached, in whole seconds; the shortest is
    /// 5 s. The TTL of a cached answer is its remaining time. Unlike [`ClusterDns::freeze`], the
    /// cache contains only answers to earlier queries.
    pub fn set_cache(&self, limit: Option<Duration>) {
        self.shared.state().cache = limit.map(Cache::new);
    }

    /// Stops the clock of the cache, so that only [`ClusterDns::advance_clock`] moves it.
    pub fn stop_clock(&self) {
        self.shared.state().clock.stop();
    }

    /// Advances the clock of the cache.
    pub fn advance_clock(&self, by: Duration) {
        self.shared.state().clock.advance(by);
    }

    fn set(&self, set: impl FnOnce(&mut Options)) {
        self.change(|cluster| set(&mut cluster.options));
    }
}
