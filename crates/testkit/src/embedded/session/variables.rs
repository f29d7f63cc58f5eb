//! What `@@name` says, and which names may be set.
//!
//! Owns the list of system variables. It must never answer for a name the real server of the same
//! flavour does not have: clients tell servers apart by 1193.

use super::super::Flavour;
use super::super::datum::Datum;
use super::super::eval::Ask;
use super::super::refusal::Refusal;
use super::super::sql::{Access, Function, Scope};
use super::super::store::State;
use super::Session;
use crate::lab::{PORT, USER};

/// Session variables that may be set. All but the lock's patience are without effect.
const SETTABLE: [(&str, &str); 18] = [
    ("character_set_client", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("character_set_results", "utf8mb4"),
    ("collation_connection", "utf8mb4_general_ci"),
    ("completion_type", "0"),
    ("foreign_key_checks", "1"),
    ("innodb_lock_wait_timeout", "50"),
    ("interactive_timeout", "28800"),
    ("lock_wait_timeout", "86400"),
    ("max_allowed_packet", "16777216"),
    ("net_read_timeout", "30"),
    ("net_write_timeout", "60"),
    ("sql_mode", "STRICT_TRANS_TABLES"),
    ("sql_safe_updates", "0"),
    ("time_zone", "SYSTEM"),
    ("unique_checks", "1"),
    ("wait_timeout", "28800"),
    ("group_concat_max_len", "1048576"),
];

/// The session and the server, as expressions see them.
pub(super) struct View<'a> {
    pub(super) session: &'a Session,
    pub(super) state: &'a State,
}

impl Session {
    pub(super) fn set_variable(&mut self, name: &str, value: Datum) -> Result<(), Refusal> {
        match name {
            "autocommit" => {
                let on = switch(name, &value)?;
                if on {
                    self.commit()?;
                }
                self.settings.autocommit = on;
            }
            "tx_read_only" | "transaction_read_only" => {
                self.settings.access = match switch(name, &value)? {
                    true => Access::ReadOnly,
                    false => Access::ReadWrite,
                };
            }
            "last_insert_id" | "identity" => {
                let id = value.int().and_then(|id| u64::try_from(id).ok());
                self.settings.insert_id = id.unwrap_or(0);
            }
            name if SETTABLE.iter().any(|(known, _)| *known == name) => {
                self.settings.variables.insert(name.to_owned(), value);
            }
            // One that may be read may not be set; any other is unknown.
            name => {
                self.variable(Scope::Any, name)?;
                let message = format!("Variable '{name}' is a read only variable");
                return Err(Refusal::new(1238, message));
            }
        }
        Ok(())
    }
}

/// ON, OFF, 1 or 0.
fn switch(name: &str, value: &Datum) -> Result<bool, Refusal> {
    match value.shown().to_ascii_uppercase().as_str() {
        "1" | "ON" | "TRUE" => Ok(true),
        "0" | "OFF" | "FALSE" => Ok(false),
        other => {
            let message = format!("Variable '{name}' can't be set to the value of '{other}'");
            Err(Refusal::new(1231, message))
        }
    }
}

// === impl View ===

impl View<'_> {
    fn of_session(&self, name: &str) -> Option<Datum> {
        let settings = &self.session.settings;
        Some(match name {
            "autocommit" => settings.autocommit.into(),
            "tx_read_only" | "transaction_read_only" => {
                (settings.access == Access::ReadOnly).into()
            }
            "tx_isolation" | "transaction_isolation" => Datum::text("READ-COMMITTED"),
            "last_insert_id" | "identity" => Datum::Int(settings.insert_id.into()),
            "pseudo_thread_id" => Datum::Int(self.session.id.into()),
            "last_gtid" if self.flavour() == Flavour::MariaDb => Datum::text(&settings.last_gtid),
            _ => {
                let (_, usual) = SETTABLE.iter().find(|(known, _)| *known == name)?;
                let set = settings.variables.get(name).cloned();
                set.unwrap_or_else(|| match usual.parse() {
                    Ok(number) => Datum::Int(number),
                    Err(_) => Datum::text(*usual),
                })
            }
        })
    }

    fn of_server(&self, name: &str) -> Option<Datum> {
        let server = &self.session.server;
        Some(match name {
            "hostname" => Datum::text(server.name()),
            "server_id" => Datum::Int(server.id().into()),
            "port" => Datum::Int(PORT.into()),
            "version" => Datum::text(server.version()),
            "version_comment" => Datum::text("headless-mysql embedded pod"),
            "read_only" => server.is_read_only().into(),
            "init_connect" => Datum::text(""),
            "log_bin" => Datum::Int(1),
            "max_user_connections" => Datum::Int(0),
            "tx_read_only" | "transaction_read_only" => Datum::Int(0),
            "max_connections" => Datum::Int(i128::from(u16::MAX)),
            _ => match self.flavour() {
                Flavour::MariaDb => self.of_mariadb(name)?,
                Flavour::MySql => self.of_mysql(name)?,
            },
        })
    }

    fn of_mariadb(&self, name: &str) -> Option<Datum> {
        Some(match name {
            "gtid_binlog_pos" | "gtid_current_pos" | "gtid_binlog_state" => {
                Datum::text(self.state.gtid())
            }
            // What came from a primary.
            "gtid_slave_pos" if self.session.server.is_replica() => Datum::text(self.state.gtid()),
            "gtid_slave_pos" => Datum::text(""),
            "gtid_domain_id" => Datum::Int(0),
            _ => return None,
        })
    }

    fn of_mysql(&self, name: &str) -> Option<Datum> {
        let server = &self.session.server;
        Some(match name {
            "server_uuid" => Datum::text(&server.volume.uuid),
            "super_read_only" => server.is_read_only().into(),
            "offline_mode" => Datum::Int(0),
            "gtid_executed" => Datum::text(self.state.gtid_set()),
            "gtid_purged" => Datum::text(""),
            "gtid_mode" => Datum::text("ON"),
            _ => return None,
        })
    }

    fn flavour(&self) -> Flavour {
        self.session.server.flavour()
    }
}

impl Ask for View<'_> {
    fn variable(&self, scope: Scope, name: &str) -> Result<Datum, Refusal> {
        let found = match scope {
            Scope::Global => self.of_server(name).or_else(|| self.of_session(name)),
            Scope::Any | Scope::Session => self.of_session(name).or_else(|| self.of_server(name)),
        };
        found.ok_or_else(|| Refusal::no_variable(name))
    }

    fn user_variable(&self, name: &str) -> Datum {
        let found = self.session.settings.user_variables.get(name);
        found.cloned().unwrap_or(Datum::Null)
    }

    fn function(&self, function: Function) -> Datum {
        let session = self.session;
        match function {
            Function::ConnectionId => Datum::Int(session.id.into()),
            Function::Database => session.database.as_deref().map_or(Datum::Null, Datum::text),
            Function::LastInsertId => Datum::Int(session.settings.insert_id.into()),
            Function::User => Datum::text(format!("{USER}@127.0.0.1")),
            Function::Version => Datum::text(session.server.version()),
            Function::CurrentUser => Datum::text(format!("{USER}@%")),
            Function::CurrentRole => match self.flavour() {
                Flavour::MariaDb => Datum::Null,
                Flavour::MySql => Datum::text("NONE"),
            },
            Function::Sleep => Datum::Int(0),
            // Worth something only with their arguments.
            Function::Coalesce | Function::Concat | Function::If | Function::Quote => Datum::Null,
        }
    }
}
