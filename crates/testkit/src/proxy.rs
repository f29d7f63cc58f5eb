//! A TCP proxy in front of any server, which can inject network faults.
//!
//! Owns one listening address and the connections through it. It must never interpret the bytes
//! that it forwards. Dropping it closes the address and every connection; no task outlives it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// Pause between attempts to bind the listening address again.
const REBIND_STEP: Duration = Duration::from_millis(5);

/// A fault of the network. It lasts until it is healed or replaced.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetFault {
    /// Nothing listens, and existing connections are cut.
    Refuse,
    /// Connections are accepted and closed at once. Existing ones are not affected.
    AcceptThenClose,
    /// Connections are refused. Existing ones are not affected.
    RefuseNew,
    /// Connections are accepted and then stay silent for their whole life, even after healing.
    /// Connections that existed before are not affected.
    SwallowNew,
    /// Connections are accepted, and no bytes pass in either direction. The bytes that are held
    /// back arrive after healing.
    BlackHole,
    /// The client's bytes reach the server, the server's bytes are held back until healing.
    HalfOpen,
    /// Each connection is cut when the server has sent this many bytes on it, counted from the
    /// moment the fault is set. What the client sent before the cut has arrived.
    CutAfter(usize),
    /// All bytes are delayed by this much, in both directions.
    Slow(Duration),
}

/// A proxy from one address to another. See the module documentation.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    faults: watch::Sender<Option<NetFault>>,
    target: watch::Sender<SocketAddr>,
    cuts: watch::Sender<()>,
    forgets: watch::Sender<()>,
    trips: Arc<AtomicU64>,
    task: AbortHandle,
}

