//! What the manifests deploy, as the suite knows it.
//!
//! Owns the names that stand in both. A test of `tests/kind_files` holds them against the
//! manifests.
#![allow(
    dead_code,
    reason = "each of the crates that have this file uses a part"
)]

/// Of the Service, the StatefulSet, the label of its pods, and the Secret.
pub(crate) const NAME: &str = "mysql";
/// The application's account and database.
pub(crate) const USER: &str = "app";
pub(crate) const DATABASE: &str = "app";
pub(crate) const PORT: u16 = 3306;

/// The variable that has the password of [`USER`].
pub(crate) const PASSWORD: &str = "APP_PASSWORD";
/// The file that takes a pod out of service.
pub(crate) const OUT_OF_SERVICE: &str = "/run/pod/out-of-service";

/// Cluster DNS as kubeadm deploys it.
pub(crate) const DNS_NAMESPACE: &str = "kube-system";
pub(crate) const DNS_DEPLOYMENT: &str = "coredns";
pub(crate) const DNS_PODS: &str = "k8s-app=kube-dns";
