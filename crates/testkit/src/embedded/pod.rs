//! One pod: its volume, its server while it runs, and the state that others may read.
//!
//! Owns the order of operations on one pod: each operation holds the pod's lock until it ends. It
//! must never know other pods: callers pass the primary's address in.

use parking_lot::{Mutex, MutexGuard};
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{MutexGuard as LongGuard, oneshot, watch};
use tokio::task::JoinHandle;

use super::applier::{Knobs, Source, replicate};
use super::fault::Fault;
use super::server::{Identity, Server, listen};
use super::store::Volume;
use crate::lab::{LabError, PORT};

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) identity: Arc<Identity>,
    running: tokio::sync::Mutex<Option<Running>>,
    face: Mutex<Face>,
    pub(super) knobs: watch::Sender<Knobs>,
    faults: watch::Sender<Option<Fault>>,
}

/// The state of a pod that can be read without waiting for an operation on it.
#[derive(Debug, Clone)]
pub(super) struct Face {
    pub(super) address: Ipv4Addr,
    pub(super) volume: Arc<Volume>,
    pub(super) runs: bool,
    pub(super) frozen: bool,
}

/// Exclusive access to a pod, for operations.
#[derive(Debug)]
pub(super) struct Held<'a> {
    pod: &'a Pod,
    running: LongGuard<'a, Option<Running>>,
}

/// A server and its tasks; they end when this is dropped.
#[derive(Debug)]
struct Running {
    server: Arc<Server>,
    frozen: watch::Sender<bool>,
    listening: watch::Receiver<bool>,
    stop: Option<oneshot::Sender<()>>,
    listener: JoinHandle<()>,
    applier: Option<JoinHandle<()>>,
}

impl Pod {
    /// A pod with an empty volume, whose server does not run.
    pub(super) fn new(identity: Identity, address: Ipv4Addr, knobs: Knobs) -> Self {
        Self {
            identity: Arc::new(identity),
            running: tokio::sync::Mutex::default(),
            face: Mutex::new(Face {
                address,
                volume: Arc::new(Volume::empty()),
                runs: false,
                frozen: false,
            }),
            knobs: watch::Sender::new(knobs),
            faults: watch::Sender::new(None),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.identity.name
    }

    pub(super) fn face(&self) -> Face {
        self.lock_face().clone()
    }

    pub(super) async fn hold(&self) -> Held<'_> {
        Held {
            pod: self,
            running: self.running.lock().await,
        }
    }

    fn lock_face(&self) -> MutexGuard<'_, Face> {
        self.face.lock()
    }
}

impl Held<'_> {
    /// Starts the server and returns when it listens. A replica follows `source`.
    pub(super) async fn start(
        &mut self,
        address: Ipv4Addr,
        source: watch::Receiver<Source>,
    ) -> Result<(), LabError> {
        self.kill().await;
        let pod = self.pod;
        let refuses = *pod.faults.borrow() == Some(Fault::Refuse);
        let first = match refuses {
            true => None,
            false => {
                let bound = TcpListener::bind((address, PORT)).await;
                Some(bound.map_err(|source| LabError::Io {
                    what: format!("listening for {}", pod.name()),
                    source,
                })?)
            }
        };
        let frozen = watch::Sender::new(false);
        let volume = pod.face().volume;
        let server = Arc::new(Server::new(
            Arc::clone(&pod.identity),
            Arc::clone(&volume),
            frozen.subscribe(),
            pod.faults.subscribe(),
        ));
        let (stop, stopped) = oneshot::channel();
        let (tell, listening) = watch::channel(!refuses);
        let applier = (pod.identity.ordinal != 0).then(|| {
            let (knobs, frozen) = (pod.knobs.subscribe(), frozen.subscribe());
            tokio::spawn(replicate(volume, source, knobs, frozen))
        });
        *self.running = Some(Running {
            listener: tokio::spawn(listen(Arc::clone(&server), address, first, stopped, tell)),
            server,
            frozen,
            listening,
            stop: Some(stop),
            applier,
        });
        let mut face = pod.lock_face();
        (face.address, face.runs, face.frozen) = (address, true, false);
        Ok(())
    }

    /// Ends the server and returns when every connection is cut and the port is closed.
    pub(super) async fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.stop = None;
            // An error here means that the task panicked. The test's output already shows the
            // panic.
            let _ = (&mut running.listener).await;
            if let Some(applier) = running.applier.take() {
                applier.abort();
                let _ = applier.await;
            }
        }
        let mut face = self.pod.lock_face();
        (face.runs, face.frozen) = (false, false);
    }

    pub(super) fn freeze(&mut self, freeze: bool) -> Result<(), LabError> {
        self.running()?.frozen.send_replace(freeze);
        self.pod.lock_face().frozen = freeze;
        Ok(())
    }

    pub(super) fn set_read_only(&mut self, read_only: bool) -> Result<(), LabError> {
        self.running()?.server.set_read_only(read_only);
        Ok(())
    }

    /// Gives the pod an empty volume. The server must not run.
    pub(super) fn empty(&mut self) {
        self.pod.lock_face().volume = Arc::new(Volume::empty());
    }

    /// Sets the fault and returns when it has taken effect.
    pub(super) async fn set_fault(&mut self, fault: Option<Fault>) {
        self.pod.faults.send_replace(fault);
        if let Some(running) = self.running.as_mut() {
            let listens = fault != Some(Fault::Refuse);
            // The channel closes only when the listener's task has ended. Then nothing listens
            // anyway.
            let _ = running
                .listening
                .wait_for(|listening| *listening == listens)
                .await;
        }
    }

    fn running(&self) -> Result<&Running, LabError> {
        self.running.as_ref().ok_or_else(|| LabError::NotRunning {
            pod: self.pod.name().to_owned(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Aborting the listener's task ends the connection tasks, which it owns.
        self.listener.abort();
        if let Some(applier) = &self.applier {
            applier.abort();
        }
    }
}
