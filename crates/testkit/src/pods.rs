//! What real and embedded servers have in common: one description, one set of operations.
//!
//! A test that is written against [`Pods`] runs on both kinds of server. This module must never
//! offer an operation that one of the two kinds cannot perform.
//!
//! ```
//! use headless_mysql_testkit::embedded::EmbeddedPods;
//! use headless_mysql_testkit::lab::LabError;
//! use headless_mysql_testkit::pods::{Pods, StatefulSetSpec};
//!
//! /// Runs on `Lab` as it does on `EmbeddedPods`.
//! async fn a_replica_comes_and_goes<P: Pods>() -> Result<(), LabError> {
//!     let pods = P::launch(StatefulSetSpec::new(1)).await?;
//!     let ordinal = pods.add_replica().await?;
//!     assert_eq!(ordinal, 2);
//!     pods.remove(ordinal).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), LabError> {
//! a_replica_comes_and_goes::<EmbeddedPods>().await
//! # }
//! ```

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::embedded::{EmbeddedBuilder, EmbeddedPods};
use super::lab::{Lab, LabBuilder, LabError};

/// Describes a StatefulSet of servers, real or embedded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a description does nothing until it is launched"]
pub struct StatefulSetSpec {
    pub(super) statefulset: String,
    pub(super) replicas: u32,
}

impl Default for StatefulSetSpec {
    fn default() -> Self {
        Self::new(2)
    }
}

impl StatefulSetSpec {
    /// A primary with `replicas` replicas, called `mysql`.
    pub fn new(replicas: u32) -> Self {
        Self {
            statefulset: "mysql".to_owned(),
            replicas,
        }
    }

    /// How many replicas the primary has.
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// The name of the StatefulSet, the part of a pod's name before the ordinal.
    pub fn statefulset(mut self, name: impl Into<String>) -> Self {
        self.statefulset = name.into();
        self
    }
}

impl From<StatefulSetSpec> for LabBuilder {
    fn from(spec: StatefulSetSpec) -> Self {
        Lab::builder()
            .replicas(spec.replicas)
            .statefulset(spec.statefulset)
    }
}

/// A StatefulSet's servers. Each operation has the meaning it has for [`Lab`].
pub trait Pods: fmt::Debug + Send + Sync + Sized + 'static {
    /// Starts the servers.
    fn launch(spec: StatefulSetSpec) -> impl Future<Output = Result<Self, LabError>> + Send;

    /// The name of the StatefulSet.
    fn statefulset(&self) -> &str;
    /// The ordinals of the servers, in order.
    fn ordinals(&self) -> Vec<u32>;
    /// The name of a pod, such as `mysql-0`.
    fn pod_name(&self, ordinal: u32) -> String;
    /// The address of a server, or the last one it had. Panics when there is no such server.
    fn address(&self, ordinal: u32) -> IpAddr;
    /// The port of every server.
    fn port(&self) -> u16;
    /// The application's account.
    fn user(&self) -> &str;
    /// The account's password.
    fn password(&self) -> &str;
    /// The application's database, empty in a new volume.
    fn database(&self) -> &str;
    /// An address that no server has had yet.
    ///
    /// # Errors
    ///
    /// When this machine has no more loopback addresses.
    fn fresh_address(&self) -> Result<IpAddr, LabError>;

    /// Connects with the application's account through the driver alone, without the client under
    /// test.
    fn connect(
        &self,
        ordinal: u32,
    ) -> impl Future<Output = Result<mysql_async::Conn, LabError>> + Send;
    /// Ends a server at once.
    fn kill(&self, ordinal: u32) -> impl Future<Output = Result<(), LabError>> + Send;
    /// Ends a server cleanly.
    fn stop(&self, ordinal: u32) -> impl Future<Output = Result<(), LabError>> + Send;
    /// Starts a server with its existing data at its existing address.
    fn restart(&self, ordinal: u32) -> impl Future<Output = Result<(), LabError>> + Send;
    /// Starts a server with its existing data at another address.
    fn start_at(
        &self,
        ordinal: u32,
        address: IpAddr,
    ) -> impl Future<Output = Result<(), LabError>> + Send;
    /// Moves a server with its data to a fresh address. If it is the primary, the replicas follow.
    fn move_to_new_address(
        &self,
        ordinal: u32,
    ) -> impl Future<Output = Result<IpAddr, LabError>> + Send;
    /// Makes a server silent: its connections stay open, but it answers nothing.
    fn freeze(&self, ordinal: u32) -> impl Future<Output = Result<(), LabError>> + Send;
    /// Resumes a frozen server.
    fn thaw(&self, ordinal: u32) -> impl Future<Output = Result<(), LabError>> + Send;
    /// Sets `read_only` of a running server. A restart resets it.
    fn set_read_only(
        &self,
        ordinal: u32,
        read_only: bool,
    ) -> impl Future<Output = Result<(), LabError>> + Send;
    /// Restarts a server with an empty volume.
    fn wipe(&self, ordinal: u32) -> impl Future<Output = Result<(), LabError>> + Send;
    /// Adds a replica with an empty volume and returns its ordinal.
    fn add_replica(&self) -> impl Future<Output = Result<u32, LabError>> + Send;
    /// Stops a replica and deletes it with its volume.
    fn remove(&self, ordinal: u32) -> impl Future<Output = Result<(), LabError>> + Send;
    /// Waits until every running replica has applied everything the primary has written so far.
    fn wait_for_replication(
        &self,
        deadline: Duration,
    ) -> impl Future<Output = Result<(), LabError>> + Send;
}

