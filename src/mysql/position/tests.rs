use super::*;

fn maria(text: &str) -> Position {
    Position::parse_mariadb(text).unwrap()
}

fn mysql(text: &str) -> Position {
    Position::parse_mysql(text).unwrap()
}

const A: &str = "3E11FA47-71CA-11E1-9E33-C80AA9429562";

#[test]
fn a_later_mariadb_position_contains_an_earlier_one_of_every_domain() {
    assert!(maria("0-1-10").contains(&maria("0-1-10")));
    assert!(maria("0-2-11,1-1-5").contains(&maria("0-1-10")));
    assert!(!maria("0-1-9").contains(&maria("0-1-10")));
    assert!(!maria("0-1-99").contains(&maria("0-1-10,1-1-1")));
    assert!(!maria("").contains(&maria("0-1-1")));
    assert!(maria("").contains(&maria("")));
}

#[test]
fn a_mysql_position_contains_intervals_also_across_joined_neighbours() {
    let ours = mysql(&format!("{A}:1-5:6-10:20"));
    assert!(ours.contains(&mysql(&format!("{A}:4-9"))));
    assert!(!ours.contains(&mysql(&format!("{A}:9-20"))));
    assert!(ours.contains(&mysql(&format!("{}:20", A.to_lowercase()))));
    assert!(!ours.contains(&mysql(&format!("{A}:tag:1"))));
    assert!(mysql(&format!("{A}:1-2:tag:1-3")).contains(&mysql(&format!("{A}:tag:2"))));
    // As servers write it: one source per line.
    let lines =
        mysql("aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:1,\nbbbbbbbb-aaaa-aaaa-aaaa-aaaaaaaaaaaa:1-5");
    assert!(lines.contains(&mysql("bbbbbbbb-aaaa-aaaa-aaaa-aaaaaaaaaaaa:2-5")));
}

#[test]
fn a_text_that_is_no_position_is_an_error_that_quotes_it() {
    for text in ["x", "0-1", "0-1-x", "0-1-2,,3"] {
        let error = Position::parse_mariadb(text).unwrap_err();
        assert!(error.to_string().contains('`'), "{error}");
    }
    for text in ["x", "abc:1-5", &format!("{A}::1"), &format!("{A}:1-x")] {
        assert!(Position::parse_mysql(text).is_err(), "{text}");
    }
}

fn advance(history: &History, found: &str) -> Result<Standing, Lost> {
    history.advance(&history.seen(), maria(found))
}

fn newest(history: &History) -> String {
    history.seen().newest.unwrap().to_string()
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
fn an_answer_overtaken_by_a_newer_one_is_accepted_and_does_not_turn_history_back() {
    let history = History::default();
    advance(&history, "0-1-10").unwrap();
    let slow = history.seen();
    advance(&history, "0-1-20").unwrap();
    history.advance(&slow, maria("0-1-15")).unwrap();
    assert!(advance(&history, "0-1-19").is_err());
}

#[test]
fn of_several_entries_of_a_mariadb_domain_the_newest_counts() {
    assert_eq!(maria("0-1-7,0-2-9,0-3-8").to_string(), "0-2-9");
}

#[test]
fn a_first_primary_must_hold_what_the_replicas_hold_together() {
    let history = History::default();
    history.expect(maria("0-1-10"));
    history.expect(maria("0-1-12"));
    history.expect(maria("1-1-3"));
    history.expect(maria(""));
    assert!(advance(&history, "0-1-12").is_err());
    assert!(advance(&history, "").is_err());
    advance(&history, "0-1-12,1-1-3").unwrap();
    // From now on the primary's word counts.
    history.expect(maria("0-1-99"));
    advance(&history, "0-1-13,1-1-3").unwrap();

    let history = History::default();
    history.expect(maria("0-1-10"));
    history.forget();
    history.expect(maria("0-1-10"));
    advance(&history, "").unwrap();

    let history = History::default();
    history.expect(mysql(&format!("{A}:1-5")));
    history.expect(mysql(&format!("{A}:5-9")));
    assert_eq!(newest(&history), format!("{}:1-9", A.to_lowercase()));
}

#[test]
fn a_primary_met_before_the_replicas_have_answered_vouches_for_nothing() {
    let history = History::cold();
    // Asked before the replicas have said anything; the answers come at various times.
    let early = history.seen();
    assert_eq!(advance(&history, ""), Ok(Standing::Provisional));
    history.expect(maria("0-1-10"));
    assert_eq!(
        history.advance(&early, maria("")),
        Ok(Standing::Provisional)
    );
    history.opened();
    assert_eq!(
        history.advance(&early, maria("")),
        Ok(Standing::Provisional)
    );
    assert!(advance(&history, "").is_err());
    assert_eq!(advance(&history, "0-1-10"), Ok(Standing::Accepted));
}

#[test]
fn what_the_old_primary_says_while_its_history_is_given_up_is_not_remembered() {
    let history = History::default();
    advance(&history, "0-1-10").unwrap();
    let asked = history.seen();
    history.forget();
    let answer = history.advance(&asked, maria("0-1-11"));
    assert_eq!(answer, Ok(Standing::Provisional));
    assert_eq!(advance(&history, "0-9-1"), Ok(Standing::Accepted));
}

#[test]
fn what_a_replica_executed_by_itself_is_left_out() {
    assert_eq!(
        maria("0-1-10,7-3-5").without_own("db-3/3").to_string(),
        "0-1-10"
    );
    let other = "bbbbbbbb-aaaa-aaaa-aaaa-aaaaaaaaaaaa";
    let all = mysql(&format!("{A}:1-5:tag:1,{other}:1-2:tag:1"));
    let rest = all.without_own(&other.to_ascii_uppercase()).to_string();
    assert_eq!(rest, format!("{a}:1-5,{a}:tag:1-1", a = A.to_lowercase()));
}
