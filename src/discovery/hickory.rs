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

use std::fmt;
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

use super::ladder::{self, Ask, Ladder};
use super::{Answer, BoxFuture, Resolve, ResolveError, system};
use crate::name::{SearchList, ServiceName};

/// How often a name server that does not answer is asked.
const ROUNDS: usize = 2;

/// Looks up a headless Service in DNS.
///
/// Asks for SRV records at the Service's name, which cluster DNS answers with the pods' names and
/// addresses; failing that for its addresses, and for each pod by name. A pod that DNS does not
/// name has no ordinal. Records that do not belong to the name asked are never used. Without a
/// trailing dot or a zone, the Service's name is completed with the search list; the name that
/// answers is asked alone from then on.
///
/// Must be used on a tokio runtime with I/O and time enabled.
pub struct DnsResolver {
    ladder: Ladder,
    client: Client,
    deadline: Duration,
}

/// Builds a [`DnsResolver`]; see [`DnsResolver::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct DnsResolverBuilder {
    service: ServiceName,
    port: u16,
    statefulset: Option<String>,
    search: Option<SearchList>,
    name_servers: Option<Vec<SocketAddr>>,
    timeout: Duration,
    deadline: Duration,
}

/// The name servers, asked one after the other.
struct Client {
    servers: Vec<Server>,
    /// The one that answered last: asked first.
    preferred: AtomicUsize,
    timeout: Duration,
}

struct Server {
    address: SocketAddr,
    pool: NameServerPool<TokioRuntimeProvider>,
}

// === impl DnsResolver ===

impl DnsResolver {
    /// Begins to configure a resolver for this Service.
    pub fn builder(service: ServiceName) -> DnsResolverBuilder {
        DnsResolverBuilder {
            service,
            port: 3306,
            statefulset: None,
            search: None,
            name_servers: None,
            timeout: Duration::from_secs(1),
            deadline: Duration::from_secs(5),
        }
    }

    /// The absolute names the Service's name may stand for, best first.
    pub fn candidates(&self) -> &[String] {
        &self.ladder.candidates
    }
}

impl Resolve for DnsResolver {
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
        Box::pin(async move {
            match timeout(self.deadline, self.ladder.look_up(&self.client)).await {
                Ok(result) => result,
                Err(_) => Err(ResolveError::Timeout {
                    name: self.describe(),
                    after: self.deadline,
                    server: None,
                }),
            }
        })
    }

    fn describe(&self) -> String {
        self.ladder.service.clone()
    }
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self
            .client
            .servers
            .iter()
            .map(|server| server.address)
            .collect();
        f.debug_struct("DnsResolver")
            .field("ladder", &self.ladder)
            .field("servers", &servers)
            .field("timeout", &self.client.timeout)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

// === impl DnsResolverBuilder ===

impl DnsResolverBuilder {
    /// The port of the MySQL servers where DNS does not tell, and the one to take where it offers
    /// several. Default 3306.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The StatefulSet's name. Default: whatever the pods' names say, and where only addresses are
    /// known, the Service's first label.
    pub fn statefulset(mut self, name: Option<String>) -> Self {
        self.statefulset = name;
        self
    }

    /// The search list to complete the Service's name with. Default: the system's, read by
    /// [`build`](Self::build).
    pub fn search(mut self, search: SearchList) -> Self {
        self.search = Some(search);
        self
    }

    /// The name servers to ask, in this order. Default: the system's, read by
    /// [`build`](Self::build).
    pub fn name_servers(mut self, servers: Vec<SocketAddr>) -> Self {
        self.name_servers = Some(servers);
        self
    }

    /// How long to wait for one name server before asking the next (or the same one again, once).
    /// Default 1 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a whole look-up may take. Default 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes the resolver. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ResolveError::NoServer`] without a name server, [`ResolveError::Config`] if the system's
    /// configuration is needed and cannot be read.
    pub fn build(self) -> Result<DnsResolver, ResolveError> {
        let service = self.service.to_string();
        let search = match self.search {
            Some(search) => search,
            None if self.service.is_absolute() => SearchList::new([] as [&str; 0]),
            None => SearchList::system()?,
        };
        let addresses = match self.name_servers {
            Some(servers) => servers,
            None => system::name_servers()?,
        };
        if addresses.is_empty() {
            return Err(ResolveError::NoServer { name: service });
        }
        let config = |error: NetError| ResolveError::Config {
            name: service.clone(),
            message: error.to_string(),
        };
        let servers = addresses
            .into_iter()
            .map(|address| Server::new(address, self.timeout))
            .collect::<Result<_, _>>()
            .map_err(config)?;
        Ok(DnsResolver {
            ladder: Ladder {
                candidates: self.service.candidates(&search),
                winner: AtomicUsize::new(ladder::NONE),
                port: self.port,
                statefulset: self.statefulset.map(|name| name.to_ascii_lowercase()),
                default_set: self.service.first_label().to_owned(),
                service,
            },
            client: Client {
                servers,
                preferred: AtomicUsize::new(0),
                timeout: self.timeout,
            },
            deadline: self.deadline,
        })
    }
}

// === impl Server ===

impl Server {
    fn new(address: SocketAddr, timeout: Duration) -> Result<Self, NetError> {
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.attempts = 0;
        options.edns0 = true;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.num_concurrent_reqs = 1;
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut one| {
            one.port = address.port();
            one
        });
        let server = NameServerConfig::new(address.ip(), true, connections.to_vec());
        let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
        let provider = TokioRuntimeProvider::default();
        Ok(Self {
            address,
            pool: NameServerPool::from_config([server], context, provider),
        })
    }

    /// Over UDP, and if the answer does not fit, over TCP: `limit` each.
    async fn ask(&self, query: Query, limit: Duration) -> Result<Message, NetError> {
        // Defaults that matter: EDNS with 1232 bytes, recursion desired.
        let answer = self
            .pool
            .lookup(query, DnsRequestOptions::default())
            .first_answer();
        match timeout(limit * 2, answer).await {
            Ok(Ok(response)) => Ok(response.into_message()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NetError::Timeout),
        }
    }
}

// === impl Client ===

impl Ask for Client {
    async fn ask(&self, name: &str, kind: RecordType) -> Result<Message, ResolveError> {
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
            let result = server.ask(query.clone(), self.timeout).await;
            match classify(name, server.address, self.timeout, result) {
                Verdict::Answered(result) => {
                    self.preferred.store(i, Ordering::Relaxed);
                    return result;
                }
                Verdict::Failed(error) => {
                    retry[i] = false;
                    last = error;
                }
                Verdict::Lost(error) => {
                    // What a server said tells more than that another was silent.
                    if !matches!(last, ResolveError::ServerFailure { .. }) {
                        last = error;
                    }
                }
            }
        }
        Err(last)
    }
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
#[cfg(feature = "testkit")]
mod smoke;
#[cfg(test)]
mod tests;
