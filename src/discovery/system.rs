//! What this host's `/etc/resolv.conf` says.

use std::net::SocketAddr;

use hickory_resolver::system_conf::read_system_conf;

use super::ResolveError;
use crate::name::SearchList;

const RESOLV_CONF: &str = "/etc/resolv.conf";

impl SearchList {
    /// The search list of this host, from `/etc/resolv.conf`. Reads the file anew on each call.
    ///
    /// # Errors
    ///
    /// [`ResolveError::Config`] when the file cannot be read.
    pub fn system() -> Result<Self, ResolveError> {
        let text = std::fs::read(RESOLV_CONF).map_err(config)?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }
}

/// The name servers of this host.
pub(super) fn name_servers() -> Result<Vec<SocketAddr>, ResolveError> {
    let (found, _) = read_system_conf().map_err(config)?;
    let ports = |server: &hickory_resolver::config::NameServerConfig| {
        server
            .connections
            .first()
            .map_or(53, |connection| connection.port)
    };
    Ok(found
        .name_servers()
        .iter()
        .map(|server| (server.ip, ports(server)).into())
        .collect())
}

fn config(error: impl std::fmt::Display) -> ResolveError {
    ResolveError::Config {
        name: RESOLV_CONF.to_owned(),
        message: error.to_string(),
    }
}
