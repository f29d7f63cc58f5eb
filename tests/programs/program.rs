//! Random programs: their statements, the API for each one, and the hazards meanwhile.

use crate::model::Op;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// The handle that runs the statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handle {
    Tx,
    Conn,
    /// A route, which runs each statement by itself.
    Route,
}

/// How a transaction should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    Rollback,
    Drop,
}

/// The method that sends a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Text,
    Prepared,
    /// Through the driver's `Queryable` trait, which hides the text from the library.
    Generic,
    /// Prepared explicitly first.
    ByHand,
    /// Reads the first result only.
    Stream,
    /// On the driver's own connection type.
    Driver,
    /// As a batch, once per row.
    Batch,
}

/// A hazard to the connection or the caller, some milliseconds after the statement began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hazard {
    Dropped(u64),
    KillQuery(u64),
    KillConnection(u64),
    Cut(u64),
}

/// What a rival connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rival {
    /// Holds the lock that the statement needs, for longer than the lock wait timeout.
    Holds,
    /// The same, and waits for a lock that the program holds.
    Deadlock,
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) sql: String,
    pub(crate) ops: Vec<Op>,
    pub(crate) way: Way,
    pub(crate) hazard: Option<Hazard>,
    pub(crate) rival: Option<Rival>,
}

impl Step {
    /// The ids of the rows that the step inserts.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.ops
            .iter()
            .flat_map(|op| match op {
                Op::Insert(ids) => ids.as_slice(),
                _ => &[],
            })
            .copied()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The program's number, which its rows contain.
    pub(crate) number: u64,
    pub(crate) handle: Handle,
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
    pub(crate) end_hazard: Option<Hazard>,
}

/// Procedures with the parameters program and id: names and bodies.
pub(crate) const PROCEDURES: [(&str, &str); 9] = [
    (
        "p_insert",
        "INSERT INTO entries (program, id) VALUES (p, i)",
    ),
    (
        "p_commit",
        "INSERT INTO entries (program, id) VALUES (p, i); COMMIT",
    ),
    (
        "p_commit_first",
        "COMMIT; INSERT INTO entries (program, id) VALUES (p, i)",
    ),
    (
        "p_begin",
        "COMMIT; START TRANSACTION; INSERT INTO entries (program, id) VALUES (p, i)",
    ),
    (
        "p_rollback",
        "INSERT INTO entries (program, id) VALUES (p, i); ROLLBACK",
    ),
    (
        "p_fail",
        "INSERT INTO entries (program, id) VALUES (p, i); COMMIT; SIGNAL SQLSTATE '45000'",
    ),
    (
        "p_slow",
        "INSERT INTO entries (program, id) VALUES (p, i); COMMIT; DO SLEEP(3)",
    ),
    (
        "p_lock",
        "UPDATE locks SET n = n + 1 WHERE program = p AND id = 2; \
         INSERT INTO entries (program, id) VALUES (p, i)",
    ),
    (
        "p_hide",
        "DECLARE CONTINUE HANDLER FOR 1213, 1205 BEGIN END; \
         UPDATE locks SET n = n + 1 WHERE program = p AND id = 2; \
         IF i > 0 THEN INSERT INTO entries (program, id) VALUES (p, i); END IF",
    ),
];

struct Generator {
    rng: SmallRng,
    /// Whether only the program's end, or a failure, ends the transaction.
    calm: bool,
    number: u64,
    next_id: u64,
}

impl Program {
    pub(crate) fn new(number: u64, seed: u64) -> Self {
        let mut generator = Generator {
            rng: SmallRng::seed_from_u64(seed),
            calm: false,
            number,
            next_id: 0,
        };
        let handle = match generator.rng.random_range(0..10) {
            0..6 => Handle::Tx,
            6..8 => Handle::Conn,
            _ => Handle::Route,
        };
        generator.calm = generator.rng.random_bool(0.5);
        let length = generator.rng.random_range(1..8);
        let mut steps: Vec<_> = (0..length).map(|_| generator.step(handle)).collect();
        if handle == Handle::Conn && generator.rng.random_bool(0.7) {
            steps.insert(0, generator.plain("BEGIN", vec![Op::Begin]));
        }
        let end = match generator.rng.random_range(0..10) {
            0..7 => End::Commit,
            7..9 => End::Rollback,
            _ => End::Drop,
        };
        let hazardous = generator.rng.random_bool(0.1);
        Self {
            number,
            handle,
            steps,
            end,
            end_hazard: hazardous.then(|| generator.hazard()),
        }
    }
}

