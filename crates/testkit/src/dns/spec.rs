//! The description of a cluster: its Services and the pods behind them.
//!
//! This module owns plain data in the terms of the Kubernetes API. It must never know how DNS
//! presents the data: names, weights and response codes are decided in [`super::answer`] alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::options::Options;

/// The transport protocol of a query or of a Service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// The EndpointSlice conditions of a pod.
///
/// Cluster DNS lists a pod if its `ready` condition is true or absent. With
/// `publishNotReadyAddresses` the control plane writes `ready: true` for every pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// `ready: true`.
    Ready,
    /// `ready: false`: the readiness probe fails.
    NotReady,
    /// `ready: false, serving: true, terminating: true`: the pod is being deleted, but still works.
    Terminating,
    /// The `ready` condition is absent, which counts as ready.
    Unknown,
}

/// One pod behind a Service, as its EndpointSlices present it.
///
/// Two equal entries in [`ServiceSpec::pods`] are one pod in two EndpointSlices. Two pods with the
/// same hostname are a force-deleted pod and its replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodSpec {
    /// Name of the pod. DNS uses it only with [`super::ClusterDns::set_endpoint_pod_names`].
    pub name: String,
    /// The endpoint's `hostname`. The control plane sets it only if the pod's `subdomain` is the
    /// name of the Service. Without it, the pod's label in DNS is its dashed IP address.
    pub hostname: Option<String>,
    /// Addresses of the pod, of either family.
    pub addresses: Vec<IpAddr>,
    /// Conditions of the pod.
    pub readiness: Readiness,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServicePort {
    /// Name of the port. Only a named port has `_port._protocol` names in DNS.
    pub name: Option<String>,
    /// Port number on the pods.
    pub number: u16,
    /// Transport protocol of the port.
    pub protocol: Protocol,
}

/// What the name of a Service resolves to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceKind {
    /// `clusterIP: None`: the addresses of the pods.
    #[default]
    Headless,
    /// Virtual addresses, at most one per family. The pods still have their own names, made of
    /// their hostname or address.
    ClusterIp(Vec<IpAddr>),
    /// `type: ExternalName`: an alias of this name. It has no pods and no ports.
    ExternalName(String),
}

/// A Service and the pods it selects.
///
/// # Examples
///
/// ```
/// use headless_mysql_testkit::dns::{PodSpec, ServiceSpec};
///
/// let mysql = ServiceSpec::new("default", "mysql")
///     .unnamed_port(3306)
///     .pod(PodSpec::ready("mysql-0", [10, 244, 1, 5]))
///     .pod(PodSpec::ready("mysql-1", [10, 244, 2, 6]).not_ready());
/// assert_eq!(mysql.pods.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceSpec {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// What the name resolves to; headless by default.
    pub kind: ServiceKind,
    /// Ports. A Service without ports is valid and has no SRV records.
    pub ports: Vec<ServicePort>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready_addresses: bool,
    /// The pods, in the order of the EndpointSlice.
    pub pods: Vec<PodSpec>,
    /// The maximum number of pods per EndpointSlice. `None`: one slice for all of them.
    ///
    /// The control plane creates slices of up to 100. The order of slices changes from answer to
    /// answer, and each address family has its own slices.
    pub slice_size: Option<usize>,
}

/// The complete state of cluster DNS: the API server's data and its own options.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// Existing namespaces. They are stored separately because a namespace outlives its Services.
    pub(super) namespaces: BTreeSet<String>,
    pub(super) services: BTreeMap<(String, String), ServiceSpec>,
    pub(super) options: Options,
    /// Serial of the zone's SOA record; incremented by every change.
    pub(super) serial: u32,
}

impl PodSpec {
    /// A ready pod whose hostname equals its name: a pod of a StatefulSet, behind the Service that
    /// its `serviceName` names.
    #[must_use]
    pub fn ready(name: impl Into<String>, address: impl Into<IpAddr>) -> Self {
        let name = name.into();
        Self {
            hostname: Some(name.clone()),
            name,
            addresses: vec![address.into()],
            readiness: Readiness::Ready,
        }
    }

