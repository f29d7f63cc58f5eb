//! What can be wrong between a pod and its clients, short of its death.
//!
//! Owns the list of faults and their application to what a server sends. It must never touch what
//! the server does: a statement whose answer is cut off has been executed.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

/// A fault of one pod's network, until it is healed; it outlasts restarts. For a pod that says
/// nothing at all there is [`freeze`](super::EmbeddedPods::freeze).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens. Connections that exist go on.
    Refuse,
    /// Each connection is cut when the server has sent that many bytes on it, counted from the
    /// moment the fault is set. A statement whose answer is cut off has been executed.
    CloseAfter(usize),
    /// Each answer, and the greeting, comes that much later.
    Slow(Duration),
}

/// What every byte to a client goes through.
#[derive(Debug)]
pub(super) struct Valve {
    frozen: watch::Receiver<bool>,
    faults: watch::Receiver<Option<Fault>>,
    sent: usize,
}

// === impl Valve ===

impl Valve {
    pub(super) fn new(
        frozen: watch::Receiver<bool>,
        mut faults: watch::Receiver<Option<Fault>>,
    ) -> Self {
        faults.mark_unchanged();
        Self {
            frozen,
            faults,
            sent: 0,
        }
    }

    /// Waits while the server is frozen.
    pub(super) async fn thawed(&mut self) {
        // The sender goes only with the server, and this task with it.
        if self.frozen.wait_for(|frozen| !frozen).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) async fn send(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        if self.faults.has_changed().unwrap_or(false) {
            self.sent = 0;
        }
        let fault = *self.faults.borrow_and_update();
        let mut most = usize::MAX;
        match fault {
            Some(Fault::Slow(delay)) => sleep(delay).await,
            Some(Fault::CloseAfter(bytes)) => most = bytes.saturating_sub(self.sent),
            Some(Fault::Refuse) | None => {}
        }
        self.thawed().await;
        let allowed = &bytes[..bytes.len().min(most)];
        stream.write_all(allowed).await?;
        self.sent += allowed.len();
        if allowed.len() == most {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}
