//! The DNS resolver: a Service's name, the names it may stand for, and whom to ask.
//!
//! Owns its options. How DNS is reached is `reach`'s, the questions are `ladder`'s, the packets are
//! `hickory`'s. It must never answer from what it remembers.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::hickory::Client;
use super::ladder::{Ladder, Wanted};
use super::reach::{DnsOptions, Followed};
use super::transcript::{Book, Notes};
use super::{Answer, BoxFuture, Resolve, ResolveError, Transcript};
use crate::brief::Brief;
use crate::name::{SearchList, ServiceName, is_label};

/// Looks up a headless Service in DNS.
///
/// Asks for SRV records at the Service's name (before that, with a
/// [`port_name`](DnsResolverBuilder::port_name), at the port's), which cluster DNS answers with the
/// pods' names and addresses; failing that for its addresses, and for each pod by name. A pod that
/// DNS does not name has no ordinal. Records that do not belong to the name asked are never used.
///
/// Without a trailing dot or a zone, the Service's name is completed with the search list; the name
/// that answers is asked alone from then on, and with the kind of question that it answered. A
/// changed `resolv.conf` is noticed at the next look-up.
///
/// Given the name of a pod (`mysql-0.mysql`), it finds that pod and no other.
///
/// Must be used on a tokio runtime with I/O and time enabled.
pub struct DnsResolver {
    options: DnsResolverBuilder,
    setup: Followed<Setup>,
}

/// Builds a [`DnsResolver`]; see [`DnsResolver::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct DnsResolverBuilder {
    service: ServiceName,
    port: u16,
    port_name: Option<String>,
    statefulset: Option<String>,
    allow_alias: bool,
    dns: DnsOptions,
}

/// What follows from the options and the text of `resolv.conf`.
struct Setup {
    ladder: Ladder,
    client: Arc<Client>,
}

// === impl DnsResolver ===

impl DnsResolver {
    /// Begins to configure a resolver for this Service, or for one pod of it.
    pub fn builder(service: ServiceName) -> DnsResolverBuilder {
        DnsResolverBuilder {
            service,
            port: 3306,
            port_name: None,
            statefulset: None,
            allow_alias: false,
            dns: DnsOptions::default(),
        }
    }

    /// The absolute names the Service's name may stand for, best first.
    pub fn candidates(&self) -> Vec<String> {
        self.setup.last().ladder.wanted.candidates.clone()
    }

    async fn look_up(&self, notes: Notes<'_>) -> Result<Answer, ResolveError> {
        let setup = self.setup.current(
            || self.describe(),
            |text, old| self.options.set_up(text, Some(old)),
        );
        let after = self.options.dns.deadline;
        match timeout(after, setup.ladder.look_up(&*setup.client, notes)).await {
            Ok(result) => result,
            Err(_) => {
                notes.conclude(|| format!("the look-up took longer than {}", Brief(after)));
                Err(ResolveError::Timeout {
                    name: self.describe(),
                    after,
                    server: None,
                })
            }
        }
    }
}

impl Resolve for DnsResolver {
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
        Box::pin(self.look_up(Notes::NONE))
    }

    fn explain(&self) -> BoxFuture<'_, (Result<Answer, ResolveError>, Transcript)> {
        Box::pin(async move {
            let book = Book::new();
            let result = self.look_up(book.notes()).await;
            let transcript = book.close(&result);
            (result, transcript)
        })
    }

    fn describe(&self) -> String {
        self.options.service.to_string()
    }
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setup = self.setup.last();
        f.debug_struct("DnsResolver")
            .field("ladder", &setup.ladder)
            .field("servers", &setup.client.addresses())
            .field("options", &self.options)
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

    /// The name of the Service's port for MySQL, such as `mysql`: its SRV records
    /// (`_mysql._tcp.<service>`) are asked for first, and their port number is used. Default:
    /// none. Needed where a Service has several ports whose numbers are not known beforehand.
    pub fn port_name(mut self, name: Option<String>) -> Self {
        self.port_name = name;
        self
    }

    /// The StatefulSet's name. Default: whatever the pods' names say, and where only addresses are
    /// known, the Service's first label.
    pub fn statefulset(mut self, name: Option<String>) -> Self {
        self.statefulset = name;
        self
    }

    /// Whether to follow an alias (CNAME) at the Service's name, as one of the type ExternalName
    /// has. Default: false, and a look-up that meets one fails with [`ResolveError::Foreign`]:
    /// cluster DNS with autopath answers with an alias to a stranger where no pod is ready.
    ///
    /// An alias is followed by asking its target as if that had been configured; records that came
    /// with it are not used, and its chain must begin at the name asked.
    pub fn allow_alias(mut self, allow: bool) -> Self {
        self.allow_alias = allow;
        self
    }

    /// The search list to complete the Service's name with. Default: that of `resolv.conf`.
    pub fn search(mut self, search: SearchList) -> Self {
        self.dns.search = Some(search);
        self
    }

    /// The name servers to ask, in this order. Default: those of `resolv.conf`.
    pub fn name_servers(mut self, servers: Vec<SocketAddr>) -> Self {
        self.dns.name_servers = Some(servers);
        self
    }

    /// The file to read name servers and search list from, unless they are given: by
    /// [`build`](Self::build), and again when it has changed. Default `/etc/resolv.conf`.
    pub fn resolv_conf(mut self, path: impl Into<PathBuf>) -> Self {
        self.dns.resolv_conf = path.into();
        self
    }

    /// How long to wait for one name server before asking the next (or the same one again, once).
    /// Default 1 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.dns.timeout = timeout;
        self
    }

    /// How long a whole look-up may take. Default 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.dns.deadline = deadline;
        self
    }

    /// Makes the resolver. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ResolveError::NoServer`] without a name server, [`ResolveError::Config`] if `resolv.conf`
    /// is needed and cannot be read, or the name of the port or the StatefulSet is no DNS label.
    pub fn build(self) -> Result<DnsResolver, ResolveError> {
        self.check()?;
        let (file, text) = self.dns.open(!self.service.is_absolute())?;
        let setup = self.set_up(&text, None)?;
        Ok(DnsResolver {
            options: self,
            setup: Followed::new(file, setup),
        })
    }

    /// What would only make names that no DNS has.
    fn check(&self) -> Result<(), ResolveError> {
        let names = [
            ("port", &self.port_name),
            ("StatefulSet", &self.statefulset),
        ];
        for (what, given) in names {
            if let Some(given) = given
                && !is_label(&given.to_ascii_lowercase())
            {
                return Err(ResolveError::Config {
                    name: self.service.to_string(),
                    message: format!("`{given}` is no name of a {what}"),
                });
            }
        }
        Ok(())
    }

    fn set_up(&self, text: &str, old: Option<&Setup>) -> Result<Setup, ResolveError> {
        let service = self.service.to_string();
        let old_client = old.map(|old| &old.client);
        let client = self.dns.client(&service, text, old_client)?;
        let lower = |name: &String| name.to_ascii_lowercase();
        let wanted = Wanted {
            candidates: self.service.candidates(&self.dns.search(text)),
            service,
            port: self.port,
            port_name: self.port_name.as_ref().map(lower),
            statefulset: self.statefulset.as_ref().map(lower),
            default_set: self.service.first_label().to_owned(),
            allow_alias: self.allow_alias,
            patience: self.dns.deadline / 4 * 3,
        };
        let ladder = Ladder::new(wanted, old.map(|old| &old.ladder));
        Ok(Setup { ladder, client })
    }
}

#[cfg(test)]
#[cfg(feature = "testkit")]
mod smoke;
#[cfg(test)]
mod tests;
