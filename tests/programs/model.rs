//! A model of what a server may contain after each statement of a program.
//!
//! A [`Worlds`] is the set of all states that the answers so far allow. Each answer narrows or
//! widens the set. The model does no I/O.

use std::collections::BTreeSet;

/// One effect of a statement. A procedure, or a text of several statements, has several effects and
/// may fail between any two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// Inserts the rows of one statement: all or none.
    Insert(Vec<u64>),
    Begin,
    Commit,
    CommitAndChain,
    /// An implicit commit, as by DDL.
    CommitImplicitly,
    Rollback,
    Savepoint(u64),
    RollbackTo(u64),
    Autocommit(bool),
    /// A deadlock may roll back the transaction here without an error to the caller.
    MayDeadlock,
}

/// The answer to a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// The first result was a success; the others were not read.
    DoneInPart,
    Refused(u16),
    /// The statement was not sent.
    NotSent,
    /// The statement was sent, and the connection was closed before the answer.
    Unknown,
}

/// One possible state of a session and its rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct World {
    committed: BTreeSet<u64>,
    open: Vec<u64>,
    savepoints: Vec<(u64, usize)>,
    begun: bool,
    manual: bool,
}

impl World {
    fn end(&mut self) {
        self.open.clear();
        self.savepoints.clear();
        self.begun = false;
    }

    fn commit(&mut self) {
        self.committed.extend(self.open.drain(..));
        self.end();
    }

    /// The possible states after `op`.
    fn after(mut self, op: &Op) -> Vec<Self> {
        match op {
            Op::Insert(ids) if self.begun || self.manual => self.open.extend(ids),
            Op::Insert(ids) => self.committed.extend(ids),
            Op::Begin => {
                self.commit();
                self.begun = true;
            }
            Op::Commit | Op::CommitImplicitly => self.commit(),
            Op::CommitAndChain => {
                self.commit();
                self.begun = true;
            }
            Op::Rollback => self.end(),
            Op::Savepoint(name) => {
                self.savepoints.retain(|(known, _)| known != name);
                self.savepoints.push((*name, self.open.len()));
            }
            Op::RollbackTo(name) => {
                if let Some(at) = self.savepoints.iter().position(|(known, _)| known == name) {
                    self.open.truncate(self.savepoints[at].1);
                    self.savepoints.truncate(at + 1);
                }
            }
            Op::Autocommit(on) => {
                if *on && self.manual {
                    self.commit();
                }
                self.manual = !on;
            }
            Op::MayDeadlock => return vec![self.clone(), self.deadlocked()],
        }
        vec![self]
    }

    fn deadlocked(mut self) -> Self {
        self.end();
        self
    }
}

/// The possible states.
#[derive(Debug, Clone)]
pub(crate) struct Worlds(BTreeSet<World>);

impl Worlds {
    pub(crate) fn new() -> Self {
        Self([World::default()].into())
    }

    /// Applies an effect that is certain, because the library itself causes it.
    pub(crate) fn apply(&mut self, op: &Op) {
        let worlds = std::mem::take(&mut self.0);
        self.0 = worlds
            .into_iter()
            .flat_map(|world| world.after(op))
            .collect();
    }

    /// Applies the answer to a statement whose effects are `ops`. If it failed, it may have failed
    /// between any two of them.
    pub(crate) fn statement(&mut self, ops: &[Op], answer: Answer) {
        if answer == Answer::NotSent {
            return;
        }
        let mut prefixes = vec![self.clone()];
        for op in ops {
            let mut next = prefixes[prefixes.len() - 1].clone();
            next.apply(op);
            prefixes.push(next);
        }
        let whole = prefixes[prefixes.len() - 1].clone();
        let any = || prefixes.iter().flat_map(|worlds| worlds.0.iter().cloned());
        self.0 = match answer {
            Answer::NotSent => return,
            Answer::Done => whole.0,
            Answer::DoneInPart => any().collect(),
            Answer::Refused(1213) => any().map(World::deadlocked).collect(),
            // A lock wait timeout (with `innodb_rollback_on_timeout`), or an interrupt during a
            // lock wait.
            Answer::Refused(1205 | 1317 | 1969) => {
                any().chain(any().map(World::deadlocked)).collect()
            }
            Answer::Refused(_) => any().collect(),
            Answer::Unknown => any().collect(),
        };
        if answer == Answer::Unknown {
            self.disconnect();
        }
    }

    /// Applies a COMMIT without an answer: it may have taken effect or not.
    pub(crate) fn perhaps_commit(&mut self) {
        let mut committed = self.clone();
        committed.apply(&Op::Commit);
        self.disconnect();
        self.0.extend(committed.0);
    }

    /// Applies the end of the session, or the cleaning of its connection for the next user.
    pub(crate) fn disconnect(&mut self) {
        let worlds = std::mem::take(&mut self.0);
        let ended = worlds.into_iter().map(|world| World {
            committed: world.committed,
            ..World::default()
        });
        self.0 = ended.collect();
    }

    /// Whether the model allows these rows. Call it after the session has ended.
    pub(crate) fn allow(&self, found: &BTreeSet<u64>) -> bool {
        self.0.iter().any(|world| world.committed == *found)
    }
}
