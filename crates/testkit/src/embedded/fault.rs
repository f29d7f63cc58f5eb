//! Faults between a pod and its clients, short of killing the server.
//!
//! Owns the list of faults and applies them to the bytes that a server sends. It must never affect
//! execution: a statement whose answer is cut off has been executed.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

/// A fault of one pod's network. It lasts until it is healed, even across restarts. To make a pod
/// silent, use [`freeze`](super::EmbeddedPods::freeze).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing listens. Existing connections are not affected.
    Refuse,
    /// Each connection is cut when the server has sent this many bytes on it, counted from the
    /// moment the fault is set. A statement whose answer is cut off has been executed.
    CloseAfter(usize),
    /// Each answer, and the greeting, is delayed by this much.
    Slow(Duration),
}

/// All bytes to a client pass through this; it applies faults and freezes.
#[derive(Debug)]
pub(super) struct Valve {
    frozen: watch::Receiver<bool>,
    faults: watch::Receiver<Option<Fault>>,
    sent: usize,
}

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
        // The sender is dropped only with the server, which also ends this task.
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
