//! What a primary must hold, for each order in which reports arrive.

use super::*;

fn maria(text: &str) -> Position {
    Position::parse_mariadb(text).unwrap()
}

fn mysql(text: &str) -> Position {
    Position::parse_mysql(text).unwrap()
}

const A: &str = "3E11FA47-71CA-11E1-9E33-C80AA9429562";

const FIRST: &str = "mysql-0/1";

fn claim(position: Position) -> Claim {
    Claim {
        identity: FIRST.to_owned(),
        position,
        counted: true,
        is_galera: false,
    }
}

fn held(position: &str) -> Claim {
    claim(maria(position))
}

fn advance(history: &History, found: &str) -> Result<Standing, Lost> {
    history.advance(&history.seen(), claim(maria(found)))
}

fn required(history: &History) -> String {
    history.seen().required.unwrap().to_string()
}

/// A history whose known primary holds `found`.
fn settled(found: &str) -> History {
    let history = History::default();
    history.heard_all(true);
    advance(&history, found).unwrap();
    history.wrote();
    assert!(history.is_settled());
    history
}

#[test]
fn a_primary_that_lacks_what_was_seen_is_refused_until_told_otherwise() {
    let history = History::default();
    advance(&history, "0-1-10").unwrap();
    advance(&history, "0-1-12").unwrap();
    let lost = advance(&history, "").unwrap_err();
    assert_eq!((&*lost.seen, &*lost.found), ("0-1-12", "(empty)"));
    assert!(advance(&history, "0-1-11").is_err());
    history.forget();
    advance(&history, "").unwrap();
}

#[test]
fn a_server_is_foreign_only_if_it_shares_nothing_with_what_was_seen() {
    let history = History::default();
    assert!(!history.seen().is_foreign(&held("")), "nothing was seen");
    advance(&history, "").unwrap();
    let nothing = "nothing was executed yet";
    assert!(!history.seen().is_foreign(&held("")), "{nothing}");
    assert!(!history.seen().is_foreign(&held("0-1-1")), "{nothing}");
    advance(&history, "0-1-10").unwrap();
    let seen = history.seen();
    assert!(seen.is_foreign(&held("")), "re-created");
    assert!(seen.is_foreign(&held("7-1-10")), "of another cluster");
    assert!(!seen.is_foreign(&held("0-1-4")), "restored");
    assert!(
        !seen.is_foreign(&held("0-1-4,0-2-20")),
        "promoted too early"
    );
    history.forget();
    assert!(!history.seen().is_foreign(&held("")), "accepted");
}

#[test]
fn a_node_of_galera_is_not_compared_with_what_replicas_outside_of_its_cluster_count() {
    let node = || Claim {
        is_galera: true,
        ..claim(Position::parse_mysql(&format!("{A}:1-7")).unwrap())
    };
    let history = History::default();
    history.expect(maria("0-1-9"));
    assert!(!history.seen().is_foreign(&node()));
    history.advance(&history.seen(), node()).unwrap();
    let epoch = history.epoch();
    history.expect(maria("0-1-10"));
    assert_eq!(history.epoch(), epoch, "it is not asked again");
    let fewer = Claim {
        position: Position::parse_mysql(&format!("{A}:1-6")).unwrap(),
        ..node()
    };
    assert!(history.advance(&history.seen(), fewer).is_err());
}

#[test]
fn a_foreign_write_with_a_higher_number_does_not_stand_for_a_lost_one() {
    let history = History::default();
    advance(&history, "0-1-10").unwrap();
    // A replica that lacked six transactions became the primary and wrote.
    assert!(advance(&history, "0-1-4,0-2-20").is_err());
    // A replica that had received all of them, and logs only what it executes itself.
    advance(&history, "0-1-10,0-2-11").unwrap();
    // The primary after that: it remembers nothing of what the first primary wrote.
    advance(&history, "0-2-11,0-3-12").unwrap();
}

#[test]
fn an_answer_overtaken_by_a_newer_one_is_accepted_and_does_not_turn_history_back() {
    let history = History::default();
    advance(&history, "0-1-10").unwrap();
    let slow = history.seen();
    advance(&history, "0-1-20").unwrap();
    history.advance(&slow, claim(maria("0-1-15"))).unwrap();
    assert!(advance(&history, "0-1-19").is_err());
}

#[test]
fn a_first_primary_must_hold_what_the_replicas_hold_together() {
    let history = History::default();
    for held in ["0-1-10", "0-1-12", "1-1-3", ""] {
        history.expect(maria(held));
    }
    assert!(advance(&history, "0-1-12").is_err());
    assert!(advance(&history, "").is_err());
    advance(&history, "0-1-12,1-1-3").unwrap();

    let history = History::default();
    history.expect(maria("0-1-10"));
    history.forget();
    history.expect(maria("0-1-10"));
    advance(&history, "").unwrap();

    let history = History::default();
    history.expect(mysql(&format!("{A}:1-5")));
    history.expect(mysql(&format!("{A}:5-9")));
    assert_eq!(required(&history), format!("{}:1-9", A.to_lowercase()));

    let history = History::trusting();
    history.expect(maria("0-1-10"));
    advance(&history, "").unwrap();
}

