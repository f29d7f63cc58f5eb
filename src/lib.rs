//! Client-side load balancing for a MySQL or MariaDB StatefulSet behind a headless Service.
//!
//! Finds the pods by DNS, sends writes to ordinal 0, and spreads reads over the replicas. A pod
//! that restarts on another address is used again as soon as DNS shows it.
//!
//! ```no_run
//! use headless_mysql::{Cluster, Error};
//!
//! # async fn demo() -> Result<(), Error> {
//! // One per application; clone it.
//! let cluster = Cluster::connect("mysql://app:secret@mysql.default.svc.cluster.local/shop").await?;
//!
//! // Statements that belong together: a transaction, on the primary.
//! let mut tx = cluster.begin().await?;
//! tx.exec_drop("INSERT INTO orders (sku) VALUES (?)", ("A-1",)).await?;
//! let order = tx.last_insert_id();
//! tx.commit().await?;
//!
//! // One statement: a connection for just that.
//! let event = "INSERT INTO events (order_id, what) VALUES (?, 'paid')";
//! cluster.primary().exec_drop(event, (order,)).await?;
//!
//! // A read: on the least busy replica.
//! let skus: Vec<String> = cluster.replicas().query("SELECT sku FROM orders").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! 1. A write reaches only a server that is confirmed as the primary: right pod, writable, and
//!    holding the history seen so far. Else nothing is executed.
//! 2. Nothing is executed twice behind your back, except reads. A COMMIT without an answer is
//!    [`Error::CommitUnknown`].
//! 3. No call outlives its deadline.
//! 4. A call that is dropped or times out never harms the next one.
//! 5. DNS trouble takes no working connection away.
//! 6. A pod on a new address is used as soon as DNS shows it, without a stampede.
//! 7. A connection comes back without its last user's session.
//!
//! How each is kept, and what is not covered yet, is in the README and in ARCHITECTURE.md.
//!
//! # Modules
//!
//! From a name to rows:
//!
//! | module | |
//! |---|---|
//! | [`name`] | what Services and pods are called |
//! | [`discovery`] | who is there now: DNS, a fixed list, your own [`Resolve`](discovery::Resolve) |
//! | [`topology`] | the snapshot of pods, and the loop that keeps it up to date |
//! | [`balance`] | which pod takes a request: a tower balancer that knows no MySQL |
//! | `sql`, `gtid` | what a statement may do by its text; which transactions a server holds |
//! | `server` | one pod's server: dialling it, who it is, what its failures mean |
//! | `pool` | the connections to one incarnation of a pod |
//! | `conn` | a connection in its user's hands: [`PodConn`], [`Tx`] |
//! | `routing`, `checkout` | which pods a request may use; from a request to a connection |
//! | [`cluster`] | the face: [`Cluster`], [`Route`], [`Status`](cluster::Status) |
//! | [`config`], [`url`] | options, and how a URL spells them |
//! | [`error`] | what a call can end in |
//! | [`observe`] | the names of the metrics |
#![forbid(unsafe_code)]

pub mod balance;
mod checkout;
pub mod cluster;
pub mod config;
mod conn;
pub mod discovery;
pub mod error;
mod gtid;
pub mod name;
pub mod observe;
mod pool;
mod routing;
mod server;
mod sql;
pub mod topology;
pub mod url;

pub use cluster::{Cluster, Route};
pub use config::{Config, ConfigError};
pub use conn::podconn::PodConn;
pub use conn::tx::{Committed, Tx};
pub use error::Error;

pub use mysql_async;
pub use sql::text::SqlText;

/// What a program usually needs in scope.
pub mod prelude {
    pub use mysql_async::params;
    pub use mysql_async::prelude::{FromRow, FromValue, Queryable};
}

const _: () = {
    fn sendable<T: Send + Sync + 'static>() {}
    fn check() {
        sendable::<Cluster>();
        sendable::<Route>();
        sendable::<Error>();
        sendable::<PodConn>();
        sendable::<Tx>();
        sendable::<Committed>();
    }
    let _ = check;
};

/// Compiles the README's programs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
