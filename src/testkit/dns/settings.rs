//! The settings of a running server.
//!
//! This module owns the part of [`ClusterDns`]' face that is about the server itself rather than
//! the cluster. It must never change the description of the cluster.

use std::time::Duration;

use super::ClusterDns;
use super::cache::Cache;
use super::options::{Autopath, Flavor, Options, ReverseZones, Upstream};

// === impl ClusterDns ===

impl ClusterDns {
    /// Sets which server answers; CoreDNS unless set.
    pub fn set_flavor(&self, flavor: Flavor) {
        self.set(|options| options.flavor = flavor);
    }

    /// Sets the TTL of all records, in whole seconds: the `ttl` option, 5 s by default and 30 s
    /// with kubeadm. That of a negative answer is 300 s at most. kube-dns has no such option.
    pub fn set_ttl(&self, ttl: Duration) {
        self.set(|options| options.ttl = ttl);
    }

    /// Sets the `endpoint_pod_names` option: whether pods without a hostname are called by name.
    pub fn set_endpoint_pod_names(&self, endpoint_pod_names: bool) {
        self.set(|options| options.endpoint_pod_names = endpoint_pod_names);
    }

    /// Sets the `ignore empty_service` option: whether a Service with a cluster IP and without
    /// ready pods is missing. Headless Services without ready pods always are.
    pub fn set_ignore_empty_services(&self, ignore: bool) {
        self.set(|options| options.ignore_empty_services = ignore);
    }

    /// Sets whether the API server has told all there is; it has unless set.
    ///
    /// If not, CoreDNS answers SERVFAIL for names that it does not know, and kube-dns REFUSED for
    /// all names.
    pub fn set_synced(&self, synced: bool) {
        self.set(|options| options.synced = synced);
    }

    /// Switches the `loadbalance` plugin: addresses in answers and glue are shuffled, SRV records
    /// are not. Off unless set; kubeadm has it on.
    pub fn set_load_balance(&self, load_balance: bool) {
        self.set(|options| options.load_balance = load_balance);
    }

    /// Switches the `autopath` plugin, off unless set. Every client counts as the same pod.
    pub fn set_autopath(&self, autopath: Option<Autopath>) {
        self.set(|options| options.autopath = autopath);
    }

    /// Sets who answers for the names of addresses.
    pub fn set_reverse_zones(&self, reverse: ReverseZones) {
        self.set(|options| options.reverse = reverse);
    }

    /// Sets what the world outside of the cluster says. Without one, names outside are REFUSED.
    pub fn set_upstream(&self, upstream: Option<Upstream>) {
        self.set(|options| options.upstream = upstream);
    }

    // --- The cache ---

    /// Switches the `cache` plugin on, with nothing in it, or off. It is off unless set.
    ///
    /// `limit` is the most, in whole seconds, for which an answer is kept; 5 s is the least. The
    /// TTL of what comes out of it tells how long that may still be. Unlike
    /// [`ClusterDns::freeze`], it knows only answers that were asked for.
    pub fn set_cache(&self, limit: Option<Duration>) {
        self.shared.state().cache = limit.map(Cache::new);
    }

    /// Stops the clock by which the cache ages, so that only [`ClusterDns::advance_clock`] moves
    /// it.
    pub fn stop_clock(&self) {
        self.shared.state().clock.stop();
    }

    /// Makes everything in the cache older.
    pub fn advance_clock(&self, by: Duration) {
        self.shared.state().clock.advance(by);
    }

    fn set(&self, set: impl FnOnce(&mut Options)) {
        self.change(|cluster| set(&mut cluster.options));
    }
}
