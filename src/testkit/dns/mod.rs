//! Cluster DNS for a cluster that does not exist.
//!
//! [`ClusterDns`] is a DNS server in this process. It answers over UDP and TCP as CoreDNS or
//! kube-dns answers for the Services that a test describes, down to weights, glue, truncation and
//! the difference between NXDOMAIN and NODATA; and it fails on request. Addresses in a description
//! need not exist: nothing in here connects to them.
//!
//! This module owns the face of the server. It must never be lenient where a real cluster is not:
//! a client that works against it has to work in production. So answers come in another order
//! each time wherever they do so in a cluster: from several EndpointSlices (two address families
//! are two), behind `loadbalance`, from kube-dns.
//!
//! Left out: names of pods (`10-244-1-5.default.pod`), zone-aware names, and the options
//! `serve_stale`, `prefetch` and `disable` of the `cache` plugin.
//!
//! # Examples
//!
//! ```
//! use headless_mysql::testkit::dns::{ClusterDns, Fault, PodSpec, ServiceSpec};
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
/// All changes take effect with the next query. Dropping the server stops it: its tasks are
/// aborted, and its sockets are closed as soon as the runtime has run once more. Use
/// [`ClusterDns::stop`] to wait for that.
pub struct ClusterDns {
    shared: Arc<Shared>,
    running: Running,
}

// === impl ClusterDns ===

impl ClusterDns {
    /// Starts a server on a free port of 127.0.0.1, for UDP and TCP.
    ///
    /// It is a CoreDNS that knows the namespace `default`, no Services, and nothing of the world
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
    /// If one of its tasks had failed before.
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

    /// Changes a Service. No query sees it half changed.
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

    /// Gives a pod, by hostname (or name, if it has no hostname), one new address: it restarted.
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

    /// Answers from the description as it is now, whatever becomes of it: a cache.
    ///
    /// If the answers are frozen already, they stay as they are.
    pub fn freeze(&self) {
        let mut state = self.shared.state();
        state.view = View::Frozen(state.take_frozen());
    }

    /// Answers from the frozen description and the current one in turn, starting with the frozen
    /// one: two servers behind one address, one of them with a cache.
    ///
    /// Every query counts, whatever its name and type. If nothing is frozen, this freezes first.
    pub fn alternate(&self) {
        let mut state = self.shared.state();
        state.view = View::Alternating {
            frozen: state.take_frozen(),
            frozen_is_next: true,
        };
    }

    /// Answers from the current description again.
    pub fn thaw(&self) {
        self.shared.state().view = View::Current;
    }

    // --- Faults ---

    /// Replaces all faults by one for every query, or by none.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let faults = fault.map(|fault| (fault, FaultScope::all()));
        self.shared.state().faults = faults.into_iter().collect();
    }

    /// Adds a fault for some queries. Of several faults with one query in their scope, the one
    /// that was set first strikes.
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

    /// Forgets the queries so far.
    pub fn clear_queries(&self) {
        self.shared.clear_queries();
    }

    /// Waits until there have been `count` queries since the start or the last
    /// [`ClusterDns::clear_queries`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
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
