use super::super::super::builder::Flavour;
use super::super::split;
use super::super::tree::Kind;
use super::*;

fn all(sql: &str) -> Result<Vec<Parsed>, Refusal> {
    on(Flavour::MariaDb, sql)
}

fn on(flavour: Flavour, sql: &str) -> Result<Vec<Parsed>, Refusal> {
    split(sql, flavour)?
        .iter()
        .map(|tokens| parse(sql, tokens))
        .collect()
}

fn one(sql: &str) -> Statement {
    let mut parsed = all(sql).unwrap();
    assert_eq!(parsed.len(), 1, "{sql}");
    parsed.remove(0).statement
}

#[test]
fn what_clients_say_beside_the_application_is_known() {
    for sql in [
        "SELECT LAST_INSERT_ID(0) FROM (SELECT 1) AS nothing",
        "SHOW GLOBAL STATUS LIKE 'Uptime'",
        "SHOW PROCESSLIST",
        "ROLLBACK",
        "COMMIT",
        "DO LAST_INSERT_ID(0)",
        "SELECT 18446744073709551615",
        "START TRANSACTION READ WRITE",
        "START TRANSACTION READ ONLY",
        "KILL QUERY 7",
    ] {
        all(sql).unwrap();
    }
}

#[test]
fn a_table_has_a_whole_key_and_columns_of_three_kinds() {
    let sql = "CREATE TABLE IF NOT EXISTS app.entries \
               (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, pod VARCHAR(64) NOT NULL, \
               at DOUBLE) ENGINE=InnoDB";
    let Statement::CreateTable {
        table,
        unless_exists,
        columns,
        key,
    } = one(sql)
    else {
        panic!("{sql}");
    };
    assert_eq!((table.as_str(), unless_exists, key), ("entries", true, 0));
    assert!(columns[0].counted && !columns[0].nullable && !columns[1].nullable);
    let kinds: Vec<Kind> = columns.iter().map(|column| column.kind).collect();
    assert_eq!(kinds, [Kind::Int, Kind::Text, Kind::Float]);
    one("CREATE TABLE t (a VARCHAR(9), b INT, PRIMARY KEY (b))");
    for sql in [
        "CREATE TABLE t (a INT)",
        "CREATE TABLE t (a TEXT PRIMARY KEY)",
    ] {
        assert_eq!(all(sql).unwrap_err().code, 1064, "{sql}");
    }
}

#[test]
fn question_marks_are_counted_in_their_order() {
    let sql = "INSERT INTO entries (id, pod) VALUES (?, @@server_id), (?, 'x')";
    let parsed = all(sql).unwrap().remove(0);
    assert_eq!(parsed.params, 2);
    let Statement::Insert { rows, .. } = parsed.statement else {
        panic!("{sql}");
    };
    assert_eq!(rows[1][0], Expr::Param(1));
}

#[test]
fn a_column_is_named_by_its_alias_or_its_text() {
    let Statement::Select(select) = one("SELECT COUNT( * ), MAX(id) AS top, e.pod FROM entries")
    else {
        panic!();
    };
    let names: Vec<String> = select
        .items
        .unwrap()
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    assert_eq!(names, ["COUNT( * )", "top", "pod"]);
}

#[test]
fn what_is_not_known_is_refused_with_the_rest_of_its_text() {
    for (sql, near) in [
        ("EXPLAIN SELECT 1", "'EXPLAIN SELECT 1'"),
        ("SELECT 1 UNION SELECT 2", "'SELECT 2'"),
        ("SELECT * FROM a JOIN b", "'JOIN b'"),
        ("DELETE entries", "'DELETE entries'"),
        ("INSERT INTO t SELECT 1", "'SELECT 1'"),
        ("SELECT", "''"),
        ("SELECT (1", "''"),
    ] {
        let error = all(sql).unwrap_err();
        assert_eq!(error.code, 1064, "{sql}");
        assert!(error.message.contains(near), "{}", error.message);
        assert!(
            error.message.contains("headless_mysql_testkit::embedded"),
            "{}",
            error.message
        );
    }
    assert_eq!(all("SELECT NOW()").unwrap_err().code, 1305);
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(all(&deep).unwrap_err().code, 1064);
}

proptest::proptest! {
    #[test]
    fn no_order_of_known_words_makes_the_parser_panic(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "SELECT", "FROM", "t", "WHERE", "id", "=", "?", "(", ")", ",", "INSERT", "INTO",
                "VALUES", "1", "'x'", "COUNT", "*", "SET", "@@a", "@b", "NOT", "IN", "ORDER",
                "BY", "LIMIT", "START", "TRANSACTION", "READ", "CREATE", "TABLE", "INT", "-",
            ]),
            0..12,
        )
    ) {
        let _ = all(&words.join(" "));
    }
}
