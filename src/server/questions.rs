//! The SQL that sets up a session and asks a server who it is, in one round trip.
//!
//! [`set_up`] and [`question`] are sent together, and [`read`] turns the answer into [`Facts`].
//! After a reset, [`set_up_again`], [`HOME`] and [`RECORDS`] are sent instead.
//!
//! Owns the SQL and the names of the columns. It must never undo what the operator has set for new
//! sessions. It must never ask for anything that needs a privilege or that a supported server does
//! not have: a question that fails is a login that fails.

use crate::gtid::position::{BadPosition, Position};
use crate::server::facts::{Facts, Galera, Origin};
use crate::server::kind::ServerKind;
use crate::server::session_kind::SessionKind;
use std::sync::Arc;

/// An answer that lacks a value that every server has.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadAnswer {
    #[error("the server did not say its {0}")]
    Missing(&'static str),
    #[error(transparent)]
    Position(#[from] BadPosition),
}

/// The session's account, database and role. A reset restores none of them. MySQL has roles since
/// 8.0.
pub(crate) const HOME: &str = "CONCAT(QUOTE(CURRENT_USER()), QUOTE(DATABASE()) \
     /*M! , QUOTE(CURRENT_ROLE()) */ /*!80000 , QUOTE(CURRENT_ROLE()) */)";

/// The number of statement records in the session that a reset does not remove: MariaDB's from
/// `SET profiling = 1`, MySQL's from `SET optimizer_trace`.
pub(crate) const RECORDS: &str = "(SELECT COUNT(*) FROM information_schema./*M! PROFILING */ \
     /*!50708 OPTIMIZER_TRACE */)";

/// Galera's state as `name=value`, separated by commas; takes 0.3 ms on the server. A server
/// without Galera has fewer or none of these names, and may not know `@@wsrep_on`. There is no
/// derived table, because a node that is not ready refuses it.
const GALERA: &str = "(SELECT GROUP_CONCAT(CONCAT(variable_name, '=', variable_value)) \
     FROM information_schema.session_status WHERE variable_name IN ('WSREP_READY', \
     'WSREP_CLUSTER_STATE_UUID', 'WSREP_LOCAL_STATE', 'WSREP_CLUSTER_STATUS', \
     'WSREP_LAST_COMMITTED', 'WSREP_PROVIDER_NAME'))";

/// Whether an operator makes a Galera node refuse statements.
const GALERA_REJECTS: &str = "(SELECT variable_value FROM information_schema.global_variables \
     WHERE variable_name = 'WSREP_REJECT_QUERIES')";

/// Whether the plugin of Group Replication is installed; takes 0.2 ms on the server.
const GROUP: &str = "(SELECT plugin_status FROM information_schema.plugins \
     WHERE plugin_name = 'group_replication')";

/// Asked separately, and only if the plugin is installed: without it the variable is unknown.
pub(crate) const GROUP_NAME: &str = "SELECT @@global.group_replication_group_name";

/// Asked like [`GROUP_NAME`]. The server refuses it without the privilege to read the table.
pub(crate) const MEMBER_STATE: &str = "SELECT MAX(member_state) \
     FROM performance_schema.replication_group_members WHERE member_id = @@global.server_uuid";

/// Sets a new session to the state that every user may rely on.
///
/// `autocommit` is always set, because with a server-wide `autocommit=0` the status flag is wrong.
/// `completion_type` is always set, because a value that chains transactions begins another
/// transaction after each one. The character set, and with it the collation, is changed only if it
/// is not the driver's. A session for writes gets the access mode that the server has for new
/// sessions.
pub(crate) fn set_up(kind: SessionKind) -> String {
    let collation = "IF(@@character_set_connection = 'utf8mb4', \
                     @@collation_connection, 'utf8mb4_general_ci')";
    set(kind, collation)
}

/// Like [`set_up`], after a reset. On MySQL a reset goes back to the server's character set, so the
/// collation is taken from `origin`.
pub(crate) fn set_up_again(kind: SessionKind, origin: &Origin, database: Option<&str>) -> String {
    let collation = format!("'{}'", origin.collation.replace(['\'', '\\'], ""));
    let mut text = set(kind, &collation);
    if let Some(database) = database {
        text.push_str(&format!("; USE `{}`", database.replace('`', "``")));
    }
    text
}

fn set(kind: SessionKind, collation: &str) -> String {
    let access = match kind {
        SessionKind::ReadWrite => {
            "/*M! tx_read_only = @@global.tx_read_only */ \
             /*!50720 transaction_read_only = @@global.transaction_read_only */"
        }
        SessionKind::ReadOnly => "TRANSACTION READ ONLY",
    };
    format!(
        "SET SESSION character_set_client = utf8mb4, character_set_results = utf8mb4, \
         collation_connection = {collation}, autocommit = 1, completion_type = 0; \
         SET SESSION {access}"
    )
}

/// The question that asks the server who it is.
pub(crate) fn question() -> String {
    format!(
        "SELECT @@version AS version, @@global.hostname AS hostname, \
         @@global.server_id AS server_id, @@global.read_only AS read_only, \
         @@global.max_connections AS max_connections, \
         @@max_user_connections AS max_user_connections, \
         @@max_allowed_packet AS max_allowed_packet, @@global.log_bin AS log_bin, \
         @@global.init_connect AS init_connect, @@collation_connection AS collation, {HOME} AS home \
         /*M! , @@global.gtid_binlog_state AS logged, @@global.gtid_slave_pos AS replicated, \
         {GALERA} AS galera, {GALERA_REJECTS} AS galera_rejects */ \
         /*!50708 , @@global.server_uuid AS server_uuid, @@global.super_read_only AS super_read_only, \
         @@global.offline_mode AS offline_mode, @@global.gtid_mode AS gtid_mode, \
         @@global.gtid_executed AS executed, {GROUP} AS group_replication */"
    )
}

/// Whether to ask [`GROUP_NAME`] and [`MEMBER_STATE`].
pub(crate) fn has_group_plugin(text: impl Fn(&str) -> Option<String>) -> bool {
    text("group_replication").as_deref() == Some("ACTIVE")
}

/// Turns the answer into facts; `text` returns the value of a column by its name.
pub(crate) fn read(text: impl Fn(&str) -> Option<String>) -> Result<Facts, BadAnswer> {
    let needed = |name: &'static str| text(name).ok_or(BadAnswer::Missing(name));
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    let size = |name: &str| number(name).and_then(|size| usize::try_from(size).ok());
    // Newer MariaDB has enums here: only these two texts mean "no".
    let is_off = |text: &str| matches!(text.to_ascii_uppercase().as_str(), "0" | "OFF");
    let is_on = |name: &str| text(name).map(|value| !is_off(&value));
    let hostname = needed("hostname")?;
    let logged = text("logged");
    let server_uuid = text("server_uuid");
    let server_id = needed("server_id")?;
    let (kind, identity) = match (&logged, &server_uuid) {
        (Some(_), _) => (ServerKind::MariaDb, format!("{hostname}/{server_id}")),
        (None, Some(uuid)) => (ServerKind::MySql, uuid.clone()),
        (None, None) => {
            return Err(BadAnswer::Missing(
                "kind (gtid_binlog_state or server_uuid)",
            ));
        }
    };
    let maria = |text: Option<String>| text.map(|text| Position::parse_mariadb(&text)).transpose();
    let (logged, replicated) = (maria(logged)?, maria(text("replicated"))?);
    let galera = text("galera").and_then(|status| galera(&status, text("galera_rejects")));
    let position = match (&galera, &logged) {
        // The nodes of a cluster may give one transaction different GTIDs, but they count
        // transactions alike.
        (Some(galera), _) => Position::parse_mysql(&galera.position())?,
        (None, Some(logged)) => {
            let replicated = replicated.clone();
            replicated
                .into_iter()
                .fold(logged.clone(), |all, more| all.union(&more))
        }
        (None, None) => Position::parse_mysql(&text("executed").unwrap_or_default())?,
    };
    let is_closed = ["super_read_only", "offline_mode"];
    let writable = is_off(&needed("read_only")?)
        && is_closed.into_iter().all(|name| is_on(name) != Some(true));
    Ok(Facts {
        kind,
        version: needed("version")?,
        identity: identity.clone(),
        server_id: server_id.parse().ok(),
        server_uuid,
        writable,
        max_connections: size("max_connections"),
        max_user_connections: size("max_user_connections").filter(|most| *most > 0),
        position,
        logged,
        replicated,
        gtid_mode: text("gtid_mode").map(|mode| mode.eq_ignore_ascii_case("ON")),
        log_bin: is_on("log_bin"),
        galera,
        group: None,
        origin: Arc::new(Origin {
            identity,
            has_init_connect: text("init_connect").is_some_and(|init| !init.trim().is_empty()),
            home: needed("home")?,
            max_allowed_packet: size("max_allowed_packet"),
            has_batches: kind == ServerKind::MariaDb,
            collation: needed("collation")?,
        }),
        hostname,
    })
}

/// `None` if Galera's library is not loaded.
fn galera(status: &str, rejects: Option<String>) -> Option<Galera> {
    let value = |name: &str| {
        let mut entries = status.split(',').filter_map(|entry| entry.split_once('='));
        let (_, value) = entries.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    };
    value("WSREP_PROVIDER_NAME").filter(|provider| !provider.is_empty())?;
    Some(Galera {
        ready: value("WSREP_READY") == Some("ON"),
        rejects: rejects.is_some_and(|what| what != "NONE"),
        cluster: value("WSREP_CLUSTER_STATE_UUID")
            .unwrap_or_default()
            .to_owned(),
        state: value("WSREP_LOCAL_STATE").and_then(|state| state.parse().ok()),
        has_quorum: value("WSREP_CLUSTER_STATUS") == Some("Primary"),
        last_committed: value("WSREP_LAST_COMMITTED").and_then(|count| count.parse().ok()),
    })
}

#[cfg(test)]
mod tests;
