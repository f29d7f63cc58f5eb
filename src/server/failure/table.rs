//! The table behind [`super`]: one row per server error code, and one per kind of failure without a
//! code. A test compares it with `docs/errors.md`.

use super::{Cause, Connection, Executed, Meaning, Repeat, Transaction};

/// The server takes only encrypted connections.
pub(super) const TLS_DEMANDED: u16 = 3159;

/// `EMFILE`, `ENFILE` and `ENOBUFS`: no file descriptor or no buffer is left. `EADDRNOTAVAIL` is
/// not listed, because the standard library has a name for it.
#[cfg(target_os = "linux")]
pub(super) const OWN_MACHINE_CODES: &[i32] = &[24, 23, 105];
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) const OWN_MACHINE_CODES: &[i32] = &[24, 23, 55];
#[cfg(windows)]
pub(super) const OWN_MACHINE_CODES: &[i32] = &[10024, 10055];

/// The server refused the statement, and nothing else happened.
pub(super) const STATEMENT: Meaning = Meaning {
    cause: Cause::Statement,
    executed: Executed::No,
    connection: Connection::Usable,
    transaction: Transaction::Open,
    repeat: Repeat::Never,
    words: "any other code: the statement is refused",
};

/// The driver refused the statement before it was sent.
pub(super) const UNFIT_PARAMETERS: Meaning = Meaning {
    connection: Connection::Closed,
    words: "statement and parameters do not fit each other; nothing was sent",
    ..STATEMENT
};

/// The statement is too long. Found before it was sent.
pub(super) const TOO_LARGE: Meaning = Meaning {
    words: "the statement is longer than the server's `max_allowed_packet`; it was not sent",
    ..STATEMENT
};

/// The server asked for a file, but no handler provides it.
pub(super) const LOCAL_INFILE: Meaning = Meaning {
    words: "LOAD DATA LOCAL without a handler that gives the file; no row was sent",
    ..UNFIT_PARAMETERS
};

/// The file could not be read to its end.
pub(super) const LOCAL_INFILE_MIDWAY: Meaning = Meaning {
    executed: Executed::Perhaps,
    words: "LOAD DATA LOCAL whose file could not be read to its end; the rows before were loaded",
    ..UNFIT_PARAMETERS
};

/// The statement was executed, and its rows were read.
pub(super) const UNFIT_ANSWER: Meaning = Meaning {
    executed: Executed::Perhaps,
    words: "the answer cannot be converted to the type asked for",
    ..STATEMENT
};

/// The connection broke during a statement, or its data cannot be understood.
pub(super) const CONNECTION_BROKEN: Meaning = Meaning {
    cause: Cause::Network,
    executed: Executed::Perhaps,
    connection: Connection::Closed,
    transaction: Transaction::Open,
    repeat: Repeat::Never,
    words: "the connection broke, or what came over it cannot be understood",
};

/// No connection could be made.
pub(super) const NO_CONNECTION: Meaning = Meaning {
    executed: Executed::No,
    repeat: Repeat::Elsewhere,
    words: "nothing answers there, or nothing that speaks MySQL",
    ..CONNECTION_BROKEN
};

/// A server answered, but did not accept the login.
pub(super) const NOT_ACCEPTED: Meaning = Meaning {
    cause: Cause::Server,
    words: "the server did not let us in, or is not the pod that was meant",
    ..NO_CONNECTION
};

pub(super) const CANNOT_GROW: Meaning = Meaning {
    cause: Cause::CannotGrow,
    repeat: Repeat::Later,
    words: "no further connection can be had; those that exist work",
    ..NO_CONNECTION
};

pub(super) const OWN_MACHINE: Meaning = Meaning {
    cause: Cause::OwnMachine,
    repeat: Repeat::Later,
    words: "this process or machine is out of file descriptors, ports or buffers",
    ..NO_CONNECTION
};

/// The same, found while a statement was under way.
pub(super) const OWN_MACHINE_MIDWAY: Meaning = Meaning {
    executed: Executed::Perhaps,
    repeat: Repeat::Never,
    ..OWN_MACHINE
};

const LOGIN: Meaning = Meaning {
    cause: Cause::Login,
    repeat: Repeat::Never,
    words: "wrong user or password, or the account is locked; further attempts can lock it",
    ..NO_CONNECTION
};

