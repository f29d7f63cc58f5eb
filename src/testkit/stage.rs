//! Servers with their DNS: the whole outside of an application in one value.
//!
//! Owns the pairing of servers ([`Lab`] or [`EmbeddedPods`]) and [`ClusterDns`] so that what DNS says can follow what the servers
//! do, or lag behind it. It must never change the one without being asked because the other did:
//! the time between the two is what tests are about.

use super::dns::{ClusterDns, PodSpec, Readiness, ServiceSpec};
use super::embedded::{EmbeddedBuilder, EmbeddedPods};
use super::lab::{Lab, LabBuilder, LabError};
use super::pods::{Pods, StatefulSetSpec};
use crate::Config;
use std::net::IpAddr;

/// The namespace of the staged Service.
const NAMESPACE: &str = "default";

/// Servers, and a cluster DNS in which the headless Service `mysql` lists them. The servers are
/// real ones unless said otherwise.
#[derive(Debug)]
pub struct Stage<P: Pods = Lab> {
    /// The servers.
    pub lab: P,
    /// The DNS.
    pub dns: ClusterDns,
}

impl Stage {
    /// A primary and `replicas` replicas, all of them listed.
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
    /// A primary and `replicas` replicas of this process, all of them listed. Nothing needs to be
    /// installed.
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
    /// The servers of a description, of whichever kind is asked for, all of them listed.
    ///
    /// # Errors
    ///
    /// As for the servers; [`LabError::Io`] when the DNS server cannot be started.
    pub async fn launch(spec: StatefulSetSpec) -> Result<Self, LabError> {
        Self::of(P::launch(spec).await?).await
    }

    /// Servers that run already, all of them listed.
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

    /// The Service's name, which is the StatefulSet's too.
    pub fn service(&self) -> &str {
        self.lab.statefulset()
    }

    /// Options that connect the application's account to the Service through the staged DNS.
    pub fn config(&self) -> Config {
        Config::new(self.service(), self.lab.user())
            .with_password(self.lab.password())
            .with_database(self.lab.database())
            .with_port(self.lab.port())
            .with_name_servers([self.dns.addr()])
            .with_search([
                "default.svc.cluster.local",
                "svc.cluster.local",
                "cluster.local",
            ])
    }

    /// Makes DNS list every server at the address it has now.
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

    /// Makes DNS list one pod at `address`, whatever the servers do.
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

    /// Makes DNS show one pod as ready, or not at all.
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
