//! One client's session: its transaction, its settings, and what statements do.
//!
//! Owns the order of checks, locks and commits. It must never hold the lock of the data while it
//! waits, and must never acknowledge what is not in the volume.

mod change;
mod select;
mod variables;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{sleep, timeout};

use super::Flavour;
use super::answer::{Answer, Head};
use super::datum::Datum;
use super::eval::Sight;
use super::refusal::Refusal;
use super::server::{Handle, Server};
use super::sql::{Access, Expr, Parsed, Scope, Setting, Statement};
use super::store::{Change, Overlay, State};
use variables::View;

/// A session; dropping it rolls back.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u32,
    server: Arc<Server>,
    handle: Arc<Handle>,
    database: Option<String>,
    /// Affected rows are those found, not those changed.
    found_rows: bool,
    settings: Settings,
    open: Option<Open>,
}

/// What a reset sets back.
#[derive(Debug)]
struct Settings {
    autocommit: bool,
    access: Access,
    /// For the next transaction only.
    next_access: Option<Access>,
    insert_id: u64,
    last_gtid: String,
    variables: BTreeMap<String, Datum>,
    user_variables: BTreeMap<String, Datum>,
}

/// An open transaction.
#[derive(Debug)]
struct Open {
    access: Access,
    overlay: Overlay,
    savepoints: Vec<(String, Overlay)>,
    /// Held from the first write on.
    writer: Option<OwnedMutexGuard<()>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            autocommit: true,
            access: Access::ReadWrite,
            next_access: None,
            insert_id: 0,
            last_gtid: String::new(),
            variables: BTreeMap::new(),
            user_variables: BTreeMap::new(),
        }
    }
}

// === impl Session ===

impl Session {
    pub(super) fn new(
        server: Arc<Server>,
        id: u32,
        handle: Arc<Handle>,
        database: Option<String>,
        found_rows: bool,
    ) -> Self {
        Self {
            id,
            server,
            handle,
            database,
            found_rows,
            settings: Settings::default(),
            open: None,
        }
    }

