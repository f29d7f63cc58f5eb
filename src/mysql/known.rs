//! What is known of the server behind an address.
//!
//! Owns the lock around it, and the one bit that tells without locking whether a caller has to look.
//! It must never let that bit say less than what is known.

use crate::error::ConnectError;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// What is known of the server behind the address.
#[derive(Default)]
pub(super) struct Known {
    pub(super) identity: Option<String>,
    pub(super) writable: Option<bool>,
    /// Why it takes no writes (read-only, or history lost), as of its last word.
    pub(super) unfit: Option<ConnectError>,
    /// When it was last judged whether it may take writes.
    pub(super) judged: Option<Instant>,
    /// A refusal that another try so soon would only repeat.
    pub(super) refused: Option<(Instant, ConnectError)>,
    /// Why a connect failed whose caller had left: the next caller gets it, or a pod that never
    /// answers would not be noticed by callers with short deadlines.
    pub(super) unclaimed: Option<(Instant, ConnectError)>,
}

impl Known {
    /// Whether a caller may have to be refused because of it.
    fn is_news(&self) -> bool {
        self.unclaimed.is_some() || self.refuses_writes()
    }

    fn refuses_writes(&self) -> bool {
        let refused = self.refused.as_ref();
        refused.is_some_and(|(_, refusal)| refusal.is_about_writing())
    }

    /// Nobody will ask it to write, nor judge again whether it could.
    pub(super) fn is_no_primary(&mut self) {
        if self.refuses_writes() {
            self.refused = None;
        }
    }
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct Knowledge {
    known: Mutex<Known>,
    news: AtomicBool,
}

impl Knowledge {
    pub(super) fn lock(&self) -> KnownGuard<'_> {
        KnownGuard {
            known: self.known.lock().unwrap_or_else(PoisonError::into_inner),
            news: &self.news,
        }
    }

    /// Whether a caller may have to be refused because of something that is known.
    pub(super) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }
}

/// What is known, locked.
pub(super) struct KnownGuard<'a> {
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