impl FaultProxy {
    /// Listens at `listen` (port 0: any free port) and forwards connections to `target`.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub async fn start(listen: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (faults, seen) = watch::channel(None);
        let (target, targets) = watch::channel(target);
        let (cuts, cut) = watch::channel(());
        let (forgets, forget) = watch::channel(());
        let trips = Arc::<AtomicU64>::default();
        let events = Events {
            cut,
            forget,
            faults: seen,
            trips: Arc::clone(&trips),
        };
        let task = tokio::spawn(serve(address, listener, targets, events)).abort_handle();
        Ok(Self {
            address,
            faults,
            target,
            cuts,
            forgets,
            trips,
            task,
        })
    }

    /// The address at which the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often a client has sent something after the server's last word, on all connections. A
    /// request that has no answer counts together with the next one.
    pub fn round_trips(&self) -> u64 {
        self.trips.load(Ordering::SeqCst)
    }

    /// Forwards new connections to another server. Existing ones keep their server.
    pub fn set_target(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// Cuts every existing connection, even an idle one, a moment after the call. If
    /// [`set_target`](Self::set_target) was called before, no connection to the old target remains.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }

    /// Forgets every existing connection, like a firewall that lost its connection table: both ends
    /// stay open, but no bytes pass any more, even after healing. New connections are not affected.
    /// Unlike with such a firewall, the server still learns when the client closes.
    pub fn forget_flows(&self) {
        self.forgets.send_replace(());
    }

    /// Replaces the current fault; `None` heals. Existing connections are affected at once, the
    /// listening address a moment later.
    pub fn set_fault(&self, fault: Option<NetFault>) {
        self.faults.send_replace(fault);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Signals for existing connections.
#[derive(Clone)]
struct Events {
    cut: watch::Receiver<()>,
    forget: watch::Receiver<()>,
    faults: watch::Receiver<Option<NetFault>>,
    trips: Arc<AtomicU64>,
}

async fn serve(
    address: SocketAddr,
    listener: TcpListener,
    targets: watch::Receiver<SocketAddr>,
    mut events: Events,
) {
    let mut listener = Some(listener);
    let mut relays = JoinSet::new();
    loop {
        let fault = *events.faults.borrow_and_update();
        if matches!(fault, Some(NetFault::Refuse | NetFault::RefuseNew)) {
            listener = None;
            if fault == Some(NetFault::Refuse) {
                relays.abort_all();
            }
            if events.faults.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(open) = &listener else {
            match TcpListener::bind(address).await {
                Ok(open) => listener = Some(open),
                Err(_) => sleep(REBIND_STEP).await,
            }
            continue;
        };
        tokio::select! {
            accepted = open.accept() => {
                let Ok((client, _)) = accepted else {
                    // For example, no file descriptor is left. A later attempt may succeed.
                    sleep(REBIND_STEP).await;
                    continue;
                };
                if fault != Some(NetFault::AcceptThenClose) {
                    // Mark before reading the target: a connection to an old target must still see
                    // the cut that follows the change.
                    events.cut.mark_unchanged();
                    events.forget.mark_unchanged();
                    let target = *targets.borrow();
                    let swallowed = fault == Some(NetFault::SwallowNew);
                    relays.spawn(connection(client, target, events.clone(), swallowed));
                }
            }
            changed = events.faults.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Some(_) = relays.join_next() => {}
        }
    }
}

/// Serves one connection until it is cut or one side closes it.
async fn connection(client: TcpStream, target: SocketAddr, mut events: Events, swallowed: bool) {
    let others = events.clone();
    tokio::select! {
        biased;
        _ = events.cut.changed() => {}
        () = relay(client, target, others, swallowed) => {}
    }
}

/// Reads and discards the client's bytes, without an answer, until the client closes.
async fn swallow(client: &mut TcpStream) {
    let mut buffer = [0; 1024];
    while matches!(client.read(&mut buffer).await, Ok(1..)) {}
}

/// Forwards bytes until one side closes, then closes both sides.
async fn relay(mut client: TcpStream, target: SocketAddr, events: Events, swallowed: bool) {
    let Events {
        mut forget,
        faults,
        trips,
        ..
    } = events;
    if swallowed {
        return swallow(&mut client).await;
    }
    // Wait before connecting to the target: in a black hole even the SYN is lost.
    let mut opening = faults.clone();
    let passable = |fault: &Option<NetFault>| *fault != Some(NetFault::BlackHole);
    if opening.wait_for(passable).await.is_err() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let is_asked = AtomicBool::new(false);
        let ask = || {
            if !is_asked.swap(true, Ordering::SeqCst) {
                trips.fetch_add(1, Ordering::SeqCst);
            }
        };
        let answer = || is_asked.store(false, Ordering::SeqCst);
        let other = faults.clone();
        tokio::select! {
            biased;
            _ = forget.changed() => {}
            () = pump(&mut from_client, &mut to_server, other, Side::Client, ask) => return,
            () = pump(&mut from_server, &mut to_client, faults, Side::Server, answer) => return,
        }
    }
    // The connection to the server stays open meanwhile.
    swallow(&mut client).await;
}

/// The sending side of one direction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

async fn pump(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    mut faults: watch::Receiver<Option<NetFault>>,
    side: Side,
    passes: impl Fn(),
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut sent = 0;
    loop {
        let fault = *faults.borrow_and_update();
        let stuck = match fault {
            Some(NetFault::BlackHole) => true,
            Some(NetFault::HalfOpen) => side == Side::Server,
            _ => false,
        };
        let read = tokio::select! {
            biased;
            changed = faults.changed() => {
                if changed.is_err() {
                    return;
                }
                sent = 0;
                continue;
            }
            read = from.read(&mut buffer), if !stuck => read,
        };
        let Ok(length @ 1..) = read else { return };
        passes();
        let mut allowed = length;
        match fault {
            Some(NetFault::Slow(delay)) => sleep(delay).await,
            Some(NetFault::CutAfter(most)) if side == Side::Server => {
                allowed = length.min(most.saturating_sub(sent));
            }
            _ => {}
        }
        if to.write_all(&buffer[..allowed]).await.is_err() || allowed < length {
            return;
        }
        sent += allowed;
    }
}

#[cfg(test)]
mod tests;
