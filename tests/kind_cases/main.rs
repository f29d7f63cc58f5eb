//! The cases that `tests/kind/run` runs inside of a Kubernetes cluster, on servers and a cluster
//! DNS of this machine. The same build runs on MariaDB and on MySQL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but does not see that helpers are test code"
)]

#[path = "../staged/mod.rs"]
mod staged;
#[path = "../kind/cases/mod.rs"]
#[macro_use]
mod cases;
#[path = "../kind/lab/mod.rs"]
mod lab;

use cases::report::Report;
use headless_mysql_testkit::lab::ServerKind;
use lab::LabWorld;

/// What the servers of this run are.
fn server() -> ServerKind {
    ServerKind::chosen().unwrap()
}

macro_rules! a_test_of_each {
    ($($file:ident :: $case:ident, $seat:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let world = LabWorld::start(server()).await.unwrap();
            let mut report = Report::default();
            let outcome = cases::$file::$case(&world, &mut report).await;
            if let Err(failure) = outcome {
                panic!("{failure}\n{}", report.lines().join("\n"));
            }
        }
    )*};
}

every_case!(a_test_of_each);
