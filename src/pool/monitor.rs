//! A connection that only asks a pod about its identity, role and position.
//!
//! Owns that connection, which is not one of the pool's: the questions must not wait behind the
//! application's statements, nor take one of the pool's slots. It must never run anything else,
//! never keep its caller beyond the given deadline, and never log in to a pod twice at a time.

use crate::error::{ConnectError, PodId};
use crate::gtid::position::Position;
use crate::pool::state::Pool;
use crate::server::closing_conn::ClosingConn;
use crate::server::facts::Facts;
use crate::server::introduction::introduce;
use crate::server::session_kind::SessionKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A pod's answer about itself.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) writable: bool,
    /// Its position, without the transactions that it executed itself.
    pub(crate) replicated: Position,
}

/// See the module documentation. Dropping it closes the connection.
pub(crate) struct Monitor<C = ClosingConn> {
    raw: Option<C>,
    /// A login under way. It continues between two questions, up to the connect timeout. Otherwise
    /// a server whose logins take longer than one question may take would never answer.
    login: Option<Login<C>>,
    /// The error of a login that failed between two questions. It is reported if the next login
    /// takes too long.
    failed: Option<ConnectError>,
}

struct Login<C>(JoinHandle<Result<(C, Facts), ConnectError>>);

impl<C> Drop for Login<C> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a monitor needs from a pod. Tests implement it without sockets, with chosen delays.
trait Asked {
    type Conn;

    fn pod(&self) -> &PodId;

    /// Begins a login in a task of its own.
    fn log_in(&self) -> Login<Self::Conn>;

    /// `None` if the connection is no longer usable.
    async fn question(&self, conn: Self::Conn) -> Option<(Self::Conn, Facts)>;

    /// The error to report when the runtime shuts down.
    fn closed(&self) -> ConnectError;
}

impl<C> Default for Monitor<C> {
    fn default() -> Self {
        Self {
            raw: None,
            login: None,
            failed: None,
        }
    }
}

impl Monitor {
    /// Whether a question needs no login first.
    pub(crate) fn is_connected(&self) -> bool {
        self.raw.is_some()
    }

    /// Asks the server behind `pool`. The pool takes in the answer.
    pub(crate) async fn ask(
        &mut self,
        pool: &Arc<Pool>,
        until: Instant,
    ) -> Result<Report, ConnectError> {
        let asked = Instant::now();
        let facts = self.facts(pool, until).await?;
        if !pool.is_primary() {
            pool.take_in(&facts, asked);
            pool.recognise();
        }
        pool.dialler.check_ready(&facts)?;
        Ok(Report {
            writable: facts.writable,
            replicated: facts.position.without_own(&facts.identity),
        })
    }
}

impl Monitor {
    /// The facts of the server behind `pool`. The pool takes them in.
    pub(crate) async fn facts(
        &mut self,
        pool: &Arc<Pool>,
        until: Instant,
    ) -> Result<Facts, ConnectError> {
        let facts = self.hear(pool, until).await?;
        pool.observe(&facts);
        Ok(facts)
    }
}

impl<C> Monitor<C> {
    /// The pod's answer, or an error once `until` has passed.
    async fn hear(
        &mut self,
        pod: &impl Asked<Conn = C>,
        until: Instant,
    ) -> Result<Facts, ConnectError> {
        let begun = Instant::now();
        let answer = tokio::time::timeout_at(until, self.answer(pod)).await;
        answer.unwrap_or_else(|_| {
            Err(self.failed.take().unwrap_or_else(|| ConnectError::Silent {
                pod: pod.pod().clone(),
                after: begun.elapsed(),
            }))
        })
    }

    /// # Cancel safety
    ///
    /// A connection that was asked is closed, because it did not answer in time. A login continues.
    async fn answer(&mut self, pod: &impl Asked<Conn = C>) -> Result<Facts, ConnectError> {
        self.failed = None;
        if let Some(raw) = self.raw.take()
            && let Some(facts) = self.question(pod, raw).await
        {
            return Ok(facts);
        }
        loop {
            let is_over = self
                .login
                .as_ref()
                .is_some_and(|login| login.0.is_finished());
            let login = self.login.get_or_insert_with(|| pod.log_in());
            let done = (&mut login.0).await;
            self.login = None;
            // The task fails only if the runtime shuts down.
            let (raw, facts) = match done.unwrap_or_else(|_| Err(pod.closed())) {
                Ok(answered) => answered,
                // The login may have failed long ago, so log in again.
                Err(error) if is_over => {
                    self.failed = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            // These facts are fresh. A second question could exceed the deadline, every time.
            if !is_over {
                self.raw = Some(raw);
                return Ok(facts);
            }
            // The facts from the login may be old.
            if let Some(facts) = self.question(pod, raw).await {
                return Ok(facts);
            }
        }
    }

    async fn question(&mut self, pod: &impl Asked<Conn = C>, raw: C) -> Option<Facts> {
        let (raw, facts) = pod.question(raw).await?;
        self.raw = Some(raw);
        Some(facts)
    }
}

impl Asked for Arc<Pool> {
    type Conn = ClosingConn;

    fn pod(&self) -> &PodId {
        Pool::pod(self)
    }

    fn log_in(&self) -> Login<ClosingConn> {
        let pool = Arc::clone(self);
        let login = async move { pool.dialler.connect(SessionKind::ReadOnly).await };
        Login(self.handle.spawn(login))
    }

    async fn question(&self, mut raw: ClosingConn) -> Option<(ClosingConn, Facts)> {
        let asked = introduce(&mut raw, SessionKind::ReadOnly);
        let facts = asked.await.ok()?;
        Some((raw, facts))
    }

    fn closed(&self) -> ConnectError {
        Pool::closed(self)
    }
}

impl Pool {
    /// Takes in facts that the server gave outside of a checkout.
    fn observe(self: &Arc<Self>, facts: &Facts) {
        let (same, was_writable) = {
            let mut known = self.known();
            known.heard = Some(Instant::now());
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

#[cfg(test)]
mod tests;
