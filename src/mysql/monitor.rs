//! A connection that only asks its pod who it is.
//!
//! Owns that connection, apart from the pool's: what is asked must not wait behind the application's
//! statements, nor take one of its slots. It must never run anything else, never keep its caller
//! longer than it is told, and never log in to a pod twice at a time.

use super::connect::{Facts, Raw, SessionKind};
use super::pool::Pool;
use super::position::Position;
use crate::error::{ConnectError, PodId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What a pod said about itself.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) writable: bool,
    /// Its position, without what it executed by itself.
    pub(crate) replicated: Position,
}

/// See the module documentation. Dropping it closes the connection.
pub(crate) struct Monitor<C = Raw> {
    raw: Option<C>,
    /// A login under way. It goes on while nobody asks, up to the connect timeout: a server that
    /// takes longer for it than one question may take would never be heard otherwise.
    login: Option<Login<C>>,
    /// How a login ended that nobody was waiting for: what is known while the next one takes its time.
    failed: Option<ConnectError>,
}

struct Login<C>(JoinHandle<Result<(C, Facts), ConnectError>>);

impl<C> Drop for Login<C> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a monitor needs of a pod. Tests have pods without sockets, whose answers take as long as
/// they say.
trait Asked {
    type Conn;

    fn pod(&self) -> &PodId;

    /// Begins a login, which goes on by itself.
    fn log_in(&self) -> Login<Self::Conn>;

    /// `None`: the connection is of no use any more.
    async fn question(&self, conn: Self::Conn) -> Option<(Self::Conn, Facts)>;

    /// What is left to say when the runtime goes down.
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

    /// Asks the server behind `pool`, which learns from the answer too.
    pub(crate) async fn ask(
        &mut self,
        pool: &Arc<Pool>,
        until: Instant,
    ) -> Result<Report, ConnectError> {
        let facts = self.hear(pool, until).await?;
        pool.observe(&facts);
        Ok(Report {
            writable: facts.writable,
            replicated: facts.position.without_own(&facts.identity),
        })
    }
}

impl<C> Monitor<C> {
    /// What the pod says within the time.
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
    /// A connection that was asked is closed, for it did not answer in time; a login goes on.
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
            // An error of the task: the runtime is going down.
            let (raw, facts) = match done.unwrap_or_else(|_| Err(pod.closed())) {
                Ok(answered) => answered,
                // That may be a while ago.
                Err(error) if is_over => {
                    self.failed = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            // Said just now. To ask again could take more than is left of the time, each time.
            if !is_over {
                self.raw = Some(raw);
                return Ok(facts);
            }
            // What it said when it let us in may be a while ago.
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
    type Conn = Raw;

    fn pod(&self) -> &PodId {
        Pool::pod(self)
    }

    fn log_in(&self) -> Login<Raw> {
        let pool = Arc::clone(self);
        let login = async move { pool.dialler.connect(SessionKind::ReadOnly).await };
        Login(self.handle.spawn(login))
    }

    async fn question(&self, mut raw: Raw) -> Option<(Raw, Facts)> {
        let asked = self.dialler.introduce(&mut raw, SessionKind::ReadOnly);
        let (_, facts) = asked.await.ok()?;
        Some((raw, facts))
    }

    fn closed(&self) -> ConnectError {
        Pool::closed(self)
    }
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

#[cfg(test)]
mod tests;
