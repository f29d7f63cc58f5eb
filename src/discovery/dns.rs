//! The DNS resolver: looks up a Service by its name, at every absolute name that it may stand for.
//!
//! Owns the resolver's options. `reach` decides how to reach DNS, `ladder` which questions to ask,
//! and `hickory` sends the packets. It must never answer from memory.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::hickory::Client;
use super::ladder::{Ladder, Wanted};
use super::reach::{DnsOptions, Followed};
use super::recording::{Recorder, RecorderRef};
use super::{Answer, BoxFuture, Resolve, ResolveError, Transcript};
use crate::name::{Ordinal, SearchList, ServiceName, is_label};

/// Looks up a headless Service in DNS.
///
/// Asks for SRV records at the Service's name; cluster DNS answers with the pods' names and
/// addresses. With a [`port_name`](DnsResolverBuilder::port_name), the SRV records of that port are
/// asked for first. If there are no SRV records, it asks for the Service's addresses, and for each
/// pod by name. A pod that DNS does not name has no ordinal. Records that do not belong to the name
/// asked are never used.
///
/// A name without a trailing dot or a zone is completed with the search list. After a name has
/// answered, later look-ups ask only that name, and start with the kind of query that it answered.
/// A changed `resolv.conf` is noticed at the next look-up.
///
/// With the name of a pod (`mysql-0.mysql`), it finds only that pod.
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
    first_ordinal: Ordinal,
    read_other_pods: bool,
    allow_alias: bool,
    dns: DnsOptions,
}

/// What is made from the options and the text of `resolv.conf`.
struct Setup {
    ladder: Ladder,
    client: Arc<Client>,
}

impl DnsResolver {
    /// Begins to configure a resolver for this Service, or for one pod of it.
    pub fn builder(service: ServiceName) -> DnsResolverBuilder {
        DnsResolverBuilder {
            service,
            port: 3306,
            port_name: None,
            statefulset: None,
            first_ordinal: Ordinal::PRIMARY,
            read_other_pods: false,
            allow_alias: false,
            dns: DnsOptions::default(),
        }
    }

    /// The absolute names that the Service's name may stand for, best first.
    pub fn candidates(&self) -> Vec<String> {
        self.setup.last().ladder.wanted.candidates.clone()
    }

    async fn look_up(&self, notes: RecorderRef<'_>) -> Result<Answer, ResolveError> {
        let setup = self.setup.current(
            || self.describe(),
            |text, old| self.options.set_up(text, Some(old)),
        );
        let after = self.options.dns.deadline;
        match timeout(after, setup.ladder.look_up(&*setup.client, notes)).await {
            Ok(result) => result,
            Err(_) => {
                notes.conclude(|| format!("the look-up took longer than {after:.1?}"));
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
        Box::pin(self.look_up(RecorderRef::NONE))
    }

    fn explain(&self) -> BoxFuture<'_, (Result<Answer, ResolveError>, Transcript)> {
        Box::pin(async move {
            let book = Recorder::new();
            let result = self.look_up(book.notes()).await;
            let transcript = book.close(&result, self.options.first_ordinal);
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

impl DnsResolverBuilder {
    /// The port of the MySQL servers if DNS does not say it, and the preferred port if DNS offers
    /// several. Default 3306.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The name of the Service's port for MySQL, such as `mysql`. The SRV records of this port
    /// (`_mysql._tcp.<service>`) are asked for first, and their port number is used. Default: none.
    /// Needed if a Service has several ports whose numbers are not known in advance.
    pub fn port_name(mut self, name: Option<String>) -> Self {
        self.port_name = name;
        self
    }

    /// The StatefulSet's name. Default: the name in the pods' names. If only addresses are known,
    /// or the pods belong to several StatefulSets, the default is the Service's first label. Pods
    /// of another StatefulSet are not in the answer. If a name is given, pods without a StatefulSet
    /// are not in the answer either.
    pub fn statefulset(mut self, name: Option<String>) -> Self {
        self.statefulset = name;
        self
    }

    /// The StatefulSet's first ordinal (`.spec.ordinals.start`), from which pods are counted if
    /// they must be asked for by name. Default 0.
    pub fn first_ordinal(mut self, first: Ordinal) -> Self {
        self.first_ordinal = first;
        self
    }

    /// Whether the answer includes pods that do not belong to the StatefulSet, without an ordinal.
    /// Default false.
    pub fn read_other_pods(mut self, read: bool) -> Self {
        self.read_other_pods = read;
        self
    }

    /// Whether to follow an alias (CNAME) at the Service's name, which a Service of the type
    /// ExternalName has. Default: false. A look-up that finds an alias then fails with
    /// [`ResolveError::Foreign`], because cluster DNS with autopath answers with an alias to an
    /// unrelated host if no pod is ready.
    ///
    /// To follow an alias, its target is asked as if the target had been configured. Records that
    /// came with the alias are not used, and the chain of aliases must begin at the name asked.
    pub fn allow_alias(mut self, allow: bool) -> Self {
        self.allow_alias = allow;
        self
    }

    /// The search list that completes the Service's name. Default: from `resolv.conf`.
    pub fn search(mut self, search: SearchList) -> Self {
        self.dns.search = Some(search);
        self
    }

    /// The name servers to ask, in this order. Default: from `resolv.conf`.
    pub fn name_servers(mut self, servers: Vec<SocketAddr>) -> Self {
        self.dns.name_servers = Some(servers);
        self
    }

    /// The file with the name servers and the search list, unless the options give both. It is read
    /// by [`build`](Self::build), and again after it has changed. Default `/etc/resolv.conf`.
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

    /// How long a whole look-up may take. Default 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.dns.deadline = deadline;
        self
    }

    /// Makes the resolver. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`ResolveError::NoServer`] without a name server. [`ResolveError::Config`] if `resolv.conf`
    /// is needed and cannot be read, or if the name of the port or of the StatefulSet is not a DNS
    /// label.
    pub fn build(self) -> Result<DnsResolver, ResolveError> {
        self.check()?;
        let (file, text) = self.dns.open(!self.service.is_absolute())?;
        let setup = self.set_up(&text, None)?;
        Ok(DnsResolver {
            options: self,
            setup: Followed::new(file, setup),
        })
    }

    /// Refuses options that could only form names which are invalid in DNS.
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
            first_ordinal: self.first_ordinal,
            read_other_pods: self.read_other_pods,
            allow_alias: self.allow_alias,
            patience: self.dns.deadline / 4 * 3,
        };
        let ladder = Ladder::new(wanted, old.map(|old| &old.ladder));
        Ok(Setup { ladder, client })
    }
}

#[cfg(test)]
mod smoke;
#[cfg(test)]
mod tests;
