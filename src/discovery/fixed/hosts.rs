//! A fixed list of servers by name or address, whose names are looked up in DNS.

use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use crate::discovery::candidates;
use crate::discovery::hickory::Client;
use crate::discovery::ladder::{Ask, any_family};
use crate::discovery::reach::{DnsOptions, Followed};
use crate::discovery::recording::{Recorder, RecorderRef};
use crate::discovery::records::{self, Ttl};
use crate::discovery::{Answer, BoxFuture, FoundPod, Resolve, ResolveError, Transcript};
use crate::name::{Ordinal, SearchList, expand_host};

/// Concurrent look-ups of names.
const CONCURRENCY: usize = 8;
/// The longest chain of aliases that is followed.
const MAX_ALIASES: usize = 4;

/// A fixed list of servers by name or address; the position in the list is the ordinal.
///
/// Each look-up asks DNS for the names (A, or AAAA if there is no A), with the search list of
/// `resolv.conf`. The full name that answered last is asked first. Once the name of a pod or a
/// Service has answered, no other kind of name may answer instead of it. The hosts file is not
/// read, but `localhost` is known. An alias (CNAME) is followed, because the name was given for
/// this one server. Addresses are used as they are. If the list has no names, DNS is not used.
///
/// A name that cannot be looked up makes the answer [partial](Answer::partial): its server keeps
/// its last address. A look-up fails only if no server of the list has an address.
///
/// ```
/// use headless_mysql::discovery::HostList;
///
/// # fn main() -> Result<(), headless_mysql::discovery::ResolveError> {
/// let servers = HostList::builder(["10.0.0.7", "10.0.0.8:3307", "[fd00::9]:3306"]).build()?;
/// # let _ = servers;
/// # Ok(())
/// # }
/// ```
pub struct HostList {
    hosts: Vec<Host>,
    options: DnsOptions,
    /// `None` if there is no name to look up.
    setup: Followed<Option<Setup>>,
}

/// Builds a [`HostList`]; see [`HostList::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct HostListBuilder {
    hosts: Vec<String>,
    port: u16,
    dns: DnsOptions,
}

#[derive(Debug)]
struct Host {
    /// As given, without the port.
    name: String,
    /// `None` if the name must be looked up.
    address: Option<IpAddr>,
    port: u16,
    /// The full name that answered last. It is asked first.
    winner: Mutex<Option<String>>,
}

struct Setup {
    client: Arc<Client>,
    search: SearchList,
}

impl HostList {
    /// Starts a list of these servers, the primary first: `host`, `host:port`, an IPv4 or IPv6
    /// address, `[address]:port`.
    pub fn builder<H: Into<String>>(hosts: impl IntoIterator<Item = H>) -> HostListBuilder {
        HostListBuilder {
            hosts: hosts.into_iter().map(Into::into).collect(),
            port: 3306,
            dns: DnsOptions::default(),
        }
    }

    async fn look_up(&self, notes: RecorderRef<'_>) -> Result<Answer, ResolveError> {
        let setup = self.setup.current(
            || self.describe(),
            |text, old| {
                let old = old.as_ref().map(|old| &old.client);
                Setup::make(&self.options, &self.describe(), text, old).map(Some)
            },
        );
        let after = self.options.deadline;
        let look_ups = self.hosts.iter().map(|host| {
            let setup = Option::as_ref(&setup);
            async move {
                let found = timeout(after, host.look_up(setup, notes)).await;
                found.unwrap_or_else(|_| {
                    Err(ResolveError::Timeout {
                        name: host.name.clone(),
                        after,
                        server: None,
                    })
                })
            }
        });
        let look_ups: Vec<_> = look_ups.collect();
        let look_ups = stream::iter(look_ups).buffered(CONCURRENCY);
        let found: Vec<_> = look_ups.collect().await;
        let (mut pods, mut tried, mut ttl) = (Vec::new(), Vec::new(), Ttl::default());
        for ((n, host), found) in (0..).zip(&self.hosts).zip(found) {
            match found {
                Ok((addresses, more)) => {
                    ttl.join(more);
                    let ordinal = Some(Ordinal::new(n));
                    pods.push(FoundPod::new(ordinal, &host.name, addresses, host.port));
                }
                Err(error) => {
                    notes.conclude(|| format!("where {} is, is not known: {error}", host.name));
                    tried.push(error);
                }
            }
        }
        if pods.is_empty() {
            return Err(ResolveError::of_search(&self.describe(), tried));
        }
        let answer = Answer::new(self.describe(), pods, ttl.get());
        Ok(match tried.is_empty() {
            true => answer,
            false => answer.partial(),
        })
    }
}

impl Resolve for HostList {
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
        Box::pin(self.look_up(RecorderRef::NONE))
    }

    fn explain(&self) -> BoxFuture<'_, (Result<Answer, ResolveError>, Transcript)> {
        Box::pin(async move {
            let book = Recorder::new();
            let result = self.look_up(book.notes()).await;
            let transcript = book.close(&result, Ordinal::PRIMARY);
            (result, transcript)
        })
    }

    fn describe(&self) -> String {
        let names: Vec<&str> = self.hosts.iter().map(|host| &*host.name).collect();
        names.join(", ")
    }
}

impl fmt::Debug for HostList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostList")
            .field("hosts", &self.hosts)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Setup {
    fn make(
        options: &DnsOptions,
        name: &str,
        text: &str,
        old: Option<&Arc<Client>>,
    ) -> Result<Self, ResolveError> {
        Ok(Self {
            client: options.client(name, text, old)?,
            search: options.search(text),
        })
    }
}

