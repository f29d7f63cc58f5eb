//! DNS through hickory.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Answer, BoxFuture, Resolve, ResolveError};
use crate::name::{SearchList, ServiceName};

/// x
#[derive(Debug)]
pub struct DnsResolver {
    service: ServiceName,
}

/// x
#[derive(Debug)]
pub struct DnsResolverBuilder {
    service: ServiceName,
}

impl DnsResolver {
    /// x
    pub fn builder(service: ServiceName) -> DnsResolverBuilder {
        DnsResolverBuilder { service }
    }
}
impl DnsResolverBuilder {
    /// x
    #[must_use]
    pub fn port(self, _port: u16) -> Self {
        self
    }
    /// x
    #[must_use]
    pub fn statefulset(self, _name: Option<String>) -> Self {
        self
    }
    /// x
    #[must_use]
    pub fn search(self, _search: SearchList) -> Self {
        self
    }
    /// x
    #[must_use]
    pub fn name_servers(self, _servers: Vec<SocketAddr>) -> Self {
        self
    }
    /// x
    #[must_use]
    pub fn timeout(self, _timeout: Duration) -> Self {
        self
    }
    /// x
    #[must_use]
    pub fn deadline(self, _deadline: Duration) -> Self {
        self
    }
    /// x
    pub fn build(self) -> Result<DnsResolver, ResolveError> {
        Ok(DnsResolver {
            service: self.service,
        })
    }
}

impl Resolve for DnsResolver {
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
        let _ = super::system::name_servers;
        unimplemented!()
    }
    fn describe(&self) -> String {
        self.service.to_string()
    }
}
