use super::table::{Row, SERVER};
use super::*;
use crate::error::PodId;

fn server(code: u16, message: &str) -> ServerError {
    ServerError {
        code,
        message: message.to_owned(),
        state: "HY000".to_owned(),
    }
}

fn pod() -> PodId {
    PodId::new("mysql-0", "127.0.0.1:3306".parse().unwrap())
}

#[test]
fn no_row_is_hidden_behind_an_earlier_one() {
    for (index, row) in SERVER.iter().enumerate() {
        for code in row.codes {
            let text = row.says.first().copied().unwrap_or_default();
            let first = SERVER.iter().position(|row| row.is_for(*code, text));
            assert_eq!(first, Some(index), "{code}");
        }
    }
}

#[test]
fn what_a_code_stands_for_is_decided_by_its_text_where_it_stands_for_several_things() {
    let read_only = "The MariaDB server is running with the --read-only option so it cannot \
                     execute this statement";
    let outfile = "The MySQL server is running with the --secure-file-priv option";
    let not_ready = "WSREP has not yet prepared node for application use";
    let per_hour = "User 'app' has exceeded the 'max_questions' resource (current value: 5)";
    let sessions = "User 'app' has exceeded the 'max_user_connections' resource";
    for (code, text, cause) in [
        (1290, read_only, Cause::ReadOnly),
        (1290, outfile, Cause::Statement),
        (1836, "Running in read-only mode", Cause::ReadOnly),
        (1047, not_ready, Cause::Server),
        (1047, "Unknown command", Cause::Statement),
        (1226, per_hour, Cause::Setup),
        (1226, sessions, Cause::CannotGrow),
        (
            3098,
            "The table does not comply with the requirements",
            Cause::Statement,
        ),
    ] {
        assert_eq!(
            of_server_error(&server(code, text)).cause,
            cause,
            "{code} {text}"
        );
    }
}

#[test]
fn no_room_for_a_connection_is_no_failure_of_the_pod() {
    for code in [1040, 1203, 1226, 1135] {
        let meaning = of_server_error(&server(code, ""));
        assert_eq!(meaning.cause, Cause::CannotGrow, "{code}");
        assert!(!meaning.cause.is_of_the_pod(), "{code}");
    }
}

#[test]
fn an_exhausted_machine_of_our_own_is_told_from_a_pod_that_does_not_answer() {
    let of_code = std::io::Error::from_raw_os_error;
    for code in table::OWN_MACHINE_CODES {
        assert!(is_of_own_machine(&of_code(*code)), "{code}");
    }
    let no_port = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    assert!(is_of_own_machine(&no_port));
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    assert!(!is_of_own_machine(&refused));
    let error = ConnectError::LocalLimit {
        pod: pod(),
        cause: "Too many open files".to_owned(),
    };
    assert!(matches!(error.class(), Class::Unfit(_)));
}

#[test]
fn a_server_error_leaves_the_connection_alone_unless_the_server_closes_it() {
    for code in [1062, 1213, 1205, 1290, 1064, 1461] {
        let meaning = of_server_error(&server(code, ""));
        assert_eq!(meaning.connection, Connection::Usable, "{code}");
    }
    for code in [1053, 1927, 3032, 4031, 1153] {
        let meaning = of_server_error(&server(code, ""));
        assert_eq!(meaning.connection, Connection::Closed, "{code}");
    }
}

#[test]
fn a_connection_that_was_killed_says_nothing_of_the_pod() {
    for code in [1927, 3169] {
        assert!(!of_server_error(&server(code, "")).cause.is_of_the_pod());
    }
}

#[test]
fn what_can_strike_in_the_middle_of_a_statement_is_never_repeated() {
    for code in [1021, 1037, 1041] {
        let meaning = of_server_error(&server(code, ""));
        let told = (meaning.executed, meaning.repeat);
        assert_eq!(told, (Executed::Perhaps, Repeat::Never), "{code}");
    }
}

#[test]
fn wrong_parameters_are_the_callers_doing() {
    let error = mysql_async::Error::Driver(DriverError::StmtParamsMismatch {
        required: 1,
        supplied: 2,
    });
    let meaning = of_driver_error(&error);
    assert_eq!(meaning.cause, Cause::Statement);
    assert_eq!(meaning.executed, Executed::No);
}

#[test]
fn a_file_that_nothing_provides_is_no_failure_of_the_pod() {
    let no_handler = DriverError::LocalInfile(LocalInfileError::NoHandler);
    let meaning = of_driver_error(&mysql_async::Error::Driver(no_handler));
    assert_eq!(meaning.cause, Cause::Statement);
    assert_eq!(meaning.executed, Executed::No);
    assert_eq!(meaning.connection, Connection::Closed);
}

