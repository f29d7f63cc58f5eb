//! The DNS client, on hickory 0.26.
//!
//! [`Client`] asks the name servers one after the other. It works around these properties of
//! hickory, all measured with 0.26.3:
//!
//! * hickory's `Resolver` walks the search list on every kind of error and returns the last error,
//!   so that a failing name server looks like a name that does not exist. We ask only absolute
//!   names.
//! * Its caching layer follows an SRV target like an alias if a CNAME comes with it. We ask its
//!   name server pool directly and read the messages ourselves. So there is no cache and no hosts
//!   file.
//! * A pool of several servers accepts the first answer, including "I cannot". Each of our pools
//!   has one server, and we go from one server to the next ourselves.
//! * The system's configuration turns EDNS off, so that seven pods are too many for UDP. Our pools
//!   always have EDNS on.
//! * hickory retries at once and without end, even after failures that a retry cannot cure. We
//!   retry only lost queries.
//! * A pool that uses both protocols does not say which one answered, and gives both together one
//!   deadline. Each of our pools uses one protocol, and we go from UDP to TCP ourselves.
//! * A dead connection (the name server's node is gone, and the connection was not closed) is used
//!   again: hickory gives it up only if its own timer ends a query, and our timer ends the query
//!   earlier. After a lost query over TCP we use a new pool.
//!
//! Owns the connections to name servers, and the choice of the name server to ask. It must never
//! know what a Service is.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tokio::time::timeout;

use super::ResolveError;
use super::ladder::Ask;
use super::recording::{self, RecorderRef};
use super::transcript::Protocol;
use crate::observe;

/// How often each name server is asked if it does not answer.
const ROUNDS: usize = 2;
/// The longest wait for a name server.
const LONGEST: Duration = Duration::from_secs(3600);

/// The name servers, asked one after the other.
pub(super) struct Client {
    servers: Vec<Server>,
    /// The index of the server that answered last. It is asked first.
    preferred: AtomicUsize,
    timeout: Duration,
}

struct Server {
    address: SocketAddr,
    udp: Pool,
    tcp: Mutex<Pool>,
}

type Pool = NameServerPool<TokioRuntimeProvider>;

impl Server {
    fn new(address: SocketAddr, timeout: Duration) -> Result<Self, NetError> {
        Ok(Self {
            address,
            udp: pool(address, timeout, ConnectionConfig::udp())?,
            tcp: Mutex::new(pool(address, timeout, ConnectionConfig::tcp())?),
        })
    }

    fn pool(&self, protocol: Protocol) -> Pool {
        match protocol {
            Protocol::Udp => self.udp.clone(),
            Protocol::Tcp => self.tcp.lock().clone(),
        }
    }

    /// Makes the next query use a new connection, because this one may be dead. Queries on the old
    /// connection continue.
    fn leave_connection(&self, timeout: Duration) {
        if let Ok(new) = pool(self.address, timeout, ConnectionConfig::tcp()) {
            *self.tcp.lock() = new;
        }
    }

    /// Asks over UDP, and over TCP if the answer does not fit. Each may take `limit`.
    async fn ask(
        &self,
        name: &str,
        query: &Query,
        limit: Duration,
        notes: RecorderRef<'_>,
    ) -> Result<Message, NetError> {
        let over = |protocol| self.exchange(name, query, limit, protocol, notes);
        match over(Protocol::Udp).await {
            // Without TCP, the result is still that the answer is too large.
            Err(NetError::Truncated) => match over(Protocol::Tcp).await {
                Err(NetError::Timeout | NetError::Io(_) | NetError::NoConnections) => {
                    Err(NetError::Truncated)
                }
                result => result,
            },
            result => result,
        }
    }

    async fn exchange(
        &self,
        name: &str,
        query: &Query,
        limit: Duration,
        protocol: Protocol,
        notes: RecorderRef<'_>,
    ) -> Result<Message, NetError> {
        let pool = self.pool(protocol);
        let sent = notes.sent();
        // These defaults matter: EDNS with 1232 bytes, and recursion desired.
        let answer = pool
            .lookup(query.clone(), DnsRequestOptions::default())
            .first_answer();
        let result = match timeout(limit, answer).await {
            Ok(Ok(response)) => Ok(response.into_message()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NetError::Timeout),
        };
        if let (Protocol::Tcp, Err(NetError::Timeout)) = (protocol, &result) {
            self.leave_connection(limit);
        }
        count(protocol, &result);
        if let Some(sent) = sent {
            let said = result.as_ref().map_err(said);
            sent.answered(name, query.query_type(), (self.address, protocol), said);
        }
        result
    }
}

fn pool(
    address: SocketAddr,
    timeout: Duration,
    mut connection: ConnectionConfig,
) -> Result<Pool, NetError> {
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    options.attempts = 0;
    options.edns0 = true;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.num_concurrent_reqs = 1;
    connection.port = address.port();
    let server = NameServerConfig::new(address.ip(), true, vec![connection]);
    let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
    let provider = TokioRuntimeProvider::default();
    Ok(NameServerPool::from_config([server], context, provider))
}

