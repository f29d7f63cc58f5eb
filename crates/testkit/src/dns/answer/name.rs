//! The grammar of names in the cluster's zone.
//!
//! This module owns the meaning of a name. It must never know whether the named object exists.

use hickory_resolver::proto::rr::Name;

use super::super::spec::{Protocol, ServicePort};
use super::ZONE;

/// A parsed name of the zone.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `cluster.local.`.
    Apex,
    /// `svc.cluster.local.` and `pod.cluster.local.`: no records, but names below.
    EmptyNonTerminal,
    /// `dns-version.cluster.local.`.
    Version,
    /// `<namespace>.svc.cluster.local.`.
    Namespace(String),
    /// `[..]<service>.<namespace>.svc.cluster.local.`.
    Service {
        namespace: String,
        service: String,
        wanted: Wanted,
    },
    /// In the zone, but not valid in its grammar.
    Invalid,
}

/// Which endpoints of a Service a name selects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// One label before the Service.
    Endpoint(String),
    /// Two labels before the Service, in the query's spelling.
    Port {
        name: String,
        protocol: String,
    },
}

/// Parses a name; `None` if it is outside of the zone.
pub(super) fn parse(name: &Name) -> Option<Asked> {
    let labels: Vec<String> = name
        .iter()
        .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase())
        .collect();
    let in_zone = labels.strip_suffix(&ZONE.map(str::to_owned))?;
    let own: Vec<&str> = in_zone.iter().map(String::as_str).collect();

    let service = |service: &str, namespace: &str, wanted| Asked::Service {
        namespace: namespace.to_owned(),
        service: service.to_owned(),
        wanted,
    };
    Some(match own.as_slice() {
        [] => Asked::Apex,
        ["svc" | "pod"] => Asked::EmptyNonTerminal,
        ["dns-version"] => Asked::Version,
        [namespace, "svc"] => Asked::Namespace((*namespace).to_owned()),
        [name, namespace, "svc"] => service(name, namespace, Wanted::All),
        [endpoint, name, namespace, "svc"] => {
            service(name, namespace, Wanted::Endpoint((*endpoint).to_owned()))
        }
        [port, protocol, name, namespace, "svc"] => {
            let wanted = Wanted::Port {
                name: (*port).to_owned(),
                protocol: (*protocol).to_owned(),
            };
            service(name, namespace, wanted)
        }
        _ => Asked::Invalid,
    })
}

/// The two labels of a port, such as `_mysql` and `_tcp`.
pub(super) fn port_labels(port: &ServicePort) -> Option<(String, &'static str)> {
    let protocol = match port.protocol {
        Protocol::Udp => "_udp",
        Protocol::Tcp => "_tcp",
    };
    Some((format!("_{}", port.name.as_ref()?), protocol))
}

impl Wanted {
    pub(super) fn includes_endpoint(&self, label: &str) -> bool {
        match self {
            Self::All | Self::Port { .. } => true,
            Self::Endpoint(wanted) => wanted.eq_ignore_ascii_case(label),
        }
    }

    /// The numbers of the selected ports. A Service without ports counts as one port without a
    /// number: its addresses are found, but it has no SRV records.
    pub(super) fn ports<'a>(
        &'a self,
        ports: &'a [ServicePort],
    ) -> impl Iterator<Item = Option<u16>> + 'a {
        let portless = ports.is_empty() && !matches!(self, Self::Port { .. });
        let numbered = ports.iter().filter(|port| self.includes_port(port));
        portless
            .then_some(None)
            .into_iter()
            .chain(numbered.map(|port| Some(port.number)))
    }

    /// Whether the name selects a port. The record type does not matter, and underscores are
    /// optional: `A mysql.tcp.<service>…` has an answer. An empty label (`_._tcp.<service>…`)
    /// selects all ports.
    fn includes_port(&self, port: &ServicePort) -> bool {
        let Self::Port { name, protocol } = self else {
            return true;
        };
        let includes = |wanted: &str, is: &str| {
            let wanted = wanted.strip_prefix('_').unwrap_or(wanted);
            wanted.is_empty() || wanted.eq_ignore_ascii_case(is)
        };
        let transport = match port.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        };
        includes(protocol, transport) && includes(name, port.name.as_deref().unwrap_or_default())
    }
}
