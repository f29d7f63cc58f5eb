//! The server's sockets and packets.
//!
//! This module owns the two sockets and the path of a query from them and back. It must never read
//! the description: [`super::state`] decides how a query is answered.
//!
//! One task does all of it, so that aborting this task ends everything. A delayed answer or a
//! client that does not read is one of the futures that the task polls, so it delays no other
//! client.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::proto::rr::DNSClass;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::answer::Answer;
use super::message::encode;
use super::request::{Received, Request, read};
use super::spec::Protocol;
use super::state::{Outcome, Question, Shared};

/// The number of ports tried. A port that is free for TCP is rarely taken for UDP.
const PORT_ATTEMPTS: usize = 32;
/// How long a TCP client may be silent between queries. This and the next two are CoreDNS's values.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// How long a TCP client may take to send the rest of a query.
const TCP_READ: Duration = Duration::from_secs(3);
/// How long a TCP client may take to read an answer.
const TCP_WRITE: Duration = Duration::from_secs(5);
/// Pause after an error that may persist, such as a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// The largest possible datagram.
const MAX_DATAGRAM: usize = 0xffff;

/// The running server. Dropping it stops it.
pub(super) struct Running {
    task: JoinHandle<()>,
    pub(super) address: SocketAddr,
}

/// Starts a server on a free port of the loopback interface.
pub(super) async fn start(shared: Arc<Shared>) -> io::Result<Running> {
    let (listener, socket) = bind().await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(serve(shared, listener, socket));
    Ok(Running { task, address })
}

/// Binds a port for both protocols, because clients fall back from UDP to TCP.
async fn bind() -> io::Result<(TcpListener, UdpSocket)> {
    let mut attempt = 1;
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < PORT_ATTEMPTS => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn serve(shared: Arc<Shared>, listener: TcpListener, socket: UdpSocket) {
    let (shared, socket) = (&*shared, &socket);
    let mut work: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
    let mut datagram = vec![0; MAX_DATAGRAM];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut datagram) => {
                // A UDP receive error concerns a datagram that was sent earlier.
                if let Ok((length, client)) = received {
                    let reply = decide(shared, &datagram[..length], Protocol::Udp);
                    work.push(Box::pin(send_datagram(socket, client, reply)));
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => work.push(Box::pin(converse(shared, stream))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(()) = work.next() => {}
        }
    }
}

/// The bytes to send back, and the delay. The bytes are encoded when the query arrives.
struct Reply {
    bytes: Vec<u8>,
    after: Option<Duration>,
}

/// Decides what to send back for the received bytes; `None` for no answer.
fn decide(shared: &Shared, bytes: &[u8], protocol: Protocol) -> Option<Reply> {
    let request = match read(bytes) {
        Received::Request(request) => request,
        Received::Rejected(bytes) => return Some(Reply { bytes, after: None }),
        Received::Ignored => return None,
    };
    let outcome = match request.query.query_class() {
        DNSClass::IN => shared.ask(&Question {
            name: request.query.name(),
            kind: request.query.query_type(),
            dnssec_ok: request.dnssec_ok(),
            protocol,
        }),
        // CoreDNS and kube-dns serve the Internet class only.
        _ => Outcome::reply(Answer::refused()),
    };
    match outcome {
        Outcome::Silence => None,
        Outcome::Reply {
            answer,
            truncated,
            after,
        } => {
            let bytes = bytes_of(&request, protocol, &answer, truncated)?;
            Some(Reply { bytes, after })
        }
    }
}

fn bytes_of(
    request: &Request,
    protocol: Protocol,
    answer: &Answer,
    truncated: bool,
) -> Option<Vec<u8>> {
    encode(request, protocol, answer, truncated)
        .inspect_err(|error| tracing::debug!(%error, "response not encoded"))
        .ok()
}

async fn send_datagram(socket: &UdpSocket, client: SocketAddr, reply: Option<Reply>) {
    let Some(Reply { bytes, after }) = reply else {
        return;
    };
    if let Some(delay) = after {
        tokio::time::sleep(delay).await;
    }
    // The client is gone. A test notices the missing answer by itself.
    if let Err(error) = socket.send_to(&bytes, client).await {
        tracing::debug!(%error, "response not sent");
    }
}

/// Answers the queries of one TCP client in sequence, until it closes the connection or violates
/// the protocol.
async fn converse(shared: &Shared, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let ended = loop {
        match exchange(shared, &mut stream).await {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "client cut off");
    }
}

/// Answers one query. Returns `false` if the client closed or was silent for too long.
async fn exchange(
    shared: &Shared,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<bool> {
    let length = match timeout(TCP_IDLE, stream.read_u16()).await {
        Ok(Ok(length)) => length,
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(false),
    };
    let mut query = vec![0; usize::from(length)];
    timeout(TCP_READ, stream.read_exact(&mut query)).await??;
    let Some(Reply { bytes, after }) = decide(shared, &query, Protocol::Tcp) else {
        return Ok(true);
    };
    if let Some(delay) = after {
        tokio::time::sleep(delay).await;
    }
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    // One write: with two, the second could wait for a delayed acknowledgement of the first.
    let message = [&length.to_be_bytes(), bytes.as_slice()].concat();
    timeout(TCP_WRITE, stream.write_all(&message)).await??;
    Ok(true)
}

impl Running {
    /// Stops the server and waits until its sockets are closed.
    pub(super) async fn stop(mut self) -> io::Result<()> {
        self.task.abort();
        match (&mut self.task).await {
            Err(error) if error.is_panic() => Err(io::Error::other(error)),
            _ => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
