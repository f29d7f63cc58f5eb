//! A running server: the counterpart of a server process. It accepts connections and keeps the
//! sessions and everything else that a restart resets.
//!
//! Owns the listener and the connection tasks, which all end with it. It must never hold data: data
//! belongs to the volume.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::Flavour;
use super::connection;
use super::fault::Fault;
use super::refusal::Refusal;
use super::store::Volume;
use crate::lab::{DATABASE, PORT};

/// The properties of a pod that no restart changes.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) ordinal: u32,
    pub(super) name: String,
    pub(super) flavour: Flavour,
    pub(super) version: Option<String>,
}

#[derive(Debug)]
pub(super) struct Server {
    identity: Arc<Identity>,
    pub(super) volume: Arc<Volume>,
    read_only: AtomicBool,
    sessions: Mutex<BTreeMap<u32, Arc<Handle>>>,
    next_session: AtomicU32,
    started: Instant,
    pub(super) frozen: watch::Receiver<bool>,
    pub(super) faults: watch::Receiver<Option<Fault>>,
}

/// The state of a session that other sessions can reach.
#[derive(Debug, Default)]
pub(super) struct Handle {
    /// Whether the session executes a command.
    busy: AtomicBool,
    closed: AtomicBool,
    close: Notify,
    interrupt: Notify,
}

/// A session's registration in its server's list.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u32,
    pub(super) handle: Arc<Handle>,
    server: Arc<Server>,
}

impl Server {
    pub(super) fn new(
        identity: Arc<Identity>,
        volume: Arc<Volume>,
        frozen: watch::Receiver<bool>,
        faults: watch::Receiver<Option<Fault>>,
    ) -> Self {
        Self {
            read_only: AtomicBool::new(identity.ordinal != 0),
            identity,
            volume,
            sessions: Mutex::default(),
            next_session: AtomicU32::new(1),
            started: Instant::now(),
            frozen,
            faults,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.identity.name
    }

    pub(super) fn id(&self) -> u32 {
        self.identity.ordinal.saturating_add(1)
    }

    pub(super) fn is_replica(&self) -> bool {
        self.identity.ordinal != 0
    }

    pub(super) fn flavour(&self) -> Flavour {
        self.identity.flavour
    }

    /// The version in the greeting. MariaDB's begins with `5.5.5-`, for old clients.
    pub(super) fn greeted_version(&self) -> &str {
        let usual = match self.identity.flavour {
            Flavour::MariaDb => "5.5.5-10.11.14-MariaDB-embedded",
            Flavour::MySql => "9.7.4-embedded",
        };
        self.identity.version.as_deref().unwrap_or(usual)
    }

    /// `@@version`.
    pub(super) fn version(&self) -> &str {
        let greeted = self.greeted_version();
        greeted.strip_prefix("5.5.5-").unwrap_or(greeted)
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// Takes effect for every commit that has not reached the volume when this returns.
    pub(super) fn set_read_only(&self, read_only: bool) {
        let _no_commit = self.volume.lock();
        self.read_only.store(read_only, Ordering::Release);
    }

    /// 1290 if the server is read only, with the message of its flavour.
    pub(super) fn check_writable(&self) -> Result<(), Refusal> {
        if !self.is_read_only() {
            return Ok(());
        }
        let (kind, option) = match self.identity.flavour {
            Flavour::MariaDb => ("MariaDB", "--read-only"),
            Flavour::MySql => ("MySQL", "--super-read-only"),
        };
        Err(Refusal::new(
            1290,
            format!(
                "The {kind} server is running with the {option} option so it cannot execute \
                 this statement"
            ),
        ))
    }

    /// 1049 for any name but that of the only database.
    pub(super) fn check_database(&self, name: &str) -> Result<(), Refusal> {
        if name.eq_ignore_ascii_case(DATABASE) {
            return Ok(());
        }
        Err(Refusal::no_database(name))
    }

    /// Registers a new session.
    pub(super) fn admit(self: &Arc<Self>) -> Entry {
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        let handle = Arc::new(Handle::default());
        self.lock_sessions().insert(id, Arc::clone(&handle));
        Entry {
            id,
            handle,
            server: Arc::clone(self),
        }
    }

    /// Ends a session, or only the statement it executes.
    pub(super) fn kill_session(&self, id: i128, connection: bool) -> Result<(), Refusal> {
        let unknown = || Refusal::new(1094, format!("Unknown thread id: {id}"));
        let sessions = self.lock_sessions();
        let handle = u32::try_from(id).ok().and_then(|id| sessions.get(&id));
        let handle = handle.ok_or_else(unknown)?;
        if connection {
            handle.closed.store(true, Ordering::Release);
            handle.close.notify_one();
        }
        // An idle session has no waiter, so this has no effect on it.
        handle.interrupt.notify_waiters();
        Ok(())
    }

    /// The sessions, and whether each one executes a command.
    pub(super) fn sessions(&self) -> Vec<(u32, bool)> {
        let sessions = self.lock_sessions();
        let busy = |handle: &Handle| handle.busy.load(Ordering::Acquire);
        sessions
            .iter()
            .map(|(id, handle)| (*id, busy(handle)))
            .collect()
    }

    fn lock_sessions(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Handle>>> {
        self.sessions.lock()
    }
}

impl Handle {
    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Release);
    }

    /// Returns when the session is killed.
    pub(super) async fn killed(&self) {
        while !self.closed.load(Ordering::Acquire) {
            self.close.notified().await;
        }
    }

    /// Returns when the statement that the session executes is killed.
    pub(super) async fn interrupted(&self) {
        self.interrupt.notified().await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.server.lock_sessions().remove(&self.id);
    }
}

/// Accepts connections until `stop` receives a message or its sender is dropped. When this returns,
/// every connection is cut. `listening` publishes whether the port is open.
pub(super) async fn listen(
    server: Arc<Server>,
    address: Ipv4Addr,
    first: Option<TcpListener>,
    mut stop: oneshot::Receiver<()>,
    listening: watch::Sender<bool>,
) {
    let mut connections = JoinSet::new();
    let mut listener = first;
    let (mut frozen, mut faults) = (server.frozen.clone(), server.faults.clone());
    loop {
        let refuses = *faults.borrow_and_update() == Some(Fault::Refuse);
        if refuses {
            listener = None;
        } else if listener.is_none() {
            // The port was ours a moment ago. If it is taken now, nothing listens and the test
            // fails on that.
            listener = TcpListener::bind((address, PORT)).await.ok();
        }
        listening.send_replace(listener.is_some());
        // Like a frozen process: the kernel still accepts connections, but no greeting is sent.
        let is_frozen = *frozen.borrow_and_update();
        tokio::select! {
            biased;
            _ = &mut stop => break,
            Ok(()) = faults.changed() => {}
            Ok(()) = frozen.changed() => {}
            Some(_) = connections.join_next() => {}
            accepted = accept(listener.as_ref()), if !is_frozen => {
                if let Some(stream) = accepted {
                    connections.spawn(connection::serve(Arc::clone(&server), stream));
                }
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
    listening.send_replace(false);
}

async fn accept(listener: Option<&TcpListener>) -> Option<tokio::net::TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}