    /// Adds an address, such as the IPv6 address of a dual-stack pod.
    #[must_use]
    pub fn address(mut self, address: impl Into<IpAddr>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Removes the hostname: a pod of a Deployment, or of a StatefulSet behind a Service other than
    /// the one that its `serviceName` names.
    #[must_use]
    pub fn without_hostname(mut self) -> Self {
        self.hostname = None;
        self
    }

    /// Sets the readiness.
    #[must_use]
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    /// Short for [`Readiness::NotReady`].
    #[must_use]
    pub fn not_ready(self) -> Self {
        self.readiness(Readiness::NotReady)
    }

    /// Short for [`Readiness::Terminating`].
    #[must_use]
    pub fn terminating(self) -> Self {
        self.readiness(Readiness::Terminating)
    }

    /// Whether `name` is the pod's hostname, or its name if it has no hostname.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.hostname.as_deref().unwrap_or(&self.name) == name
    }
}

impl ServiceSpec {
    /// A headless Service without ports and pods.
    ///
    /// See [`ServiceSpec::cluster_ip`] and [`ServiceSpec::external_name`] for the other kinds.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            kind: ServiceKind::Headless,
            ports: Vec::new(),
            publish_not_ready_addresses: false,
            pods: Vec::new(),
            slice_size: None,
        }
    }

    /// Adds a virtual address. A second one must be of the other address family.
    #[must_use]
    pub fn cluster_ip(mut self, address: impl Into<IpAddr>) -> Self {
        match &mut self.kind {
            ServiceKind::ClusterIp(addresses) => addresses.push(address.into()),
            ServiceKind::Headless | ServiceKind::ExternalName(_) => {
                self.kind = ServiceKind::ClusterIp(vec![address.into()]);
            }
        }
        self
    }

    /// Makes the Service an alias of a name inside or outside of the cluster.
    #[must_use]
    pub fn external_name(mut self, name: impl Into<String>) -> Self {
        self.kind = ServiceKind::ExternalName(name.into());
        self
    }

    /// Sets [`ServiceSpec::slice_size`].
    #[must_use]
    pub fn slice_size(mut self, pods: usize) -> Self {
        self.slice_size = Some(pods.max(1));
        self
    }

    /// Adds a TCP port without a name.
    #[must_use]
    pub fn unnamed_port(mut self, number: u16) -> Self {
        self.ports.push(ServicePort {
            name: None,
            number,
            protocol: Protocol::Tcp,
        });
        self
    }

    /// Adds a TCP port with a name.
    #[must_use]
    pub fn named_port(mut self, name: impl Into<String>, number: u16) -> Self {
        self.ports.push(ServicePort {
            name: Some(name.into()),
            number,
            protocol: Protocol::Tcp,
        });
        self
    }

    /// Removes all ports. Imitates a Service without ports, or one whose named target port no pod
    /// has.
    #[must_use]
    pub fn without_ports(mut self) -> Self {
        self.ports.clear();
        self
    }

    /// Sets `spec.publishNotReadyAddresses`.
    #[must_use]
    pub fn publish_not_ready_addresses(mut self, publish: bool) -> Self {
        self.publish_not_ready_addresses = publish;
        self
    }

    /// Adds a pod.
    #[must_use]
    pub fn pod(mut self, pod: PodSpec) -> Self {
        self.pods.push(pod);
        self
    }

    /// Adds several pods.
    #[must_use]
    pub fn with_pods(mut self, pods: impl IntoIterator<Item = PodSpec>) -> Self {
        self.pods.extend(pods);
        self
    }

    /// The pods whose `ready` condition, as the control plane writes it, is not false.
    pub(super) fn published_pods(&self) -> impl Iterator<Item = &PodSpec> {
        self.pods.iter().filter(|pod| self.publishes(pod))
    }

    pub(super) fn publishes(&self, pod: &PodSpec) -> bool {
        match pod.readiness {
            Readiness::Ready | Readiness::Unknown => true,
            Readiness::NotReady | Readiness::Terminating => self.publish_not_ready_addresses,
        }
    }
}

impl Cluster {
    /// A cluster with an empty namespace `default`.
    pub(super) fn new() -> Self {
        Self {
            namespaces: BTreeSet::from(["default".to_owned()]),
            services: BTreeMap::new(),
            options: Options::new(),
            serial: 1,
        }
    }

    pub(super) fn insert(&mut self, service: ServiceSpec) {
        self.namespaces.insert(service.namespace.clone());
        let key = (service.namespace.clone(), service.name.clone());
        self.services.insert(key, service);
    }

    /// The same cluster without Services, as if the API server had reported none.
    pub(super) fn without_services(&self) -> Self {
        Self {
            namespaces: self.namespaces.clone(),
            services: BTreeMap::new(),
            options: self.options.clone(),
            serial: self.serial,
        }
    }
}
