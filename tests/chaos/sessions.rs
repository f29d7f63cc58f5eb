//! The number of the application's sessions on each server, as the servers count them.
//!
//! A pool must never have more than `max_connections` sessions, plus two: one that asks the pod for
//! its identity, and one that stops statements. A session whose login has lost its flow comes on
//! top, until a later login is answered; no more than eight of them.
//!
//! If the network drops or delays the client's bytes, the server cannot know that a session has
//! ended. So a pod is checked only while its network works, and from [`SETTLE`] after a fault on.
//! The same applies while another process of this test runs.

use crate::doors::Doors;
use headless_mysql::mysql_async::Conn;
use headless_mysql::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// How long servers may take to notice closed connections.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);

const STEP: Duration = Duration::from_millis(100);

/// The number of logins that the client awaits after their callers have left.
const HUNG_LOGINS: u64 = 8;

/// Watches the number of sessions per server, and keeps the maximum.
#[derive(Debug)]
pub(crate) struct Sessions {
    most: Arc<AtomicU64>,
    too_many: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Sessions {
    pub(crate) fn watch(doors: Arc<Doors>, max_connections: u64) -> Self {
        let most_expected = max_connections + 2;
        let (most, too_many) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (seen, excess) = (Arc::clone(&most), Arc::clone(&too_many));
        let task = tokio::spawn(async move {
            let mut conns: [Option<Conn>; 3] = Default::default();
            loop {
                for (ordinal, conn) in (0..).zip(&mut conns) {
                    let calm = doors.is_calm(ordinal);
                    let there = timeout(STEP * 10, sessions(&doors, ordinal, conn)).await;
                    let Ok(Some(there)) = there else {
                        *conn = None;
                        continue;
                    };
                    if !calm || !doors.is_calm(ordinal) {
                        continue;
                    }
                    let count = there.len() as u64;
                    seen.fetch_max(count, Ordering::Relaxed);
                    let lost = there
                        .iter()
                        .filter(|(id, _)| doors.has_lost_flow(ordinal, *id));
                    let hung = (lost.count() as u64).min(HUNG_LOGINS);
                    if count - hung > most_expected {
                        println!("{count} sessions on mysql-{ordinal}: {there:#?}");
                        excess.fetch_add(1, Ordering::Relaxed);
                    }
                }
                sleep(STEP).await;
            }
        });
        Self {
            most,
            too_many,
            task: task.abort_handle(),
        }
    }

    pub(crate) fn check(&self) {
        let most = self.most.load(Ordering::Relaxed);
        println!("at most {most} sessions on one server");
        let too_many = self.too_many.load(Ordering::Relaxed);
        assert_eq!(too_many, 0, "too many sessions, up to {most}");
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Describes the application's sessions on a server. `LEFT` is needed: a text above
/// `max_allowed_packet` would be NULL.
async fn sessions(
    doors: &Doors,
    ordinal: u32,
    conn: &mut Option<Conn>,
) -> Option<Vec<(u64, String)>> {
    let lab = &doors.stage.lab;
    if conn.is_none() {
        *conn = lab.admin(ordinal).await.ok();
    }
    let list = "SELECT id, CONCAT_WS(' ', host, command, time, state, LEFT(info, 100)) \
                FROM information_schema.processlist WHERE user LIKE ?";
    let user = format!("{}%", lab.user());
    conn.as_mut()?.exec(list, (user,)).await.ok()
}
