//! A server: cores, a queue in front of them, and its faults.
//!
//! Owns the time that a connect and a query take, and the counters that a server could have itself.
//! It must know nothing of clients, pools or policies.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};

/// The length of one interval of [`Counts::calls`].
pub(crate) const STEP: Duration = Duration::from_millis(100);

/// The delay of a refusal, or of an error from a broken socket.
const ROUND_TRIP: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Up,
    /// Everything takes three times as long.
    Slow,
    /// Nothing is answered. Sockets stay open.
    Frozen,
    /// Connections are lost. Connects are refused within 1 ms.
    Down,
    /// Connects succeed. Every query breaks its connection within 1 ms.
    Breaks,
    /// Existing connections are served. New ones are refused.
    NoRoom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("connection refused")]
    Refused,
    #[error("no connection within the connect timeout")]
    ConnectTimeout,
    #[error("the connection broke")]
    Broken,
    #[error("too many connections")]
    NoRoom,
    #[error("the query timed out")]
    QueryTimeout,
    #[error("nobody could serve the request")]
    Unserved,
}

#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
    /// Incremented by every restart. Connections of an earlier epoch are dead.
    epoch: u64,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    /// Checkouts for requests, per [`STEP`], including failed ones.
    pub(crate) calls: Vec<u64>,
    /// The same for the balancer's own probes.
    pub(crate) probes: Vec<u64>,
    pub(crate) open: usize,
    pub(crate) most_open: usize,
    pub(crate) refused_for_room: u64,
}

#[derive(Debug)]
pub(crate) struct Server {
    cores: Semaphore,
    slowness: f64,
    connect: Duration,
    max_connections: usize,
    state: watch::Sender<State>,
    counts: Mutex<Counts>,
    began: Instant,
}

/// The properties of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    /// CPU time of a login.
    pub(crate) connect: Duration,
    pub(crate) max_connections: usize,
}

impl Server {
    pub(crate) fn new(machine: Machine, slowness: f64) -> Self {
        let (mode, epoch) = (Mode::Up, 0);
        Self {
            cores: Semaphore::new(machine.cores),
            slowness,
            connect: machine.connect,
            max_connections: machine.max_connections,
            state: watch::Sender::new(State { mode, epoch }),
            counts: Mutex::default(),
            began: Instant::now(),
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.state.send_modify(|state| {
            if mode == Mode::Down {
                state.epoch += 1;
                self.counts.lock().unwrap().open = 0;
            }
            state.mode = mode;
        });
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().unwrap().clone()
    }

    /// Counts a checkout.
    pub(crate) fn note_call(&self, is_probe: bool) {
        let step = (self.began.elapsed().as_millis() / STEP.as_millis()) as usize;
        let mut counts = self.counts.lock().unwrap();
        let counts = &mut *counts;
        let series = if is_probe {
            &mut counts.probes
        } else {
            &mut counts.calls
        };
        if series.len() <= step {
            series.resize(step + 1, 0);
        }
        series[step] += 1;
    }

    fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Waits while the server is frozen.
    async fn thawed(&self) -> State {
        let state = self.state();
        if state.mode != Mode::Frozen {
            return state;
        }
        let mut states = self.state.subscribe();
        let state = states.wait_for(|state| state.mode != Mode::Frozen).await;
        *state.unwrap()
    }

    /// Logs a client in. A login uses CPU time, so a herd of logins slows queries down.
    pub(crate) async fn accept(self: &Arc<Self>) -> Result<Session, Fault> {
        let before = self.thawed().await;
        if before.mode == Mode::Down {
            sleep(ROUND_TRIP).await;
            return Err(Fault::Refused);
        }
        let room = {
            let mut counts = self.counts.lock().unwrap();
            let room = before.mode != Mode::NoRoom && counts.open < self.max_connections;
            if room {
                counts.open += 1;
                counts.most_open = counts.most_open.max(counts.open);
            } else {
                counts.refused_for_room += 1;
            }
            room
        };
        if !room {
            sleep(ROUND_TRIP).await;
            return Err(Fault::NoRoom);
        }
        let session = Session {
            server: Arc::clone(self),
            epoch: before.epoch,
        };
        let _core = self.cores.acquire().await.unwrap();
        sleep(self.connect).await;
        if self.thawed().await.epoch != session.epoch {
            return Err(Fault::Refused);
        }
        Ok(session)
    }
}

/// An open connection, on the server's side.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) server: Arc<Server>,
    epoch: u64,
}

impl Session {
    /// Runs a query that needs `work` of CPU time on a server that is not slow.
    pub(crate) async fn query(&self, work: Duration) -> Result<(), Fault> {
        let server = &self.server;
        let state = server.state();
        if state.mode == Mode::Breaks || state.epoch != self.epoch {
            sleep(ROUND_TRIP).await;
            return Err(Fault::Broken);
        }
        let _core = server.cores.acquire().await.unwrap();
        if server.state().epoch != self.epoch {
            return Err(Fault::Broken);
        }
        let slower = if state.mode == Mode::Slow { 3.0 } else { 1.0 };
        sleep(work.mul_f64(server.slowness * slower)).await;
        if server.thawed().await.epoch != self.epoch {
            return Err(Fault::Broken);
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.server.state().epoch == self.epoch {
            self.server.counts.lock().unwrap().open -= 1;
        }
    }
}