#[test]
fn an_account_that_worked_before_is_refused_by_this_server_alone() {
    let denied = |code| ConnectError::AccessDenied {
        pod: pod(),
        user: "app".to_owned(),
        code,
        message: String::new(),
    };
    let rejected = |code| ConnectError::Rejected {
        pod: pod(),
        code,
        message: String::new(),
    };
    // Another server may know the account.
    assert_eq!(denied(1045).class(), Class::Declined);
    assert_eq!(denied(1049).class(), Class::Declined);
    assert!(matches!(rejected(1045).class(), Class::Unfit(_)));
    assert_eq!(rejected(1193).class(), Class::Failure);
}

#[test]
fn only_what_was_surely_not_executed_is_retryable() {
    let source = || server(1213, "Deadlock found");
    let lost = || Error::ConnectionLost {
        pod: pod(),
        source: std::io::Error::other("cut").into(),
    };
    for (error, retryable) in [
        (Error::QueueFull { waiting: 1 }, true),
        (Error::Interrupted { pod: pod() }, true),
        (Error::Superseded { pod: pod() }, true),
        (
            Error::Disputed {
                pod: pod(),
                source: ConnectError::Contested { pod: pod() },
            },
            true,
        ),
        (
            Error::RolledBack {
                pod: pod(),
                source: source(),
            },
            true,
        ),
        (
            Error::Server {
                pod: None,
                source: source(),
            },
            false,
        ),
        (lost(), false),
        (
            Error::CommitUnknown {
                pod: pod(),
                source: Box::new(lost()),
            },
            false,
        ),
        (Error::Connect(ConnectError::ReadOnly { pod: pod() }), false),
        (Error::Closed, false),
        (Error::RuntimeGone, false),
    ] {
        assert_eq!(error.is_retryable(), retryable, "{error}");
    }
}

#[test]
fn the_documentation_lists_the_table() {
    let documented = include_str!("../../../docs/errors.md");
    let listed: Vec<&str> = documented
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what"))
        .collect();
    assert_eq!(
        listed,
        documentation(),
        "docs/errors.md should have these rows:\n{}\n",
        { documentation().join("\n") }
    );
}

/// The rows of `docs/errors.md`.
fn documentation() -> Vec<String> {
    let codes = SERVER.iter().map(|row| (named(row), row.meaning));
    let others = [
        ("another code", table::STATEMENT),
        ("no answer to a connect", table::NO_CONNECTION),
        ("a server that does not let us in", table::NOT_ACCEPTED),
        ("a connect without descriptor or port", table::OWN_MACHINE),
        ("the same, under a statement", table::OWN_MACHINE_MIDWAY),
        ("a connection that breaks", table::CONNECTION_BROKEN),
        ("parameters that do not fit", table::UNFIT_PARAMETERS),
        ("a statement that is too large", table::TOO_LARGE),
        ("LOAD DATA LOCAL without handler", table::LOCAL_INFILE),
        (
            "LOAD DATA LOCAL, file unreadable",
            table::LOCAL_INFILE_MIDWAY,
        ),
        ("rows that do not convert", table::UNFIT_ANSWER),
    ];
    let others = others.map(|(name, meaning)| (name.to_owned(), meaning));
    let lines = codes.chain(others);
    lines.map(|(name, meaning)| line(&name, meaning)).collect()
}

fn named(row: &Row) -> String {
    let codes: Vec<String> = row.codes.iter().map(u16::to_string).collect();
    match row.says {
        [] => codes.join(", "),
        texts => format!("{} with \"{}\"", codes.join(", "), texts.join("\" or \"")),
    }
}

fn line(name: &str, meaning: Meaning) -> String {
    let cause = match meaning.cause {
        Cause::Statement => "the statement",
        Cause::Login => "user or password",
        Cause::Setup => "account or configuration",
        Cause::ReadOnly => "this server: no writes",
        Cause::Server => "this server, for now",
        Cause::Network => "the pod or its network",
        Cause::CannotGrow => "no further connection",
        Cause::OwnMachine => "our own machine",
    };
    let executed = match meaning.executed {
        Executed::No => "no",
        Executed::Perhaps => "**perhaps**",
    };
    let connection = match meaning.connection {
        Connection::Usable => "usable",
        Connection::Closed => "closed",
    };
    let repeat = match (meaning.transaction, meaning.repeat) {
        (Transaction::RolledBack, _) => "the transaction",
        (Transaction::InDoubt, _) => "later; a transaction as a whole",
        (_, Repeat::Elsewhere) => "elsewhere",
        (_, Repeat::Later) => "later",
        (_, Repeat::Never) => "no",
    };
    let words = meaning.words;
    format!("| {name} | {cause} | {executed} | {connection} | {repeat} | {words} |")
}
