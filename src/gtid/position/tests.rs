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
    assert!(maria("0-1-11,0-2-7,1-1-5").contains(&maria("0-1-10")));
    // A number given by another server says nothing about the numbers of this one.
    assert!(!maria("0-2-11").contains(&maria("0-1-10")));
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
    // Servers write one source per line.
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

#[test]
fn of_a_mariadb_domain_the_newest_transaction_alone_has_to_be_held() {
    let all = maria("0-1-7,0-2-9,0-3-8,1-1-2,0-2-5");
    assert_eq!(all.to_string(), "0-1-7,0-2-9,0-3-8,1-1-2");
    assert_eq!(all.tips().to_string(), "0-2-9,1-1-2");
    // Two servers have given the same number, so neither is before the other.
    assert_eq!(maria("0-1-7,0-2-7").tips().to_string(), "0-1-7,0-2-7");
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
