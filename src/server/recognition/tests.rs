//! Tests the rule on each kind of set-up.

mod set_ups;

use super::*;
use crate::server::facts::{Galera, Group, Origin};
use Doubt::{Ahead, Behind};
use Reason::*;

const A: &str = "aaaaaaaa-0000-0000-0000-000000000001";
const B: &str = "bbbbbbbb-0000-0000-0000-000000000002";
const MS: Duration = Duration::from_millis(1);

/// The report of a server that has executed nothing and is not read-only.
fn server(kind: ServerKind, id: u32) -> Facts {
    let identity = match (kind, id) {
        (ServerKind::MariaDb, id) => format!("host/{id}"),
        (ServerKind::MySql, 1) => A.to_owned(),
        (ServerKind::MySql, 2) => B.to_owned(),
        (ServerKind::MySql, id) => format!("cccccccc-0000-0000-0000-00000000000{id}"),
    };
    Facts {
        kind,
        version: String::new(),
        hostname: "host".to_owned(),
        identity,
        server_id: Some(id),
        server_uuid: None,
        writable: true,
        max_connections: None,
        max_user_connections: None,
        position: at(kind, ""),
        logged: None,
        replicated: None,
        gtid_mode: (kind == ServerKind::MySql).then_some(true),
        log_bin: Some(true),
        galera: None,
        group: None,
        origin: Arc::new(Origin::default()),
    }
}

/// In positions, A and B stand for the servers 1 and 2.
fn at(kind: ServerKind, position: &str) -> Position {
    match kind {
        ServerKind::MariaDb => Position::parse_mariadb(position).unwrap(),
        ServerKind::MySql => {
            Position::parse_mysql(&position.replace('A', A).replace('B', B)).unwrap()
        }
    }
}

fn holding(id: u32, kind: ServerKind, position: &str) -> Facts {
    Facts {
        position: at(kind, position),
        ..server(kind, id)
    }
}

fn mysql(id: u32, position: &str) -> Facts {
    holding(id, ServerKind::MySql, position)
}

fn maria(id: u32, position: &str) -> Facts {
    holding(id, ServerKind::MariaDb, position)
}

fn read_only(facts: Facts) -> Facts {
    Facts {
        writable: false,
        ..facts
    }
}

fn without_gtids(facts: Facts) -> Facts {
    Facts {
        gtid_mode: Some(false),
        ..facts
    }
}

fn in_galera(cluster: &str, state: u32, facts: Facts) -> Facts {
    let galera = Galera {
        rejects: false,
        ready: true,
        cluster: cluster.to_owned(),
        state: Some(state),
        has_quorum: true,
        last_committed: None,
    };
    Facts {
        galera: Some(galera),
        ..facts
    }
}

/// One pod and its primary, asked alternately.
struct Pair {
    record: PodRecord,
    primary: Option<Sample>,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            record: PodRecord::new(now),
            primary: None,
            now,
        }
    }

    /// Returns whether the primary must be asked again.
    fn pod(&mut self, facts: Facts) -> bool {
        let asked = self.now;
        self.now += MS;
        let heard = self.now;
        let facts = Arc::new(facts);
        self.record.hear(Answer {
            facts,
            asked,
            heard,
        });
        self.judge()
    }

    fn primary(&mut self, facts: Facts) -> bool {
        let asked = self.now;
        self.now += MS;
        self.primary = Some(Sample { facts, asked });
        self.judge()
    }

    fn judge(&mut self) -> bool {
        let against = match &self.primary {
            Some(sample) => Against::Primary(sample),
            None => Against::Others(&[], None),
        };
        self.record.judge(against, self.now)
    }

    fn is(&self) -> Recognition {
        self.record.recognition().clone()
    }
}

fn in_group(name: &str, state: Option<&str>, facts: Facts) -> Facts {
    let group = Group {
        name: name.to_owned(),
        state: state.map(str::to_owned),
    };
    Facts {
        group: Some(group),
        ..facts
    }
}