impl HostListBuilder {
    /// The port of the servers that are given without one. Default 3306.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The search list that completes short names. Default: from `resolv.conf`.
    pub fn search(mut self, search: SearchList) -> Self {
        self.dns.search = Some(search);
        self
    }

    /// The name servers to ask, in this order. Default: from `resolv.conf`.
    pub fn name_servers(mut self, servers: Vec<SocketAddr>) -> Self {
        self.dns.name_servers = Some(servers);
        self
    }

    /// The file with the name servers and the search list, unless the options give both. Default
    /// `/etc/resolv.conf`.
    pub fn resolv_conf(mut self, path: impl Into<PathBuf>) -> Self {
        self.dns.resolv_conf = path.into();
        self
    }

    /// How long to wait for one name server before the next one is asked (or the same one again,
    /// once). Default 1 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.dns.timeout = timeout;
        self
    }

    /// How long the look-up of one name may take. Default 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.dns.deadline = deadline;
        self
    }

    /// Makes the list. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ResolveError::Config`] if an entry is not a host, if the list is empty, or if
    /// `resolv.conf` is needed and cannot be read. [`ResolveError::NoServer`] if a name server is
    /// needed and there is none.
    pub fn build(self) -> Result<HostList, ResolveError> {
        let hosts = self.hosts.iter().map(|host| Host::parse(host, self.port));
        let hosts: Vec<Host> = hosts.collect::<Result<_, _>>()?;
        let Some(name) = hosts.first().map(|host| host.name.clone()) else {
            return Err(config("", "the list of hosts is empty"));
        };
        let (mut file, mut setup) = (None, None);
        if hosts.iter().any(|host| host.address.is_none()) {
            let (watched, text) = self.dns.open(true)?;
            file = watched;
            setup = Some(Setup::make(&self.dns, &name, &text, None)?);
        }
        Ok(HostList {
            hosts,
            options: self.dns,
            setup: Followed::new(file, setup),
        })
    }
}

impl Host {
    fn parse(text: &str, port: u16) -> Result<Self, ResolveError> {
        let host = |name: &str, port| Self {
            name: name.to_owned(),
            address: match name.parse() {
                Ok(address) => Some(address),
                Err(_) if name.eq_ignore_ascii_case("localhost") => {
                    Some(Ipv4Addr::LOCALHOST.into())
                }
                Err(_) => None,
            },
            port,
            winner: Mutex::default(),
        };
        if let Some(address) = text.parse::<SocketAddr>().ok().filter(|a| a.port() != 0) {
            return Ok(host(&address.ip().to_string(), address.port()));
        }
        let bracketed = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Ok(address) = bracketed.unwrap_or(text).parse::<IpAddr>() {
            return Ok(host(&address.to_string(), port));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, given)) => match given.parse() {
                Ok(given) => (name, given),
                Err(_) => return Err(config(text, "the port is no number from 1 to 65535")),
            },
            None => (text, port),
        };
        let label = |label: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(plain)
        };
        let bare = name.strip_suffix('.').unwrap_or(name);
        if bare.len() > 253 || port == 0 || !bare.split('.').all(label) {
            let wanted = "expected a host name or an address, with a port or without";
            return Err(config(text, wanted));
        }
        Ok(host(name, port))
    }

    async fn look_up(
        &self,
        setup: Option<&Setup>,
        notes: RecorderRef<'_>,
    ) -> Result<(Vec<IpAddr>, Ttl), ResolveError> {
        if let Some(address) = self.address {
            return Ok((vec![address], Ttl::default()));
        }
        let Some(setup) = setup else {
            let name = self.name.clone();
            return Err(ResolveError::NoServer { name });
        };
        self.search(&setup.search, &*setup.client, notes).await
    }

    async fn search(
        &self,
        search: &SearchList,
        dns: &impl Ask,
        notes: RecorderRef<'_>,
    ) -> Result<(Vec<IpAddr>, Ttl), ResolveError> {
        let names = expand_host(&self.name, search);
        let known = self.winner().clone();
        let winner = known.and_then(|known| names.iter().position(|name| *name == known));
        let mut tried = Vec::new();
        for i in candidates::order(&names, winner) {
            match addresses(dns, names[i].clone(), notes).await {
                Ok(found) => {
                    if candidates::may_win(&names, i) {
                        *self.winner() = Some(names[i].clone());
                    }
                    return Ok(found);
                }
                Err(error) => {
                    let go_on = error.is_absence();
                    tried.push(error);
                    if !go_on {
                        break;
                    }
                }
            }
        }
        Err(ResolveError::of_search(&self.name, tried))
    }

    fn winner(&self) -> MutexGuard<'_, Option<String>> {
        self.winner.lock()
    }
}

/// The addresses at an absolute name, or at the target of its alias.
async fn addresses(
    dns: &impl Ask,
    mut name: String,
    notes: RecorderRef<'_>,
) -> Result<(Vec<IpAddr>, Ttl), ResolveError> {
    for _ in 0..=MAX_ALIASES {
        let (_, message) = any_family(dns, &name, notes).await?;
        let Some(target) = records::alias(&name, &message)? else {
            return records::addresses(&name, &message);
        };
        // `records::alias` has checked that all records belong to the chain.
        if let Some(found) = records::behind_alias(&target, &message) {
            return Ok(found);
        }
        name = format!("{target}.");
    }
    Err(ResolveError::Foreign {
        owner: name.clone(),
        name,
    })
}

fn config(name: &str, message: &str) -> ResolveError {
    ResolveError::Config {
        name: name.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
