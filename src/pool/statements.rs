//! The prepared statements of one connection.
//!
//! [`Statements`] lists each statement that was prepared on the connection, for the pool or for the
//! connection's user. It owns the order in which the pool's statements are closed if there are too
//! many: more than the connection's share, or the server is at its limit for all clients (error
//! 1461). It must never accept a statement of another connection as its own, and never close a
//! statement that the user holds.
//!
//! Statement ids are unique only within a connection, and connection ids only within a server. So
//! neither distinguishes the statements of two pods. A statement counts as prepared here only if
//! all its parts are equal, its text included.
//!
//! The driver has its own list of statements by text. That list is unbounded, so that the driver
//! closes no statement by itself. A statement closed here is removed from that list.

use crate::sql::reading::Reading;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Statement};
use std::time::Duration;

/// The server's limit for prepared statements (`max_prepared_stmt_count`) is reached.
const TOO_MANY_STATEMENTS: u16 = 1461;

/// How long a server takes to free the statements of a closed connection.
pub(crate) const SETTLE: Duration = Duration::from_millis(20);

/// The number of readings that a connection remembers. Comparing a text costs less than reading it.
const MOST_READ: usize = 4;

/// The readings of longer texts (in bytes) are not remembered.
const LONGEST_REMEMBERED: usize = 256;

/// The statements prepared on one connection, least recently used first.
#[derive(Default)]
pub(crate) struct Statements {
    kept: Vec<Kept>,
    /// The readings of texts that were not prepared, the newest last.
    read: Vec<(Vec<u8>, Reading)>,
}

struct Kept {
    text: Box<[u8]>,
    reading: Reading,
    statement: Statement,
    /// How often the user of the connection has prepared the statement and not closed it yet.
    holds: usize,
}

/// The state of a statement after its user has closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Released {
    /// It was not prepared on this connection, or is closed already.
    Unknown,
    /// The user has prepared it more often than closed it.
    Held,
    /// The caller must close it on the server.
    Unused,
}

impl Statements {
    /// Removes all statements. Call after a reset of the session, which closes them.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The number of statements that the user does not hold.
    pub(crate) fn closable(&self) -> usize {
        self.kept.iter().filter(|kept| kept.holds == 0).count()
    }

    /// The statement for a text, with its reading, if it is prepared here.
    pub(crate) fn by_text(&mut self, text: &[u8]) -> Option<(Statement, Reading)> {
        let index = self.kept.iter().rposition(|kept| &*kept.text == text)?;
        let kept = self.touch(index)?;
        Some((kept.statement.clone(), kept.reading))
    }

    /// The reading of a statement, if it is prepared here.
    pub(crate) fn reading_of(&mut self, statement: &Statement) -> Option<Reading> {
        let same = |kept: &Kept| kept.statement == *statement;
        let index = self.kept.iter().rposition(same)?;
        self.touch(index).map(|kept| kept.reading)
    }

    /// Makes the statement at `index` the most recently used one, and returns it.
    fn touch(&mut self, index: usize) -> Option<&mut Kept> {
        if index + 1 < self.kept.len() {
            let kept = self.kept.remove(index);
            self.kept.push(kept);
        }
        self.kept.last_mut()
    }

    /// The reading of a text that is not prepared.
    pub(crate) fn read(&mut self, text: &[u8]) -> Reading {
        let found = self.read.iter().rfind(|(read, _)| read == text);
        if let Some((_, reading)) = found {
            return *reading;
        }
        let reading = Reading::of(text);
        if text.len() <= LONGEST_REMEMBERED {
            let mut room = match self.read.len() < MOST_READ {
                true => Vec::new(),
                false => self.read.remove(0).0,
            };
            room.clear();
            room.extend_from_slice(text);
            self.read.push((room, reading));
        }
        reading
    }

    /// Adds a statement that was prepared.
    pub(crate) fn prepared(&mut self, text: &[u8], statement: &Statement) {
        let same = |kept: &Kept| &*kept.text == text && kept.statement == *statement;
        if let Some(index) = self.kept.iter().rposition(same) {
            self.touch(index);
            return;
        }
        self.kept.push(Kept {
            text: text.into(),
            reading: Reading::of(text),
            statement: statement.clone(),
            holds: 0,
        });
    }

    /// Adds a hold of the user on the statement.
    pub(crate) fn hold(&mut self, statement: &Statement) {
        let same = |kept: &&mut Kept| kept.statement == *statement;
        if let Some(kept) = self.kept.iter_mut().rev().find(same) {
            kept.holds += 1;
        }
    }

    /// Removes a hold of the user, who closes the statement.
    pub(crate) fn release(&mut self, statement: &Statement) -> Released {
        let same = |kept: &&mut Kept| kept.statement == *statement;
        let Some(kept) = self.kept.iter_mut().rev().find(same) else {
            return Released::Unknown;
        };
        kept.holds = kept.holds.saturating_sub(1);
        if self.is_held(statement) {
            return Released::Held;
        }
        let id = statement.id();
        self.kept.retain(|kept| kept.statement.id() != id);
        Released::Unused
    }

    /// By id: texts that differ only in the names of their parameters are one statement on the
    /// server.
    fn is_held(&self, statement: &Statement) -> bool {
        let mut same = self.kept.iter();
        same.any(|kept| kept.statement.id() == statement.id() && kept.holds > 0)
    }

    /// Removes all holds: the user of the connection has left.
    pub(crate) fn release_all(&mut self) {
        for kept in &mut self.kept {
            kept.holds = 0;
        }
    }

    /// Removes statements without a hold. Call before code outside of this module may close
    /// statements: the pool's statements are then prepared again by their text.
    pub(crate) fn forget_unheld(&mut self) {
        self.kept.retain(|kept| kept.holds > 0);
    }

    /// Closes all statements except held ones and the `most` recently used others. Returns whether
    /// there was a surplus.
    pub(crate) async fn shrink(
        &mut self,
        conn: &mut Conn,
        most: usize,
    ) -> mysql_async::Result<bool> {
        let mut surplus = self.closable().saturating_sub(most);
        let shrunk = surplus > 0;
        let mut index = 0;
        while surplus > 0 && index < self.kept.len() {
            if self.kept.get(index).is_some_and(|kept| kept.holds > 0) {
                index += 1;
                continue;
            }
            surplus -= 1;
            let kept = self.kept.remove(index);
            let id = kept.statement.id();
            if !self.kept.iter().any(|kept| kept.statement.id() == id) {
                conn.close(kept.statement).await?;
            }
        }
        Ok(shrunk)
    }
}

pub(crate) fn is_exhausted(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(error) if error.code == TOO_MANY_STATEMENTS)
}
