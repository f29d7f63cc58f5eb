//! Operations of a test on pods: kill, freeze, move, add, remove, delay, break.
//!
//! Owns the order of steps that involve several pods. The names and their meaning are those of the
//! [`Lab`](crate::lab::Lab). Each operation has taken full effect when it returns.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::fault::Fault;
use super::pod::Pod;
use super::{EmbeddedPods, LabError};

impl EmbeddedPods {
    /// Kills a server: every connection is cut, uncommitted changes are lost. Does nothing if the
    /// server does not run.
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub async fn kill(&self, ordinal: u32) -> Result<(), LabError> {
        self.pod(ordinal)?.hold().await.kill().await;
        self.publish_source(ordinal);
        Ok(())
    }

    /// Stops a server. The same as [`EmbeddedPods::kill`], because there is nothing to write to
    /// disk.
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub async fn stop(&self, ordinal: u32) -> Result<(), LabError> {
        self.kill(ordinal).await
    }

    /// Freezes a server: its connections stay open, but it answers nothing. The kernel accepts new
    /// connections, which get no greeting.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub async fn freeze(&self, ordinal: u32) -> Result<(), LabError> {
        self.pod(ordinal)?.hold().await.freeze(true)?;
        self.publish_source(ordinal);
        Ok(())
    }

    /// Resumes a frozen server.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub async fn thaw(&self, ordinal: u32) -> Result<(), LabError> {
        self.pod(ordinal)?.hold().await.freeze(false)?;
        self.publish_source(ordinal);
        Ok(())
    }

    /// Starts a server again with its data, at its address. A running server is killed first.
    ///
    /// # Errors
    ///
    /// When there is no such server, or its address is taken.
    pub async fn restart(&self, ordinal: u32) -> Result<(), LabError> {
        let pod = self.pod(ordinal)?;
        self.start_pod(&pod, pod.face().address, false).await
    }

    /// An address that no server has had yet, for [`EmbeddedPods::start_at`] or for a server double
    /// that the test provides. Nothing listens there.
    ///
    /// # Errors
    ///
    /// When this machine has no more loopback addresses.
    pub fn fresh_address(&self) -> Result<IpAddr, LabError> {
        Ok(IpAddr::V4(self.lock_addresses().fresh()?))
    }

    /// Starts a server with its data at another address, like a rescheduled pod. A running server
    /// is killed first. If the primary moves, its replicas do *not* follow: see
    /// [`EmbeddedPods::repoint_replicas`].
    ///
    /// # Errors
    ///
    /// When `address` is not an IPv4 address, or as [`EmbeddedPods::restart`].
    pub async fn start_at(&self, ordinal: u32, address: IpAddr) -> Result<(), LabError> {
        let IpAddr::V4(address) = address else {
            return Err(LabError::Config(format!(
                "{address} is no loopback address of ours"
            )));
        };
        self.start_pod(&*self.pod(ordinal)?, address, false).await
    }

    /// Moves a server with its data to a fresh address and returns the address. If the primary
    /// moves, every running replica follows. A running server is killed first.
    ///
    /// # Errors
    ///
    /// As [`EmbeddedPods::start_at`].
    pub async fn move_to_new_address(&self, ordinal: u32) -> Result<IpAddr, LabError> {
        let address = self.fresh_address()?;
        self.start_at(ordinal, address).await?;
        if ordinal == 0 {
            self.repoint_replicas().await?;
        }
        Ok(address)
    }

    /// Points every running replica at the primary's current address. A replica that starts later
    /// gets the address at its start.
    ///
    /// # Errors
    ///
    /// None today; the signature is that of the [`Lab`](crate::lab::Lab)'s method.
    pub async fn repoint_replicas(&self) -> Result<(), LabError> {
        let primary = self.pod(0)?.face().address;
        for replica in self.live_replicas() {
            replica.knobs.send_modify(|knobs| knobs.source = primary);
        }
        Ok(())
    }

    /// Sets `read_only` of a running server. A restart resets it.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub async fn set_read_only(&self, ordinal: u32, read_only: bool) -> Result<(), LabError> {
        self.pod(ordinal)?.hold().await.set_read_only(read_only)
    }

    /// Kills a server, gives it an empty volume (no table, no GTID position) and starts it at its
    /// address. A wiped replica replicates everything again. If the primary is wiped, its replicas
    /// are ahead of it and stop replicating.
    ///
    /// # Errors
    ///
    /// As [`EmbeddedPods::restart`].
    pub async fn wipe(&self, ordinal: u32) -> Result<(), LabError> {
        let pod = self.pod(ordinal)?;
        self.start_pod(&pod, pod.face().address, true).await
    }

    /// Adds a replica with an empty volume and returns its ordinal, the lowest that is free.
    ///
    /// # Errors
    ///
    /// When the replica does not start. The set of pods is then unchanged.
    pub async fn add_replica(&self) -> Result<u32, LabError> {
        let _scaling = self.scaling.lock().await;
        let ordinal = {
            let pods = self.read_pods();
            (0..)
                .find(|ordinal| !pods.contains_key(ordinal))
                .unwrap_or(u32::MAX)
        };
        let address = self.lock_addresses().fresh()?;
        let pod = self.new_pod(ordinal, address);
        let started = self.start_pod(&pod, address, false).await;
        if started.is_err() {
            self.write_pods().remove(&ordinal);
        }
        started.map(|()| ordinal)
    }

    /// Stops a replica and deletes it with its volume.
    ///
    /// # Errors
    ///
    /// When it is the primary, or when there is no such replica.
    pub async fn remove(&self, ordinal: u32) -> Result<(), LabError> {
        if ordinal == 0 {
            return Err(LabError::Config("the primary cannot be removed".to_owned()));
        }
        let _scaling = self.scaling.lock().await;
        self.pod(ordinal)?.hold().await.kill().await;
        self.write_pods().remove(&ordinal);
        Ok(())
    }

    /// Waits until every running replica has applied everything the primary has written so far.
    /// Replicas that are killed, stopped or frozen are left out.
    ///
    /// # Errors
    ///
    /// When a replica has not caught up within `deadline`: its replication is stopped, it lags more
    /// than that, or its history diverges from the primary's. When the primary does not run.
    pub async fn wait_for_replication(&self, deadline: Duration) -> Result<(), LabError> {
        let end = Instant::now() + deadline;
        let primary = self.pod(0)?;
        let face = primary.face();
        if !face.runs {
            return Err(LabError::NotRunning {
                pod: primary.name().to_owned(),
            });
        }
        let (written, position) = {
            let state = face.volume.lock();
            (state.log.last().map(Arc::clone), state.log.len())
        };
        let Some(written) = written else {
            return Ok(());
        };
        for replica in self.live_replicas() {
            let volume = replica.face().volume;
            let mut grown = volume.watch();
            let has_it = || {
                let state = volume.lock();
                state
                    .log
                    .get(position - 1)
                    .is_some_and(|entry| Arc::ptr_eq(entry, &written))
            };
            while !has_it() {
                if timeout_at(end, grown.changed()).await.is_err() {
                    return Err(LabError::Timeout {
                        what: format!("replication to {}", replica.name()),
                        after: deadline,
                        last: format!(
                            "primary at `{}`, replica at `{}`",
                            face.volume.lock().gtid(),
                            volume.lock().gtid()
                        ),
                    });
                }
            }
        }
        Ok(())
    }

    /// Makes a replica apply each transaction `lag` after its commit. This includes transactions
    /// that the replica has already fetched.
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub fn set_lag(&self, ordinal: u32, lag: Duration) -> Result<(), LabError> {
        self.pod(ordinal)?
            .knobs
            .send_modify(|knobs| knobs.lag = lag);
        Ok(())
    }

    /// Stops replication to a replica until [`EmbeddedPods::start_replication`], even across
    /// restarts.
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub fn stop_replication(&self, ordinal: u32) -> Result<(), LabError> {
        self.pod(ordinal)?
            .knobs
            .send_modify(|knobs| knobs.runs = false);
        Ok(())
    }

    /// Resumes replication after [`EmbeddedPods::stop_replication`].
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub fn start_replication(&self, ordinal: u32) -> Result<(), LabError> {
        self.pod(ordinal)?
            .knobs
            .send_modify(|knobs| knobs.runs = true);
        Ok(())
    }

    /// Sets a fault between a pod and its clients, in place of the current one. Returns when it has
    /// taken effect.
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub async fn set_fault(&self, ordinal: u32, fault: Fault) -> Result<(), LabError> {
        self.pod(ordinal)?.hold().await.set_fault(Some(fault)).await;
        Ok(())
    }

    /// Removes the fault that [`EmbeddedPods::set_fault`] set.
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub async fn heal(&self, ordinal: u32) -> Result<(), LabError> {
        self.pod(ordinal)?.hold().await.set_fault(None).await;
        Ok(())
    }

    pub(super) async fn start_pod(
        &self,
        pod: &Pod,
        address: Ipv4Addr,
        empty: bool,
    ) -> Result<(), LabError> {
        let ordinal = pod.identity.ordinal;
        let mut held = pod.hold().await;
        held.kill().await;
        // Replicas must stop fetching from the old volume before a new one takes its place.
        self.publish_source(ordinal);
        if empty {
            held.empty();
        }
        if ordinal != 0 {
            let primary = self.pod(0)?.face().address;
            pod.knobs.send_modify(|knobs| knobs.source = primary);
        }
        held.start(address, self.source.subscribe()).await?;
        self.publish_source(ordinal);
        Ok(())
    }
}
