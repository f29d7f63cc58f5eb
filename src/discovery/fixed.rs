//! Servers from a list, by address ([`FixedList`]) or by name ([`HostList`]).
//!
//! The position in the list is the ordinal; this module owns that rule. It must never let a server
//! that is not found shift the others.

mod hosts;

use std::future::ready;
use std::net::SocketAddr;

pub use hosts::{HostList, HostListBuilder};

use super::{Answer, BoxFuture, FoundPod, Resolve, ResolveError};
use crate::name::Ordinal;

/// A fixed list of servers by address; the position in the list is the ordinal. For servers by
/// name, see [`HostList`].
///
/// ```
/// use headless_mysql::discovery::FixedList;
///
/// let list = FixedList::new([([127, 0, 0, 1], 3306).into(), ([127, 0, 0, 1], 3307).into()]);
/// ```
#[derive(Clone, Debug)]
pub struct FixedList {
    statefulset: String,
    addresses: Vec<SocketAddr>,
}

impl FixedList {
    /// The servers at these addresses, the primary first. Their names are `mysql-0`, `mysql-1`, ...
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let addresses = addresses.into_iter().collect();
        Self {
            statefulset: "mysql".to_owned(),
            addresses,
        }
    }

    /// Names the servers `<name>-0`, `<name>-1`, ... instead.
    #[must_use]
    pub fn statefulset(mut self, name: impl Into<String>) -> Self {
        self.statefulset = name.into();
        self
    }
}

impl Resolve for FixedList {
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
        let pods = (0..).zip(&self.addresses).map(|(n, address)| {
            let host = format!("{}-{n}", self.statefulset);
            FoundPod::new(Some(Ordinal::new(n)), host, [address.ip()], address.port())
        });
        Box::pin(ready(Ok(Answer::new(&self.statefulset, pods, None))))
    }

    fn describe(&self) -> String {
        format!(
            "{} (a fixed list of {})",
            self.statefulset,
            self.addresses.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_place_is_the_ordinal() {
        let addresses = [([127, 0, 0, 1], 3306).into(), ([127, 0, 0, 1], 3307).into()];
        let list = FixedList::new(addresses).statefulset("db");
        let answer = list.resolve().await.unwrap();
        let seen: Vec<_> = answer
            .pods
            .iter()
            .map(|p| (p.ordinal, &*p.host, p.port))
            .collect();
        assert_eq!(
            seen,
            [
                (Some(Ordinal::new(0)), "db-0", 3306),
                (Some(Ordinal::new(1)), "db-1", 3307)
            ]
        );
        assert_eq!(list.describe(), "db (a fixed list of 2)");
    }
}
