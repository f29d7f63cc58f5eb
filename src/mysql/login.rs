//! The account: what it logs in with, and when it had better not try.
//!
//! Owns the rule that a wrong password must not lock the account, whichever pods and however many
//! callers ask: see [`Gate`]. It must never keep a right password from being used, and never let a
//! changed one wait.
//!
//! A password changes in the file and on the servers at different moments. So the one that worked
//! before is kept, and used wherever the new one is refused; where that one is refused in turn, the
//! new one is tried again at once.

use super::credentials::{Credentials, Vault};
use crate::config::Config;
use crate::error::ConnectError;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A refused login is tried again after this time. Servers that lock accounts do so after a few
/// attempts in a row; two in a minute leave an operator the time to see what is wrong.
const PAUSE: Duration = Duration::from_secs(30);

/// Logins with credentials that no server has accepted yet go one after the other, but a pod that
/// does not answer holds up the others no longer than this.
const PATIENCE: Duration = Duration::from_millis(250);

/// The account of a cluster.
#[derive(Debug)]
pub(crate) struct Login {
    vault: Vault,
    gate: Mutex<Gate>,
    proving: Semaphore,
    /// Whether any pod has ever accepted it.
    accepted: AtomicBool,
}

/// The permission to try to log in, with what.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) credentials: Arc<Credentials>,
    _alone: Option<SemaphorePermit<'a>>,
}

impl Login {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            vault: Vault::new(config),
            gate: Mutex::default(),
            proving: Semaphore::new(1),
            accepted: AtomicBool::new(false),
        }
    }

    /// Waits for the permission to log in at `address`; an error if that would only repeat a
    /// refusal. With `doubt` the files are read anew.
    pub(super) async fn turn(
        &self,
        address: SocketAddr,
        doubt: bool,
    ) -> Result<Turn<'_>, ConnectError> {
        let newest = self.vault.newest(doubt).await?;
        let alone = if self.gate().is_proven(&newest) {
            None
        } else {
            let alone = tokio::time::timeout(PATIENCE, self.proving.acquire()).await;
            alone.ok().and_then(Result::ok)
        };
        let credentials = self.gate().admit(&newest, address, Instant::now())?;
        Ok(Turn {
            credentials,
            _alone: alone,
        })
    }

    pub(super) fn accepted(&self, address: SocketAddr, credentials: &Credentials) {
        self.accepted.store(true, Ordering::Relaxed);
        self.gate().accepted(address, credentials);
    }

    pub(super) fn refused(
        &self,
        address: SocketAddr,
        credentials: &Credentials,
        refusal: &ConnectError,
    ) {
        tracing::warn!(
            "{refusal}; it is tried again in {PAUSE:?}, or when the password has changed"
        );
        self.gate()
            .refused(address, credentials, refusal, Instant::now());
    }

    /// Whether any pod has ever accepted the account.
    pub(super) fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which credentials may be tried where.
///
/// Credentials that no server has accepted are wrong everywhere once one server has refused them:
/// one attempt per [`PAUSE`] over all pods. Credentials that some server has accepted may be wrong
/// on another alone (its accounts are not there yet, or it has the next password already): one
/// attempt per [`PAUSE`] there.
#[derive(Debug, Default)]
struct Gate {
    /// The newest first, then the last one before it that was accepted.
    standings: Vec<Standing>,
}

#[derive(Debug)]
struct Standing {
    credentials: Arc<Credentials>,
    proven: bool,
    everywhere: Option<Refusal>,
    there: HashMap<SocketAddr, Refusal>,
}

#[derive(Debug)]
struct Refusal {
    /// When it was last tried.
    at: Instant,
    error: ConnectError,
}

impl Gate {
    fn is_proven(&self, credentials: &Credentials) -> bool {
        let newest = self.standings.first();
        newest.is_some_and(|newest| newest.is(credentials) && newest.proven)
    }

    /// What to log in with at `address` now. The attempt counts from here on.
    fn admit(
        &mut self,
        newest: &Arc<Credentials>,
        address: SocketAddr,
        now: Instant,
    ) -> Result<Arc<Credentials>, ConnectError> {
        self.take_in(newest);
        let mut refused = None;
        for standing in &mut self.standings {
            match standing.admit(address, now) {
                Ok(()) => return Ok(Arc::clone(&standing.credentials)),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(error) => Err(error),
            None => Ok(Arc::clone(newest)),
        }
    }

    fn take_in(&mut self, newest: &Arc<Credentials>) {
        let known = self.standings.iter().map(|standing| &standing.credentials);
        if known.map(|known| known.version).max() >= Some(newest.version) {
            return;
        }
        self.standings.retain(|standing| standing.proven);
        self.standings.truncate(1);
        self.standings.insert(0, Standing::new(newest));
    }

    fn accepted(&mut self, address: SocketAddr, credentials: &Credentials) {
        if let Some(standing) = self.find(credentials) {
            standing.proven = true;
            standing.everywhere = None;
            standing.there.remove(&address);
        }
    }

    fn refused(
        &mut self,
        address: SocketAddr,
        credentials: &Credentials,
        error: &ConnectError,
        now: Instant,
    ) {
        let Some(standing) = self.find(credentials) else {
            return;
        };
        let refusal = Refusal {
            at: now,
            error: error.clone(),
        };
        if standing.proven {
            standing.there.insert(address, refusal);
        } else {
            standing.everywhere = Some(refusal);
        }
        if let [newest, old] = self.standings.as_mut_slice()
            && old.is(credentials)
        {
            // The server has changed its mind: the new one may be right by now.
            newest.everywhere = None;
            newest.there.remove(&address);
        }
    }

    fn find(&mut self, credentials: &Credentials) -> Option<&mut Standing> {
        let mut standings = self.standings.iter_mut();
        standings.find(|standing| standing.is(credentials))
    }
}

impl Standing {
    fn new(credentials: &Arc<Credentials>) -> Self {
        Self {
            credentials: Arc::clone(credentials),
            proven: false,
            everywhere: None,
            there: HashMap::new(),
        }
    }

    fn is(&self, credentials: &Credentials) -> bool {
        self.credentials.version == credentials.version
    }

    fn admit(&mut self, address: SocketAddr, now: Instant) -> Result<(), ConnectError> {
        // Addresses of pods that are gone must not be kept for ever.
        self.there
            .retain(|known, refusal| *known == address || now - refusal.at < PAUSE * 10);
        let refusals = [self.everywhere.as_mut(), self.there.get_mut(&address)];
        for refusal in refusals.into_iter().flatten() {
            if now.saturating_duration_since(refusal.at) < PAUSE {
                return Err(refusal.error.clone());
            }
            refusal.at = now;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
