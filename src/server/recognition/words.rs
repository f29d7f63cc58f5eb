//! The verdicts on a pod, as types and as text for people.
//!
//! Owns the verdicts, and the sentences in warnings and in the status.

use std::fmt;
use std::time::Duration;

/// How long a pod that shares history with the primary may take to prove that it replicates.
pub(super) const PROOF_LIMIT: Duration = Duration::from_secs(60);

/// The verdict on a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recognition {
    /// The pod has not been asked.
    Unknown,
    /// There is no primary to compare with, and the pod reports what a replica would report.
    Presumed,
    /// It shares history with the primary, but may be a copy, or a replica of another cluster.
    Related(Doubt),
    /// It is a replica.
    Proven,
    /// It is not a replica.
    Unrelated(Reason),
}

/// Why a related pod is not proven yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It has not shown a transaction that the primary executed after the pod became known.
    Behind,
    /// It holds transactions that the primary lacks.
    Ahead,
}

/// Why a pod is not a replica of the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    OtherKind,
    SameServerId(u32),
    NoBinaryLog,
    Writable,
    NothingInCommon,
    Unproven(Doubt),
    OtherGalera,
    NotSynced,
    OtherGroup,
    NotOnline,
    WritableAlone,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Behind => "it has not received a transaction of the primary since it is known",
            Self::Ahead => "it holds transactions that the primary lacks",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherKind => f.write_str("it and the primary are MySQL and MariaDB"),
            Self::SameServerId(id) => write!(
                f,
                "its server_id {id} is the primary's too, so neither replicates from the other"
            ),
            Self::NoBinaryLog => {
                f.write_str("the primary has no binary log, so nothing replicates from it")
            }
            Self::Writable => f.write_str(
                "it is not read-only, and no GTIDs show that it replicates from the primary",
            ),
            Self::NothingInCommon => f.write_str("it holds no transaction of the primary"),
            Self::Unproven(doubt) => write!(f, "{doubt}, for {} s", PROOF_LIMIT.as_secs()),
            Self::OtherGalera => f.write_str("it is in another Galera cluster than the primary"),
            Self::OtherGroup => {
                f.write_str("it is in another group of Group Replication than the primary")
            }
            Self::NotOnline => f.write_str("it is not online in its group of Group Replication"),
            Self::NotSynced => f.write_str("its Galera node is not ready and synced"),
            Self::WritableAlone => f.write_str(
                "it is not read-only, and there is no primary and no other pod to compare it with",
            ),
        }
    }
}

impl Recognition {
    /// Why the pod is not read from like a replica; `None` if it is.
    pub(crate) fn objection(&self) -> Option<String> {
        match self {
            Self::Unknown | Self::Presumed | Self::Proven => None,
            Self::Related(doubt) => Some(format!("{doubt}; read from only after the primary")),
            Self::Unrelated(reason) => Some(reason.to_string()),
        }
    }
}
