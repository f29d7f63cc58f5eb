//! Sends a statement while a hazard happens.

use crate::program::{Hazard, Step, Way};
use crate::worker::Worker;
use headless_mysql::mysql_async::{self, Conn};
use headless_mysql::prelude::*;
use headless_mysql::{Error, PodConn, Tx};
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The longest time of a call: 5 s for a checkout, 1.5 s for a statement, and a margin for a busy
/// machine.
const LONGEST: Duration = Duration::from_secs(12);

/// A handle that can send statements by every method.
pub(crate) trait Sender: Queryable {
    async fn prepared(&mut self, step: &Step) -> mysql_async::Result<()>;
    async fn by_hand(&mut self, step: &Step) -> mysql_async::Result<()>;
    async fn batch(&mut self, step: &Step) -> mysql_async::Result<()>;
    async fn driver(&mut self) -> Result<&mut Conn, Error>;
}

macro_rules! sender {
    ($type:ty) => {
        impl Sender for $type {
            async fn prepared(&mut self, step: &Step) -> mysql_async::Result<()> {
                self.exec_drop(&*step.sql, ()).await
            }

            async fn by_hand(&mut self, step: &Step) -> mysql_async::Result<()> {
                let statement = self.prep(&*step.sql).await?;
                self.exec_drop(&statement, ()).await
            }

            async fn batch(&mut self, step: &Step) -> mysql_async::Result<()> {
                self.exec_batch(&*step.sql, step.ids().map(|id| (id,)))
                    .await
            }

            async fn driver(&mut self) -> Result<&mut Conn, Error> {
                self.as_conn_mut().await
            }
        }
    };
}

sender!(Tx);
sender!(PodConn);

pub(crate) async fn send(sender: &mut impl Sender, step: &Step) -> Result<(), Error> {
    let sent = match step.way {
        Way::Text => sender.query_drop(&*step.sql).await,
        Way::Prepared => sender.prepared(step).await,
        Way::Generic => Queryable::exec_drop(sender, &*step.sql, ()).await,
        Way::ByHand => sender.by_hand(step).await,
        Way::Stream => sender.query_iter(&*step.sql).await.map(drop),
        Way::Driver => sender.driver().await?.query_drop(&*step.sql).await,
        Way::Batch => sender.batch(step).await,
    };
    sent.map_err(Error::from)
}

/// Runs a call while a hazard happens. `None` if the caller dropped the call.
pub(crate) async fn strike<T>(
    worker: &mut Worker,
    hazard: Option<Hazard>,
    id: Option<u64>,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<Option<Result<T, Error>>, String> {
    let begun = Instant::now();
    let after = |ms| sleep(Duration::from_millis(ms));
    let kill = |what: &str| id.map(|id| format!("KILL {what} {id}"));
    let answer = match hazard {
        None => Some(call.await),
        Some(Hazard::Dropped(ms)) => timeout(Duration::from_millis(ms), call).await.ok(),
        Some(Hazard::Cut(ms)) => {
            let cut = async {
                after(ms).await;
                worker.proxy.cut();
            };
            Some(tokio::join!(call, cut).0)
        }
        Some(hazard) => {
            let (ms, statement) = match hazard {
                Hazard::KillQuery(ms) => (ms, kill("QUERY")),
                Hazard::KillConnection(ms) | Hazard::Dropped(ms) | Hazard::Cut(ms) => {
                    (ms, kill("CONNECTION"))
                }
            };
            let kill = async {
                after(ms).await;
                if let Some(statement) = statement {
                    // The connection may no longer exist.
                    let _ = worker.root.query_drop(statement).await;
                }
            };
            Some(tokio::join!(call, kill).0)
        }
    };
    match begun.elapsed() {
        took if took > LONGEST => Err(format!("a call took {took:?}")),
        _ => Ok(answer),
    }
}
