//! Operations of a test on servers: kill, freeze, move, add and remove.
//!
//! Owns the order of steps that involve several nodes. Each step is a node's method; nothing here
//! may touch a process or a file directly. Each operation has taken full effect when it returns,
//! and leaves no background work.

use std::net::{IpAddr, Ipv4Addr};

use mysql_async::prelude::Queryable;

use super::Lab;
use super::certificates::{Identity, ServerTls};
use super::error::LabError;

impl Lab {
    /// Kills a server (SIGKILL) and returns when its process is gone. Does nothing if the server
    /// does not run.
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub async fn kill(&self, ordinal: u32) -> Result<(), LabError> {
        self.node(ordinal)?.hold().await.kill().await
    }

    /// Stops a server cleanly (SIGTERM) and returns when its process is gone. Does nothing if the
    /// server does not run.
    ///
    /// # Errors
    ///
    /// When there is no such server or it does not end in time.
    pub async fn stop(&self, ordinal: u32) -> Result<(), LabError> {
        self.node(ordinal)?.hold().await.stop().await
    }

    /// Freezes a server (SIGSTOP): its connections stay open, but it answers nothing. The kernel
    /// accepts new connections, which get no greeting.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub async fn freeze(&self, ordinal: u32) -> Result<(), LabError> {
        self.node(ordinal)?.hold().await.freeze().await
    }

    /// Resumes a frozen server (SIGCONT).
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub async fn thaw(&self, ordinal: u32) -> Result<(), LabError> {
        self.node(ordinal)?.hold().await.thaw()
    }

    /// Starts a server again with its data, at its address, and returns when it greets clients. A
    /// running server is killed first.
    ///
    /// # Errors
    ///
    /// When the server does not greet in time; the error contains the end of its log.
    pub async fn restart(&self, ordinal: u32) -> Result<(), LabError> {
        let node = self.node(ordinal)?;
        let mut held = node.hold().await;
        held.start(self.start_of(&node, node.face().address)?).await
    }

    /// As [`Lab::restart`], with additional command-line options for this start only: see
    /// [`LabBuilder::server_option`](super::LabBuilder::server_option).
    ///
    /// # Errors
    ///
    /// As [`Lab::restart`].
    pub async fn restart_with<I>(&self, ordinal: u32, options: I) -> Result<(), LabError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let node = self.node(ordinal)?;
        let mut held = node.hold().await;
        let mut start = self.start_of(&node, node.face().address)?;
        start.options.extend(options.into_iter().map(Into::into));
        held.start(start).await
    }

    /// An address of this lab that no server has had yet, for [`Lab::start_at`] or for a server
    /// double that the test provides. Nothing listens there.
    ///
    /// # Errors
    ///
    /// When this machine has no more loopback addresses.
    pub fn fresh_address(&self) -> Result<IpAddr, LabError> {
        Ok(IpAddr::V4(self.lock_addresses().fresh()?))
    }

    /// Starts a server with its data at another address, like a rescheduled pod, and returns when
    /// it greets clients. A running server is killed first. If the primary moves, its replicas do
    /// *not* follow: see [`Lab::repoint_replicas`].
    ///
    /// # Errors
    ///
    /// When `address` is not an IPv4 address, or as [`Lab::restart`].
    pub async fn start_at(&self, ordinal: u32, address: IpAddr) -> Result<(), LabError> {
        let address: Ipv4Addr = match address {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => {
                return Err(LabError::Config(format!(
                    "{address} is no loopback address of ours"
                )));
            }
        };
        let node = self.node(ordinal)?;
        let mut held = node.hold().await;
        held.start(self.start_of(&node, address)?).await
    }

    /// Moves a server with its data to a fresh address and returns the address when replication
    /// runs again: to every running replica if the primary moved, else to the moved replica (unless
    /// the primary does not run). A running server is killed first.
    ///
    /// # Errors
    ///
    /// As [`Lab::start_at`] and [`Lab::repoint_replicas`].
    pub async fn move_to_new_address(&self, ordinal: u32) -> Result<IpAddr, LabError> {
        let address = self.fresh_address()?;
        self.start_at(ordinal, address).await?;
        if ordinal == self.primary() {
            self.repoint_replicas().await?;
        } else if self.primary_lives()? {
            self.replicates(&*self.node(ordinal)?).await?;
        }
        Ok(address)
    }

    /// Sets `read_only` of a running server, and `super_read_only` on MySQL. A restart resets it.
    ///
    /// # Errors
    ///
    /// When the server refuses, or when open transactions delay the change beyond the deadline.
    pub async fn set_read_only(&self, ordinal: u32, read_only: bool) -> Result<(), LabError> {
        let mut conn = self.admin(ordinal).await?;
        let set = self.dialect().set_read_only[usize::from(read_only)];
        let set = conn.query_drop(set);
        self.bounded(ordinal, "setting read_only", set).await?;
        self.part(conn).await;
        Ok(())
    }

    /// Kills a server, gives it an empty volume (accounts and an empty database, no GTID) and
    /// starts it at its address; returns when it greets clients. A wiped replica replicates
    /// everything again. If the primary is wiped, its replicas are ahead of it and stop
    /// replicating.
    ///
    /// # Errors
    ///
    /// As [`Lab::restart`].
    pub async fn wipe(&self, ordinal: u32) -> Result<(), LabError> {
        let node = self.node(ordinal)?;
        let mut held = node.hold().await;
        held.kill().await?;
        held.fill().await?;
        held.start(self.start_of(&node, node.face().address)?).await
    }

    /// Sets the certificate that a server presents from its next start on, and the authority (PEM)
    /// for the client certificates that it accepts. See
    /// [`LabBuilder::tls`](super::LabBuilder::tls).
    pub fn set_certificate(&self, ordinal: u32, identity: Identity, clients: &str) {
        let tls = ServerTls {
            identity,
            clients: clients.to_owned(),
        };
        let mut all = self.tls.lock();
        all.insert(ordinal, tls);
    }

    /// Adds a replica with an empty volume and returns its ordinal, the lowest that is free.
    /// Returns when the replica replicates (or, while the primary does not run, when it greets
    /// clients).
    ///
    /// # Errors
    ///
    /// When the replica does not start. The lab is then unchanged.
    pub async fn add_replica(&self) -> Result<u32, LabError> {
        let _scaling = self.scaling.lock().await;
        let ordinal = {
            let nodes = self.read_nodes();
            (0..)
                .find(|ordinal| !nodes.contains_key(ordinal))
                .unwrap_or(u32::MAX)
        };
        let node = self.new_node(ordinal)?;
        let started = async {
            self.first_start(&node).await?;
            if self.primary_lives()? {
                self.replicates(&node).await
            } else {
                Ok(())
            }
        };
        let started = started.await;
        if started.is_err() {
            self.write_nodes().remove(&ordinal);
        }
        started.map(|()| ordinal)
    }

    /// Stops a replica cleanly and deletes it with its volume.
    ///
    /// # Errors
    ///
    /// When it is the primary, when there is no such replica, or when the server does not end in
    /// time.
    pub async fn remove(&self, ordinal: u32) -> Result<(), LabError> {
        let _scaling = self.scaling.lock().await;
        if ordinal == self.primary() {
            return Err(LabError::Config("the primary cannot be removed".to_owned()));
        }
        let node = self.node(ordinal)?;
        let mut held = node.hold().await;
        held.stop().await?;
        self.write_nodes().remove(&ordinal);
        held.delete().await
    }

    fn primary_lives(&self) -> Result<bool, LabError> {
        let face = self.node(self.primary())?.face();
        Ok(face.pid.is_some() && !face.frozen)
    }
}
