//! One worker: a client behind its own proxy, a connection that kills, and a rival for locks.

use crate::program::Rival;
use headless_mysql::discovery::FixedList;
use headless_mysql::mysql_async::{Conn, Row};
use headless_mysql::prelude::*;
use headless_mysql::{Cluster, Config};
use headless_mysql_testkit::lab::Lab;
use headless_mysql_testkit::proxy::FaultProxy;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The longest wait for an event that is certain to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The polling interval for events that cannot be awaited.
const STEP: Duration = Duration::from_millis(5);

pub(crate) struct Worker {
    pub(crate) cluster: Cluster,
    pub(crate) proxy: FaultProxy,
    pub(crate) root: Conn,
    /// `None` while the rival waits for a lock.
    rival: Option<Conn>,
    user: String,
}

/// A rival that currently holds locks.
pub(crate) struct Holding {
    id: u32,
    task: JoinHandle<Conn>,
}

impl Worker {
    pub(crate) async fn start(lab: &Lab, number: u64) -> Self {
        let user = format!("worker{number}");
        let database = lab.database();
        let mut root = lab.admin(0).await.unwrap();
        for statement in [
            format!("USE {database}"),
            format!("CREATE USER {user} IDENTIFIED BY 'secret'"),
            format!("GRANT ALL ON {database}.* TO {user}"),
        ] {
            root.query_drop(statement).await.unwrap();
        }
        let mut rival = lab.admin(0).await.unwrap();
        let setup = format!("USE {database}; SET completion_type = 0");
        rival.query_drop(setup).await.unwrap();
        let server = (lab.address(0), lab.port()).into();
        let here = (lab.address(0), 0).into();
        let proxy = FaultProxy::start(here, server).await.unwrap();
        let config = Config::new("mysql", &user)
            .with_password("secret")
            .with_database(database)
            .with_port(proxy.address().port())
            .with_statement_timeout(Some(Duration::from_millis(1_500)))
            .with_max_connections(2);
        let cluster = Cluster::builder(config)
            .resolver(FixedList::new([proxy.address()]))
            .connect()
            .await
            .unwrap();
        Self {
            cluster,
            proxy,
            root,
            rival: Some(rival),
            user,
        }
    }

    /// Lets the rival take the lock that a program will need next. With [`Rival::Deadlock`] it also
    /// waits for a lock of the program. It has written more than the program, so the server chooses
    /// the program as the victim.
    pub(crate) async fn rival(&mut self, rival: Rival, program: u64) -> Holding {
        let mut conn = self.rival.take().unwrap();
        let id = conn.id();
        let lock = move |row| {
            format!("UPDATE locks SET n = n + 1 WHERE program = {program} AND id = {row}")
        };
        let work = format!("INSERT INTO work (x) VALUES {}", ["(1)"; 60].join(", "));
        conn.query_drop("BEGIN").await.unwrap();
        conn.query_drop(work).await.unwrap();
        // Fails if the program holds the lock already.
        let taken = conn.query_drop(lock(2)).await.is_ok();
        let task = tokio::spawn(async move {
            if taken && rival == Rival::Deadlock {
                // Ends by the deadlock, by a KILL, or by getting the lock.
                let _ = conn.query_drop(lock(1)).await;
            }
            conn
        });
        // The statement does almost no work, so if it is seen running twice, it waits for a lock.
        let waits = format!(
            "SELECT COUNT(*) FROM information_schema.processlist \
             WHERE id = {id} AND command = 'Query'"
        );
        let mut seen = 0;
        while seen < 2 && !task.is_finished() {
            sleep(STEP).await;
            let busy: Option<u64> = self.root.query_first(&*waits).await.unwrap();
            seen = busy.map_or(0, |busy| (seen + 1) * busy);
        }
        Holding { id, task }
    }

    pub(crate) async fn release(&mut self, holding: Holding) {
        let kill = format!("KILL QUERY {}", holding.id);
        self.root.query_drop(kill).await.unwrap();
        let mut conn = holding.task.await.unwrap();
        // The KILL may interrupt the first ROLLBACK.
        let _ = conn.query_drop("ROLLBACK").await;
        conn.query_drop("ROLLBACK").await.unwrap();
        self.rival = Some(conn);
    }

    /// Waits until the server has ended the session of every connection that the client has closed,
    /// and executes nothing for it.
    async fn settled(&mut self) -> Result<(), String> {
        // MariaDB shows an idle session that was killed as `Killed`, without statement or state,
        // until its next packet arrives. Such a session executes nothing.
        let sessions = format!(
            "SELECT COUNT(*), COALESCE(SUM(command <> 'Sleep' AND NOT (command = 'Killed' \
             AND info IS NULL AND COALESCE(state, '') = '')), 0) \
             FROM information_schema.processlist WHERE user = '{}'",
            self.user
        );
        let give_up = Instant::now() + PATIENCE;
        loop {
            let pods = self.cluster.status().pods;
            let open: usize = pods.iter().map(|pod| pod.connections_idle).sum();
            let in_use: usize = pods.iter().map(|pod| pod.connections_in_use).sum();
            let (there, busy): (usize, u64) =
                self.root.query_first(&*sessions).await.unwrap().unwrap();
            if in_use == 0 && busy == 0 && there <= open {
                return Ok(());
            }
            if Instant::now() > give_up {
                let list = "SELECT * FROM information_schema.processlist";
                let list: Vec<Row> = self.root.query(list).await.unwrap();
                return Err(format!("{in_use} in use, {open} idle, of {list:#?}"));
            }
            sleep(STEP).await;
        }
    }

    /// The rows of a program, with the number of copies of each. Waits for pending rollbacks.
    pub(crate) async fn rows(&mut self, program: u64) -> Result<BTreeMap<u64, u64>, String> {
        self.settled().await?;
        // Use the key: a table scan would wait for the row locks of other programs.
        let rows = format!(
            "SELECT id FROM entries FORCE INDEX (program) WHERE program = {program} FOR UPDATE"
        );
        let ids: Vec<u64> = self.root.query(rows).await.map_err(|e| e.to_string())?;
        let mut times = BTreeMap::new();
        for id in ids {
            *times.entry(id).or_default() += 1;
        }
        Ok(times)
    }
}