impl Generator {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn plain(&mut self, sql: &str, ops: Vec<Op>) -> Step {
        Step {
            sql: sql.to_owned(),
            ops,
            way: Way::Text,
            hazard: None,
            rival: None,
        }
    }

    fn hazard(&mut self) -> Hazard {
        let after = self.rng.random_range(0..20);
        match self.rng.random_range(0..4) {
            0 => Hazard::Dropped(after),
            1 => Hazard::KillQuery(after),
            2 => Hazard::KillConnection(after),
            _ => Hazard::Cut(after),
        }
    }

    fn step(&mut self, handle: Handle) -> Step {
        let mut step = match self.rng.random_range(0..100) {
            0..40 => self.insert(),
            40..50 if self.calm => self.savepoint(),
            40..50 => self.control(),
            50..68 => self.call(),
            68..76 => self.savepoint(),
            76..86 => self.locking(),
            86..92 => self.failing(),
            _ => self.other(),
        };
        if step.rival.is_none() && self.rng.random_bool(0.08) {
            step.hazard = Some(self.hazard());
        }
        if handle == Handle::Route {
            step.way = match step.way {
                Way::Batch | Way::Prepared => step.way,
                Way::Generic | Way::ByHand => Way::Prepared,
                Way::Text | Way::Stream | Way::Driver => Way::Text,
            };
        }
        if step.way == Way::Driver {
            step.hazard = None;
        }
        step
    }

    fn way(&mut self) -> Way {
        match self.rng.random_range(0..12) {
            0..5 => Way::Text,
            5..8 => Way::Prepared,
            8 => Way::Generic,
            9 => Way::ByHand,
            10 => Way::Stream,
            _ => Way::Driver,
        }
    }

    fn values(&self, ids: &[u64]) -> String {
        let rows: Vec<_> = ids
            .iter()
            .map(|id| format!("({}, {id})", self.number))
            .collect();
        format!(
            "INSERT INTO entries (program, id) VALUES {}",
            rows.join(", ")
        )
    }

    fn insert(&mut self) -> Step {
        let way = self.way();
        let (one, other) = (self.id(), self.id());
        match self.rng.random_range(0..6) {
            0 => Step {
                way,
                ..self.plain(
                    &self.values(&[one, other]),
                    vec![Op::Insert(vec![one, other])],
                )
            },
            1 => {
                let sql = format!("{}; {}", self.values(&[one]), self.values(&[other]));
                let ops = vec![Op::Insert(vec![one]), Op::Insert(vec![other])];
                let way = if way == Way::Stream { way } else { Way::Text };
                Step {
                    way,
                    ..self.plain(&sql, ops)
                }
            }
            2 => {
                let ops = vec![Op::Insert(vec![one]), Op::Insert(vec![other])];
                let sql = format!(
                    "INSERT INTO entries (program, id) VALUES ({}, ?)",
                    self.number
                );
                Step {
                    way: Way::Batch,
                    ..self.plain(&sql, ops)
                }
            }
            _ => Step {
                way,
                ..self.plain(&self.values(&[one]), vec![Op::Insert(vec![one])])
            },
        }
    }

    fn control(&mut self) -> Step {
        let (sql, ops) = match self.rng.random_range(0..9) {
            0 | 1 => (
                "CREATE TABLE IF NOT EXISTS other (a INT)",
                vec![Op::CommitImplicitly],
            ),
            2 => ("START TRANSACTION", vec![Op::Begin]),
            3 => ("BEGIN", vec![Op::Begin]),
            4 => ("COMMIT", vec![Op::Commit]),
            5 => ("ROLLBACK", vec![Op::Rollback]),
            6 => ("COMMIT AND CHAIN", vec![Op::CommitAndChain]),
            7 => ("SET autocommit = 0", vec![Op::Autocommit(false)]),
            _ => ("SET autocommit = 1", vec![Op::Autocommit(true)]),
        };
        let way = match self.rng.random_range(0..4) {
            0 => Way::Generic,
            1 => Way::Stream,
            _ => Way::Text,
        };
        Step {
            way,
            ..self.plain(sql, ops)
        }
    }

