//! The faults of cluster DNS, and the queries they affect.
//!
//! This module owns the list of faults and decides which queries they affect. It must never carry
//! them out; the server module does.

use std::time::Duration;

use hickory_resolver::proto::rr::RecordType;

use super::spec::Protocol;

/// A fault of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// SERVFAIL, as from CoreDNS before its first data from the API server.
    ServFail,
    /// REFUSED, as from kube-dns before its first data from the API server.
    Refused,
    /// No answer at all.
    Drop,
    /// The answer is delayed. It is determined when the query arrives, so it may be outdated by
    /// then.
    Delay(Duration),
    /// Answers as if the API server had reported no Services.
    NxDomain,
    /// An answer without records and with the truncation flag, even over TCP, where a client has no
    /// further fallback. Restrict it with [`FaultScope::protocol`] to force the fallback to TCP.
    Truncated,
}

/// A type of query, for [`FaultScope::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Targets and ports.
    Srv,
}

/// The queries that a [`Fault`] affects: all of them, unless restricted.
///
/// # Examples
///
/// ```
/// use headless_mysql_testkit::dns::{FaultScope, RecordKind};
///
/// // The next two SRV queries.
/// let scope = FaultScope::all().kind(RecordKind::Srv).next(2);
/// # let _ = scope;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultScope {
    kind: Option<RecordKind>,
    protocol: Option<Protocol>,
    name: Option<String>,
    remaining: Option<usize>,
}

impl FaultScope {
    /// Every query.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only queries of this type.
    #[must_use]
    pub fn kind(mut self, kind: RecordKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only queries over this protocol.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Only queries for this name, with or without its last dot.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Only the next `n` queries that match the other restrictions.
    #[must_use]
    pub fn next(mut self, n: usize) -> Self {
        self.remaining = Some(n);
        self
    }

    /// Whether a query is in scope. A match counts against [`Self::next`].
    pub(super) fn strikes(&mut self, name: &str, kind: RecordType, protocol: Protocol) -> bool {
        let in_scope = self.kind.is_none_or(|wanted| wanted.record_type() == kind)
            && self.protocol.is_none_or(|wanted| wanted == protocol)
            && self
                .name
                .as_deref()
                .is_none_or(|wanted| same_name(wanted, name));
        if !in_scope {
            return false;
        }
        match &mut self.remaining {
            None => true,
            Some(0) => false,
            Some(remaining) => {
                *remaining -= 1;
                true
            }
        }
    }
}

fn same_name(left: &str, right: &str) -> bool {
    let bare = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    bare(left) == bare(right)
}

impl RecordKind {
    fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Srv => RecordType::SRV,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "mysql.default.svc.cluster.local.";

    #[test]
    fn a_scope_without_restrictions_strikes_everything() {
        let mut scope = FaultScope::all();
        assert!(scope.strikes(NAME, RecordType::TXT, Protocol::Tcp));
        assert!(scope.strikes(NAME, RecordType::A, Protocol::Udp));
    }

    #[test]
    fn only_queries_in_scope_use_up_the_next_n() {
        let mut scope = FaultScope::all().kind(RecordKind::Srv).next(1);
        assert!(!scope.strikes(NAME, RecordType::A, Protocol::Udp));
        assert!(scope.strikes(NAME, RecordType::SRV, Protocol::Udp));
        assert!(!scope.strikes(NAME, RecordType::SRV, Protocol::Udp));
    }

    #[test]
    fn names_are_compared_without_case_and_last_dot() {
        let mut scope = FaultScope::all().name("MySQL.default.svc.cluster.local");
        assert!(scope.strikes(NAME, RecordType::A, Protocol::Udp));
        assert!(!scope.strikes("svc.cluster.local.", RecordType::A, Protocol::Udp));
    }

    #[test]
    fn a_protocol_restricts_the_scope() {
        let mut scope = FaultScope::all().protocol(Protocol::Udp);
        assert!(scope.strikes(NAME, RecordType::A, Protocol::Udp));
        assert!(!scope.strikes(NAME, RecordType::A, Protocol::Tcp));
    }
}
