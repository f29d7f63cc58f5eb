//! One server, with the objects that the texts refer to.

use crate::grammar::{HARMFUL, Words};
use headless_mysql::mysql_async::Conn;
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql_testkit::lab::{Lab, Nodes, ServerKind};
use headless_mysql_testkit::stage::Stage;

pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) kind: ServerKind,
    pub(crate) words: Words,
}

const PREPARATION: &[&str] = &[
    "CREATE DATABASE other",
    "GRANT ALL ON other.* TO app",
    "CREATE ROLE clerk",
    "GRANT clerk TO app",
    "USE app",
    "CREATE TABLE t (a INT, n INT DEFAULT 3, INDEX i (a))",
    "INSERT INTO t (a) VALUES (1), (2)",
    "CREATE TABLE u (a INT)",
    "INSERT INTO u VALUES (1)",
    "CREATE TABLE w (id BIGINT AUTO_INCREMENT PRIMARY KEY, k INT)",
    "CREATE TABLE scratch (a INT)",
    "CREATE FUNCTION leak(x INT) RETURNS INT NOT DETERMINISTIC NO SQL \
     BEGIN SET @a = 7; RETURN x; END",
    "CREATE PROCEDURE p(x INT) BEGIN SET @b = 7; END",
];

/// Functions that are built in on both servers. A stored function of the same name is called with a
/// space before the parenthesis, or with its database as a prefix.
const BUILT_IN: &[&str] = &[
    "ABS",
    "COUNT",
    "MAX",
    "NOW",
    "SUM",
    "CONCAT",
    "SUBSTR",
    "TRIM",
    "CAST",
    "POSITION",
    "VERSION",
    "USER",
    "UUID",
    "FORMAT",
    "LENGTH",
    "MID",
    "STD",
    "CURDATE",
    "GROUP_CONCAT",
    "LEAST",
    "ROW_COUNT",
];

impl World {
    pub(crate) async fn start(kind: ServerKind) -> Self {
        let lab = Lab::builder().server(kind).replicas(0);
        let lab = lab
            .server_option(Nodes::All, "--lock-wait-timeout=1")
            .server_option(Nodes::All, "--innodb-lock-wait-timeout=1")
            .server_option(Nodes::All, "--log-bin-trust-function-creators=1");
        let stage = Stage::with(lab).await.unwrap();
        let mut admin = stage.lab.admin(0).await.unwrap();
        for statement in PREPARATION {
            admin.query_drop(*statement).await.unwrap();
        }
        let sequences = kind != ServerKind::MySql;
        if sequences {
            admin.query_drop("CREATE SEQUENCE s").await.unwrap();
        }
        let words = words(&mut admin, sequences).await;
        Self { stage, kind, words }
    }
}

async fn words(admin: &mut Conn, sequences: bool) -> Words {
    let question = "SELECT WORD FROM information_schema.KEYWORDS ORDER BY 1";
    let mut keywords: Vec<String> = admin.query(question).await.unwrap();
    let harmless = |word: &String| {
        let words = word.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
        words
            && !HARMFUL
                .iter()
                .any(|harmful| word.eq_ignore_ascii_case(harmful))
    };
    keywords.retain(harmless);
    let mut functions = Vec::new();
    let names = BUILT_IN.iter().map(|name| (*name).to_owned());
    for name in names.chain(keywords.iter().cloned()) {
        let create = format!(
            "CREATE FUNCTION {name}(x INT) RETURNS INT NOT DETERMINISTIC NO SQL \
             BEGIN SET @a = 7; RETURN x; END"
        );
        if admin.query_drop(create).await.is_ok() {
            functions.push(name);
        }
        if functions.len() == MOST_FUNCTIONS {
            break;
        }
    }
    Words {
        keywords,
        functions,
        sequences,
    }
}

const MOST_FUNCTIONS: usize = 400;
