//! What this host's `/etc/resolv.conf` says.

use std::net::{IpAddr, SocketAddr};

use super::ResolveError;
use crate::name::SearchList;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where name servers listen; `resolv.conf` cannot say otherwise.
const DNS_PORT: u16 = 53;

impl SearchList {
    /// The search list of this host, from `/etc/resolv.conf`. Reads the file anew on each call.
    ///
    /// # Errors
    ///
    /// [`ResolveError::Config`] when the file cannot be read.
    pub fn system() -> Result<Self, ResolveError> {
        Ok(Self::parse(&read()?))
    }
}

/// The name servers of this host, in their order.
pub(super) fn name_servers() -> Result<Vec<SocketAddr>, ResolveError> {
    Ok(parse_name_servers(&read()?))
}

fn read() -> Result<String, ResolveError> {
    let bytes = std::fs::read(RESOLV_CONF).map_err(|error| ResolveError::Config {
        name: RESOLV_CONF.to_owned(),
        message: error.to_string(),
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Line by line. Not with hickory's parser, which refuses the whole file over one search domain it
/// cannot read. Link-local servers with a zone (`fe80::1%eth0`) are left out: hickory cannot reach
/// them.
pub(super) fn parse_name_servers(text: &str) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        let server = address.map(|address| SocketAddr::new(address, DNS_PORT));
        servers.extend(server.filter(|server| !servers.contains(server)));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_in_order() {
        let text = "# nameserver 1.1.1.1\nnameserver 10.96.0.10\nsearch a..b _\nnameserver x\n\
                    nameserver\nnameserver fe80::1%eth0\n  nameserver\tfd00::10 # second\n\
                    nameserver 10.96.0.10\noptions ndots:5";
        let expected = ["10.96.0.10:53", "[fd00::10]:53"].map(|text| text.parse().unwrap());
        assert_eq!(parse_name_servers(text), expected);
        assert_eq!(parse_name_servers(""), []);
    }
}
