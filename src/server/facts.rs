//! What a server reports about itself at each login, and each time it is asked again.
//!
//! [`Facts`] is the typed answer to [`questions`](crate::server::questions). It must never hold a
//! guess: what a server did not report is `None`.

use crate::gtid::history::Claim;
use crate::gtid::position::Position;
use crate::server::kind::ServerKind;
use std::sync::Arc;

/// What a server reported about itself.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) kind: ServerKind,
    /// `@@version`.
    pub(crate) version: String,
    /// `@@hostname`: the pod's name, or on the host network the node's name.
    pub(crate) hostname: String,
    /// Distinguishes a server from its replacement under the same name and address: the server's
    /// UUID on MySQL, `host name/server_id` on MariaDB.
    pub(crate) identity: String,
    /// `@@server_id`. Two servers with the same id cannot replicate from each other.
    pub(crate) server_id: Option<u32>,
    /// `@@server_uuid`, only on MySQL.
    pub(crate) server_uuid: Option<String>,
    /// None of `read_only`, `super_read_only` and `offline_mode` is set.
    pub(crate) writable: bool,
    /// `@@max_connections`: the server's limit for all accounts together.
    pub(crate) max_connections: Option<usize>,
    /// `@@max_user_connections`: the limit for our account; `None` without a limit.
    pub(crate) max_user_connections: Option<usize>,
    /// All transactions that the server holds, as far as it counts them by GTID.
    pub(crate) position: Position,
    /// MariaDB: `@@gtid_binlog_state`, the content of its binary log. By default, replicas do not
    /// log what they replicate.
    pub(crate) logged: Option<Position>,
    /// MariaDB: `@@gtid_slave_pos`, the last replicated transaction of each domain.
    pub(crate) replicated: Option<Position>,
    /// MySQL: whether `gtid_mode` is `ON`. Otherwise `position` may lack transactions.
    pub(crate) gtid_mode: Option<bool>,
    /// Whether the server has a binary log.
    pub(crate) log_bin: Option<bool>,
    /// MariaDB: the state of Galera, if its library is loaded.
    pub(crate) galera: Option<Galera>,
    /// MySQL: the state of Group Replication, if a group is configured.
    pub(crate) group: Option<Group>,
    pub(crate) origin: Arc<Origin>,
}

impl Facts {
    /// Whether `position` includes everything that the server holds. This needs GTIDs on MySQL, and
    /// a binary log or Galera on MariaDB.
    pub(crate) fn counts_transactions(&self) -> bool {
        match self.kind {
            ServerKind::MySql => self.gtid_mode == Some(true),
            ServerKind::MariaDb => self.log_bin == Some(true) || self.galera.is_some(),
        }
    }
}

/// What Galera reports about this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Galera {
    /// `wsrep_ready`: the node executes statements.
    pub(crate) ready: bool,
    /// `wsrep_reject_queries` is not `NONE`: an operator makes the node refuse statements.
    pub(crate) rejects: bool,
    /// `wsrep_cluster_state_uuid`: the history that all nodes of a cluster share.
    pub(crate) cluster: String,
    /// `wsrep_local_state`; see [`Galera::SYNCED`].
    pub(crate) state: Option<u32>,
    /// `wsrep_cluster_status` is `Primary`: the node is in the part of the cluster with a majority.
    pub(crate) has_quorum: bool,
    /// `wsrep_last_committed`: the number of the cluster's transactions that this node holds.
    pub(crate) last_committed: Option<u64>,
}

impl Galera {
    /// The local state of a node that is up to date and neither gives nor receives a copy (2:
    /// donor).
    pub(crate) const SYNCED: u32 = 4;

    /// Why the node refuses every statement that touches a table; `None` if it accepts them.
    pub(crate) fn refuses(&self) -> Option<&'static str> {
        match self {
            Self { ready: false, .. } => Some("wsrep_ready is OFF"),
            Self { rejects: true, .. } => Some("wsrep_reject_queries is set"),
            _ => None,
        }
    }

    /// The position in the format of MySQL; empty if the node is in no cluster.
    pub(crate) fn position(&self) -> String {
        let is_count = |count: &u64| (1..1 << 63).contains(count);
        match self.last_committed.filter(is_count) {
            Some(count) => format!("{}:1-{count}", self.cluster),
            None => String::new(),
        }
    }
}

/// What Group Replication reports about this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// `group_replication_group_name`: the UUID that all members share.
    pub(crate) name: String,
    /// `member_state`; `None` if the account may not read it.
    pub(crate) state: Option<String>,
}

impl Group {
    /// The state of a member that is up to date and takes part in the group.
    pub(crate) const ONLINE: &str = "ONLINE";

    /// The member's state, if it has left the group, waits for it, or fetches missed transactions.
    pub(crate) fn absence(&self) -> Option<&str> {
        self.state.as_deref().filter(|state| *state != Self::ONLINE)
    }
}

/// The state of a session when it was new, as far as a reset does not restore it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Origin {
    /// The server of the session; see [`Facts`].
    pub(crate) identity: String,
    /// Whether the server has an `init_connect`. A reset does not run it again.
    pub(crate) has_init_connect: bool,
    /// The account, the role and the database. A reset keeps the values that were chosen last.
    pub(crate) home: String,
    /// `@@max_allowed_packet` of the session, in bytes; the server refuses a longer statement.
    /// `None` if unknown.
    pub(crate) max_allowed_packet: Option<usize>,
    /// Whether the server takes all rows of a batch in one packet, as MariaDB does.
    pub(crate) has_batches: bool,
    /// `@@collation_connection`: the operator may have chosen another collation than the server's
    /// default.
    pub(crate) collation: String,
}

impl From<Facts> for Claim {
    fn from(facts: Facts) -> Self {
        Self {
            counted: facts.counts_transactions(),
            is_galera: facts.galera.is_some(),
            identity: facts.identity,
            position: facts.position,
        }
    }
}
