//! Servers with their DNS: everything that an application sees from outside, in one value.
//!
//! Owns the pairing of servers ([`Lab`] or [`EmbeddedPods`]) and [`ClusterDns`]. DNS can follow the
//! servers or lag behind them. A change of the servers must never change DNS by itself, nor the
//! reverse: tests are about the time between the two.

use super::dns::{ClusterDns, PodSpec, Readiness, ServiceSpec};
use super::embedded::{EmbeddedBuilder, EmbeddedPods};
use super::lab::{Lab, LabBuilder, LabError};
use super::pods::{Pods, StatefulSetSpec};
use std::net::IpAddr;

/// The namespace of the staged Service.
const NAMESPACE: &str = "default";

/// The search list of a pod in that namespace.
const SEARCH: [&str; 3] = [
    "default.svc.cluster.local",
    "svc.cluster.local",
    "cluster.local",
];

/// Servers, and a cluster DNS in which the headless Service `mysql` lists them. The default `P` is
/// [`Lab`]: real servers.
#[derive(Debug)]
pub struct Stage<P: Pods = Lab> {
    /// The servers.
    pub lab: P,
    /// The DNS.
    pub dns: ClusterDns,
}

impl Stage {
    /// Starts a primary and `replicas` replicas, all of them listed.
    ///
    /// # Errors
    ///
    /// As [`Lab::start`]; [`LabError::Io`] when the DNS server cannot be started.
    pub async fn start(replicas: u32) -> Result<Self, LabError> {
        Self::with(Lab::builder().replicas(replicas)).await
    }

    /// As [`Stage::start`], with options.
    ///
    /// # Errors
    ///
    /// As [`Stage::start`].
    pub async fn with(lab: LabBuilder) -> Result<Self, LabError> {
        Self::of(lab.start().await?).await
    }
}

impl Stage<EmbeddedPods> {
    /// Starts a primary and `replicas` replicas inside this process, all of them listed. Nothing
    /// needs to be installed.
    ///
    /// # Errors
    ///
    /// As [`EmbeddedPods::start`]; [`LabError::Io`] when the DNS server cannot be started.
    pub async fn embedded(replicas: u32) -> Result<Self, LabError> {
        Self::embedded_with(EmbeddedPods::builder().replicas(replicas)).await
    }

    /// As [`Stage::embedded`], with options.
    ///
    /// # Errors
    ///
    /// As [`Stage::embedded`].
    pub async fn embedded_with(pods: EmbeddedBuilder) -> Result<Self, LabError> {
        Self::of(pods.start().await?).await
    }
}

impl<P: Pods> Stage<P> {
    /// Starts the servers that `spec` describes, all of them listed.
    ///
    /// # Errors
    ///
    /// As for the servers; [`LabError::Io`] when the DNS server cannot be started.
    pub async fn launch(spec: StatefulSetSpec) -> Result<Self, LabError> {
        Self::of(P::launch(spec).await?).await
    }

    /// Wraps servers that already run, all of them listed.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when the DNS server cannot be started.
    pub async fn of(lab: P) -> Result<Self, LabError> {
        let dns = ClusterDns::start().await.map_err(|source| LabError::Io {
            what: "start the DNS server".to_owned(),
            source,
        })?;
        let stage = Self { lab, dns };
        stage.publish();
        Ok(stage)
    }

    /// The Service's name, which equals the StatefulSet's.
    pub fn service(&self) -> &str {
        self.lab.statefulset()
    }

    /// The URL with which the application's account connects to the Service. It has the Service's
    /// short name, the staged DNS as `name_servers`, and the `search` list of a pod.
    pub fn url(&self) -> String {
        let Self { lab, dns } = self;
        format!(
            "mysql://{}:{}@{}:{}/{}?name_servers={}&search={}",
            lab.user(),
            lab.password(),
            self.service(),
            lab.port(),
            lab.database(),
            dns.addr(),
            SEARCH.join(","),
        )
    }

    /// Makes DNS list every server at its current address.
    pub fn publish(&self) {
        let pods =
            self.lab.ordinals().into_iter().map(|ordinal| {
                PodSpec::ready(self.lab.pod_name(ordinal), self.lab.address(ordinal))
            });
        let spec = ServiceSpec::new(NAMESPACE, self.service())
            .unnamed_port(self.lab.port())
            .with_pods(pods);
        self.dns.set_service(spec);
    }

    /// Makes DNS list one pod at `address`, without regard to where its server is.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when DNS does not list the pod.
    pub fn publish_at(&self, ordinal: u32, address: IpAddr) -> Result<(), LabError> {
        let pod = self.lab.pod_name(ordinal);
        let changed = self
            .dns
            .set_pod_address(NAMESPACE, self.service(), &pod, address);
        changed.map_err(|source| LabError::Io {
            what: format!("publish {pod} at {address}"),
            source,
        })
    }

    /// Sets whether DNS lists one pod as ready. A pod that is not ready is not listed.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when DNS does not know the pod.
    pub fn set_ready(&self, ordinal: u32, ready: bool) -> Result<(), LabError> {
        let pod = self.lab.pod_name(ordinal);
        let readiness = match ready {
            true => Readiness::Ready,
            false => Readiness::NotReady,
        };
        let changed = self
            .dns
            .set_readiness(NAMESPACE, self.service(), &pod, readiness);
        changed.map_err(|source| LabError::Io {
            what: format!("change the readiness of {pod}"),
            source,
        })
    }
}