pub(super) const SETUP: Meaning = Meaning {
    cause: Cause::Setup,
    repeat: Repeat::Never,
    words: "a file, the account or the server's configuration has to be changed",
    ..NO_CONNECTION
};

/// The server takes no writes, because of its role or its history.
pub(super) const NO_WRITES: Meaning = Meaning {
    cause: Cause::ReadOnly,
    repeat: Repeat::Elsewhere,
    words: "the pod takes no writes now",
    ..STATEMENT
};

/// The pod must not be used for this call now. This says nothing about its health.
pub(super) const NOT_IN_USE: Meaning = Meaning {
    words: "the pod was replaced, or which pod is the primary cannot be told",
    ..NO_WRITES
};

/// No pod could serve the call in time.
pub(super) const NOT_SERVED: Meaning = Meaning {
    repeat: Repeat::Later,
    words: "no pod could serve the call in time",
    ..NO_CONNECTION
};

/// The connection cannot be used any more; the call was not sent.
pub(super) const NOT_SENT: Meaning = Meaning {
    cause: Cause::Statement,
    connection: Connection::Closed,
    repeat: Repeat::Later,
    words: "the connection cannot be used any more; take a new one",
    ..STATEMENT
};

/// The connection may not be used while more than one pod may be the primary. The call was not
/// sent.
pub(super) const DISPUTED: Meaning = Meaning {
    connection: Connection::Usable,
    words: "which pod is the primary cannot be told; take a new connection, which waits",
    ..NOT_SENT
};

/// The server rolled the transaction back.
pub(super) const ROLLED_BACK: Meaning = Meaning {
    transaction: Transaction::RolledBack,
    repeat: Repeat::Later,
    words: "the transaction was rolled back; run it again as a whole",
    ..STATEMENT
};

/// The transaction ended, or may have ended, before its COMMIT.
pub(super) const ENDED_EARLY: Meaning = Meaning {
    executed: Executed::Perhaps,
    words: "the transaction may have ended before its COMMIT; part of it may have been committed",
    ..STATEMENT
};

/// A single statement left a transaction open. The transaction is rolled back.
pub(super) const LEFT_OPEN: Meaning = Meaning {
    executed: Executed::Perhaps,
    words: "the statement left a transaction open, which is rolled back; use `begin()`",
    ..STATEMENT
};

const SERVER_FOR_NOW: Meaning = Meaning {
    cause: Cause::Server,
    repeat: Repeat::Elsewhere,
    ..STATEMENT
};

/// The server, when asked who it is, answers that it cannot work for now.
pub(super) const NOT_READY: Meaning = Meaning {
    words: "the node has left its cluster, or is told to reject queries",
    ..SERVER_FOR_NOW
};

/// The server closes the connection after this answer.
const CLOSES: Meaning = Meaning {
    executed: Executed::Perhaps,
    connection: Connection::Closed,
    repeat: Repeat::Never,
    ..STATEMENT
};

/// The answer reports a problem with the connection, or that the server shuts down.
const GOES_AWAY: Meaning = Meaning {
    cause: Cause::Network,
    ..CLOSES
};

/// The meaning of the codes if the message contains one of the texts. With no texts, any message
/// fits.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) codes: &'static [u16],
    pub(super) says: &'static [&'static str],
    pub(super) meaning: Meaning,
}

impl Row {
    pub(super) fn is_for(&self, code: u16, message: &str) -> bool {
        self.codes.contains(&code)
            && (self.says.is_empty() || self.says.iter().any(|text| message.contains(text)))
    }
}

const fn row(codes: &'static [u16], meaning: Meaning, words: &'static str) -> Row {
    says(codes, &[], meaning, words)
}

const fn says(
    codes: &'static [u16],
    says: &'static [&'static str],
    meaning: Meaning,
    words: &'static str,
) -> Row {
    let meaning = Meaning { words, ..meaning };
    Row {
        codes,
        says,
        meaning,
    }
}

const fn transaction(transaction: Transaction, repeat: Repeat) -> Meaning {
    Meaning {
        transaction,
        repeat,
        ..STATEMENT
    }
}

