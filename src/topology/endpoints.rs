//! Turns snapshots into changes for tower.
//!
//! Owns the difference between the state the consumer knows and the latest snapshot, as `Insert`
//! and `Remove`. It must never pass on a failed look-up: most consumers of a
//! [`Discover`](tower::discover::Discover) end at the first error.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, stream};
use tower::discover::Change;

use super::{Discovery, Topology};
use crate::name::Ordinal;

/// The key of an endpoint in a [`Discover`](tower::discover::Discover): a pod at an address.
///
/// Sorts by ordinal; keys without an ordinal come last. Displays as `1 at 10.244.2.6:3306`, or as
/// `10.244.2.6:3306` without an ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    /// Sorts unknown ordinals last.
    nameless: bool,
    ordinal: Option<Ordinal>,
    address: SocketAddr,
}

/// The address of an endpoint and its pod: the input for a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAddress {
    key: EndpointKey,
    host: String,
}

/// A [`Discover`](tower::discover::Discover) of a Service's pods: for
/// [`Balance`](crate::balance::Balance), for tower's own balancers, or for any other consumer.
///
/// * Yields `Insert` with a new service for each address that DNS lists. Yields `Remove` for an
///   address that is missing from a good answer or given to another pod. Removals come before
///   additions.
/// * Never yields an error: a failed look-up changes nothing. After the first `Insert` there is
///   always at least one endpoint.
/// * `Insert` of a known key replaces its service: the host name of the pod changed.
/// * A slow consumer misses only changes that were undone meanwhile.
/// * Ends when discovery is [stopped](Discovery::stop) or its runtime ends. Until then, or until it
///   is dropped, it keeps discovery running.
///
/// ```no_run
/// use headless_mysql::topology::{Discovery, Endpoints};
///
/// # fn example(discovery: Discovery) {
/// /// Your tower service.
/// struct Client {
///     server: std::net::SocketAddr,
/// }
///
/// let endpoints = Endpoints::new(&discovery, |at| Client { server: at.socket() });
/// # }
/// ```
///
/// `examples/custom_discover.rs` balances over endpoints that are not MySQL servers.
#[must_use = "streams do nothing unless polled"]
pub struct Endpoints<S> {
    discovery: Discovery,
    snapshots: Pin<Box<dyn Stream<Item = Arc<Topology>> + Send>>,
    make: Box<dyn FnMut(&EndpointAddress) -> S + Send>,
    keep_absent: bool,
    /// The endpoints that the consumer knows, including pending changes, with their host names.
    told: BTreeMap<EndpointKey, String>,
    pending: VecDeque<Change<EndpointKey, EndpointAddress>>,
}

impl EndpointKey {
    fn new(ordinal: Option<Ordinal>, address: SocketAddr) -> Self {
        Self {
            nameless: ordinal.is_none(),
            ordinal,
            address,
        }
    }

    /// The pod's ordinal in its StatefulSet; `None` if discovery could not determine it.
    pub fn ordinal(&self) -> Option<Ordinal> {
        self.ordinal
    }

    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ordinal {
            Some(ordinal) => write!(f, "{ordinal} at {}", self.address),
            None => self.address.fmt(f),
        }
    }
}

impl EndpointAddress {
    /// The key of the endpoint.
    pub fn key(&self) -> EndpointKey {
        self.key
    }

    /// The pod's ordinal in its StatefulSet; `None` if discovery could not determine it.
    pub fn ordinal(&self) -> Option<Ordinal> {
        self.key.ordinal
    }

    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        self.key.address
    }

    /// The stable name of the pod, without a trailing dot.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl<S> Endpoints<S> {
    /// The endpoints of `discovery`. `make` makes the service of each inserted endpoint.
    pub fn new(
        discovery: &Discovery,
        make: impl FnMut(&EndpointAddress) -> S + Send + 'static,
    ) -> Self {
        let mut receiver = discovery.subscribe();
        // A snapshot may exist already.
        receiver.mark_changed();
        let snapshots = stream::unfold(receiver, |mut receiver| async move {
            receiver.changed().await.ok()?;
            let topology = Arc::clone(&receiver.borrow_and_update());
            Some((topology, receiver))
        });
        Self {
            discovery: discovery.clone(),
            snapshots: Box::pin(snapshots),
            make: Box::new(make),
            keep_absent: false,
            told: BTreeMap::new(),
            pending: VecDeque::new(),
        }
    }

    /// Keeps endpoints that are missing from good answers until their [grace
    /// period](super::RefreshConfig::grace) is over, and the last endpoint of the primary forever.
    /// Off by default. For consumers that check for themselves whether an endpoint works: their
    /// connections survive a wrong answer.
    pub fn keep_absent(mut self) -> Self {
        self.keep_absent = true;
        self
    }

    fn update(&mut self, topology: &Topology) {
        let mut wanted = BTreeMap::new();
        for pod in topology.pods() {
            let addresses = pod.addresses().iter();
            for address in addresses.filter(|at| self.keep_absent || at.is_listed()) {
                wanted.insert(
                    EndpointKey::new(pod.ordinal(), address.socket()),
                    pod.host(),
                );
            }
        }
        self.told.retain(|key, _| {
            let stays = wanted.contains_key(key);
            if !stays {
                self.pending.push_back(Change::Remove(*key));
            }
            stays
        });
        for (key, host) in wanted {
            if self.told.get(&key).is_some_and(|told| told == host) {
                continue;
            }
            let host = host.to_owned();
            self.told.insert(key, host.clone());
            let address = EndpointAddress { key, host };
            self.pending.push_back(Change::Insert(key, address));
        }
    }
}

impl<S> Stream for Endpoints<S> {
    type Item = Result<Change<EndpointKey, S>, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this.pending.pop_front() {
                Some(Change::Insert(key, address)) => {
                    let service = (this.make)(&address);
                    return Poll::Ready(Some(Ok(Change::Insert(key, service))));
                }
                Some(Change::Remove(key)) => return Poll::Ready(Some(Ok(Change::Remove(key)))),
                None if this.discovery.is_stopped() => return Poll::Ready(None),
                None => match ready!(this.snapshots.as_mut().poll_next(cx)) {
                    Some(topology) => this.update(&topology),
                    None => return Poll::Ready(None),
                },
            }
        }
    }
}

impl<S> Unpin for Endpoints<S> {}

impl<S> fmt::Debug for Endpoints<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("discovery", &self.discovery.name())
            .field("keep_absent", &self.keep_absent)
            .field("told", &self.told)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
