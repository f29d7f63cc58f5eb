//! Opens the connections of a pool, and judges the answers of their servers.
//!
//! Calls that find no idle connection join the pool's queue and ask the pool to [grow](Pool::grow).
//! Separate tasks open the new connections and give each to the first call in the queue. So no call
//! waits for a dial while another connection comes back, and a call that gives up wastes nothing.
//!
//! Owns the judgement of a server's answer: its identity, whether it may take writes, and which
//! refusals are remembered. Owns the judgement of a failed dial: either the pod is ill, or the pool
//! cannot grow. It must never accept a pod as the primary by an answer that is older than the
//! question.

use crate::error::ConnectError;
use crate::gtid::history::{Claim, Seen, Standing};
use crate::observe;
use crate::pool::growth::{AT_ONCE, Slot};
use crate::pool::idle::{Idle, Kept};
use crate::pool::state::Pool;
use crate::pool::statements::Statements;
use crate::pool::timer::Timer;
use crate::server::facts::Facts;
use crate::server::failure::{Cause, of_connect_error};
use crate::server::introduction::introduce;
use crate::server::session_kind::SessionKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A failed dial is not judged before this time after its begin. In that time, the pool's other
/// connections can show that the pod answers.
const HEARING: Duration = Duration::from_millis(250);

/// The server's error code if the account already has as many connections as it may have.
const ACCOUNT_LIMIT: u16 = 1226;

/// The error of a failed dial, and the slot of the connection that was not made.
type NotMade = Box<(ConnectError, Slot)>;

impl Pool {
    /// Begins as many connections as waiting calls need, up to the number that may be made at once.
    pub(crate) fn grow(self: &Arc<Self>) {
        if self.is_retired() {
            return;
        }
        // Bounded: after the runtime has ended, each task ends at once, and a loop until no slot is
        // free would never end.
        for _ in 0..AT_ONCE {
            let making = self.growth.book().making();
            let Some(kind) = self.idle.wanted(making) else {
                return;
            };
            let Some(slot) = Slot::begin(&self.growth) else {
                return;
            };
            let pool = Arc::clone(self);
            self.handle
                .spawn(async move { pool.make(kind, slot).await });
        }
    }

    async fn make(self: Arc<Self>, kind: SessionKind, slot: Slot) {
        let answers = self.growth.answers();
        let begun = Instant::now();
        match self.dial(kind, slot).await {
            // More calls may be waiting, and a dial fewer is under way now.
            Ok(()) => self.resized(),
            Err(failed) => {
                let (error, slot) = *failed;
                // A dial can fail before any statement on another connection ends.
                let heard = self.growth.heard_since(answers);
                let _ = tokio::time::timeout_at(begun + HEARING, heard).await;
                if !self.blocks_growth(&error, answers) {
                    self.tell(error);
                }
                // Dropped only after the judgement, because the drop begins the next dial.
                drop(slot);
                self.resized();
            }
        }
    }

    /// Blocks growth if `error` means that the pool cannot grow, and returns whether it does.
    /// `answers` is the value of [`Growth::answers`](crate::pool::growth::Growth::answers) from
    /// before the dial.
    pub(crate) fn blocks_growth(self: &Arc<Self>, error: &ConnectError, answers: u64) -> bool {
        let others_answer = self.growth.answers() != answers;
        let until = {
            let mut book = self.growth.book();
            if book.made() == 0 || !cannot_grow(error, others_answer) {
                return false;
            }
            let before = book.refusal().is_some();
            let until = book.block(error.clone(), Instant::now(), rand::random());
            if until.is_some() && !before {
                tracing::warn!(
                    pod = %self.pod(), connections = book.made(), %error,
                    "no further connection can be had; calls share those that there are"
                );
            }
            until
        };
        // `None`: this failure is part of an event that is already counted.
        if let Some(until) = until {
            let labels = [("pod", self.host()), ("reason", "full")];
            observe::count(observe::SLOTS_WITHHELD, &labels);
            self.retry_growth_at(until);
            self.not_made.notify_waiters();
        }
        self.resized();
        true
    }