fn compare(pod: Facts, primary: Facts) -> Recognition {
    let mut pair = Pair::new();
    pair.pod(pod);
    pair.now += SETTLING;
    pair.primary(primary);
    pair.is()
}

#[test]
fn history_in_common_that_the_primary_did_not_have_yet_is_looked_for_in_its_next_answer() {
    let mut pair = Pair::new();
    pair.pod(read_only(maria(2, "")));
    pair.primary(maria(1, ""));
    assert_eq!(pair.is(), Recognition::Proven);
    let first = read_only(maria(2, "0-1-1"));
    assert!(pair.pod(first), "the primary may have executed it since");
    assert_eq!(
        pair.is(),
        Recognition::Proven,
        "until the primary has answered"
    );
    pair.primary(maria(1, "0-1-2"));
    assert_eq!(pair.is(), Recognition::Proven);

    let mut strangers = Pair::new();
    strangers.primary(maria(1, ""));
    assert!(strangers.pod(maria(2, "0-7-1")));
    assert_eq!(strangers.is(), Recognition::Related(Behind));
    strangers.primary(maria(1, "0-1-2"));
    assert_eq!(strangers.is(), Recognition::Unrelated(NothingInCommon));
    assert!(strangers.pod(maria(2, "0-7-2")));
    let is = strangers.is();
    assert_eq!(is, Recognition::Unrelated(NothingInCommon), "as long");
}

#[test]
fn a_pod_ahead_of_what_the_primary_said_is_judged_by_what_the_primary_says_next() {
    let mut pair = Pair::new();
    pair.primary(maria(1, "0-1-9"));
    assert!(pair.pod(maria(2, "0-1-10")), "the primary may have gone on");
    assert_eq!(pair.is(), Recognition::Related(Behind));
    assert!(!pair.primary(maria(1, "0-1-12")));
    assert_eq!(
        pair.is(),
        Recognition::Proven,
        "it holds what the primary had at first"
    );
    assert!(pair.pod(maria(2, "0-1-14")));
    assert_eq!(
        pair.is(),
        Recognition::Proven,
        "until the primary has answered"
    );
    assert!(!pair.record.is_trusted(), "a call has to wait for that");
    pair.primary(maria(1, "0-1-13"));
    assert_eq!(pair.is(), Recognition::Related(Ahead));
}

#[test]
fn a_primary_of_mysql_may_list_a_transaction_later_than_its_replicas() {
    let mut pair = Pair::new();
    pair.pod(mysql(2, "A:1-9"));
    pair.primary(mysql(1, "A:1-9"));
    assert!(pair.pod(mysql(2, "A:1-14")));
    assert!(!pair.primary(mysql(1, "A:1-13")), "not at once");
    assert!(pair.record.is_trusted() && pair.record.is_pending());
    pair.pod(mysql(2, "A:1-15"));
    pair.primary(mysql(1, "A:1-14"));
    assert_eq!(
        pair.is(),
        Recognition::Proven,
        "what was ahead first is there"
    );
    pair.now += SETTLING;
    pair.primary(mysql(1, "A:1-14"));
    assert_eq!(pair.is(), Recognition::Related(Ahead));
}

#[test]
fn a_pod_that_was_ahead_of_a_restored_primary_has_to_show_something_new() {
    let mut pair = Pair::new();
    pair.pod(mysql(2, "A:1-9"));
    pair.primary(mysql(1, "A:1-9"));
    assert_eq!(pair.is(), Recognition::Proven);
    pair.now += SETTLING;
    pair.primary(mysql(1, "A:1-5"));
    pair.now += SETTLING;
    pair.primary(mysql(1, "A:1-5"));
    assert_eq!(pair.is(), Recognition::Related(Ahead));
    // The primary's transactions 6 to 9 are not the pod's.
    pair.primary(mysql(1, "A:1-12"));
    assert_eq!(pair.is(), Recognition::Related(Behind));
}

