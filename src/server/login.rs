//! The account: which credentials to log in with, and when not to try.
//!
//! A caller takes a [`Turn`] from [`Login::turn`] before each login, and reports the outcome.
//!
//! A password changes in the file and on the servers at different moments. So the last accepted
//! password is kept, and used wherever the new one is refused. If a server refuses the old one too,
//! the new one is tried there again at once.
//!
//! Owns the rule that a wrong password must not lock the account on any server, however many
//! callers ask: see [`Gate`]. It must never keep a correct password from being used, and never
//! delay a changed one.

use crate::config::Config;
use crate::error::ConnectError;
use crate::server::credentials::{CredentialFiles, Credentials};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A pod that refused a login is tried again after this time. Servers that lock accounts do so
/// after a few failed attempts in a row. Two attempts in a minute leave an operator time to find
/// the problem.
const PAUSE: Duration = Duration::from_secs(30);

/// Logins with credentials that no server has accepted yet run one after the other. A pod that does
/// not answer delays the others no longer than this.
const PATIENCE: Duration = Duration::from_millis(250);

/// The account of a cluster.
#[derive(Debug)]
pub(crate) struct Login {
    vault: CredentialFiles,
    gate: Mutex<Gate>,
    proving: Semaphore,
    /// Whether any pod has ever accepted the account.
    accepted: AtomicBool,
    warned_of_group: AtomicBool,
}

/// The permission to try one login, with these credentials.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) credentials: Arc<Credentials>,
    _alone: Option<SemaphorePermit<'a>>,
}

impl Login {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            vault: CredentialFiles::new(config),
            gate: Mutex::default(),
            proving: Semaphore::new(1),
            accepted: AtomicBool::new(false),
            warned_of_group: AtomicBool::new(false),
        }
    }

    /// Warns once that `user` may not read whether pods take part in their group.
    pub(crate) fn warn_of_group(&self, user: &str) {
        if !self.warned_of_group.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                user,
                "members of Group Replication that have left their group are not recognised: GRANT \
                 SELECT ON performance_schema.replication_group_members TO this user"
            );
        }
    }

    /// Waits for the permission to log in at `address`. Returns the pod's last refusal if another
    /// try would only repeat it. With `doubt` the files are read again.
    pub(crate) async fn turn(
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

    pub(crate) fn accepted(&self, address: SocketAddr, credentials: &Credentials) {
        self.accepted.store(true, Ordering::Relaxed);
        self.gate().accepted(address, credentials);
    }

    pub(crate) fn refused(
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
    pub(crate) fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock()
    }
}

/// Which credentials may be tried at which pod.
///
/// Each server counts failed logins by itself, so credentials that a pod has refused are tried at
/// that pod once per [`PAUSE`]. The account may be missing only on that pod (it is being created or
/// restored), so the other pods are still tried.
#[derive(Debug, Default)]
struct Gate {
    /// The newest credentials first, then the last accepted ones before them.
    standings: Vec<Standing>,
}

#[derive(Debug)]
struct Standing {
    credentials: Arc<Credentials>,
    /// Whether a server has accepted them.
    proven: bool,
    refusals: HashMap<SocketAddr, Refusal>,
}

#[derive(Debug)]
struct Refusal {
    /// When the login was last tried.
    at: Instant,
    error: ConnectError,
}

impl Gate {
    fn is_proven(&self, credentials: &Credentials) -> bool {
        let newest = self.standings.first();
        newest.is_some_and(|newest| newest.is(credentials) && newest.proven)
    }

    /// The credentials to use at `address` now. This counts as an attempt.
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
            standing.refusals.remove(&address);
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
        standing.refusals.insert(address, refusal);
        if let [newest, old] = self.standings.as_mut_slice()
            && old.is(credentials)
        {
            // The server has changed its accounts: the new credentials may be valid by now.
            newest.refusals.remove(&address);
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
            refusals: HashMap::new(),
        }
    }

    fn is(&self, credentials: &Credentials) -> bool {
        self.credentials.version == credentials.version
    }

    fn admit(&mut self, address: SocketAddr, now: Instant) -> Result<(), ConnectError> {
        // Do not keep the addresses of removed pods forever.
        self.refusals
            .retain(|known, refusal| *known == address || now - refusal.at < PAUSE * 10);
        match self.refusals.get_mut(&address) {
            Some(refusal) if now.saturating_duration_since(refusal.at) < PAUSE => {
                Err(refusal.error.clone())
            }
            Some(refusal) => {
                refusal.at = now;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
