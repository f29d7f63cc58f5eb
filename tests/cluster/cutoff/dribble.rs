//! A proxy that delivers answers in small pieces, so that an operation can be cut off between them.
//!
//! Loopback delivers a small answer as a whole. Without this proxy, an operation could only be cut
//! off before the first byte.

use headless_mysql_testkit::stage::Stage;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::support::PATIENCE;

/// The number of bytes delivered at once while the gate is closed.
const CRUMB: usize = 3;

/// A piece may have gone to a connection that is closing. After this time another piece is
/// delivered.
const NUDGE: Duration = Duration::from_millis(20);

struct Gate {
    closed: AtomicBool,
    crumbs: Semaphore,
    polls: AtomicUsize,
}

/// A TCP proxy for the primary, which DNS lists at the proxy's address.
pub(super) struct Dribble {
    gate: Arc<Gate>,
    tasks: [AbortHandle; 2],
}

impl Dribble {
    pub(super) async fn before_the_primary(stage: &Stage) -> Self {
        let port = stage.lab.port();
        let server = SocketAddr::new(stage.lab.address(0), port);
        let here = stage.lab.fresh_address().unwrap();
        let listener = TcpListener::bind((here, port)).await.unwrap();
        stage.publish_at(0, here).unwrap();
        let gate = Arc::new(Gate {
            closed: AtomicBool::new(false),
            crumbs: Semaphore::new(0),
            polls: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&gate);
        let serve = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (mut from_client, to_client) = client.into_split();
                let (from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                });
                tokio::spawn(dribble(from_server, to_client, Arc::clone(&shared)));
            }
        });
        let shared = Arc::clone(&gate);
        let nudge = tokio::spawn(async move {
            let mut before = 0;
            loop {
                tokio::time::sleep(NUDGE).await;
                let polls = shared.polls.load(Ordering::Relaxed);
                if polls == before {
                    shared.crumbs.add_permits(1);
                }
                before = polls;
            }
        });
        Self {
            gate,
            tasks: [serve.abort_handle(), nudge.abort_handle()],
        }
    }

    /// Polls `future` at most `polls` times, with one more piece of the answer each time, and then
    /// drops it. `None` if it was cut off.
    pub(super) async fn cut<F: Future>(&self, polls: usize, future: F) -> Option<F::Output> {
        self.gate.crumbs.forget_permits(Semaphore::MAX_PERMITS);
        self.gate.closed.store(true, Ordering::SeqCst);
        let mut future = Box::pin(future);
        let mut left = polls;
        let steps = poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            self.gate.polls.fetch_add(1, Ordering::Relaxed);
            match future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => {
                    self.gate.crumbs.add_permits(1);
                    Poll::Pending
                }
            }
        });
        let output = tokio::time::timeout(PATIENCE, steps).await;
        drop(future);
        self.gate.closed.store(false, Ordering::SeqCst);
        self.gate.crumbs.add_permits(64);
        output.expect("the future was never woken")
    }
}

impl Drop for Dribble {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn dribble(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, gate: Arc<Gate>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let mut size = rest.len();
            if gate.closed.load(Ordering::SeqCst) {
                gate.crumbs.acquire().await.unwrap().forget();
                size = size.min(CRUMB);
            }
            let (crumb, later) = rest.split_at(size);
            if to.write_all(crumb).await.is_err() {
                return;
            }
            rest = later;
        }
    }
}
