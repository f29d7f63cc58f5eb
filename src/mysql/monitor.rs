//! A connection that only asks its pod who it is.
//!
//! Owns that connection, apart from the pool's: what is asked must not wait behind the application's
//! statements, nor take one of its slots. It must never run anything else, and never outlast the
//! time it is given.

use super::connect::{Facts, Raw, SessionKind};
use super::pool::Pool;
use super::position::Position;
use crate::error::ConnectError;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a pod said about itself.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) writable: bool,
    /// Its position, without what it executed by itself.
    pub(crate) replicated: Position,
}

/// See the module documentation. Dropping it closes the connection.
#[derive(Default)]
pub(crate) struct Monitor {
    raw: Option<Raw>,
}

impl Monitor {
    /// Asks the server behind `pool`, which learns from the answer too.
    pub(crate) async fn ask(
        &mut self,
        pool: &Pool,
        within: Duration,
    ) -> Result<Report, ConnectError> {
        // Taken out: a connection that did not answer in time is of no use any more.
        let raw = self.raw.take();
        let answer = tokio::time::timeout(within, question(pool, raw)).await;
        let (raw, facts) = answer.unwrap_or_else(|_| {
            Err(ConnectError::Silent {
                pod: pool.pod().clone(),
                after: within,
            })
        })?;
        self.raw = Some(raw);
        pool.observe(&facts);
        Ok(Report {
            writable: facts.writable,
            replicated: facts.position.without_own(&facts.identity),
        })
    }
}

async fn question(pool: &Pool, raw: Option<Raw>) -> Result<(Raw, Facts), ConnectError> {
    if let Some(mut raw) = raw
        && let Ok((_, facts)) = pool
            .dialler
            .introduce(&mut raw, SessionKind::ReadOnly)
            .await
    {
        return Ok((raw, facts));
    }
    pool.dialler.connect(SessionKind::ReadOnly).await
}

impl Pool {
    /// Takes in what the server said outside of a checkout.
    fn observe(&self, facts: &Facts) {
        let (same, was_writable) = {
            let mut known = self.known();
            let before = known.identity.as_ref();
            let same = before.is_none_or(|before| *before == facts.identity);
            if same {
                known.identity = Some(facts.identity.clone());
            }
            (same, known.writable.replace(facts.writable))
        };
        if !same {
            self.learn(facts, self.era.load(Ordering::Acquire));
        } else if self.is_primary() && was_writable == Some(true) && !facts.writable {
            self.demoted(self.era.load(Ordering::Acquire));
        }
    }
}
