//! How a new connection comes into a pool, and what its server's word means for the pod.
//!
//! Owns the judgement of what a server says of itself: who it is, whether it may be written to, and
//! which refusals are remembered. It must never let a pod pass for a primary on a word that was given
//! before the question.

use super::connect::{Facts, SessionKind};
use super::lease::Lease;
use super::podconn::PodConn;
use super::pool::Pool;
use super::position::{Seen, Standing};
use crate::error::ConnectError;
use crate::observe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// For how long a slot stays taken after the server had no room for its connection.
const SHRINK_PAUSE: Duration = Duration::from_secs(1);

impl Pool {
    pub(super) async fn dial(
        self: &Arc<Self>,
        kind: SessionKind,
        slot: OwnedSemaphorePermit,
    ) -> Result<PodConn, ConnectError> {
        self.refuse_repeated_login()?;
        // All read before the server is asked: what changes meanwhile makes this one old.
        let seen = self.history.seen();
        let mut lease = Lease::new(Arc::clone(self), slot, kind, Arc::default());
        let connected = self.dialler.connect(kind).await;
        let (raw, facts) = match connected {
            Ok(connected) => connected,
            Err(refusal) => {
                self.remember(&refusal);
                self.count_refusal(&refusal);
                if matches!(refusal, ConnectError::Overloaded { .. }) {
                    lease.hold_slot_for(SHRINK_PAUSE);
                }
                return Err(refusal);
            }
        };
        lease.era = self.learn(&facts, lease.era);
        lease.origin = Arc::clone(&facts.origin);
        lease.expires = self.room.expiry();
        // From here on the connection is good for somebody, if not for this caller.
        let conn = PodConn::new(raw, lease);
        self.judge(facts, &seen, kind)?;
        self.confirm();
        Ok(conn)
    }

    /// Takes in who the server says it is; returns the era of a connection that was of `era`.
    pub(super) fn learn(&self, facts: &Facts, era: u64) -> u64 {
        if let Some(most) = facts.max_connections {
            self.fit_into(most);
        }
        let mut known = self.known();
        known.unclaimed = None;
        known.writable = Some(facts.writable);
        let before = known.identity.replace(facts.identity.clone());
        if before.is_none_or(|before| before == facts.identity) {
            return era;
        }
        let era = self.era.fetch_add(1, Ordering::AcqRel) + 1;
        drop(known);
        tracing::warn!(pod = %self.pod(), identity = facts.identity, "a new server has this address");
        observe::count(observe::SERVERS_REPLACED, &[("pod", self.host())]);
        self.drop_idle(|_| true);
        era
    }

    /// Whether the server may be written to, and remembers the answer. Not asked of replicas.
    pub(super) fn judge(
        &self,
        facts: Facts,
        seen: &Seen,
        kind: SessionKind,
    ) -> Result<(), ConnectError> {
        if !self.is_primary() {
            return Ok(());
        }
        let pod = || self.pod().clone();
        let now = Instant::now();
        let mut judged = Some(now);
        let verdict = if !facts.writable {
            Err(ConnectError::ReadOnly { pod: pod() })
        } else {
            match self.history.advance(seen, facts.position) {
                Ok(Standing::Accepted) => Ok(()),
                // It is asked again before the next write.
                Ok(Standing::Provisional) => {
                    judged = None;
                    Ok(())
                }
                Err(lost) => Err(ConnectError::HistoryLost {
                    pod: pod(),
                    seen: lost.seen,
                    found: lost.found,
                }),
            }
        };
        let was_lost = {
            let mut known = self.known();
            let before = std::mem::replace(&mut known.unfit, verdict.clone().err());
            known.judged = judged;
            known.refused = verdict.clone().err().map(|refusal| (now, refusal));
            matches!(before, Some(ConnectError::HistoryLost { .. }))
        };
        if let Err(refusal) = &verdict {
            self.count_refusal(refusal);
        }
        if let Err(refusal @ ConnectError::HistoryLost { .. }) = &verdict
            && !was_lost
        {
            tracing::error!("{refusal}; no write will run on it");
        }
        match kind {
            SessionKind::ReadWrite => verdict,
            // Good enough to read from.
            SessionKind::ReadOnly => Ok(()),
        }
    }

    /// A refused login is not tried again at once. Connections that exist are not concerned.
    fn refuse_repeated_login(&self) -> Result<(), ConnectError> {
        match &self.known().refused {
            Some((at, refusal))
                if !refusal.is_about_writing() && at.elapsed() < refusal.remembered_for() =>
            {
                Err(refusal.clone())
            }
            _ => Ok(()),
        }
    }

    fn count_refusal(&self, refusal: &ConnectError) {
        let labels = [("pod", self.host()), ("reason", refusal.kind())];
        observe::count(observe::CONNECTS_FAILED, &labels);
    }

    fn remember(&self, refusal: &ConnectError) {
        if !refusal.remembered_for().is_zero() {
            self.known().refused = Some((Instant::now(), refusal.clone()));
        }
    }
}
