//! A TCP proxy that can go wrong, in front of any server.
//!
//! Owns one listening address and the connections through it. It must never look into what it
//! passes on, and nothing of it may outlive it: dropping it closes the address and every connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// How long an address that was given up may take to be had again.
const REBIND_STEP: Duration = Duration::from_millis(5);

/// What is wrong with the network, until it is healed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetFault {
    /// Nobody listens, and connections that exist are cut.
    Refuse,
    /// Connections are accepted and closed at once; those that exist go on.
    AcceptThenClose,
    /// Nothing arrives any more, in neither direction; connections are accepted. What was on its
    /// way arrives once this is healed.
    BlackHole,
    /// What clients say arrives, what the server answers does not, until this is healed.
    HalfOpen,
    /// Each connection is cut when the server has sent that many bytes on it, counted from the
    /// moment the fault is set. What the client said until then has arrived.
    CutAfter(usize),
    /// Everything comes that much later, in both directions.
    Slow(Duration),
}

/// A proxy from one address to another. See the module documentation.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    faults: watch::Sender<Option<NetFault>>,
    target: watch::Sender<SocketAddr>,
    cuts: watch::Sender<()>,
    task: AbortHandle,
}

// === impl FaultProxy ===

impl FaultProxy {
    /// Listens at `listen` (port 0: any) and passes connections on to `target`.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    pub async fn start(listen: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (faults, seen) = watch::channel(None);
        let (target, targets) = watch::channel(target);
        let (cuts, cut) = watch::channel(());
        let task = tokio::spawn(serve(address, listener, targets, cut, seen)).abort_handle();
        Ok(Self {
            address,
            faults,
            target,
            cuts,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes new connections on to another server; those that exist stay where they are.
    pub fn set_target(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// Cuts every connection that exists, also one that nothing is sent on; they end a moment later.
    /// With [`set_target`](Self::set_target) before it, none is left to the server of before.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }

    /// Sets what is wrong from now on, in place of what was; `None` heals. Connections notice at
    /// once; the address does a moment later.
    pub fn set_fault(&self, fault: Option<NetFault>) {
        self.faults.send_replace(fault);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    address: SocketAddr,
    listener: TcpListener,
    targets: watch::Receiver<SocketAddr>,
    mut cut: watch::Receiver<()>,
    mut faults: watch::Receiver<Option<NetFault>>,
) {
    let mut listener = Some(listener);
    let mut relays = JoinSet::new();
    loop {
        let fault = *faults.borrow_and_update();
        if fault == Some(NetFault::Refuse) {
            listener = None;
            relays.abort_all();
            if faults.changed().await.is_err() {
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
                if let (Ok((client, _)), true) = (accepted, fault != Some(NetFault::AcceptThenClose)) {
                    // Before the target: whoever goes to the one of before is to see the cut.
                    cut.mark_unchanged();
                    let target = *targets.borrow();
                    let relay = relay(client, target, faults.clone());
                    let mut cut = cut.clone();
                    relays.spawn(async move {
                        tokio::select! {
                            biased;
                            _ = cut.changed() => {}
                            () = relay => {}
                        }
                    });
                }
            }
            changed = faults.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Some(_) = relays.join_next() => {}
        }
    }
}

/// Passes on until one side ends, and then closes both.
async fn relay(
    mut client: TcpStream,
    target: SocketAddr,
    faults: watch::Receiver<Option<NetFault>>,
) {
    // Before anything is dialled: in a black hole not even that arrives.
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
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    tokio::select! {
        () = pump(&mut from_client, &mut to_server, faults.clone(), Side::Client) => {}
        () = pump(&mut from_server, &mut to_client, faults, Side::Server) => {}
    }
}

/// Who speaks.
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
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(5);
    const LONG_ENOUGH: Duration = Duration::from_millis(100);

    /// A server that repeats what it hears, and a proxy in front of it.
    async fn echo() -> FaultProxy {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = server.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let any = "127.0.0.1:0".parse().unwrap();
        FaultProxy::start(any, target).await.unwrap()
    }

    async fn connect(proxy: &FaultProxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.unwrap()
    }

    /// What comes back of `text`: less if the connection is cut.
    async fn ask(stream: &mut TcpStream, text: &str) -> io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        let mut heard = Vec::new();
        let mut buffer = [0; 64];
        while heard.len() < text.len() {
            match stream.read(&mut buffer).await? {
                0 => break,
                n => heard.extend(&buffer[..n]),
            }
        }
        Ok(String::from_utf8(heard).unwrap())
    }

    #[tokio::test]
    async fn what_is_said_arrives_and_every_fault_is_what_it_says() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        assert_eq!(ask(&mut stream, "hello").await.unwrap(), "hello");

        for stuck in [NetFault::BlackHole, NetFault::HalfOpen] {
            proxy.set_fault(Some(stuck));
            let mut late = connect(&proxy).await;
            assert!(timeout(LONG_ENOUGH, ask(&mut stream, "a")).await.is_err());
            assert!(timeout(LONG_ENOUGH, ask(&mut late, "b")).await.is_err());
            proxy.set_fault(None);
            // What was held up comes now.
            let mut byte = [0];
            timeout(SOON, stream.read_exact(&mut byte))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(byte, *b"a");
            timeout(SOON, late.read_exact(&mut byte))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(byte, *b"b");
        }

        proxy.set_fault(Some(NetFault::Slow(LONG_ENOUGH)));
        let began = tokio::time::Instant::now();
        assert_eq!(ask(&mut stream, "late").await.unwrap(), "late");
        assert!(began.elapsed() >= LONG_ENOUGH * 2);

        proxy.set_fault(Some(NetFault::CutAfter(3)));
        assert_eq!(ask(&mut stream, "ab").await.unwrap(), "ab");
        assert_eq!(ask(&mut stream, "cd").await.unwrap_or_default(), "c");
    }

    #[tokio::test]
    async fn after_a_cut_no_connection_leads_to_the_target_of_before() {
        let (proxy, other) = (echo().await, echo().await);
        let mut idle = connect(&proxy).await;
        assert_eq!(ask(&mut idle, "x").await.unwrap(), "x");
        proxy.set_target(other.address());
        proxy.cut();
        let mut byte = [0];
        let heard = timeout(SOON, idle.read(&mut byte)).await.unwrap();
        assert_eq!(heard.unwrap_or_default(), 0);
        let mut next = connect(&proxy).await;
        assert_eq!(ask(&mut next, "y").await.unwrap(), "y");
        other.cut();
        let heard = timeout(SOON, next.read(&mut byte)).await.unwrap();
        assert_eq!(heard.unwrap_or_default(), 0, "it leads to the other one");
    }

    #[tokio::test]
    async fn an_address_that_refuses_or_hangs_up_serves_again_once_healed() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        assert_eq!(ask(&mut stream, "x").await.unwrap(), "x");

        proxy.set_fault(Some(NetFault::AcceptThenClose));
        tokio::task::yield_now().await;
        let mut turned_away = connect(&proxy).await;
        let heard = timeout(SOON, ask(&mut turned_away, "x")).await.unwrap();
        assert_eq!(heard.unwrap_or_default(), "");
        assert_eq!(ask(&mut stream, "y").await.unwrap(), "y");

        proxy.set_fault(Some(NetFault::Refuse));
        let heard = timeout(SOON, ask(&mut stream, "z")).await.unwrap();
        assert_eq!(heard.unwrap_or_default(), "");
        timeout(SOON, async {
            while TcpStream::connect(proxy.address()).await.is_ok() {}
        })
        .await
        .unwrap();

        proxy.set_fault(None);
        timeout(SOON, async {
            loop {
                if let Ok(mut stream) = TcpStream::connect(proxy.address()).await
                    && ask(&mut stream, "again")
                        .await
                        .is_ok_and(|heard| heard == "again")
                {
                    break;
                }
            }
        })
        .await
        .unwrap();
    }
}
