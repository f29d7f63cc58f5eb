//! A minimal balancer: connections behind a semaphore, the replica with fewer reads in flight, and
//! a timeout around each read. It has no checks, no session reset, no statement stop and no
//! discovery.

use mysql_async::{Conn, Opts};
use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Sketch(Vec<Replica>);

struct Replica {
    opts: Opts,
    idle: Mutex<Vec<Conn>>,
    slots: Semaphore,
    in_flight: AtomicUsize,
}

impl Sketch {
    pub(crate) fn new(replicas: impl IntoIterator<Item = Opts>, connections: usize) -> Self {
        let replica = |opts| Replica {
            opts,
            idle: Mutex::default(),
            slots: Semaphore::new(connections),
            in_flight: AtomicUsize::new(0),
        };
        Self(replicas.into_iter().map(replica).collect())
    }

    /// One read on the replica with fewer reads in flight. After an error the connection is not
    /// returned, because the benchmark ends.
    pub(crate) async fn read<T, E>(
        &self,
        read: impl AsyncFnOnce(&mut Conn) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<mysql_async::Error>,
    {
        let busy = |n: usize| self.0[n].in_flight.load(Ordering::Relaxed);
        let replica = &self.0[match busy(0).cmp(&busy(1)) {
            Less => 0,
            Greater => 1,
            Equal => rand::random_range(0..2),
        }];
        replica.in_flight.fetch_add(1, Ordering::Relaxed);
        let slot = replica.slots.acquire().await;
        let idle = replica.idle.lock().unwrap().pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => Conn::new(replica.opts.clone()).await?,
        };
        let answer = tokio::time::timeout(TIMEOUT, read(&mut conn))
            .await
            .unwrap()?;
        replica.idle.lock().unwrap().push(conn);
        drop(slot);
        replica.in_flight.fetch_sub(1, Ordering::Relaxed);
        Ok(answer)
    }
}
