//! One pod: its directory, its server process and the state that others may read.
//!
//! Owns the order of operations on one server: each operation holds the node's lock until it ends.
//! The state that others read (address, process id) is behind a second lock, held only briefly.
//! This module must never know other nodes: callers pass the primary's address in.

use parking_lot::{Mutex as ShortMutex, MutexGuard as ShortGuard};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::sync::{Mutex, MutexGuard};

use super::certificates::ServerTls;
use super::error::LabError;
use super::process::Hostnames;
use super::recipe::Recipe;
use super::server::Server;
use super::template::Template;

/// What all nodes of a lab share.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) recipe: Recipe,
    pub(super) template: Template,
    pub(super) hostnames: Hostnames,
    /// The deadline of each wait of an operation.
    pub(super) deadline: Duration,
}

/// The settings of one start of a server.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) address: Ipv4Addr,
    /// The primary's address; `None` for the primary itself.
    pub(super) primary: Option<Ipv4Addr>,
    pub(super) tls: Option<ServerTls>,
    /// Options that the test adds.
    pub(super) options: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) ordinal: u32,
    pub(super) pod: String,
    directory: PathBuf,
    tools: Arc<Tools>,
    server: Mutex<Option<Server>>,
    face: ShortMutex<Face>,
}

/// The state of a node that can be read without waiting for an operation on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Face {
    pub(super) address: Ipv4Addr,
    pub(super) pid: Option<Pid>,
    pub(super) frozen: bool,
}

/// Exclusive access to a node, for operations.
#[derive(Debug)]
pub(super) struct Held<'a> {
    node: &'a Node,
    server: MutexGuard<'a, Option<Server>>,
}

impl Node {
    /// A node without data and without a server.
    pub(super) fn new(
        ordinal: u32,
        pod: String,
        directory: PathBuf,
        address: Ipv4Addr,
        tools: Arc<Tools>,
    ) -> Self {
        let face = ShortMutex::new(Face {
            address,
            pid: None,
            frozen: false,
        });
        Self {
            ordinal,
            pod,
            directory,
            tools,
            server: Mutex::new(None),
            face,
        }
    }

    pub(super) fn face(&self) -> Face {
        *self.lock_face()
    }

    pub(super) async fn hold(&self) -> Held<'_> {
        Held {
            node: self,
            server: self.server.lock().await,
        }
    }

    /// Kills the server without waiting. For the end of the lab, when no operation holds the node.
    pub(super) fn doom(&self) {
        if let Ok(mut server) = self.server.try_lock()
            && let Some(server) = server.as_mut()
        {
            server.doom();
        }
    }

    fn lock_face(&self) -> ShortGuard<'_, Face> {
        self.face.lock()
    }
}

impl Held<'_> {
    /// Gives the node an empty volume: the template's data. The server must not run.
    pub(super) async fn fill(&mut self) -> Result<(), LabError> {
        let (directory, tools) = (self.node.directory.clone(), Arc::clone(&self.node.tools));
        let copied = tokio::task::spawn_blocking(move || {
            let data = directory.join("data");
            fs::create_dir_all(&directory)
                .and_then(|()| {
                    if data.exists() {
                        fs::remove_dir_all(&data)
                    } else {
                        Ok(())
                    }
                })
                .map_err(LabError::io(format!("emptying {}", data.display())))?;
            tools.template.copy_to(&data)
        });
        copied
            .await
            .unwrap_or_else(|join| Err(LabError::io("copying the template")(join.into())))
    }

    /// Starts the server and waits for its greeting.
    pub(super) async fn start(&mut self, start: Start) -> Result<(), LabError> {
        let Node {
            ordinal,
            pod,
            directory,
            tools,
            ..
        } = self.node;
        self.kill().await?;
        let init = match start.primary {
            Some(primary) => Some(self.write_init(primary)?),
            None => None,
        };
        let (data, log) = (directory.join("data"), directory.join("error.log"));
        for file in tools.recipe.dialect.stale {
            // The file does not exist if the server ended cleanly.
            let _ = fs::remove_file(data.join(file));
        }
        let mut command = tools
            .recipe
            .serve(*ordinal, start.address, &data, &log, init.as_deref());
        if let Some(tls) = start.tls {
            command.extend(tls.install(directory)?);
        }
        command.extend(start.options);
        let command = tools.hostnames.wrap(pod, command);
        let server = Server::spawn(pod, directory, &command, tools.deadline).await?;
        *self.node.lock_face() = Face {
            address: start.address,
            pid: server.pid(),
            frozen: false,
        };
        // Store the server before waiting: if this future is dropped, the next operation can kill
        // it.
        let server = self.server.insert(server);
        let greeted = server.greeting(start.address, tools.deadline).await;
        if greeted.is_err() {
            self.ended();
        }
        greeted
    }

    pub(super) async fn kill(&mut self) -> Result<(), LabError> {
        if let Some(server) = self.server.as_mut() {
            server.kill(self.node.tools.deadline).await?;
            self.ended();
        }
        Ok(())
    }

    pub(super) async fn stop(&mut self) -> Result<(), LabError> {
        if let Some(server) = self.server.as_mut() {
            server.stop(self.node.tools.deadline).await?;
            self.ended();
        }
        Ok(())
    }

    pub(super) async fn freeze(&mut self) -> Result<(), LabError> {
        self.running()?.freeze(self.node.tools.deadline).await?;
        self.node.lock_face().frozen = true;
        Ok(())
    }

    pub(super) fn thaw(&mut self) -> Result<(), LabError> {
        self.running()?.thaw()?;
        self.node.lock_face().frozen = false;
        Ok(())
    }

    /// Deletes the volume of a node whose server does not run.
    pub(super) async fn delete(&mut self) -> Result<(), LabError> {
        let directory = self.node.directory.clone();
        let deleted = tokio::task::spawn_blocking(move || fs::remove_dir_all(directory)).await;
        deleted
            .unwrap_or_else(|join| Err(join.into()))
            .map_err(LabError::io(format!(
                "deleting the volume of {}",
                self.node.pod
            )))
    }

    fn running(&self) -> Result<&Server, LabError> {
        self.server.as_ref().ok_or_else(|| LabError::NotRunning {
            pod: self.node.pod.clone(),
        })
    }

    fn ended(&mut self) {
        // Dropping the server kills it if it still runs.
        *self.server = None;
        let mut face = self.node.lock_face();
        (face.pid, face.frozen) = (None, false);
    }

    /// Writes the init-file, which gives a replica the primary's current address at every start.
    fn write_init(&self, primary: Ipv4Addr) -> Result<PathBuf, LabError> {
        let init = self.node.directory.join("init.sql");
        let sql = (self.node.tools.recipe.dialect.follow)(primary)
            .map(|statement| statement + ";\n")
            .concat();
        fs::write(&init, sql).map_err(LabError::io(format!("writing {}", init.display())))?;
        Ok(init)
    }
}
