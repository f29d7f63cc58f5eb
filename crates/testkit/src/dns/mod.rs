//! A DNS server that imitates the DNS of a Kubernetes cluster, for tests.
//!
//! [`ClusterDns`] is a DNS server in this process. Over UDP and TCP it gives the answers that
//! CoreDNS or kube-dns would give for the Services that a test describes. This includes weights,
//! glue, truncation and the difference between NXDOMAIN and NODATA. A test can also inject faults.
//! Addresses in a description need not exist: the server never connects to them.
//!
//! This module owns the server's public interface. It must never be more lenient than a real
//! cluster: a client that works against it has to work in production. Where a cluster changes the
//! order of answers from query to query, this server does so too: with several EndpointSlices (two
//! address families are two slices), with `loadbalance`, with kube-dns.
//!
//! Not implemented: names of pods (`10-244-1-5.default.pod`), zone-aware names, and the options
//! `serve_stale`, `prefetch` and `disable` of the `cache` plugin.
//!
//! # Examples
//!
//! ```
//! use headless_mysql_testkit::dns::{ClusterDns, Fault, PodSpec, ServiceSpec};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let dns = ClusterDns::start().await?;
//! dns.set_service(
//!     ServiceSpec::new("default", "mysql")
//!         .unnamed_port(3306)
//!         .pod(PodSpec::ready("mysql-0", [10, 244, 1, 5]))
//!         .pod(PodSpec::ready("mysql-1", [10, 244, 2, 6])),
//! );
//! // Point a resolver at `dns.addr()`, then let things happen:
//! dns.set_pod_address("default", "mysql", "mysql-0", [10, 244, 1, 99])?;
//! dns.set_fault(Some(Fault::ServFail));
//! # Ok(())
//! # }
//! ```

mod answer;
mod cache;
mod fault;
mod message;
mod options;
mod request;
mod server;
mod settings;
mod spec;
mod state;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub use self::fault::{Fault, FaultScope, RecordKind};
pub use self::options::{Autopath, Flavor, ReverseZones, Upstream};
pub use self::spec::{PodSpec, Protocol, Readiness, ServiceKind, ServicePort, ServiceSpec};
pub use self::state::Query;

use self::server::Running;
use self::spec::Cluster;
use self::state::{Shared, View};

/// A DNS server that answers as CoreDNS or kube-dns does for the zone `cluster.local.`.
///
/// All changes take effect with the next query. Dropping the server stops it: its task is aborted,
/// and its sockets are closed when the runtime runs next. [`ClusterDns::stop`] waits for that.
pub struct ClusterDns {
    shared: Arc<Shared>,
    running: Running,
}

