//! The DNS client, on hickory 0.26.
//!
//! What this module works around, all measured with 0.26.3:
//!
//! * hickory's `Resolver` walks the search list on every kind of error and returns the last one,
//!   so that a failing name server looks like a name that does not exist. We ask absolute names
//!   only.
//! * Its caching layer follows an SRV target as if it were an alias when a CNAME comes with it.
//!   We ask its name server pool directly and read the messages ourselves; that also means no
//!   cache and no hosts file.
//! * A pool of several servers believes the first that says anything, even "I cannot". Each of our
//!   pools has one server, and we go from one to the next ourselves.
//! * The system's configuration turns EDNS off, which makes seven pods too many for UDP. Ours is
//!   always on.
//! * Retries come at once and without end to failures that a retry cannot mend. We retry only what
//!   was lost.
//! * A pool that speaks both protocols does not tell which one answered, and gives both together
//!   one deadline. Each of our pools speaks one, and we go from UDP to TCP ourselves.
//! * A connection on which nothing comes any more (the name server's node is gone, and nobody
//!   closes it) is used again: hickory gives it up only if its own timer ends a query, and ours
//!   does so first. After a query over TCP that was lost we begin with a new pool.
//!
//! Owns the connections to name servers, and which of them is asked. It must never know what a
//! Service is.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
use super::transcript::{self, Notes, Protocol};
use crate::observe;

/// How often a name server that does not answer is asked.
const ROUNDS: usize = 2;
/// No name server is waited for longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// The name servers, asked one after the other.
pub(super) struct Client {
    servers: Vec<Server>,
    /// The one that answered last: asked first.
    preferred: AtomicUsize,
    timeout: Duration,
}

struct Server {
    address: SocketAddr,
    udp: Pool,
    tcp: Mutex<Pool>,
}

type Pool = NameServerPool<TokioRuntimeProvider>;

// === impl Server ===

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
            Protocol::Tcp => self
                .tcp
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// The connection may be dead: the next query makes a new one. Queries on it go on.
    fn leave_connection(&self, timeout: Duration) {
        if let Ok(new) = pool(self.address, timeout, ConnectionConfig::tcp()) {
            *self.tcp.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }

    /// Over UDP, and if the answer does not fit, over TCP: `limit` each.
    async fn ask(
        &self,
        name: &str,
        query: &Query,
        limit: Duration,
        notes: Notes<'_>,
    ) -> Result<Message, NetError> {
        let over = |protocol| self.exchange(name, query, limit, protocol, notes);
        match over(Protocol::Udp).await {
            // Without TCP there is an answer, it only is too large.
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
        notes: Notes<'_>,
    ) -> Result<Message, NetError> {
        let pool = self.pool(protocol);
        let sent = notes.sent();
        // Defaults that matter: EDNS with 1232 bytes, recursion desired.
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

/// One query more, for dashboards. The words are those of [`ResolveError::kind`].
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

/// What came in place of a message, for transcripts.
fn said(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => transcript::empty_code(none.response_code),
        NetError::Dns(DnsError::ResponseCode(code)) => transcript::mnemonic(*code),
        NetError::Timeout => "timeout".to_owned(),
        NetError::Truncated => "truncated".to_owned(),
        error => error.to_string(),
    }
}

// === impl Client ===

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
        // No clock holds much more, and hickory adds it to the time.
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
        notes: Notes<'_>,
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

/// Which of two servers' failures tells more: that the answer exists and is too large, then what a
/// server said, then that one was silent; of equals the later.
fn worse(old: ResolveError, new: ResolveError) -> ResolveError {
    let rank = |error: &ResolveError| match error {
        ResolveError::Truncated { .. } => 2,
        ResolveError::ServerFailure { .. } => 1,
        _ => 0,
    };
    if rank(&old) > rank(&new) { old } else { new }
}

/// What one server's reply is worth.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The truth, also if it is "there is nothing".
    Answered(Result<Message, ResolveError>),
    /// This server cannot say; the next may.
    Failed(ResolveError),
    /// No reply; the next server may answer, or this one when asked again.
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