    pub(super) fn flavour(&self) -> Flavour {
        self.server.flavour()
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn is_autocommit(&self) -> bool {
        self.settings.autocommit
    }

    /// Rolls back and forgets everything but the database.
    pub(super) fn reset(&mut self) {
        self.open = None;
        self.settings = Settings::default();
    }

    pub(super) fn enter(&mut self, database: &str) -> Result<(), Refusal> {
        self.server.check_database(database)?;
        self.database = Some(database.to_owned());
        Ok(())
    }

    pub(super) async fn execute(
        &mut self,
        parsed: &Parsed,
        params: &[Datum],
    ) -> Result<Answer, Refusal> {
        for time in &parsed.sleeps {
            let seconds = self.value(time, params)?.float().unwrap_or(0.0);
            let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            self.interruptible(sleep(time)).await?;
        }
        match &parsed.statement {
            Statement::Select(select) => {
                if select.table.is_some() {
                    self.begin_unless_autocommit();
                }
                if select.for_update {
                    self.server.check_writable()?;
                    if self.open.is_some() {
                        self.hold().await?;
                    }
                }
                self.select(select, params)
            }
            Statement::Insert { .. } | Statement::Update { .. } | Statement::Delete { .. } => {
                self.write(&parsed.statement, params).await
            }
            Statement::CreateTable { .. }
            | Statement::DropTable { .. }
            | Statement::Truncate { .. } => self.define(&parsed.statement).await,
            Statement::Do(exprs) => {
                for expr in exprs {
                    self.value(expr, params)?;
                }
                Ok(Answer::done(0))
            }
            Statement::Begin(access) => self.begin(*access),
            Statement::Commit => self.commit(),
            Statement::Rollback => {
                self.open = None;
                Ok(Answer::done(0))
            }
            Statement::Savepoint(name) => {
                if let Some(open) = &mut self.open {
                    open.savepoints.retain(|(known, _)| known != name);
                    open.savepoints.push((name.clone(), open.overlay.clone()));
                }
                Ok(Answer::done(0))
            }
            Statement::Release(name) => {
                let (open, at) = self.savepoint(name)?;
                open.savepoints.truncate(at);
                Ok(Answer::done(0))
            }
            Statement::RollbackTo(name) => {
                let (open, at) = self.savepoint(name)?;
                open.savepoints.truncate(at + 1);
                if let Some((_, overlay)) = open.savepoints.last() {
                    open.overlay = overlay.clone();
                }
                Ok(Answer::done(0))
            }
            Statement::Set(settings) => {
                for setting in settings {
                    self.set(setting, params)?;
                }
                Ok(Answer::done(0))
            }
            Statement::Use(database) => {
                self.enter(database)?;
                Ok(Answer::done(0))
            }
            Statement::ShowStatus(name) => self.show_status(name, params),
            Statement::ShowProcesslist => Ok(self.show_processlist()),
            Statement::Kill { connection, id } => {
                let id = self.value(id, params)?.int().unwrap_or(0);
                self.server.kill_session(id, *connection)?;
                Ok(Answer::done(0))
            }
        }
    }

    fn begin(&mut self, access: Option<Access>) -> Result<Answer, Refusal> {
        self.commit()?;
        // A read-only server refuses at once what is sure to fail later.
        if access == Some(Access::ReadWrite) {
            self.server.check_writable()?;
        }
        let next = self.settings.next_access.take();
        self.open = Some(Open {
            access: access.or(next).unwrap_or(self.settings.access),
            overlay: Overlay::default(),
            savepoints: Vec::new(),
            writer: None,
        });
        Ok(Answer::done(0))
    }

    fn begin_unless_autocommit(&mut self) {
        if !self.settings.autocommit && self.open.is_none() {
            let next = self.settings.next_access.take();
            self.open = Some(Open {
                access: next.unwrap_or(self.settings.access),
                overlay: Overlay::default(),
                savepoints: Vec::new(),
                writer: None,
            });
        }
    }

    /// The open transaction and the place of its savepoint.
    fn savepoint(&mut self, name: &str) -> Result<(&mut Open, usize), Refusal> {
        let find = |open: &mut Open| open.savepoints.iter().position(|(known, _)| known == name);
        let open = self.open.as_mut();
        open.and_then(|open| find(open).map(|at| (open, at)))
            .ok_or_else(|| Refusal::no_savepoint(name))
    }

    fn commit(&mut self) -> Result<Answer, Refusal> {
        if let Some(open) = self.open.take() {
            self.store(open.overlay.into_changes())?;
            // Only now, so that the position noted is that of this commit.
            drop(open.writer);
        }
        Ok(Answer::done(0))
    }

    /// Puts changes into the volume.
    fn store(&mut self, changes: Vec<Change>) -> Result<(), Refusal> {
        if changes.is_empty() {
            return Ok(());
        }
        let server = &self.server;
        let allowed = || server.check_writable();
        server.volume.commit(server.id(), changes, allowed)?;
        self.settings.last_gtid = server.volume.lock().gtid();
        Ok(())
    }

    async fn write(&mut self, statement: &Statement, params: &[Datum]) -> Result<Answer, Refusal> {
        self.check_may_write()?;
        self.begin_unless_autocommit();
        let writer = self.hold().await?;
        let (answer, overlay) = self.change(statement, params)?;
        match &mut self.open {
            Some(open) => open.overlay = overlay,
            None => self.store(overlay.into_changes())?,
        }
        drop(writer);
        Ok(answer)
    }

    /// Makes and removes tables; commits what was open before, as the servers do.
    async fn define(&mut self, statement: &Statement) -> Result<Answer, Refusal> {
        self.check_may_write()?;
        self.commit()?;
        let writer = self.hold().await?;
        if let Some(change) = self.definition(statement)? {
            self.store(vec![change])?;
        }
        drop(writer);
        Ok(Answer::done(0))
    }

    fn check_may_write(&self) -> Result<(), Refusal> {
        self.server.check_writable()?;
        let access = match (&self.open, self.settings.next_access) {
            (Some(open), _) => open.access,
            (None, Some(next)) => next,
            (None, None) => self.settings.access,
        };
        match access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Refusal::read_only_transaction()),
        }
    }

    /// Takes the lock of writers: for the open transaction, or for the caller if there is none.
    async fn hold(&mut self) -> Result<Option<OwnedMutexGuard<()>>, Refusal> {
        if self.open.as_ref().is_some_and(|open| open.writer.is_some()) {
            return Ok(None);
        }
        let patience = self.variable(Scope::Session, "innodb_lock_wait_timeout");
        let patience = patience?.float().unwrap_or(0.0);
        let patience = Duration::try_from_secs_f64(patience).unwrap_or_default();
        let lock = Arc::clone(&self.server.volume.writer).lock_owned();
        let writer = self.interruptible(timeout(patience, lock)).await?;
        let writer = writer.map_err(|_| Refusal::lock_wait())?;
        match &mut self.open {
            Some(open) => {
                open.writer = Some(writer);
                Ok(None)
            }
            None => Ok(Some(writer)),
        }
    }

    /// Waits, unless somebody kills the statement.
    async fn interruptible<T>(&self, wait: impl Future<Output = T>) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            () = self.handle.interrupted() => Err(Refusal::interrupted()),
            outcome = wait => Ok(outcome),
        }
    }

    fn set(&mut self, setting: &Setting, params: &[Datum]) -> Result<(), Refusal> {
        match setting {
            Setting::Names | Setting::Isolation => {}
            Setting::User { name, value } => {
                let value = self.value(value, params)?;
                self.settings.user_variables.insert(name.clone(), value);
            }
            Setting::Access { scope, access } => match scope {
                Some(Scope::Global) => return Err(no_privilege()),
                Some(_) => self.settings.access = *access,
                None if self.open.is_some() => {
                    let message = "Transaction characteristics can't be changed while a \
                                   transaction is in progress";
                    return Err(Refusal::new(1568, message));
                }
                None => self.settings.next_access = Some(*access),
            },
            Setting::Variable { scope, name, value } => {
                if *scope == Scope::Global {
                    return Err(no_privilege());
                }
                let value = self.value(value, params)?;
                self.set_variable(name, value)?;
            }
        }
        Ok(())
    }

    /// The one number there is.
    fn show_status(&mut self, name: &Expr, params: &[Datum]) -> Result<Answer, Refusal> {
        let asked = self.value(name, params)?.shown();
        let uptime = self.server.uptime().as_secs().to_string();
        let known = asked.eq_ignore_ascii_case("uptime");
        let row = || vec![Datum::text("Uptime"), Datum::text(uptime)];
        Ok(Answer::Rows {
            heads: ["Variable_name", "Value"].map(Head::text).into(),
            rows: known.then(row).into_iter().collect(),
        })
    }

    /// The columns that clients read to find out what a session does.
    fn show_processlist(&self) -> Answer {
        let row = |(id, busy): (u32, bool)| {
            let command = if busy { "Query" } else { "Sleep" };
            vec![Datum::text(id.to_string()), Datum::text(command)]
        };
        Answer::Rows {
            heads: ["Id", "Command"].map(Head::text).into(),
            rows: self.server.sessions().into_iter().map(row).collect(),
        }
    }

    /// What an expression without rows is worth.
    fn value(&mut self, expr: &Expr, params: &[Datum]) -> Result<Datum, Refusal> {
        let insert_id = Cell::new(None);
        let value = self.seeing(params, &insert_id, |sight, _| sight.value(expr));
        self.note(&insert_id);
        value
    }

    fn variable(&self, scope: Scope, name: &str) -> Result<Datum, Refusal> {
        let expr = Expr::Variable(scope, name.to_owned());
        self.seeing(&[], &Cell::new(None), |sight, _| sight.value(&expr))
    }

    /// Looks at the data, which stays as it is meanwhile.
    fn seeing<T>(
        &self,
        params: &[Datum],
        insert_id: &Cell<Option<u64>>,
        look: impl FnOnce(Sight<'_>, &State) -> T,
    ) -> T {
        let state = self.server.volume.lock();
        let ask = View {
            session: self,
            state: &state,
        };
        let sight = Sight {
            ask: &ask,
            params,
            columns: &[],
            row: None,
            group: None,
            insert_id,
        };
        look(sight, &state)
    }

    fn note(&mut self, insert_id: &Cell<Option<u64>>) {
        if let Some(id) = insert_id.take() {
            self.settings.insert_id = id;
        }
    }

    fn database(&self) -> Result<&str, Refusal> {
        let none = || Refusal::new(1046, "No database selected");
        self.database.as_deref().ok_or_else(none)
    }

    fn overlay(&self) -> Overlay {
        let open = self.open.as_ref();
        open.map(|open| open.overlay.clone()).unwrap_or_default()
    }
}

fn no_privilege() -> Refusal {
    let message = "Access denied; you need (at least one of) the SUPER privilege(s) for this \
                   operation";
    Refusal::new(1227, message)
}