#[test]
fn a_copy_that_receives_nothing_is_out_once_the_primary_has_executed_something() {
    let mut pair = Pair::new();
    pair.pod(mysql(2, "A:1-9"));
    pair.primary(mysql(1, "A:1-9"));
    pair.now += 2 * PROOF_LIMIT;
    pair.pod(mysql(2, "A:1-9"));
    assert_eq!(pair.is(), Recognition::Proven, "nothing was executed");
    pair.primary(mysql(1, "A:1-10"));
    pair.now += PROOF_LIMIT - 10 * MS;
    pair.pod(mysql(2, "A:1-9"));
    assert_eq!(pair.is(), Recognition::Proven, "a replica may lag");
    pair.now += 10 * MS;
    pair.pod(mysql(2, "A:1-9"));
    assert_eq!(pair.is(), Recognition::Unrelated(Unproven(Behind)));
    pair.pod(mysql(2, "A:1-10"));
    assert_eq!(pair.is(), Recognition::Proven, "late");
}

#[test]
fn a_mariadb_replica_that_remembers_one_transaction_of_a_domain_goes_on_with_another_server() {
    let mut pair = Pair::new();
    pair.pod(maria(3, "0-1-9"));
    pair.primary(maria(1, "0-1-9"));
    pair.pod(maria(3, "0-2-10"));
    pair.primary(maria(1, "0-1-9,0-2-10"));
    assert_eq!(pair.is(), Recognition::Proven);
}

#[test]
fn what_the_primary_said_before_the_pod_was_known_proves_nothing() {
    let mut pair = Pair::new();
    pair.primary(maria(1, "0-1-9"));
    pair.now += MS;
    pair.record = PodRecord::new(pair.now);
    assert!(pair.pod(maria(2, "0-1-9")), "a copy holds it too");
    assert_eq!(pair.is(), Recognition::Related(Behind));
    pair.primary(maria(1, "0-1-10"));
    assert_eq!(pair.is(), Recognition::Related(Behind));
    pair.pod(maria(2, "0-1-10"));
    assert_eq!(pair.is(), Recognition::Proven);
}

#[test]
fn a_related_pod_that_shows_nothing_is_out_after_its_time_and_back_when_it_does() {
    let mut pair = Pair::new();
    pair.pod(mysql(2, "A:1-7"));
    pair.primary(mysql(1, "A:1-9"));
    pair.now += PROOF_LIMIT - 10 * MS;
    pair.pod(mysql(2, "A:1-8"));
    assert_eq!(pair.is(), Recognition::Related(Behind));
    pair.now += 10 * MS;
    pair.pod(mysql(2, "A:1-8"));
    assert_eq!(pair.is(), Recognition::Unrelated(Unproven(Behind)));
    pair.pod(mysql(2, "A:1-9"));
    assert_eq!(pair.is(), Recognition::Proven);
}

#[test]
fn a_proven_replica_may_lag_and_stop() {
    let mut pair = Pair::new();
    pair.pod(mysql(2, "A:1-9"));
    pair.primary(mysql(1, "A:1-9"));
    pair.primary(mysql(1, "A:1-10"));
    pair.pod(mysql(2, "A:1-10"));
    pair.primary(mysql(1, "A:1-90"));
    for _ in 0..3 {
        pair.now += 2 * PROOF_LIMIT;
        pair.pod(mysql(2, "A:1-10"));
        assert_eq!(pair.is(), Recognition::Proven);
    }
}

#[test]
fn a_position_that_goes_back_or_another_server_unproves() {
    for (before, after) in [
        (maria(2, "0-1-9"), maria(2, "0-1-8")),
        (mysql(2, "A:1-9"), mysql(3, "A:1-8")),
    ] {
        let primary = |position: &str| holding(1, before.kind, position);
        let newest = match before.kind {
            ServerKind::MariaDb => "0-1-9",
            ServerKind::MySql => "A:1-9",
        };
        let mut pair = Pair::new();
        pair.pod(before.clone());
        pair.primary(primary(newest));
        assert_eq!(pair.is(), Recognition::Proven);
        pair.pod(after);
        pair.primary(primary(newest));
        assert_eq!(pair.is(), Recognition::Related(Behind));
    }
}

