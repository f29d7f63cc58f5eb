//! Discovery: which pods a Service has now, found by one look-up.
//!
//! This module owns the trait [`Resolve`], the result of a look-up ([`Answer`], [`ResolveError`],
//! [`Transcript`]), the DNS implementation ([`DnsResolver`]), two Services taken as one set
//! ([`PrimaryAndReplicas`]) and fixed lists ([`FixedList`], [`HostList`]).
//!
//! It must never know MySQL, answer from memory instead of asking, or turn an error into an empty
//! answer. What an error means for the pods known so far is decided by `topology`.

mod answer;
mod candidates;
mod dns;
mod error;
mod fixed;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod hickory;
mod hints;
mod ladder;
mod pair;
mod reach;
mod recording;
mod records;
mod source;
mod system;
#[cfg(test)]
mod testing;
mod transcript;

pub use answer::{Answer, FoundPod};
pub use dns::{DnsResolver, DnsResolverBuilder};
pub use error::ResolveError;
pub use fixed::{FixedList, HostList, HostListBuilder};
pub(crate) use hints::{BlockedCalls, Finding, findings};
pub use pair::PrimaryAndReplicas;
pub use source::{BoxFuture, Resolve};
pub use transcript::Transcript;

// What a transcript consists of, for the example client: it may change at any time.
#[doc(hidden)]
pub use transcript::{Entry, Exchange, Protocol, Step};
