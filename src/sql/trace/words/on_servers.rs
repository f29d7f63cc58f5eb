//! Checks the lists against real servers of every kind.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};

use super::{FUNCTIONS, KEYWORDS};
use headless_mysql_testkit::lab::{Lab, ServerKind};

const SYNTAX: u16 = 1064;
/// `FUNCTION app.x does not exist`, or the other wording for a built-in function's
/// name that a space follows.
const UNKNOWN: [u16; 2] = [1305, 1630];

/// The code of the error that `statement` ends with.
async fn code(conn: &mut Conn, statement: &str) -> Option<u16> {
    let answer = conn.query::<Row, _>(statement);
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
    match answer.expect("an answer in time") {
        Ok(_) => None,
        Err(Error::Server(error)) => Some(error.code),
        Err(error) => panic!("{statement}: {error}"),
    }
}

/// A server that does not know a function looks for a stored function in the current database.
async fn check(kind: ServerKind) {
    let lab = Lab::builder().server(kind).replicas(0).start().await;
    let lab = lab.unwrap();
    let mut conn = lab.admin(0).await.unwrap();
    let mut wrong = Vec::new();
    for function in FUNCTIONS {
        let code = code(&mut conn, &format!("SELECT {function}()")).await;
        if code.is_some_and(|code| UNKNOWN.contains(&code)) {
            wrong.push(format!("{function} is not built in"));
        }
    }
    for keyword in KEYWORDS {
        let create = format!("CREATE FUNCTION {keyword}() RETURNS INT RETURN 1");
        if code(&mut conn, &create).await != Some(SYNTAX) {
            wrong.push(format!("{keyword} can name a stored function"));
        }
    }
    assert!(wrong.is_empty(), "{}: {wrong:#?}", lab.server_version());
    // Check that the probe itself works.
    let unknown = code(&mut conn, "SELECT no_such_function()").await;
    assert!(unknown.is_some_and(|code| UNKNOWN.contains(&code)));
    let create = "CREATE FUNCTION no_keyword() RETURNS INT DETERMINISTIC RETURN 1";
    assert_eq!(code(&mut conn, create).await, None);
}

#[tokio::test]
async fn every_listed_word_is_what_the_list_says_on_mariadb() {
    check(ServerKind::MariaDb).await;
}

#[tokio::test]
async fn every_listed_word_is_what_the_list_says_on_mysql() {
    check(ServerKind::MySql).await;
}