#[test]
fn answers_that_overtook_each_other_do_not_look_like_a_position_that_goes_back() {
    let mut pair = Pair::new();
    pair.pod(maria(2, "0-1-9"));
    pair.primary(maria(1, "0-1-9"));
    let late = Answer {
        facts: Arc::new(maria(2, "0-1-8")),
        asked: pair.record.last().unwrap().asked,
        heard: pair.now,
    };
    pair.record.hear(late);
    pair.judge();
    assert_eq!(pair.is(), Recognition::Proven);
}

#[test]
fn without_a_primary_a_read_only_pod_or_one_related_to_another_is_presumed_a_replica() {
    let now = Instant::now();
    let judged = |pod: Facts, other: Facts| {
        let mut record = PodRecord::new(now);
        record.hear(Answer {
            facts: Arc::new(pod),
            asked: now,
            heard: now,
        });
        record.judge(Against::Others(&[Arc::new(other)], None), now);
        record.recognition().clone()
    };
    let alone = Recognition::Unrelated(WritableAlone);
    assert_eq!(
        judged(read_only(mysql(2, "")), mysql(1, "A:1-9")),
        Recognition::Presumed
    );
    assert_eq!(
        judged(mysql(2, "A:1-9"), mysql(1, "A:1-8")),
        Recognition::Presumed
    );
    assert_eq!(
        judged(mysql(2, "A:1-9"), mysql(2, "A:1-9")),
        alone,
        "itself"
    );
    assert_eq!(judged(mysql(2, "B:1-9"), mysql(1, "A:1-9")), alone);
}

#[test]
fn a_pod_that_shares_nothing_with_the_last_primary_is_not_presumed_a_replica() {
    let now = Instant::now();
    let before = Sample {
        facts: mysql(1, "A:1-9"),
        asked: now,
    };
    let mut record = PodRecord::new(now);
    let mut judged = |pod: Facts| {
        record.hear(Answer {
            facts: Arc::new(read_only(pod)),
            asked: now,
            heard: now,
        });
        record.judge(Against::Others(&[], Some(&before)), now);
        record.recognition().clone()
    };
    let stranger = Recognition::Unrelated(NothingInCommon);
    assert_eq!(judged(mysql(2, "B:1-9")), stranger);
    assert_eq!(judged(mysql(2, "")), stranger, "it holds nothing yet");
    assert_eq!(judged(mysql(2, "A:1-5")), Recognition::Presumed);
    assert_eq!(judged(mysql(1, "A:1-9")), Recognition::Presumed, "itself");
}

#[test]
fn a_verdict_outlives_the_primary_and_is_given_anew_when_there_is_one() {
    let mut pair = Pair::new();
    pair.pod(maria(2, "0-1-9"));
    pair.primary(maria(1, "0-1-12"));
    assert_eq!(pair.is(), Recognition::Related(Behind));
    pair.primary = None;
    pair.now += 2 * PROOF_LIMIT;
    pair.pod(read_only(maria(2, "0-1-9")));
    assert_eq!(pair.is(), Recognition::Related(Behind));
    // Time without a primary does not count.
    pair.primary(maria(1, "0-1-12"));
    assert_eq!(pair.is(), Recognition::Related(Behind));

    let mut pair = Pair::new();
    pair.pod(mysql(2, ""));
    assert_eq!(pair.is(), Recognition::Unrelated(WritableAlone));
    pair.primary(mysql(1, "A:1-2"));
    pair.pod(mysql(2, "A:1-2"));
    assert_eq!(pair.is(), Recognition::Proven, "replication was set up");
}