impl ClusterDns {
    /// Starts a server on a free port of 127.0.0.1, for UDP and TCP.
    ///
    /// The server is a CoreDNS with the namespace `default`, no Services and no upstream for names
    /// outside of the cluster.
    ///
    /// # Errors
    ///
    /// If no port could be bound for both protocols.
    pub async fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::new());
        let running = server::start(Arc::clone(&shared)).await?;
        Ok(Self { shared, running })
    }

    /// Where the server listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.running.address
    }

    /// Stops the server and waits until it no longer listens.
    ///
    /// # Errors
    ///
    /// If the server's task had already failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the server like dropping [`ClusterDns`].
    pub async fn stop(self) -> io::Result<()> {
        self.running.stop().await
    }

    // --- The description ---

    /// Adds a Service, or replaces the one with the same namespace and name.
    pub fn set_service(&self, service: ServiceSpec) {
        self.change(|cluster| cluster.insert(service));
    }

    /// Removes a Service, if there is one. Its namespace stays.
    pub fn remove_service(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.change(|cluster| {
            cluster.services.remove(&key);
        });
    }

    /// Changes a Service. The change is atomic for queries.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is no such Service.
    pub fn update_service<T>(
        &self,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut ServiceSpec) -> T,
    ) -> io::Result<T> {
        let key = (namespace.to_owned(), name.to_owned());
        self.change(|cluster| match cluster.services.get_mut(&key) {
            Some(service) => Ok(change(service)),
            None => Err(not_found(format!("no Service {namespace}/{name}"))),
        })
    }

    /// Adds a pod to a Service.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is no such Service.
    pub fn add_pod(&self, namespace: &str, service: &str, pod: PodSpec) -> io::Result<()> {
        self.update_service(namespace, service, |spec| spec.pods.push(pod))
    }

    /// Removes a pod from a Service, by hostname (or name, if it has no hostname).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is no such Service or pod.
    pub fn remove_pod(&self, namespace: &str, service: &str, hostname: &str) -> io::Result<()> {
        self.update_pods(namespace, service, hostname, |_| {})?;
        self.update_service(namespace, service, |spec| {
            spec.pods.retain(|pod| !pod.is_called(hostname));
        })
    }

    /// Replaces the addresses of a pod with one new address, as after a restart. The pod is given
    /// by hostname (or name, if it has no hostname).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is no such Service or pod.
    pub fn set_pod_address(
        &self,
        namespace: &str,
        service: &str,
        hostname: &str,
        address: impl Into<IpAddr>,
    ) -> io::Result<()> {
        let address = address.into();
        self.update_pods(namespace, service, hostname, |pod| {
            pod.addresses = vec![address];
        })
    }

    /// Sets the readiness of a pod, by hostname (or name, if it has no hostname).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if there is no such Service or pod.
    pub fn set_readiness(
        &self,
        namespace: &str,
        service: &str,
        hostname: &str,
        readiness: Readiness,
    ) -> io::Result<()> {
        self.update_pods(namespace, service, hostname, |pod| {
            pod.readiness = readiness;
        })
    }

    // --- Old answers ---

    /// Freezes the answers: later changes of the description have no effect. Imitates a cache.
    ///
    /// If the answers are already frozen, they stay as they are.
    pub fn freeze(&self) {
        let mut state = self.shared.state();
        state.view = View::Frozen(state.take_frozen());
    }

    /// Alternates between the frozen and the current description, starting with the frozen one.
    /// Imitates two servers behind one address, one of them with a cache.
    ///
    /// Every query counts, of any name and type. If the answers are not frozen yet, this freezes
    /// them.
    pub fn alternate(&self) {
        let mut state = self.shared.state();
        state.view = View::Alternating {
            frozen: state.take_frozen(),
            frozen_is_next: true,
        };
    }

    /// Returns to the current description.
    pub fn thaw(&self) {
        self.shared.state().view = View::Current;
    }

    // --- Faults ---

    /// Replaces all faults with one that affects every query, or with none.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let faults = fault.map(|fault| (fault, FaultScope::all()));
        self.shared.state().faults = faults.into_iter().collect();
    }

    /// Adds a fault for the queries in `scope`. If several faults match a query, the one that was
    /// set first applies.
    pub fn set_fault_for(&self, fault: Fault, scope: FaultScope) {
        self.shared.state().faults.push((fault, scope));
    }

    // --- Queries ---

    /// The queries so far, in the order of their arrival.
    #[must_use]
    pub fn queries(&self) -> Vec<Query> {
        self.shared.queries()
    }

    /// The number of queries so far.
    #[must_use]
    pub fn query_count(&self) -> usize {
        self.shared.query_count()
    }

    /// Clears the log of queries.
    pub fn clear_queries(&self) {
        self.shared.clear_queries();
    }

    /// Waits until there have been `count` queries since the start or the last
    /// [`ClusterDns::clear_queries`].
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped without side effects.
    pub async fn wait_for_queries(&self, count: usize) {
        self.shared.wait_for_queries(count).await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        let mut state = self.shared.state();
        state.cluster.serial = state.cluster.serial.wrapping_add(1);
        change(&mut state.cluster)
    }

    /// Changes every entry of one pod.
    fn update_pods(
        &self,
        namespace: &str,
        service: &str,
        hostname: &str,
        mut change: impl FnMut(&mut PodSpec),
    ) -> io::Result<()> {
        let found = self.update_service(namespace, service, |spec| {
            let pods = spec.pods.iter_mut().filter(|pod| pod.is_called(hostname));
            pods.map(&mut change).count()
        })?;
        if found == 0 {
            let message = format!("no pod {hostname} behind Service {namespace}/{service}");
            return Err(not_found(message));
        }
        Ok(())
    }
}

impl fmt::Debug for ClusterDns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterDns")
            .field("address", &self.running.address)
            .field("shared", &self.shared)
            .finish()
    }
}

fn not_found(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, message)
}
