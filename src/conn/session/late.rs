//! The wait of a session for an answer, and its end if no answer will come.
//!
//! Owns the deadline of the wait, and the outcome of an operation that is given up before its
//! deadline. It must never give up an operation for a lost flow unless the caller runs it again on
//! another connection.

use super::Session;
use crate::conn::deadline::Deadline;
use crate::conn::lease::Why;
use crate::conn::patience::{Ended, Silence, patience, wait_longer};
use crate::error::Error;
use crate::server::session_kind::SessionKind;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use tokio::time::Instant;

impl Session {
    /// Waits for the answer of an operation. If the answer is late, asks whether the pod is alive.
    pub(super) async fn wait_for<T>(
        &mut self,
        deadline: Deadline,
        operation: impl Future<Output = T>,
    ) -> Ended<T> {
        let mut operation = pin!(operation);
        let alone = deadline.begun + patience(deadline.time());
        let first = deadline.at.map_or(alone, |at| at.min(alone));
        if let Some(done) = self.lease.kept.timer.until(first, operation.as_mut()).await {
            return Ended::Done(done);
        }
        if deadline.at == Some(first) {
            return Ended::TimedOut;
        }
        let read_only = self.lease.kept.kind == SessionKind::ReadOnly && !self.tx.has_begun();
        let may_move = self.may_move && read_only && self.reading.is_plain();
        let pool = Arc::clone(&self.lease.pool);
        // Boxed: it is rare, and would make every operation's future larger.
        Box::pin(wait_longer(pool, self.id, deadline, may_move, operation)).await
    }

    /// Gives up an operation before its deadline, because its answer will not come.
    #[cold]
    pub(super) fn abandon(&mut self, begun: Instant, silence: Silence) -> mysql_async::Error {
        let after = begun.elapsed();
        let pod = self.lease.pool.pod().clone();
        self.abandoned = true;
        match silence {
            Silence::Pod => {
                if let Some(guard) = &self.lease.hold.guard {
                    guard.condemn(format!("it has answered nothing for {after:.1?}"));
                }
                self.give_up(Why::PodSilent);
                Error::Timeout { pod, after }.into()
            }
            Silence::Flow => {
                self.lease.pool.distrust_flows(begun);
                self.give_up(Why::FlowLost);
                self.lost = true;
                let words = "the server runs nothing for it, and no answer has come";
                let source = std::io::Error::new(std::io::ErrorKind::TimedOut, words);
                let source = source.into();
                Error::ConnectionLost { pod, source }.into()
            }
        }
    }
}
