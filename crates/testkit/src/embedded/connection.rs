//! One connection: reads commands and writes answers.
//!
//! Owns the command loop and the prepared statements of a connection. It must never answer an
//! unknown command with OK.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use mysql_async::consts::Command;
use tokio::net::TcpStream;

use super::answer::Answer;
use super::datum::Datum;
use super::refusal::Refusal;
use super::server::{Entry, Server};
use super::session::Session;
use super::sql::{self, Parsed};
use super::wire::{Bound, Status, Wire, login};

/// A prepared statement.
struct Prepared {
    parsed: Parsed,
    bound: Bound,
}

struct Connection {
    wire: Wire,
    session: Session,
    prepared: BTreeMap<u32, Prepared>,
    next: u32,
}

/// Serves one client until it leaves, is killed, or violates the protocol.
pub(super) async fn serve(server: Arc<Server>, stream: TcpStream) {
    let entry = server.admit();
    tokio::select! {
        biased;
        () = entry.handle.killed() => {}
        // Any error closes the connection; there is no other way to report it to the client.
        _ = talk(&server, &entry, stream) => {}
    }
}

async fn talk(server: &Arc<Server>, entry: &Entry, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wire = Wire::new(stream, server.frozen.clone(), server.faults.clone());
    let Some(login) = login(&mut wire, server, entry.id).await? else {
        return Ok(());
    };
    let session = Session::new(
        Arc::clone(server),
        entry.id,
        Arc::clone(&entry.handle),
        login.database,
        login.found_rows,
    );
    let mut connection = Connection {
        wire,
        session,
        prepared: BTreeMap::new(),
        next: 1,
    };
    while let Some(packet) = connection.wire.read().await? {
        connection.wire.thawed().await;
        let Some((&command, body)) = packet.split_first() else {
            return Ok(());
        };
        if command == Command::COM_QUIT as u8 {
            return Ok(());
        }
        entry.handle.set_busy(true);
        connection.command(command, body).await?;
        entry.handle.set_busy(false);
        connection.wire.flush().await?;
    }
    Ok(())
}

impl Connection {
    async fn command(&mut self, command: u8, body: &[u8]) -> io::Result<()> {
        let known = [
            Command::COM_QUERY,
            Command::COM_PING,
            Command::COM_INIT_DB,
            Command::COM_RESET_CONNECTION,
            Command::COM_STMT_PREPARE,
            Command::COM_STMT_EXECUTE,
            Command::COM_STMT_SEND_LONG_DATA,
            Command::COM_STMT_CLOSE,
            Command::COM_STMT_RESET,
        ];
        let known = known.into_iter().find(|known| *known as u8 == command);
        let outcome = match known {
            Some(Command::COM_QUERY) => self.query(body).await,
            Some(Command::COM_PING) => self.ok(),
            Some(Command::COM_INIT_DB) => {
                let entered = self.session.enter(&String::from_utf8_lossy(body));
                entered.and_then(|()| self.ok())
            }
            Some(Command::COM_RESET_CONNECTION) => {
                self.session.reset();
                self.prepared.clear();
                self.ok()
            }
            Some(Command::COM_STMT_PREPARE) => self.prepare(body),
            Some(Command::COM_STMT_EXECUTE) => self.run(body).await,
            Some(Command::COM_STMT_SEND_LONG_DATA) => {
                // The protocol defines no answer to this command.
                if let Some((id, rest)) = statement_id(body)
                    && let Some(prepared) = self.prepared.get_mut(&id)
                {
                    prepared.bound.append(rest);
                }
                return Ok(());
            }
            Some(Command::COM_STMT_CLOSE) => {
                if let Some((id, _)) = statement_id(body) {
                    self.prepared.remove(&id);
                }
                return Ok(());
            }
            Some(Command::COM_STMT_RESET) => {
                let id = statement_id(body).map(|(id, _)| id);
                match id.and_then(|id| self.prepared.get_mut(&id)) {
                    Some(prepared) => {
                        prepared.bound.forget();
                        self.ok()
                    }
                    None => Err(unknown_statement()),
                }
            }
            _ => Err(Refusal::new(
                1047,
                format!("Unknown command {command:#04x}"),
            )),
        };
        if let Err(refusal) = outcome {
            self.wire.error(&refusal);
        }
        Ok(())
    }

    /// Executes the statements of one text, up to the first one that is refused.
    async fn query(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let sql = String::from_utf8_lossy(body);
        let statements = sql::split(&sql, self.session.flavour())?;
        let last = statements.len() - 1;
        for (at, tokens) in statements.iter().enumerate() {
            let parsed = sql::parse(&sql, tokens)?;
            if parsed.params > 0 {
                return Err(Refusal::syntax("?"));
            }
            // The server may have been frozen since the previous statement.
            self.wire.thawed().await;
            let answer = self.session.execute(&parsed, &[]).await?;
            let status = self.status(at < last);
            self.wire.answer(&answer, status, false);
        }
        Ok(())
    }

    fn prepare(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let sql = String::from_utf8_lossy(body);
        let statements = sql::split(&sql, self.session.flavour())?;
        let [tokens] = statements.as_slice() else {
            return Err(Refusal::syntax(&sql));
        };
        let parsed = sql::parse(&sql, tokens)?;
        let heads = self.session.heads(&parsed);
        let id = self.next;
        self.next += 1;
        let status = self.status(false);
        self.wire.prepared(id, parsed.params, &heads, status);
        let bound = Bound::new(parsed.params);
        self.prepared.insert(id, Prepared { parsed, bound });
        Ok(())
    }

    async fn run(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let (id, rest) = statement_id(body).ok_or_else(unknown_statement)?;
        let prepared = self.prepared.get_mut(&id).ok_or_else(unknown_statement)?;
        let params: Vec<Datum> = prepared.bound.decode(rest)?;
        let answer: Answer = self.session.execute(&prepared.parsed, &params).await?;
        let status = self.status(false);
        self.wire.answer(&answer, status, true);
        Ok(())
    }

    fn ok(&mut self) -> Result<(), Refusal> {
        let status = self.status(false);
        self.wire.answer(&Answer::done(0), status, false);
        Ok(())
    }

    fn status(&self, more: bool) -> Status {
        Status {
            in_transaction: self.session.is_in_transaction(),
            autocommit: self.session.is_autocommit(),
            more,
        }
    }
}

fn statement_id(body: &[u8]) -> Option<(u32, &[u8])> {
    let (id, rest) = body.split_first_chunk()?;
    Some((u32::from_le_bytes(*id), rest))
}

fn unknown_statement() -> Refusal {
    Refusal::new(1243, "Unknown prepared statement handler")
}
