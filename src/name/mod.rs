//! The names of a Service and its pods.
//!
//! This module parses and formats Service, StatefulSet and pod names, reads the ordinal out of a
//! pod's name, and expands a short Service name along a search list. It owns these rules. It must
//! never do I/O: reading `/etc/resolv.conf` and asking DNS belong to `discovery`.

mod labels;
mod pod;
mod search;
mod service;

pub(crate) use labels::{is_label, is_service, service_of_pod};
pub use pod::Ordinal;
pub use search::SearchList;
pub(crate) use search::expand_host;
pub use service::{NameError, ServiceName};

// Hidden items are for the tests and benchmarks of this crate: they may change at any time.
#[doc(hidden)]
pub use pod::{ordinal_of, pod_host};