/// The meaning of the servers' error codes. The first row that fits counts.
pub(super) const SERVER: &[Row] = &[
    // No further connection.
    row(
        &[1040],
        CANNOT_GROW,
        "the server is at its `max_connections`",
    ),
    row(
        &[1203],
        CANNOT_GROW,
        "the account is at the server's `max_user_connections`",
    ),
    says(
        &[1226],
        &[
            "max_questions",
            "max_updates",
            "max_queries_per_hour",
            "max_updates_per_hour",
        ],
        Meaning {
            cause: Cause::Setup,
            ..STATEMENT
        },
        "the account is at its limit of statements per hour",
    ),
    row(
        &[1226],
        CANNOT_GROW,
        "the account is at its own limit of connections",
    ),
    row(
        &[1135],
        CANNOT_GROW,
        "the server cannot create another thread",
    ),
    // The account and the configuration.
    row(&[1045, 1698], LOGIN, "wrong user or password"),
    row(&[3118, 3955, 4151], LOGIN, "the account is locked"),
    row(
        &[1044, 1049],
        SETUP,
        "no access to the database, or there is no such database",
    ),
    row(&[1820, 1862], SETUP, "the password has expired"),
    row(
        &[1129],
        SETUP,
        "the server blocks this host after failed logins: `FLUSH HOSTS`",
    ),
    row(&[1130], SETUP, "the server has no account for this host"),
    row(
        &[1251, 1275, 1524],
        SETUP,
        "the account logs in by a method that is not available",
    ),
    row(
        &[TLS_DEMANDED],
        SETUP,
        "the server takes encrypted connections only: `sslmode`",
    ),
    // This server takes no writes. The code 1290 stands for many options.
    says(
        &[1290],
        &["read-only", "read_only"],
        NO_WRITES,
        "the server is read-only",
    ),
    row(&[1836], NO_WRITES, "the storage engine is read-only"),
    // This server refuses to work for now. Without the text, 1047 is "unknown command".
    says(
        &[1047],
        &["WSREP"],
        SERVER_FOR_NOW,
        "Galera: the node is not ready (out of its group, or a donor that rejects queries)",
    ),
    row(
        &[3100],
        SERVER_FOR_NOW,
        "Group Replication: the member cannot commit",
    ),
    row(
        &[3032],
        Meaning {
            connection: Connection::Closed,
            ..SERVER_FOR_NOW
        },
        "the server is in offline mode",
    ),
    // These errors can occur in the middle of a statement.
    row(
        &[1021, 1037, 1041],
        Meaning {
            executed: Executed::Perhaps,
            repeat: Repeat::Never,
            ..SERVER_FOR_NOW
        },
        "the server is out of disk space or memory",
    ),
    // Transactions. 3101 can be an ordinary conflict, so it says nothing about the server's health.
    row(
        &[1213],
        transaction(Transaction::RolledBack, Repeat::Later),
        "deadlock: run the whole transaction again",
    ),
    row(
        &[3101],
        transaction(Transaction::RolledBack, Repeat::Later),
        "Group Replication: a conflict, or the group has no majority; run the whole transaction again",
    ),
    row(
        &[1020, 1205, 1206],
        transaction(Transaction::InDoubt, Repeat::Later),
        "a row lock could not be had; the server may have rolled back the whole transaction",
    ),
    // The server ends the connection.
    row(
        &[1053, 1077, 1078, 1079, 1080],
        GOES_AWAY,
        "the server shuts down",
    ),
    row(
        &[1152, 1159, 1160, 1161, 1184],
        GOES_AWAY,
        "the server could not use the connection",
    ),
    row(
        &[4031],
        GOES_AWAY,
        "the server has closed the connection because it was idle",
    ),
    row(&[1927, 3169], CLOSES, "the connection was killed by `KILL`"),
    row(
        &[1153],
        Meaning {
            executed: Executed::No,
            ..CLOSES
        },
        "the statement is larger than the server's `max_allowed_packet`",
    ),
    // The statement.
    row(
        &[1461],
        Meaning {
            repeat: Repeat::Later,
            ..STATEMENT
        },
        "the server is at its `max_prepared_stmt_count`; statements are given back by themselves",
    ),
];