/// `Lab` and `EmbeddedPods` have inherent methods of the same names, which take precedence, so the
/// calls below do not recurse.
macro_rules! delegate {
    ($pods:ty, $builder:ty) => {
        impl Pods for $pods {
            async fn launch(spec: StatefulSetSpec) -> Result<Self, LabError> {
                <$builder>::from(spec).start().await
            }
            fn statefulset(&self) -> &str {
                <$pods>::statefulset(self)
            }
            fn ordinals(&self) -> Vec<u32> {
                <$pods>::ordinals(self)
            }
            fn pod_name(&self, ordinal: u32) -> String {
                <$pods>::pod_name(self, ordinal)
            }
            fn address(&self, ordinal: u32) -> IpAddr {
                <$pods>::address(self, ordinal)
            }
            fn port(&self) -> u16 {
                <$pods>::port(self)
            }
            fn user(&self) -> &str {
                <$pods>::user(self)
            }
            fn password(&self) -> &str {
                <$pods>::password(self)
            }
            fn database(&self) -> &str {
                <$pods>::database(self)
            }
            fn fresh_address(&self) -> Result<IpAddr, LabError> {
                <$pods>::fresh_address(self)
            }
            async fn connect(&self, ordinal: u32) -> Result<mysql_async::Conn, LabError> {
                <$pods>::connect(self, ordinal).await
            }
            async fn kill(&self, ordinal: u32) -> Result<(), LabError> {
                <$pods>::kill(self, ordinal).await
            }
            async fn stop(&self, ordinal: u32) -> Result<(), LabError> {
                <$pods>::stop(self, ordinal).await
            }
            async fn restart(&self, ordinal: u32) -> Result<(), LabError> {
                <$pods>::restart(self, ordinal).await
            }
            async fn start_at(&self, ordinal: u32, address: IpAddr) -> Result<(), LabError> {
                <$pods>::start_at(self, ordinal, address).await
            }
            async fn move_to_new_address(&self, ordinal: u32) -> Result<IpAddr, LabError> {
                <$pods>::move_to_new_address(self, ordinal).await
            }
            async fn freeze(&self, ordinal: u32) -> Result<(), LabError> {
                <$pods>::freeze(self, ordinal).await
            }
            async fn thaw(&self, ordinal: u32) -> Result<(), LabError> {
                <$pods>::thaw(self, ordinal).await
            }
            async fn set_read_only(&self, ordinal: u32, read_only: bool) -> Result<(), LabError> {
                <$pods>::set_read_only(self, ordinal, read_only).await
            }
            async fn wipe(&self, ordinal: u32) -> Result<(), LabError> {
                <$pods>::wipe(self, ordinal).await
            }
            async fn add_replica(&self) -> Result<u32, LabError> {
                <$pods>::add_replica(self).await
            }
            async fn remove(&self, ordinal: u32) -> Result<(), LabError> {
                <$pods>::remove(self, ordinal).await
            }
            async fn wait_for_replication(&self, deadline: Duration) -> Result<(), LabError> {
                <$pods>::wait_for_replication(self, deadline).await
            }
        }
    };
}

delegate!(Lab, LabBuilder);
delegate!(EmbeddedPods, EmbeddedBuilder);
