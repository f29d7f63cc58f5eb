//! The knowledge about the server behind an address.
//!
//! Owns the lock around the knowledge, and one bit that shows without the lock whether a caller
//! must read it. The bit must never be unset while the knowledge could refuse a caller.

use crate::error::ConnectError;
use parking_lot::{Mutex, MutexGuard};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// The knowledge about the server behind the address.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) identity: Option<String>,
    pub(crate) writable: Option<bool>,
    /// When the server last answered who it is.
    pub(crate) heard: Option<Instant>,
    /// Why it takes no writes (read-only, or history lost), by its last answer.
    pub(crate) unfit: Option<ConnectError>,
    /// The last judgement whether it may take writes: the time, and the epoch of the history.
    pub(crate) judged: Option<(Instant, u64)>,
    /// A recent refusal. Another attempt so soon would get the same.
    pub(crate) refused: Option<(Instant, ConnectError)>,
    /// The error of a connect that no caller has received. The next caller gets it. Otherwise,
    /// callers with short deadlines would never notice a pod that does not answer.
    pub(crate) unclaimed: Option<(Instant, ConnectError)>,
}

impl Known {
    /// Whether it may refuse a caller.
    fn is_news(&self) -> bool {
        self.unclaimed.is_some() || self.refuses_writes()
    }

    fn refuses_writes(&self) -> bool {
        let refused = self.refused.as_ref();
        refused.is_some_and(|(_, refusal)| refusal.is_about_writing())
    }

    /// Clears a refusal of writes: the pod is no longer the primary, so it is not judged again.
    pub(crate) fn is_no_primary(&mut self) {
        if self.refuses_writes() {
            self.refused = None;
        }
    }
}

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Knowledge {
    known: Mutex<Known>,
    news: AtomicBool,
}

impl Knowledge {
    pub(crate) fn lock(&self) -> KnownGuard<'_> {
        KnownGuard {
            known: self.known.lock(),
            news: &self.news,
        }
    }

    /// Whether the knowledge may refuse a caller.
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }
}

/// The locked knowledge. Updates the bit when dropped.
pub(crate) struct KnownGuard<'a> {
    known: MutexGuard<'a, Known>,
    news: &'a AtomicBool,
}

impl Deref for KnownGuard<'_> {
    type Target = Known;

    fn deref(&self) -> &Known {
        &self.known
    }
}

impl DerefMut for KnownGuard<'_> {
    fn deref_mut(&mut self) -> &mut Known {
        &mut self.known
    }
}

impl Drop for KnownGuard<'_> {
    fn drop(&mut self) {
        self.news.store(self.known.is_news(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PodId;

    #[tokio::test]
    async fn the_bit_follows_what_a_caller_may_have_to_be_told() {
        let knowledge = Knowledge::default();
        let pod = PodId::new("mysql-0", "127.0.0.1:3306".parse().unwrap());
        let (now, closed) = (Instant::now(), ConnectError::Closed { pod: pod.clone() });
        knowledge.lock().writable = Some(true);
        assert!(!knowledge.has_news());
        knowledge.lock().unclaimed = Some((now, closed.clone()));
        assert!(knowledge.has_news());
        knowledge.lock().unclaimed.take();
        assert!(!knowledge.has_news());
        knowledge.lock().refused = Some((now, closed));
        assert!(!knowledge.has_news(), "not about writing");
        knowledge.lock().refused = Some((now, ConnectError::ReadOnly { pod }));
        assert!(knowledge.has_news());
        knowledge.lock().is_no_primary();
        assert!(
            !knowledge.has_news(),
            "or its reads would wait for nothing for ever"
        );
    }
}