    /// Blocks growth once the account has as many connections as it may have, before the server
    /// refuses one. Later attempts show whether the limit was raised: a session reports the limit
    /// of the moment when it began.
    fn mind_account_limit(self: &Arc<Self>, limit: usize) {
        if self.growth.book().made() >= limit {
            let refusal = ConnectError::Overloaded {
                pod: self.pod().clone(),
                code: ACCOUNT_LIMIT,
                message: format!("max_user_connections of the account is {limit}"),
            };
            self.blocks_growth(&refusal, self.growth.answers());
        }
    }

    fn retry_growth_at(self: &Arc<Self>, until: Instant) {
        let pool = Arc::downgrade(self);
        self.handle.spawn(async move {
            tokio::time::sleep_until(until).await;
            let Some(pool) = pool.upgrade() else { return };
            if pool.growth.book().retry(Instant::now()) {
                pool.grow();
                // A call that waits in the balancer may try this pod again.
                pool.freed();
            }
        });
    }

    /// Gives one call the reason why no connection could be made: a call in the queue, or else the
    /// next call.
    fn tell(&self, error: ConnectError) {
        self.known().unclaimed = Some((Instant::now(), error));
        self.not_made.notify_one();
    }

    /// Makes one connection and gives it to the first call in the queue.
    pub(crate) async fn dial(
        self: &Arc<Self>,
        kind: SessionKind,
        mut slot: Slot,
    ) -> Result<(), NotMade> {
        if let Err(refusal) = self.refuse_repeated_login() {
            return Err(Box::new((refusal, slot)));
        }
        // Read before the server is asked, so that a change during the dial makes the connection
        // old.
        let seen = self.history.seen();
        let generation = self.generation.load(Ordering::Acquire);
        let era = self.era.load(Ordering::Acquire);
        let begun = Instant::now();
        let connected = self.dialler.connect(kind).await;
        let (raw, facts) = match connected {
            Ok(connected) => connected,
            Err(refusal) => {
                self.remember(&refusal);
                self.count_refusal(&refusal);
                return Err(Box::new((refusal, slot)));
            }
        };
        slot.completed();
        let made = Idle {
            raw,
            slot,
            since: Instant::now(),
            kept: Kept {
                generation,
                era: self.learn(&facts, era),
                kind,
                origin: Arc::clone(&facts.origin),
                alive: begun,
                expires: self.limits.expiry(),
                diagnostics: false,
                statements: Statements::default(),
                timer: Timer::default(),
            },
        };
        self.recognise_at_login(&facts, begun).await;
        if let Some(limit) = facts.max_user_connections {
            self.mind_account_limit(limit);
        }
        // Even if the judgement refuses writes, the connection goes to the queue: a call for writes
        // sees the refusal in the knowledge, and a read can use the connection.
        if self.judge(facts, &seen, kind).is_ok() {
            self.confirm();
        }
        self.idle.put(made, || !self.is_retired());
        Ok(())
    }

    /// Changes the session of an idle connection to `kind`, and asks for the server's facts. The
    /// outer error is about the connection, the inner error about the pod.
    pub(crate) async fn examine(
        self: &Arc<Self>,
        idle: &mut Idle,
        kind: SessionKind,
    ) -> mysql_async::Result<Result<(), ConnectError>> {
        let seen = self.history.seen();
        let facts = introduce(&mut idle.raw, kind).await?;
        idle.kept.kind = kind;
        if let Err(wrong_pod) = self.dialler.check_hostname(&facts.hostname) {
            // Since the login, other pods' host names have made the check strict.
            return Err(mysql_async::Error::Other(wrong_pod.into()));
        }
        let era = self.era.load(Ordering::Acquire);
        if self.learn(&facts, era) != idle.kept.era {
            // The era has changed: no call may use this connection.
            return Err(mysql_async::Error::Driver(
                mysql_async::DriverError::ConnectionClosed,
            ));
        }
        let ready = self.dialler.check_ready(&facts);
        Ok(ready.and_then(|()| self.judge(facts, &seen, kind)))
    }

