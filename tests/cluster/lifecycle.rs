//! The lifecycle of a cluster: connecting, runtimes, dropping, shutting down.

mod beginning;
mod company;
mod last_handle;
mod runtimes;
mod shutdown;

use crate::support::{connections, eventually};
use headless_mysql::mysql_async::prelude::Queryable;
use headless_mysql::{Error, PodConn};
use headless_mysql_testkit::stage::Stage;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// The limit for "at once" on a busy machine.
const SOON: Duration = Duration::from_secs(2);

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// The error of a call that must fail at once.
async fn at_once<T>(call: impl Future<Output = Result<T, Error>>) -> Error {
    let started = Instant::now();
    let Err(error) = call.await else {
        panic!("the call was served");
    };
    assert!(started.elapsed() < SOON, "{:?}: {error}", started.elapsed());
    error
}

/// The result of a statement on a checked-out connection.
async fn use_of(conn: &mut PodConn) -> Result<(), Error> {
    conn.query_drop("DO 1").await.map_err(Error::from)
}

async fn assert_alone(stage: &Stage) {
    for ordinal in stage.lab.ordinals() {
        let mut root = stage.lab.admin(ordinal).await.unwrap();
        eventually("the server has no connection left", async || {
            connections(&mut root, stage.lab.user()).await.is_empty()
        })
        .await;
    }
}
