//! Judges whether a pod is a replica, each time the pod or the primary has given an answer.
//!
//! Each handshake with a pod ends in a judgement ([`Pool::recognise_at_login`]), and so does each
//! answer of a [`Monitor`].
//!
//! Owns the moments of judgement. The rule is in [`recognition`](crate::server::recognition), and
//! the answers are in [`Evidence`](super::evidence::Evidence). A handshake must never wait without
//! limit for a primary that does not answer.

use crate::error::ConnectError;
use crate::gtid::history::History;
use crate::pool::evidence::PrimaryAnswer;
use crate::pool::monitor::Monitor;
use crate::pool::state::Pool;
use crate::routing::Role;
use crate::server::facts::Facts;
use crate::server::recognition::{Against, Answer, Recognition, Sample};
use crate::server::session_kind::SessionKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long a handshake waits for the primary's answer before the pod is judged without it.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// How far the answer of a pod that should be the primary can be used.
#[derive(Debug)]
pub(crate) enum PrimaryVerdict {
    Accepted(Arc<Sample>),
    /// The positions of the replicas are not known yet.
    Provisional,
    /// The pod takes no writes.
    Refused,
}

/// The result of a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The pod's role has changed.
    pub(crate) is_new: bool,
    /// The judgement needs a newer answer of the primary.
    pub(crate) is_open: bool,
}

impl Pool {
    /// The pod's role for a request.
    #[inline]
    pub(crate) fn role(&self) -> Role {
        match (self.is_primary(), self.is_foreign()) {
            (true, false) => Role::Primary,
            (true, true) => Role::Foreign,
            (false, _) => self.recognition.role(),
        }
    }

    /// Why reads do not use the pod as a replica, or use it only after the primary.
    pub(crate) fn objection(&self) -> Option<String> {
        match self.role() {
            Role::Primary => None,
            Role::Foreign => {
                Some("it holds nothing of the newest that the primary has held".to_owned())
            }
            _ => self.recognition.record().recognition().objection(),
        }
    }

    /// Why no reads use the pod at all.
    pub(crate) fn exclusion(&self) -> Option<String> {
        self.objection().filter(|_| self.role() == Role::Stranger)
    }

    /// Whether the pod has not answered yet.
    pub(crate) fn is_unheard(&self) -> bool {
        !self.is_primary() && *self.recognition.record().recognition() == Recognition::Unknown
    }

    /// Whether the pod must be asked again soon.
    pub(crate) fn is_unsettled(&self) -> bool {
        match self.role() {
            Role::Primary => false,
            Role::Foreign => true,
            _ => {
                let record = self.recognition.record();
                let is_settled = matches!(
                    record.recognition(),
                    Recognition::Unknown | Recognition::Proven
                );
                !is_settled || record.is_pending()
            }
        }
    }

    /// Judges a pod by `facts`, and waits for the primary's answer if the judgement depends on it.
    /// `asked` must not be later than the question to the pod.
    pub(crate) async fn recognise_at_login(&self, facts: &Facts, asked: Instant) {
        if self.is_primary() || !self.evidence.judges() {
            return;
        }
        self.take_in(facts, asked);
        let mut answers = self.evidence.primary.subscribe();
        if !self.recognise().is_open {
            return;
        }
        if self.recognition.record().is_trusted() {
            // The primary's next answer may end this trust. The handshake does not wait for it.
            self.evidence.wanted.notify_one();
            return;
        }
        let decided = async {
            self.evidence.wanted.notify_one();
            while answers.changed().await.is_ok() && self.recognise().is_open {
                self.evidence.wanted.notify_one();
            }
        };
        let in_time = tokio::time::timeout(ANSWER_WAIT, decided).await;
        let is_unasked = matches!(*self.evidence.primary.borrow(), PrimaryAnswer::Unasked);
        if in_time.is_err() && is_unasked {
            self.judge_by(PrimaryAnswer::None);
        }
    }

    /// Takes in the pod's answer.
    pub(crate) fn take_in(&self, facts: &Facts, asked: Instant) {
        if !self.evidence.judges() {
            return;
        }
        let facts = Arc::new(facts.clone());
        let address = self.pod().address();
        self.evidence.pods().insert(address, Arc::clone(&facts));
        self.recognition.record().hear(Answer {
            facts,
            asked,
            heard: Instant::now(),
        });
    }

    /// Judges the pod by its own last answer and that of the primary.
    pub(crate) fn recognise(&self) -> Judged {
        let answer = self.evidence.primary.borrow().clone();
        self.judge_by(answer)
    }

    fn judge_by(&self, answer: PrimaryAnswer) -> Judged {
        let (others, before): (Vec<Arc<Facts>>, Option<Arc<Sample>>);
        let against = match &answer {
            // The question to the primary is under way.
            PrimaryAnswer::Unasked => {
                return Judged {
                    is_new: false,
                    is_open: true,
                };
            }
            PrimaryAnswer::Given(sample) => Against::Primary(sample),
            PrimaryAnswer::None => {
                others = self.evidence.pods().values().cloned().collect();
                before = self.evidence.before().clone();
                Against::Others(&others, before.as_deref())
            }
        };
        let mut record = self.recognition.record();
        let before = record.recognition().clone();
        let is_open = record.judge(against, Instant::now());
        let recognition = record.recognition().clone();
        let role = match &recognition {
            Recognition::Unknown | Recognition::Presumed | Recognition::Proven => Role::Replica,
            Recognition::Related(_) => Role::Unproven,
            Recognition::Unrelated(_) => Role::Stranger,
        };
        let was = self.recognition.role();
        self.recognition.role.store(role as u8, Ordering::Relaxed);
        drop(record);
        if recognition != before && !self.is_primary() {
            self.log(&before, &recognition);
            if recognition != Recognition::Proven {
                // Wake the task that asks the primary: it may be in a long pause, because it asks
                // no proven pod.
                self.evidence.wanted.notify_one();
            }
        }
        if (role as u8) < was as u8 {
            // Waiting calls may now use this pod.
            self.freed();
        }
        Judged {
            is_new: was != role,
            is_open,
        }
    }

    fn log(&self, before: &Recognition, now: &Recognition) {
        let pod = self.pod();
        match (before, now) {
            (Recognition::Unrelated(_), Recognition::Proven | Recognition::Presumed) => {
                tracing::info!(%pod, "this pod is a replica now and is read from");
            }
            (_, now) => tracing::debug!(%pod, recognition = ?now, "judged"),
        }
    }

    /// Asks this pod as the primary, and judges its answer.
    pub(crate) async fn ask_primary(
        self: &Arc<Self>,
        monitor: &mut Monitor,
        history: &History,
        until: Instant,
    ) -> Result<PrimaryVerdict, ConnectError> {
        let (seen, asked) = (history.seen(), Instant::now());
        let facts = monitor.facts(self, until).await?;
        self.judge(facts.clone(), &seen, SessionKind::ReadOnly)?;
        let known = self.known();
        Ok(
            match (known.unfit.is_none() && self.is_primary(), known.judged) {
                (true, Some(_)) => PrimaryVerdict::Accepted(Arc::new(Sample { facts, asked })),
                (true, None) => PrimaryVerdict::Provisional,
                (false, _) => PrimaryVerdict::Refused,
            },
        )
    }
}
