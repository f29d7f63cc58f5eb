//! The wire side: real sockets, real packets.
//!
//! This module owns the two sockets and the way of a query from them and back. It must never look
//! at the description: what becomes of a query is decided by [`super::state`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use hickory_server::Server;
use hickory_server::net::NetError;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer;
use hickory_server::proto::op::{Edns, Header, HeaderCounts, LowerQuery, Metadata, ResponseCode};
use hickory_server::proto::rr::DNSClass;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use super::answer::Answer;
use super::message::{Envelope, encode};
use super::spec::Protocol;
use super::state::{Outcome, Shared};

/// Ports tried before giving up; one that is free for TCP is rarely taken for UDP.
const PORT_ATTEMPTS: usize = 32;
/// No test keeps a connection open for that long without asking anything.
const TCP_IDLE: Duration = Duration::from_secs(3600);
/// Responses waiting for one TCP client; the server answers one query at a time.
const TCP_RESPONSES: usize = 32;

/// Answers queries for as long as [`Running`] exists: an aborted task may linger until the runtime
/// gets to it, and must neither answer nor hold a socket then.
struct Handler(Weak<Live>);

struct Live {
    shared: Arc<Shared>,
    /// The server's own UDP socket again: see [`super::message`] for why hickory does not encode.
    udp: UdpSocket,
}

/// The running server. Dropping it stops it.
pub(super) struct Running {
    server: Server<Handler>,
    /// The only lasting reference; never read, but its end is the end of all answers.
    _live: Arc<Live>,
    pub(super) address: SocketAddr,
}

/// Starts a server on a free port of the loopback interface.
pub(super) async fn start(shared: Arc<Shared>) -> io::Result<Running> {
    let (listener, socket) = bind().await?;
    let address = listener.local_addr()?;
    socket.set_nonblocking(true)?;
    let udp = UdpSocket::from_std(socket.try_clone()?)?;
    let live = Arc::new(Live { shared, udp });
    let mut server = Server::new(Handler(Arc::downgrade(&live)));
    server.register_socket(UdpSocket::from_std(socket)?);
    server.register_listener(listener, TCP_IDLE, TCP_RESPONSES);
    Ok(Running {
        server,
        _live: live,
        address,
    })
}

/// Takes a port that is free for both protocols: clients fall back from one to the other.
async fn bind() -> io::Result<(TcpListener, std::net::UdpSocket)> {
    let mut attempt = 1;
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match std::net::UdpSocket::bind(listener.local_addr()?) {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < PORT_ATTEMPTS => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The OPT record of a response: the client's own size and flag back, as CoreDNS does.
fn response_edns(request: &Request) -> Option<Edns> {
    let asked = request.edns.as_ref()?;
    let mut edns = Edns::new();
    edns.set_max_payload(request.max_payload())
        .set_dnssec_ok(asked.flags().dnssec_ok);
    Some(edns)
}

/// Sends an answer over the protocol it was asked for by.
async fn reply<R: ResponseHandler>(
    live: &Live,
    request: &Request,
    query: &LowerQuery,
    metadata: &Metadata,
    answer: &Answer,
    mut responses: R,
) -> Result<(), NetError> {
    let edns = response_edns(request);
    if request.protocol() == xfer::Protocol::Udp {
        let envelope = Envelope {
            metadata,
            name: query.original().name(),
            question: request.queries.as_bytes(),
            edns: edns.as_ref(),
            limit: usize::from(request.max_payload()),
        };
        let datagram = encode(&envelope, answer)?;
        live.udp.send_to(&datagram, request.src()).await?;
        return Ok(());
    }
    let mut builder = MessageResponseBuilder::from_message_request(request);
    if let Some(edns) = &edns {
        builder.edns(edns);
    }
    let response = builder.build(
        *metadata,
        &answer.answers,
        &answer.authority,
        &[],
        &answer.additional,
    );
    responses.send_response(response).await?;
    Ok(())
}

// === impl Handler ===

impl Handler {
    /// Answers a request, or not; `metadata` becomes the header of what was sent.
    async fn serve<R: ResponseHandler>(
        &self,
        request: &Request,
        metadata: &mut Metadata,
        mut responses: R,
    ) -> Result<(), NetError> {
        let Some(live) = self.0.upgrade() else {
            return Ok(());
        };
        let query = match request.request_info() {
            Ok(info) => info.query,
            // CoreDNS fails a message that does not ask exactly one question.
            Err(_) => {
                metadata.response_code = ResponseCode::ServFail;
                let builder = MessageResponseBuilder::from_message_request(request);
                let response = builder.build_no_records(*metadata);
                return responses.send_response(response).await.map(drop);
            }
        };
        // It serves the Internet class only.
        if query.query_class() != DNSClass::IN {
            metadata.response_code = ResponseCode::Refused;
            return reply(
                &live,
                request,
                query,
                metadata,
                &Answer::refused(),
                responses,
            )
            .await;
        }
        let protocol = match request.protocol() {
            xfer::Protocol::Udp => Protocol::Udp,
            _ => Protocol::Tcp,
        };
        let asked = query.original().name();
        let outcome = live.shared.ask(asked, query.query_type(), protocol);
        drop(live);

        let Outcome::Reply {
            answer,
            truncated,
            after,
        } = outcome
        else {
            return Ok(());
        };
        if let Some(delay) = after {
            tokio::time::sleep(delay).await;
        }
        metadata.response_code = answer.response_code;
        metadata.authoritative = answer.authoritative;
        metadata.truncation = truncated;
        match self.0.upgrade() {
            Some(live) => reply(&live, request, query, metadata, &answer, responses).await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        responses: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        if let Err(error) = self.serve(request, &mut metadata, responses).await {
            // The client went away; it is the test's to notice what it did not get.
            tracing::debug!(%error, "response not sent");
        }
        ResponseInfo::from(Header {
            metadata,
            counts: HeaderCounts::default(),
        })
    }
}

// === impl Running ===

impl Running {
    /// Stops the server and waits until its sockets are closed.
    pub(super) async fn stop(mut self) -> io::Result<()> {
        self.server
            .shutdown_gracefully()
            .await
            .map_err(io::Error::other)
    }
}
