//! Judges whether a pod is a replica of the primary, by what both report about themselves.
//!
//! Not every pod of the Service is a replica: a StatefulSet alone does not set up replication, and
//! an address may later belong to another cluster. [`PodRecord`] holds what is known about one pod.
//! It is judged again with each answer of the pod and of the primary.
//!
//! Owns this rule. It must never ask a server, read a clock, or choose between pods.

mod relation;
mod words;

use crate::gtid::position::Position;
use crate::server::facts::Facts;
use crate::server::kind::ServerKind;
use relation::{NOTHING_IN_COMMON, Relation, presume, relate};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use words::PROOF_LIMIT;
pub(crate) use words::{Doubt, Reason, Recognition};

/// A MySQL primary may list a transaction later than its replicas, because it first waits for their
/// acknowledgement.
const SETTLING: Duration = Duration::from_secs(1);

/// What the primary reported about itself.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) facts: Facts,
    /// A time no later than the question.
    pub(crate) asked: Instant,
}

/// What a pod reported about itself.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) facts: Arc<Facts>,
    /// A time no later than the question.
    pub(crate) asked: Instant,
    /// When the answer arrived.
    pub(crate) heard: Instant,
}

/// What a pod is compared with.
#[derive(Clone, Copy)]
pub(crate) enum Against<'a> {
    /// The newest answer of an accepted primary.
    Primary(&'a Sample),
    /// No accepted primary answers. Holds the answers of the other pods, and the last answer of the
    /// last accepted primary.
    Others(&'a [Arc<Facts>], Option<&'a Sample>),
}

/// What is known about one pod.
#[derive(Debug)]
pub(crate) struct PodRecord {
    recognition: Recognition,
    /// The time since which the pod is known.
    since: Instant,
    /// The time since which a primary answers but the pod is not proven.
    unproven: Option<Instant>,
    last: Option<Answer>,
    /// The identity of the primary, and what it had executed when it was first asked after `since`.
    goal: Option<(String, Position)>,
    /// A position of the pod that was ahead of the primary, and when the pod reported it.
    ahead: Option<(Position, Instant)>,
    receipt: Receipt,
}

/// Whether a proven pod was seen to receive a new transaction. A copy holds old transactions too,
/// but does not receive new ones.
#[derive(Debug)]
enum Receipt {
    None,
    /// The pod must receive this position of the primary; awaited since this time.
    Awaited(Position, Instant),
    Seen,
}

impl PodRecord {
    pub(crate) fn new(since: Instant) -> Self {
        Self {
            recognition: Recognition::Unknown,
            since,
            unproven: None,
            last: None,
            goal: None,
            ahead: None,
            receipt: Receipt::None,
        }
    }

    pub(crate) fn recognition(&self) -> &Recognition {
        &self.recognition
    }

    #[cfg(test)]
    pub(crate) fn last(&self) -> Option<&Answer> {
        self.last.as_ref()
    }

    /// Takes in what the pod said.
    pub(crate) fn hear(&mut self, answer: Answer) {
        if let Some(last) = &self.last {
            let (before, now) = (&last.facts, &answer.facts);
            let is_same = before.identity == now.identity;
            if !is_same || !now.position.reaches(&before.position) {
                if is_same && answer.asked < last.heard {
                    // The two questions overlapped, and this answer is older than the last one.
                    return;
                }
                // Another server, or one that lost transactions: it starts with a new record.
                *self = Self::new(answer.heard);
            }
        }
        self.last = Some(answer);
    }

    /// Judges the pod by its last answer. Returns whether the primary must be asked again, because
    /// the pod may hold transactions that the primary executed after the primary's last answer.
    pub(crate) fn judge(&mut self, against: Against<'_>, now: Instant) -> bool {
        let Some(Answer { facts, heard, .. }) = self.last.clone() else {
            return false;
        };
        let primary = match against {
            Against::Primary(primary) => primary,
            Against::Others(others, before) => {
                self.unproven = None;
                if self.is_unjudged() {
                    let before = before.map(|sample| &sample.facts);
                    self.recognition = presume(&facts, others, before);
                }
                return false;
            }
        };
        let relation = relate(&facts, &primary.facts);
        // The common transactions may be newer than the primary's answer.
        let is_early = primary.asked < heard && relation == NOTHING_IN_COMMON;
        if relation != Relation::Possible && !is_early {
            self.settle(relation);
            return false;
        }
        if self
            .goal
            .as_ref()
            .is_some_and(|(identity, _)| *identity != primary.facts.identity)
        {
            self.goal = None;
        }
        if self.goal.is_none() && primary.asked >= self.since {
            let goal = newest(&primary.facts);
            self.goal = Some((primary.facts.identity.clone(), goal));
        }
        let ahead = self.is_ahead(&facts, heard, primary);
        let is_open = ahead.is_none() && primary.asked < heard || is_early || self.goal.is_none();
        if is_open || ahead.is_none() {
            // A pod that was judged before keeps its verdict until the primary has answered.
            if !matches!(
                self.recognition,
                Recognition::Proven | Recognition::Unrelated(_)
            ) {
                self.doubt(Doubt::Behind, now);
            }
            return is_open;
        }
        let has_shown = self.recognition == Recognition::Proven
            || (self.goal.as_ref()).is_some_and(|(_, goal)| facts.position.contains(goal));
        match (ahead == Some(true), has_shown) {
            (true, _) => {
                // The pod's proof was about a history that the primary no longer has.
                (self.since, self.goal, self.receipt) = (now, None, Receipt::None);
                self.doubt(Doubt::Ahead, now);
            }
            (false, false) => self.doubt(Doubt::Behind, now),
            (false, true) => {
                self.settle(Relation::Shown);
                self.expect_receipt(&facts.position, heard, primary, now);
            }
        }
        false
    }

