//! Runs one program and compares its rows with its reported outcome.

use crate::model::{Answer, Op, Worlds};
use crate::program::{End, Handle, Program, Rival, Step, Way};
use crate::send::{Sender, send, strike};
use crate::worker::Worker;
use headless_mysql::Error;
use headless_mysql::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The id of the row that the pool's next user writes.
const WITNESS: u64 = 1_000_000;

/// The outcome of the whole program, as reported to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Committed,
    /// Nothing was executed, and the program may be run again.
    Nothing,
    Ended,
    Unknown,
    Dropped,
    NotBegun,
    Statements,
}

/// What the test knows while a program runs.
struct Record {
    worlds: Worlds,
    /// Rows that must exist if the program commits.
    claimed: BTreeSet<u64>,
    savepoints: Vec<(u64, BTreeSet<u64>)>,
    /// An error reported that nothing was executed and that the whole program may be run again.
    retryable: bool,
    script: String,
}

pub(crate) async fn run(worker: &mut Worker, program: &Program) -> Result<Told, String> {
    let number = program.number;
    let locks = format!("INSERT INTO locks (program, id) VALUES ({number}, 1), ({number}, 2)");
    worker.root.query_drop(locks).await.unwrap();
    let mut record = Record {
        worlds: Worlds::new(),
        claimed: BTreeSet::new(),
        savepoints: Vec::new(),
        retryable: false,
        script: format!(
            "{:?}, {:?} {:?}\n",
            program.handle, program.end, program.end_hazard
        ),
    };
    let told = match program.handle {
        Handle::Tx => in_transaction(worker, program, &mut record).await,
        Handle::Conn => on_connection(worker, program, &mut record).await,
        Handle::Route => by_statement(worker, program, &mut record).await,
    };
    let told = told.map_err(|wrong| format!("{wrong}\n{}", record.script))?;
    let _ = writeln!(record.script, "told: {told:?}");
    check(worker, program, &mut record, told).await?;
    Ok(told)
}

async fn check(
    worker: &mut Worker,
    program: &Program,
    record: &mut Record,
    told: Told,
) -> Result<(), String> {
    // The next user's write must last, whatever state the program left in the connection.
    let witness = format!(
        "INSERT INTO entries (program, id) VALUES ({}, {WITNESS})",
        program.number
    );
    let witness = worker.cluster.primary().query_drop(witness).await;
    let rows = worker.rows(program.number).await?;
    let found: BTreeSet<u64> = rows.keys().copied().filter(|id| *id != WITNESS).collect();
    let wrong = if rows.values().any(|times| *times > 1) {
        "a row was written twice"
    } else if witness.is_ok() && !rows.contains_key(&WITNESS) {
        "the next user's acknowledged row is gone"
    } else if told == Told::Committed && !record.claimed.is_subset(&found) {
        "told as committed, but not all of it is there"
    } else if told == Told::Statements && !record.claimed.is_subset(&found) {
        "an acknowledged statement's rows are gone"
    } else if (told == Told::Nothing || (record.retryable && program.handle == Handle::Tx))
        && !found.is_empty()
    {
        "told that nothing of it was executed, but some of it is there"
    } else if !record.worlds.allow(&found) {
        "no server can hold these rows after these answers"
    } else {
        return Ok(());
    };
    let claimed = &record.claimed;
    let (script, worlds) = (&record.script, &record.worlds);
    Err(format!(
        "{wrong}: found {found:?}, claimed {claimed:?}, witness {witness:?}\n{script}{worlds:#?}"
    ))
}

impl Record {
    /// Records the answer to a step.
    fn take(&mut self, step: &Step, answered: &Option<Result<(), Error>>) -> Answer {
        let Step {
            sql,
            way,
            hazard,
            rival,
            ..
        } = step;
        let _ = writeln!(
            self.script,
            "{way:?} {hazard:?} {rival:?}: {sql}\n    {}",
            match answered {
                None => "dropped".to_owned(),
                Some(Ok(())) => "ok".to_owned(),
                Some(Err(error)) => error.to_string(),
            }
        );
        let whole = matches!(step.ops[..], [] | [Op::Insert(_)]) && !sql.starts_with("CALL");
        let answer = match answered {
            None => Answer::Unknown,
            Some(Ok(())) if *way == Way::Stream && !whole => Answer::DoneInPart,
            Some(Ok(())) => Answer::Done,
            Some(Err(error)) => {
                self.retryable |= error.is_retryable();
                answer(error)
            }
        };
        self.worlds.statement(&step.ops, answer);
        if answer == Answer::Done {
            self.claim(step);
        }
        answer
    }

    fn claim(&mut self, step: &Step) {
        for op in &step.ops {
            match op {
                Op::Insert(ids) => self.claimed.extend(ids),
                Op::Savepoint(name) => {
                    self.savepoints.retain(|(known, _)| known != name);
                    self.savepoints.push((*name, self.claimed.clone()));
                }
                Op::RollbackTo(name) => {
                    let to = self.savepoints.iter().position(|(known, _)| known == name);
                    if let Some(to) = to {
                        self.claimed = self.savepoints[to].1.clone();
                        self.savepoints.truncate(to + 1);
                    }
                }
                _ => {}
            }
        }
    }
}