/// Counts one query for dashboards, with the words of [`ResolveError::kind`].
fn count(protocol: Protocol, result: &Result<Message, NetError>) {
    let of_code = |code| match code {
        ResponseCode::NoError => "no_data",
        ResponseCode::NXDomain => "not_found",
        _ => "server_failure",
    };
    let outcome = match result {
        Ok(message) if message.answers.is_empty() => of_code(message.metadata.response_code),
        Ok(_) => "ok",
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => of_code(none.response_code),
        Err(NetError::Dns(_)) => "server_failure",
        Err(NetError::Timeout) => "timeout",
        Err(NetError::Truncated) => "truncated",
        Err(_) => "io",
    };
    let labels = [("protocol", protocol.as_str()), ("outcome", outcome)];
    observe::count(observe::DNS_QUERIES, &labels);
}

/// The text for a transcript if no message came.
fn said(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => recording::empty_code(none.response_code),
        NetError::Dns(DnsError::ResponseCode(code)) => recording::mnemonic(*code),
        NetError::Timeout => "timeout".to_owned(),
        NetError::Truncated => "truncated".to_owned(),
        error => error.to_string(),
    }
}

impl Client {
    pub(super) fn new(
        name: &str,
        addresses: &[SocketAddr],
        timeout: Duration,
    ) -> Result<Self, ResolveError> {
        if addresses.is_empty() {
            let name = name.to_owned();
            return Err(ResolveError::NoServer { name });
        }
        // Clocks cannot hold much longer times, and hickory adds the timeout to the current time.
        let timeout = timeout.min(LONGEST);
        let servers = addresses
            .iter()
            .map(|address| Server::new(*address, timeout))
            .collect::<Result<_, _>>()
            .map_err(|error| ResolveError::Config {
                name: name.to_owned(),
                message: error.to_string(),
            })?;
        Ok(Self {
            servers,
            preferred: AtomicUsize::new(0),
            timeout,
        })
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }
}

impl Ask for Client {
    async fn ask(
        &self,
        name: &str,
        kind: RecordType,
        notes: RecorderRef<'_>,
    ) -> Result<Message, ResolveError> {
        let parsed = Name::from_ascii(name).map_err(|error| ResolveError::Config {
            name: name.to_owned(),
            message: error.to_string(),
        })?;
        let query = Query::query(parsed, kind);
        let count = self.servers.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut retry = vec![true; count];
        let mut last = ResolveError::NoServer {
            name: name.to_owned(),
        };
        for i in (0..count * ROUNDS).map(|n| (first + n) % count) {
            if !retry[i] {
                continue;
            }
            let server = &self.servers[i];
            let result = server.ask(name, &query, self.timeout, notes).await;
            match classify(name, server.address, self.timeout, result) {
                Verdict::Answered(result) => {
                    self.preferred.store(i, Ordering::Relaxed);
                    return result;
                }
                Verdict::Failed(error) => {
                    retry[i] = false;
                    last = worse(last, error);
                }
                Verdict::Lost(error) => last = worse(last, error),
            }
        }
        Err(last)
    }
}

/// Which of two servers' failures says more: first that the answer exists but is too large, then a
/// server's response code, then silence. If both are equal, the later one.
fn worse(old: ResolveError, new: ResolveError) -> ResolveError {
    let rank = |error: &ResolveError| match error {
        ResolveError::Truncated { .. } => 2,
        ResolveError::ServerFailure { .. } => 1,
        _ => 0,
    };
    if rank(&old) > rank(&new) { old } else { new }
}

/// The value of one server's reply.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// A valid answer, including "there is nothing".
    Answered(Result<Message, ResolveError>),
    /// This server cannot answer, but the next one may.
    Failed(ResolveError),
    /// No reply. The next server may answer, or this one if it is asked again.
    Lost(ResolveError),
}

fn classify(
    name: &str,
    server: SocketAddr,
    after: Duration,
    result: Result<Message, NetError>,
) -> Verdict {
    let server = Some(server);
    let name = name.to_owned();
    let failure = |name, code: ResponseCode| {
        Verdict::Failed(ResolveError::ServerFailure {
            name,
            code: code.to_string(),
            server,
        })
    };
    match result {
        Ok(message) => match message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Verdict::Answered(Ok(message)),
            code => failure(name, code),
        },
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
            ResponseCode::NXDomain => {
                let asked = vec![name.clone()];
                Verdict::Answered(Err(ResolveError::NotFound { name, asked }))
            }
            ResponseCode::NoError => Verdict::Answered(Err(ResolveError::NoData { name })),
            code => failure(name, code),
        },
        Err(NetError::Dns(DnsError::ResponseCode(code))) => failure(name, code),
        Err(NetError::Truncated) => Verdict::Failed(ResolveError::Truncated { name, server }),
        Err(NetError::Timeout) => Verdict::Lost(ResolveError::Timeout {
            name,
            after,
            server,
        }),
        Err(error) => {
            let message = error.to_string();
            Verdict::Lost(ResolveError::Io {
                name,
                server,
                message,
            })
        }
    }
}

#[cfg(test)]
mod tests;