    /// Whether the pod holds transactions that the primary lacks. `None` if only a later answer of
    /// the primary can tell.
    fn is_ahead(&mut self, facts: &Facts, heard: Instant, primary: &Sample) -> Option<bool> {
        let lacks = |position: &Position| position.is_ahead_of(&primary.facts.position);
        // Keep the first position that was ahead, because the pod's position keeps moving.
        if !(self.ahead.as_ref()).is_some_and(|(position, _)| lacks(position)) {
            let replicated = facts.position.clone().without_own(&facts.identity);
            self.ahead = lacks(&replicated).then_some((replicated, heard));
        }
        match &self.ahead {
            None => Some(false),
            Some((_, since)) => {
                let settling = match facts.kind {
                    ServerKind::MySql => SETTLING,
                    ServerKind::MariaDb => Duration::ZERO,
                };
                (primary.asked >= *since + settling).then_some(true)
            }
        }
    }

    /// Whether only a later answer of the primary can tell if the pod is ahead.
    pub(crate) fn is_pending(&self) -> bool {
        self.ahead.is_some()
    }

    /// Whether the pod still serves reads while the primary is asked again. The identity of a MySQL
    /// server is unique. The identity of a MariaDB server may by now belong to a server of another
    /// cluster.
    pub(crate) fn is_trusted(&self) -> bool {
        let is_mysql = |answer: &Answer| answer.facts.kind == ServerKind::MySql;
        self.recognition == Recognition::Proven && self.last.as_ref().is_some_and(is_mysql)
    }

    /// Demands that a proven pod receives a transaction after the primary executes one.
    fn expect_receipt(&mut self, held: &Position, heard: Instant, primary: &Sample, now: Instant) {
        let newest = newest(&primary.facts);
        match &self.receipt {
            Receipt::Seen => {}
            Receipt::None if held.contains(&newest) => {
                if self.goal.as_ref().is_some_and(|(_, goal)| *goal != newest) {
                    self.receipt = Receipt::Seen;
                }
            }
            Receipt::None => self.receipt = Receipt::Awaited(newest, now),
            Receipt::Awaited(awaited, _) if held.contains(awaited) => self.receipt = Receipt::Seen,
            Receipt::Awaited(awaited, since) if heard >= *since + PROOF_LIMIT => {
                self.goal = Some((primary.facts.identity.clone(), awaited.clone()));
                self.unproven = Some(*since);
                self.receipt = Receipt::None;
                self.doubt(Doubt::Behind, now);
            }
            Receipt::Awaited(..) => {}
        }
    }

    /// Whether the pod was not compared with a primary yet, or had nothing in common with
    /// the primary.
    fn is_unjudged(&self) -> bool {
        match &self.recognition {
            Recognition::Unknown | Recognition::Presumed => true,
            Recognition::Unrelated(reason) => {
                use Reason::{NotOnline, NothingInCommon, WritableAlone};
                matches!(reason, WritableAlone | NothingInCommon | NotOnline)
            }
            Recognition::Related(_) | Recognition::Proven => false,
        }
    }

    fn settle(&mut self, relation: Relation) {
        self.unproven = None;
        self.recognition = match relation {
            Relation::None(reason) => Recognition::Unrelated(reason),
            Relation::Possible | Relation::Shown => Recognition::Proven,
        };
    }

    fn doubt(&mut self, doubt: Doubt, now: Instant) {
        let since = *self.unproven.get_or_insert(now);
        self.recognition = if now.saturating_duration_since(since) < PROOF_LIMIT {
            Recognition::Related(doubt)
        } else {
            Recognition::Unrelated(Reason::Unproven(doubt))
        };
    }
}

/// The newest transactions of the primary. Those that it executed first are preferred, because a
/// server of another cluster may hold the replicated ones too.
fn newest(primary: &Facts) -> Position {
    let last = primary.position.clone().last();
    let own = last.clone().only_own(&primary.identity);
    if own.is_empty() { last } else { own }
}

#[cfg(test)]
mod tests;
