//! What a Service and its pods are called.
//!
//! This module owns the names: it parses and formats Service, StatefulSet and pod names, reads the
//! ordinal out of a pod's name, and expands a short Service name along a search list. It must
//! never do I/O: reading `/etc/resolv.conf` and asking DNS are `discovery`'s.

mod pod;
mod search;
mod service;

pub use pod::{Ordinal, ordinal_of, pod_host};
pub use search::SearchList;
pub(crate) use search::expand_host;
pub use service::{NameError, ServiceName};
pub(crate) use service::{is_service, service_of_pod};

/// The longest DNS name in text form, without a trailing dot.
const MAX_NAME: usize = 253;
/// The longest label of a DNS name.
const MAX_LABEL: usize = 63;

/// Whether `label` is a lower-case DNS-1123 label: 1 to 63 of `a-z`, `0-9` and `-`, with no dash
/// at either end.
pub(crate) fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.len() <= MAX_LABEL
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}

/// The name without its trailing dot, if it has one.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}
