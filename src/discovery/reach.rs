//! How to reach DNS, for every resolver that uses it.
//!
//! [`DnsOptions`] holds the common options. [`Followed`] holds what was made from them and from the
//! text of `resolv.conf`, and makes it again when the file changes. It must never give up a working
//! configuration for a file that has become useless.

use parking_lot::{Mutex, MutexGuard};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::ResolveError;
use super::hickory::Client;
use super::system::{self, Watched};
use crate::name::SearchList;

/// The options that do not depend on the query.
#[derive(Clone, Debug)]
pub(super) struct DnsOptions {
    pub(super) search: Option<SearchList>,
    pub(super) name_servers: Option<Vec<SocketAddr>>,
    pub(super) resolv_conf: PathBuf,
    pub(super) timeout: Duration,
    pub(super) deadline: Duration,
}

/// A value made from the options and the text of `resolv.conf`.
#[derive(Debug)]
pub(super) struct Followed<S> {
    /// `None` if the options replace everything in the file.
    file: Option<Watched>,
    made: Mutex<Arc<S>>,
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self {
            search: None,
            name_servers: None,
            resolv_conf: system::RESOLV_CONF.into(),
            timeout: Duration::from_secs(1),
            deadline: Duration::from_secs(5),
        }
    }
}

impl DnsOptions {
    /// Reads `resolv.conf`, unless the options replace everything in it.
    pub(super) fn open(&self, search: bool) -> Result<(Option<Watched>, String), ResolveError> {
        if self.name_servers.is_some() && (self.search.is_some() || !search) {
            return Ok((None, String::new()));
        }
        let (file, text) = Watched::open(self.resolv_conf.clone())?;
        Ok((Some(file), text))
    }

    pub(super) fn search(&self, text: &str) -> SearchList {
        let given = self.search.clone();
        given.unwrap_or_else(|| SearchList::parse(text))
    }

    /// A client for the name servers. Returns `old` if it asks the same servers.
    pub(super) fn client(
        &self,
        name: &str,
        text: &str,
        old: Option<&Arc<Client>>,
    ) -> Result<Arc<Client>, ResolveError> {
        let given = self.name_servers.clone();
        let servers = given.unwrap_or_else(|| system::parse_name_servers(text));
        if let Some(old) = old.filter(|old| old.addresses() == servers) {
            return Ok(Arc::clone(old));
        }
        Ok(Arc::new(Client::new(name, &servers, self.timeout)?))
    }
}

impl<S> Followed<S> {
    pub(super) fn new(file: Option<Watched>, made: S) -> Self {
        let made = Mutex::new(Arc::new(made));
        Self { file, made }
    }

    /// The last value, without a check of the file.
    pub(super) fn last(&self) -> Arc<S> {
        Arc::clone(&self.made())
    }

    /// The value after a check of the file. If the file has changed, `make` gets its text and the
    /// old value. If `make` fails, the old value stays in use.
    pub(super) fn current(
        &self,
        service: impl FnOnce() -> String,
        make: impl FnOnce(&str, &S) -> Result<S, ResolveError>,
    ) -> Arc<S> {
        let Some(text) = self.file.as_ref().and_then(Watched::changed) else {
            return self.last();
        };
        let (service, old) = (service(), self.last());
        match make(&text, &old) {
            Ok(made) => {
                info!(service, "resolv.conf has changed");
                let made = Arc::new(made);
                *self.made() = Arc::clone(&made);
                made
            }
            Err(error) => {
                warn!(service, %error, "resolv.conf has changed and is not used");
                old
            }
        }
    }

    fn made(&self) -> MutexGuard<'_, Arc<S>> {
        self.made.lock()
    }
}