    fn call(&mut self) -> Step {
        let id = self.id();
        let insert = Op::Insert(vec![id]);
        let procedure = match self.calm {
            true => 0,
            false => self.rng.random_range(0..9),
        };
        let (procedure, ops) = match procedure {
            0 | 1 => ("p_insert", vec![insert]),
            2 => ("p_commit", vec![insert, Op::Commit]),
            3 => ("p_commit_first", vec![Op::Commit, insert]),
            4 | 5 => ("p_begin", vec![Op::Commit, Op::Begin, insert]),
            6 => ("p_rollback", vec![insert, Op::Rollback]),
            7 => ("p_fail", vec![insert, Op::Commit]),
            _ => ("p_slow", vec![insert, Op::Commit]),
        };
        let slow = procedure == "p_slow";
        let way = self.way();
        Step {
            way: if slow && way == Way::Driver {
                Way::Text
            } else {
                way
            },
            ..self.plain(&format!("CALL {procedure}({}, {id})", self.number), ops)
        }
    }

    fn savepoint(&mut self) -> Step {
        let name = self.rng.random_range(0..2);
        match self.rng.random_bool(0.6) {
            true => self.plain(&format!("SAVEPOINT s{name}"), vec![Op::Savepoint(name)]),
            false => self.plain(
                &format!("ROLLBACK TO SAVEPOINT s{name}"),
                vec![Op::RollbackTo(name)],
            ),
        }
    }

    /// A step that needs the lock a rival may hold.
    fn locking(&mut self) -> Step {
        let (number, id) = (self.number, self.id());
        let (sql, ops) = match self.rng.random_range(0..5) {
            0 => (
                format!("CALL p_hide({number}, {id})"),
                vec![Op::MayDeadlock, Op::Insert(vec![id])],
            ),
            1 => (format!("CALL p_hide({number}, 0)"), vec![Op::MayDeadlock]),
            2 => (
                format!("CALL p_lock({number}, {id})"),
                vec![Op::Insert(vec![id])],
            ),
            3 => (
                format!("SELECT n FROM locks WHERE program = {number} AND id = 2 FOR UPDATE"),
                Vec::new(),
            ),
            _ => (
                format!("UPDATE locks SET n = n + 1 WHERE program = {number} AND id = 2"),
                Vec::new(),
            ),
        };
        let rival = match self.rng.random_range(0..4) {
            0 => Some(Rival::Holds),
            1 | 2 => Some(Rival::Deadlock),
            _ => None,
        };
        let way = self.way();
        let mut step = Step {
            way,
            rival,
            ..self.plain(&sql, ops)
        };
        if way == Way::Stream {
            step.ops.push(Op::MayDeadlock);
        }
        step
    }

    fn failing(&mut self) -> Step {
        let sql = match self.rng.random_range(0..4) {
            0 => "CALL p_nothing()".to_owned(),
            1 => "INSERT INTO nothing VALUES (1)".to_owned(),
            2 => format!(
                "INSERT INTO locks (program, id) VALUES ({}, 1)",
                self.number
            ),
            _ => "SELECT FROM WHERE".to_owned(),
        };
        let way = self.way();
        Step {
            way,
            ..self.plain(&sql, Vec::new())
        }
    }

    fn other(&mut self) -> Step {
        let sql = match self.rng.random_range(0..4) {
            0 => "SELECT 1; SELECT 2",
            1 => "SET @a = 1",
            2 => "DO SLEEP(2)",
            _ => "SELECT COUNT(*) FROM entries",
        };
        let stream = self.rng.random_bool(0.3);
        Step {
            way: if stream { Way::Stream } else { Way::Text },
            ..self.plain(sql, Vec::new())
        }
    }
}