#[test]
fn a_replica_heard_after_the_primary_was_met_has_it_asked_again_before_the_first_write() {
    let history = History::cold();
    history.heard_all(true);
    history.opened();
    let seen = history.seen();
    let judged_in = seen.epoch();
    assert_eq!(advance(&history, ""), Ok(Standing::Accepted));
    // DNS lists a replica now.
    history.heard_all(false);
    history.wrote();
    assert!(!history.is_settled(), "a replica has not been heard");
    history.expect(maria("0-1-10"));
    history.heard_all(true);
    assert_ne!(history.epoch(), judged_in);
    assert!(advance(&history, "").is_err());
    // A position that is already known needs no further question.
    advance(&history, "0-1-11").unwrap();
    let epoch = history.epoch();
    history.expect(maria("0-1-10"));
    assert_eq!(history.epoch(), epoch);
}

#[tokio::test(start_paused = true)]
async fn a_replica_ahead_of_a_known_primary_counts_by_what_the_primary_executed() {
    let history = settled("0-1-10");
    let begun = history.seen();
    history.expect(maria("0-1-14,0-7-99"));
    // The primary may have sent the transaction shortly before it listed it.
    assert_eq!(advance(&history, "0-1-13"), Ok(Standing::Accepted));
    tokio::time::advance(SETTLING).await;
    let asked_before = history.advance(&begun, claim(maria("0-1-13")));
    assert_eq!(asked_before, Ok(Standing::Accepted));
    let lost = advance(&history, "0-1-13").unwrap_err();
    assert_eq!(lost.seen, "0-1-14");
    // What server 7 executed causes only a warning.
    assert_eq!(advance(&history, "0-1-14"), Ok(Standing::Accepted));
}

#[tokio::test(start_paused = true)]
async fn what_another_cluster_holds_says_nothing_about_a_known_primary() {
    let history = settled("0-1-10");
    for stranger in ["7-1-3", "7-1-3,7-2-4"] {
        // The server with id 1 executed it, like the primary's transactions.
        history.expect(maria(stranger));
        tokio::time::advance(SETTLING).await;
        assert_eq!(advance(&history, "0-1-10"), Ok(Standing::Accepted));
    }
    // A report of a replica that remembers only the last transaction, from a primary that has just
    // taken over. A stranger that is heard first does not take its place.
    history.expect(maria("7-1-3"));
    history.expect(maria("0-1-11"));
    tokio::time::advance(SETTLING).await;
    assert!(advance(&history, "0-1-10").is_err());
}

#[tokio::test(start_paused = true)]
async fn what_another_cluster_holds_causes_a_warning() {
    for stranger in ["7-1-3", "7-3-3"] {
        let history = settled("0-1-10");
        history.expect(maria(stranger));
        tokio::time::advance(SETTLING).await;
        assert_eq!(advance(&history, "0-1-10"), Ok(Standing::Accepted));
        let warned = history.lock().warned.as_ref().map(Position::to_string);
        assert_eq!(warned.as_deref(), Some(stranger));
    }
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_does_not_count_is_not_compared_with_another_clusters_server_of_its_id() {
    let history = History::default();
    let uncounted = || Claim {
        counted: false,
        ..held("")
    };
    let advance = || history.advance(&history.seen(), uncounted());
    history.heard_all(true);
    advance().unwrap();
    history.wrote();
    history.expect(maria("7-1-3"));
    tokio::time::advance(SETTLING).await;
    assert_eq!(advance(), Ok(Standing::Accepted));
}

#[test]
fn without_gtids_only_the_server_that_was_accepted_is_accepted_until_told_otherwise() {
    let history = History::default();
    let uncounted = |identity: &str| Claim {
        identity: identity.to_owned(),
        position: mysql(""),
        counted: false,
        is_galera: false,
    };
    let advance = |identity: &str| history.advance(&history.seen(), uncounted(identity));
    advance("a").unwrap();
    advance("a").unwrap();
    let lost = advance("b").unwrap_err();
    assert!(lost.seen.contains("server a") && lost.found.contains("server b"));
    history.forget();
    advance("b").unwrap();
    // With GTIDs, an empty server holds everything that another empty server held.
    let history = History::default();
    for identity in ["a", "b"] {
        let counted = Claim {
            counted: true,
            ..uncounted(identity)
        };
        history.advance(&history.seen(), counted).unwrap();
    }
}

#[test]
fn a_primary_met_before_the_replicas_have_answered_vouches_for_nothing() {
    let history = History::cold();
    // Asked before the replicas have reported; the answers arrive at different times.
    let early = history.seen();
    assert_eq!(advance(&history, ""), Ok(Standing::Provisional));
    history.expect(maria("0-1-10"));
    let answer = history.advance(&early, claim(maria("")));
    assert_eq!(answer, Ok(Standing::Provisional));
    history.opened();
    let answer = history.advance(&early, claim(maria("")));
    assert_eq!(answer, Ok(Standing::Provisional));
    assert!(advance(&history, "").is_err());
    assert_eq!(advance(&history, "0-1-10"), Ok(Standing::Accepted));
}

#[test]
fn what_the_old_primary_says_while_its_history_is_given_up_is_not_remembered() {
    let history = History::default();
    advance(&history, "0-1-10").unwrap();
    let asked = history.seen();
    history.forget();
    let answer = history.advance(&asked, claim(maria("0-1-11")));
    assert_eq!(answer, Ok(Standing::Provisional));
    assert_eq!(advance(&history, "0-9-1"), Ok(Standing::Accepted));
}
