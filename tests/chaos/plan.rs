//! The plan of a run: which faults happen, when, and for how long. All of it comes from one seed.
//!
//! Owns the kinds of faults and their order. It must never touch a server; `faults` does that.

use crate::Office;
use headless_mysql_testkit::dns::Fault as DnsFault;
use headless_mysql_testkit::proxy::NetFault;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A kind of fault.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Kill,
    Freeze,
    MoveAfterRestart,
    Swap,
    PrimaryReadOnly,
    ReplicaWritable,
    /// A replica is writable and the client knows it, so it is unclear which server is the primary.
    TwoWritable,
    /// A planned switch-over.
    Promote,
    /// The primary dies, and a replica that lacks acknowledged writes becomes writable.
    LossyFailover,
    Net(NetFault),
    /// Existing connections stay silent for ever; new ones are not affected.
    FlowsForgotten,
    /// The server accepts a few connections only.
    ServerFull,
    /// The account is limited to a few connections.
    AccountFull,
    /// This process cannot open another socket.
    NoDescriptors,
    /// The account does not exist on one replica.
    NoAccount,
    /// The address belongs to a server of another cluster with the same names and accounts.
    Stranger,
    /// The address belongs to an empty server with the right name.
    Blank,
    /// All pods restart one after the other, as in a StatefulSet.
    OrderedStart,
    /// A replica is added and removed again, while another process starts.
    Scaled,
    /// COMMIT gets no answer: semi-synchronous replication without a replica that acknowledges.
    HangingCommits,
    /// `completion_type=CHAIN`: each COMMIT opens the next transaction.
    Chain,
    /// The server refuses statements above some kilobytes.
    SmallPackets,
    NotReady,
    Dns(DnsFault),
    DnsStale,
    DnsFlapping,
    /// DNS lists no pods, for long enough that several look-ups see it.
    DnsEmpty,
}

/// One fault, its target and its duration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    pub(crate) ordinal: u32,
    pub(crate) lasts: Duration,
    pub(crate) then: Duration,
}

/// The faults of a run. The two lists run in parallel: faults of servers and their network, and
/// faults of DNS.
#[derive(Debug)]
pub(crate) struct Plan {
    office: Office,
    pub(crate) pods: Vec<Strike>,
    pub(crate) dns: Vec<Strike>,
}

/// The number of faults of each kind.
#[derive(Debug, Default)]
pub(crate) struct Tally(pub(crate) BTreeMap<String, usize>);

impl Plan {
    pub(crate) fn new(seed: u64, faults: u64, office: Office) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut plan = Self {
            office,
            pods: Vec::new(),
            dns: Vec::new(),
        };
        for n in 0..faults {
            let of_dns = n % 3 == 2;
            let strike = Strike {
                fault: if of_dns {
                    dns_fault(&mut rng)
                } else {
                    plan.pod_fault(&mut rng)
                },
                ordinal: rng.random_range(0..3),
                lasts: Duration::from_millis(rng.random_range(20..500)),
                then: Duration::from_millis(rng.random_range(0..200)),
            };
            if of_dns {
                &mut plan.dns
            } else {
                &mut plan.pods
            }
            .push(strike);
        }
        plan
    }

    /// Chooses a fault. The faults that concern the primary's role come at fixed places, not by
    /// chance.
    fn pod_fault(&self, rng: &mut SmallRng) -> Fault {
        let fault = pod_fault(rng);
        match (self.office, self.pods.len() % 8) {
            (Office::Stays, _) => fault,
            (Office::Moves, 0 | 4) => Fault::Promote,
            (Office::Moves, 2) => Fault::TwoWritable,
            (Office::Moves, 6) => Fault::LossyFailover,
            (Office::Moves, _) => match fault {
                // Unless the client sees two primaries, a writable replica is a legitimate one; see
                // `TwoWritable`.
                Fault::ReplicaWritable => Fault::PrimaryReadOnly,
                fault => fault,
            },
        }
    }
}

impl Tally {
    pub(crate) fn kinds(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"))
            .collect();
        let all: usize = self.0.values().sum();
        write!(f, "{all} faults: {}", parts.join(", "))
    }
}

fn pod_fault(rng: &mut SmallRng) -> Fault {
    match rng.random_range(0..28) {
        0 => Fault::Kill,
        1 => Fault::Freeze,
        2 => Fault::MoveAfterRestart,
        3 => Fault::Swap,
        4 => Fault::PrimaryReadOnly,
        5 => Fault::ReplicaWritable,
        6 => Fault::NotReady,
        7 => Fault::Net(NetFault::Refuse),
        8 => Fault::Net(NetFault::AcceptThenClose),
        9 => Fault::Net(NetFault::BlackHole),
        10 => Fault::Net(NetFault::HalfOpen),
        11 => Fault::Net(NetFault::CutAfter(rng.random_range(0..2000))),
        12 => Fault::Net(NetFault::Slow(Duration::from_millis(
            rng.random_range(1..40),
        ))),
        13 => Fault::Net(NetFault::RefuseNew),
        14 => Fault::Net(NetFault::SwallowNew),
        15 | 16 => Fault::FlowsForgotten,
        17 => Fault::ServerFull,
        18 => Fault::AccountFull,
        19 => Fault::NoDescriptors,
        // A pod that refused a login is retried only after 30 s. If this fault were more frequent,
        // few others would affect a replica.
        20 if rng.random_ratio(1, 3) => Fault::NoAccount,
        20 => Fault::Net(NetFault::RefuseNew),
        21 => Fault::Stranger,
        22 => Fault::Blank,
        23 => Fault::OrderedStart,
        24 => Fault::Scaled,
        25 => Fault::HangingCommits,
        26 => Fault::Chain,
        _ => Fault::SmallPackets,
    }
}

fn dns_fault(rng: &mut SmallRng) -> Fault {
    match rng.random_range(0..9) {
        0 => Fault::Dns(DnsFault::ServFail),
        1 => Fault::Dns(DnsFault::Refused),
        2 => Fault::Dns(DnsFault::Drop),
        3 => Fault::Dns(DnsFault::NxDomain),
        4 => Fault::Dns(DnsFault::Truncated),
        5 => Fault::Dns(DnsFault::Delay(Duration::from_millis(
            rng.random_range(50..400),
        ))),
        6 => Fault::DnsStale,
        7 => Fault::DnsFlapping,
        _ => Fault::DnsEmpty,
    }
}