    /// Takes in the server's identity. Returns the new era of a connection that was of `era`.
    pub(crate) fn learn(self: &Arc<Self>, facts: &Facts, era: u64) -> u64 {
        if let Some(server) = facts.max_connections {
            self.fit_into(server);
        }
        self.hear(facts);
        let mut known = self.known();
        known.unclaimed = None;
        known.writable = Some(facts.writable);
        known.heard = Some(Instant::now());
        let before = known.identity.replace(facts.identity.clone());
        if before.is_none_or(|before| before == facts.identity) {
            return era;
        }
        let era = self.era.fetch_add(1, Ordering::AcqRel) + 1;
        drop(known);
        tracing::warn!(
            pod = %self.pod(), identity = facts.identity, "a new server has this address"
        );
        observe::count(observe::SERVERS_REPLACED, &[("pod", self.host())]);
        self.idle.drop_those(|_| true);
        era
    }

    /// Records a replica's position: the primary must hold the same transactions. If the primary is
    /// detected, a writable pod is no replica.
    fn hear(&self, facts: &Facts) {
        if !self.is_primary() && (self.by_ordinal || !facts.writable) {
            let position = facts.position.clone();
            self.history.expect(position.without_own(&facts.identity));
        }
    }

    fn warn_if_uncounted(&self, facts: &Facts) {
        if !facts.counts_transactions() && !self.warned_uncounted.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                pod = %self.pod(),
                "the primary does not count its transactions; that it lost some is noticed only \
                 where its server_uuid changes. Set gtid_mode=ON (MySQL) or log_bin (MariaDB)"
            );
        }
    }

    /// Judges whether the server may take writes and whether it is foreign, and remembers the
    /// result. Does nothing for replicas.
    pub(crate) fn judge(
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
        let mut judged = Some((now, seen.epoch()));
        let is_writable = facts.writable;
        if is_writable {
            self.warn_if_uncounted(&facts);
        }
        let claim = Claim::from(facts);
        self.set_foreign(seen.is_foreign(&claim));
        let verdict = if !is_writable {
            Err(ConnectError::ReadOnly { pod: pod() })
        } else {
            match self.history.advance(seen, claim) {
                Ok(Standing::Accepted) => Ok(()),
                // Judged again before the next write.
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
            // Reads may use it. If it is foreign, its role keeps reads away.
            SessionKind::ReadOnly => Ok(()),
        }
    }

    /// Fails if a login was refused recently. Existing connections are not affected.
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

/// Whether a failed dial means only that no further connection can be opened now. Call only if the
/// pool has connections. `others_answer`: the pod has answered on one of them since the dial began.
fn cannot_grow(error: &ConnectError, others_answer: bool) -> bool {
    match of_connect_error(error).cause {
        Cause::CannotGrow | Cause::OwnMachine => true,
        // About another server, or about the account and settings that every connection needs.
        _ if matches!(error, ConnectError::WrongPod { .. }) => false,
        Cause::Login | Cause::Setup => false,
        Cause::Statement | Cause::ReadOnly | Cause::Server | Cause::Network => others_answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PodId;

    #[test]
    fn a_failed_dial_says_that_the_pool_cannot_grow_or_that_the_pod_is_ill() {
        let pod = || PodId::new("mysql-0", ([10, 0, 0, 1], 3306).into());
        let cause = || "why".to_owned();
        let unreachable = ConnectError::Unreachable {
            pod: pod(),
            cause: cause(),
        };
        let silent = ConnectError::Silent {
            pod: pod(),
            after: HEARING,
        };
        let no_room = ConnectError::Overloaded {
            pod: pod(),
            code: 1040,
            message: cause(),
        };
        let no_descriptor = ConnectError::LocalLimit {
            pod: pod(),
            cause: cause(),
        };
        let stranger = ConnectError::WrongPod {
            pod: pod(),
            hostname: "mysql-1".to_owned(),
        };
        let denied = ConnectError::AccessDenied {
            pod: pod(),
            user: "app".to_owned(),
            code: 1045,
            message: cause(),
        };
        for (error, with_answers, without) in [
            (no_room, true, true),
            (no_descriptor, true, true),
            (unreachable, true, false),
            (silent, true, false),
            (stranger, false, false),
            (denied, false, false),
        ] {
            assert_eq!(cannot_grow(&error, true), with_answers, "{error}");
            assert_eq!(cannot_grow(&error, false), without, "{error}");
        }
    }
}