fn answer(error: &Error) -> Answer {
    match error {
        Error::Server { source, .. } => Answer::Refused(source.code),
        Error::Interrupted { .. }
        | Error::Superseded { .. }
        | Error::RolledBack { .. }
        | Error::TransactionEnded { .. }
        | Error::NoPrimary { .. } => Answer::NotSent,
        _ => Answer::Unknown,
    }
}

/// A step that prepares for the rival: for a deadlock, the program must hold a lock first.
fn lock_first(step: &Step, number: u64) -> Option<Step> {
    (step.rival == Some(Rival::Deadlock)).then(|| Step {
        sql: format!("UPDATE locks SET n = n + 1 WHERE program = {number} AND id = 1"),
        ops: Vec::new(),
        way: Way::Text,
        hazard: None,
        rival: None,
    })
}

async fn steps(
    worker: &mut Worker,
    program: &Program,
    record: &mut Record,
    sender: &mut impl Sender,
) -> Result<(), String> {
    let id: Option<u64> = sender
        .query_first("SELECT CONNECTION_ID()")
        .await
        .ok()
        .flatten();
    for step in &program.steps {
        if let Some(lock) = lock_first(step, program.number) {
            let answered = Some(send(sender, &lock).await);
            record.take(&lock, &answered);
        }
        let holding = match step.rival {
            Some(rival) => Some(worker.rival(rival, program.number).await),
            None => None,
        };
        let answered = strike(worker, step.hazard, id, send(sender, step)).await;
        if let Some(holding) = holding {
            worker.release(holding).await;
        }
        record.take(step, &answered?);
    }
    Ok(())
}

async fn in_transaction(
    worker: &mut Worker,
    program: &Program,
    record: &mut Record,
) -> Result<Told, String> {
    let mut tx = match worker.cluster.begin().await {
        Ok(tx) => tx,
        Err(error) => {
            let _ = writeln!(record.script, "begin: {error}");
            return Ok(Told::NotBegun);
        }
    };
    record.worlds.apply(&Op::Begin);
    let id: Option<u64> = tx
        .query_first("SELECT CONNECTION_ID()")
        .await
        .ok()
        .flatten();
    steps(worker, program, record, &mut tx).await?;
    let hazard = program.end_hazard;
    let told = match program.end {
        End::Drop => {
            drop(tx);
            Told::Dropped
        }
        End::Commit => {
            let commit = async { tx.commit().await.map(|_| ()) };
            let answered = strike(worker, hazard, id, commit).await?;
            let _ = writeln!(record.script, "commit: {answered:?}");
            match answered {
                Some(Ok(())) => Told::Committed,
                Some(Err(error)) => ending(&error),
                None => Told::Unknown,
            }
        }
        End::Rollback => {
            let answered = strike(worker, hazard, id, tx.rollback()).await?;
            let _ = writeln!(record.script, "rollback: {answered:?}");
            match answered {
                Some(Ok(())) => Told::Nothing,
                Some(Err(Error::TransactionEnded { .. })) => Told::Ended,
                Some(Err(_)) | None => Told::Dropped,
            }
        }
    };
    match (told, program.end) {
        (Told::Committed, _) => record.worlds.apply(&Op::Commit),
        (Told::Unknown, End::Commit) => record.worlds.perhaps_commit(),
        _ => {}
    }
    record.worlds.disconnect();
    Ok(told)
}

fn ending(error: &Error) -> Told {
    match error {
        Error::TransactionEnded { .. } => Told::Ended,
        Error::CommitUnknown { .. } => Told::Unknown,
        error if error.is_retryable() => Told::Nothing,
        // COMMIT was not sent.
        _ => Told::Dropped,
    }
}

async fn on_connection(
    worker: &mut Worker,
    program: &Program,
    record: &mut Record,
) -> Result<Told, String> {
    let Ok(mut conn) = worker.cluster.primary().conn().await else {
        return Ok(Told::NotBegun);
    };
    steps(worker, program, record, &mut conn).await?;
    drop(conn);
    record.worlds.disconnect();
    // Rows of statements in uncommitted transactions are lost.
    record.claimed.clear();
    Ok(Told::Dropped)
}

async fn by_statement(
    worker: &mut Worker,
    program: &Program,
    record: &mut Record,
) -> Result<Told, String> {
    for step in &program.steps {
        let holding = match step.rival {
            Some(rival) => Some(worker.rival(rival, program.number).await),
            None => None,
        };
        let route = worker.cluster.primary();
        let sql = step.sql.clone();
        let ids: Vec<(u64,)> = step.ids().map(|id| (id,)).collect();
        let way = step.way;
        let call = async move {
            match way {
                Way::Batch => route.exec_batch(sql, ids).await,
                Way::Prepared => route.exec_drop(sql, ()).await,
                _ => route.query_drop(sql).await,
            }
        };
        let answered = strike(worker, step.hazard, None, call).await;
        if let Some(holding) = holding {
            worker.release(holding).await;
        }
        let before = record.claimed.clone();
        match answered? {
            Some(Err(error @ Error::TransactionLeftOpen { .. })) => {
                record.take(step, &Some(Ok(())));
                let _ = writeln!(record.script, "    {error}");
                record.claimed = before;
            }
            answered => drop(record.take(step, &answered)),
        }
        // Rows that a text of several statements inserted and rolled back itself.
        if step.ops.len() > 1 && step.ops.contains(&Op::Rollback) {
            record
                .claimed
                .retain(|id| !step.ids().any(|own| own == *id));
        }
        record.worlds.disconnect();
    }
    Ok(Told::Statements)
}
