//! The channel for changes of the pools to the balancer.
//!
//! It must never split changes that belong together: with half of a set, the first reads would all
//! go to the primary, or to the replica that was sent first.

use super::key::PodKey;
use crate::checkout::endpoint::PodPool;
use futures_util::stream::{self, Stream, StreamExt};
use std::convert::Infallible;
use tokio::sync::mpsc;
use tower::discover::Change;

pub(super) type PodChange = Change<PodKey, PodPool>;

/// The sending end.
pub(super) struct Changes(mpsc::UnboundedSender<Vec<PodChange>>);

impl Changes {
    /// Sends changes that take effect together. Does nothing if the balancer is gone.
    pub(super) fn tell(&self, changes: Vec<PodChange>) {
        if !changes.is_empty() {
            let _ = self.0.send(changes);
        }
    }
}

/// The sending end, and the stream for the balancer: changes that were sent together are all ready
/// when the first of them is.
pub(super) fn changes() -> (
    Changes,
    impl Stream<Item = Result<PodChange, Infallible>> + Send + 'static,
) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let batches = stream::poll_fn(move |cx| told.poll_recv(cx));
    let each = batches.flat_map(|batch: Vec<PodChange>| stream::iter(batch).map(Ok));
    (Changes(tell), each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::net::{Ipv4Addr, SocketAddr};

    #[tokio::test]
    async fn changes_that_were_told_together_are_ready_together() {
        let (tell, mut told) = changes();
        let gone = |port| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            Change::Remove(PodKey::of(0, address))
        };
        // More items than tokio lets a task take from a channel at a time.
        for _ in 0..2 {
            tell.tell((0..1_000).map(gone).collect());
        }
        tell.tell(Vec::new());
        assert!(told.next().await.is_some());
        for n in 1..1_000 {
            let next = told.next().now_or_never();
            assert!(next.flatten().is_some(), "{n}");
        }
    }
}
