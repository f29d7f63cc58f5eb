//! Who is there now: one look-up of a Service's pods.
//!
//! This module owns the trait [`Resolve`], what a look-up returns ([`Answer`], [`ResolveError`],
//! [`Transcript`]), the DNS implementation ([`DnsResolver`]), two Services taken as one set
//! ([`PrimaryAndReplicas`]) and a fixed list ([`FixedList`]). It must never know MySQL, answer from
//! what it remembers in place of asking, or turn an error into an empty answer: what an error means
//! for the pods known so far is `topology`'s to say.

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
mod records;
mod system;
#[cfg(test)]
mod testing;
mod transcript;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::name::Ordinal;

pub use dns::{DnsResolver, DnsResolverBuilder};
pub use error::ResolveError;
pub use fixed::{FixedList, HostList, HostListBuilder};
pub use pair::PrimaryAndReplicas;
pub use transcript::{Entry, Exchange, Protocol, Step, Transcript};

/// A boxed future, as [`Resolve`] returns it so that it can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A source of pods: DNS, a fixed list, or your own (an EndpointSlice watch, Consul, ...).
///
/// ```
/// use headless_mysql::discovery::{Answer, BoxFuture, FoundPod, Resolve, ResolveError};
/// use headless_mysql::name::Ordinal;
///
/// /// One server on this machine.
/// #[derive(Debug)]
/// struct Local;
///
/// impl Resolve for Local {
///     fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>> {
///         let address = [127, 0, 0, 1].into();
///         let pod = FoundPod::new(Some(Ordinal::PRIMARY), "localhost", [address], 3306);
///         Box::pin(async move { Ok(Answer::new("local", [pod], None)) })
///     }
///
///     fn describe(&self) -> String {
///         "the local server".to_owned()
///     }
/// }
/// ```
pub trait Resolve: Send + Sync + fmt::Debug + 'static {
    /// One look-up, now, of the whole set of pods.
    ///
    /// An answer without pods is not believed (the pods known so far stay), and neither is an
    /// error; return an error where the source cannot tell.
    ///
    /// # Errors
    ///
    /// [`ResolveError`] when the source did not answer, or not with pods.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when it takes too long or nobody is interested any more; an
    /// implementation must be none the worse for it.
    fn resolve(&self) -> BoxFuture<'_, Result<Answer, ResolveError>>;

    /// As [`resolve`](Self::resolve), with an account of how the result came about, for people.
    /// Costs more. Without an implementation of its own, it tells no more than the result does.
    ///
    /// # Cancel safety
    ///
    /// As [`resolve`](Self::resolve).
    fn explain(&self) -> BoxFuture<'_, (Result<Answer, ResolveError>, Transcript)> {
        Box::pin(async move {
            let began = Instant::now();
            let result = self.resolve().await;
            let transcript = Transcript::of_result(&result, began.elapsed());
            (result, transcript)
        })
    }

    /// What is looked up, for errors and events; for DNS the Service's name.
    fn describe(&self) -> String;
}

/// What one look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The absolute name of the Service that answered, without a trailing dot.
    pub service: String,
    /// The pods, in no particular order. Two entries with one ordinal count as one pod with the
    /// addresses of both.
    pub pods: Vec<FoundPod>,
    /// How long the answer says it holds, if it says so; a hint only.
    pub ttl: Option<Duration>,
    /// Whether these are all pods there are. If not (one of several sources did not answer), known
    /// pods that are not in it are unknown, not absent.
    pub complete: bool,
}

// === impl Answer ===

impl Answer {
    /// An answer of these pods under this Service name.
    pub fn new(
        service: impl Into<String>,
        pods: impl IntoIterator<Item = FoundPod>,
        ttl: Option<Duration>,
    ) -> Self {
        Self {
            service: service.into(),
            pods: pods.into_iter().collect(),
            ttl,
            complete: true,
        }
    }

    /// Says that there may be pods which this answer does not know of.
    #[must_use]
    pub fn partial(mut self) -> Self {
        self.complete = false;
        self
    }

    /// Whether there is no address in it.
    pub fn is_empty(&self) -> bool {
        self.pods.iter().all(|pod| pod.addresses.is_empty())
    }
}

/// One pod of an [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundPod {
    /// Which pod of its StatefulSet it is; `None` if the source does not tell. A pod without an
    /// ordinal is its address.
    pub ordinal: Option<Ordinal>,
    /// The stable name of the pod, without a trailing dot: what its TLS certificate may name.
    pub host: String,
    /// Its addresses, in no particular order. More than one of a family means that an old pod and
    /// its replacement are both listed.
    pub addresses: Vec<IpAddr>,
    /// The port of the MySQL server.
    pub port: u16,
}

// === impl FoundPod ===

impl FoundPod {
    /// A pod with this name and these addresses.
    pub fn new(
        ordinal: Option<Ordinal>,
        host: impl Into<String>,
        addresses: impl IntoIterator<Item = IpAddr>,
        port: u16,
    ) -> Self {
        let addresses = addresses.into_iter().collect();
        Self {
            ordinal,
            host: host.into(),
            addresses,
            port,
        }
    }
}
